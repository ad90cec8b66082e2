"""Programs without `if __name__ == "__main__":`, which a new process runs again from the top where it is not forked."""

import ast
import multiprocessing
import multiprocessing.process
import sys
from pathlib import Path

from jointadapt.errors import UserError

MEND = 'put the calls of a program under if __name__ == "__main__":'


def check_not_imported_again() -> None:
    """Raise a `UserError` in a new process that is still importing the program, and so runs what it was not asked to.

    >>> check_not_imported_again()
    """
    if getattr(multiprocessing.process.current_process(), "_inheriting", False):
        raise UserError(f"a new process runs this program again from the top; {MEND}.")


def unguarded_call(method: str | None = None) -> str | None:
    """Return the place in the program, "file, line n", that a new process would run again; None where none would.

    It is the statement of `__main__` that this thread is at, if processes are not forked and the statement is no `if`
    about `__name__`.

    Args:
        method: how processes are started; None: as `multiprocessing` does.
    """
    if (method or multiprocessing.get_start_method()) == "fork":
        return None
    frame = sys._getframe()
    while frame.f_back is not None and not (frame.f_code.co_name == "<module>" and _is_main(frame.f_globals)):
        frame = frame.f_back
    path, line = Path(frame.f_code.co_filename), frame.f_lineno
    if not _is_main(frame.f_globals) or not path.is_file():
        return None
    statements = ast.parse(path.read_bytes()).body
    at = next((node for node in statements if node.lineno <= line <= (node.end_lineno or line)), None)
    guarded = isinstance(at, ast.If) and any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(at.test))
    return None if at is None or guarded else f"{path.name}, line {line}"


def _is_main(names: dict) -> bool:
    return names.get("__name__") == "__main__"
