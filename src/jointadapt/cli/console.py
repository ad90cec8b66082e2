"""Where output begins: standard streams that write any text, whatever the console can show.

A console of cp1252, latin-1 or ASCII has no →, λ or box characters: what it lacks is written in ASCII. Bytes of a
file's name that are no text pass as they came.
"""

import codecs
import io
import os
import sys
import unicodedata
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

HANDLER, ASCII = "jointadapt", "jointadapt-ascii"
PLAIN = {
    "→": "->", "≤": "<=", "≥": ">=", "≠": "!=", "×": "x", "⊗": "x", "·": ".", "±": "+-", "√": "sqrt", "∞": "inf",
    "–": "-", "—": "-", "−": "-", "─": "-", "━": "-", "│": "|", "┃": "|", "“": '"', "”": '"', "‘": "'", "’": "'",
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "eps", "η": "eta", "θ": "theta", "λ": "lambda",
    "μ": "mu", "π": "pi", "σ": "sigma", "φ": "phi", "ω": "omega",
}  # fmt: skip


class Console:
    """What became of the standard output: whether it was closed, and how many characters it could not be told."""

    closed = False
    lost = 0


def open_console() -> None:
    """Make both outputs able to write any text; one that is closed swallows it, on its own descriptor."""
    codecs.register_error(HANDLER, _plain)
    Console.closed, Console.lost = sys.stdout is None, 0
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # else the next file that is opened would take its place
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=ASCII if ascii_only else None, errors=HANDLER)


def close_output() -> None:
    """Give what is still unwritten, and never can be, to nobody, so that the end of Python says nothing of it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return what stands for the characters that an encoding lacks: bytes as they came, else ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    first, *more = error.object[error.start : error.end]
    lacking = [first, *takewhile(lambda c: _is_byte(c) == _is_byte(first), more)]
    if _is_byte(first):
        return bytes(ord(c) - 0xDC00 for c in lacking), error.start + len(lacking)
    Console.lost += len(lacking)
    return "".join(map(_ascii, lacking)), error.start + len(lacking)


def _is_byte(c: str) -> bool:
    """Return whether this stands for a byte that was no text."""
    return "\udc80" <= c <= "\udcff"


def _ascii(c: str) -> str:
    return PLAIN.get(c) or "".join(part for part in unicodedata.normalize("NFKD", c) if part.isascii()) or "?"


def _lookup(name: str) -> codecs.CodecInfo | None:
    """Return ASCII under a name of its own: click would write UTF-8 to a stream whose encoding is called ASCII."""
    if name.replace("_", "-") != ASCII:
        return None
    known = codecs.lookup("ascii")
    return codecs.CodecInfo(
        known.encode,
        known.decode,
        known.streamreader,
        known.streamwriter,
        known.incrementalencoder,
        known.incrementaldecoder,
        name=ASCII,
    )


codecs.register(_lookup)
