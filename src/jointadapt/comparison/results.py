"""The file of outcomes."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from jointadapt.comparison.plan import Outcome
from jointadapt.errors import UserError
from jointadapt.runtime.json_text import to_json


@dataclass(frozen=True)
class ResultStore:
    """The file of outcomes, a line each: appended to as runs finish; a line cut off by a crash is passed over."""

    path: Path

    def read(self) -> dict[str, Outcome]:
        """Return the outcomes by key."""
        if not self.path.is_file():
            return {}
        known = {}
        for line in self.path.read_text("utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
                key = record.pop("key")
                known[key] = Outcome(**{**record, "task": tuple(record["task"])})
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
        return known

    def prepare(self) -> None:
        """Make the file where it is not there and end a line that was cut off; where that fails, it does at once."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        file.write(b"\n")
        except OSError as error:
            raise UserError(f"{self.path} cannot be written ({error.strerror}); choose another --out.") from error

    def add(self, key: str, outcome: Outcome) -> None:
        """Append an outcome."""
        with self.path.open("a", encoding="utf-8", errors="replace") as file:
            file.write(to_json({"key": key, **asdict(outcome)}) + "\n")
