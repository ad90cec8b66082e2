"""The run folder: which files it holds, and how each is written whole and read again."""

import csv
import errno
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from torch import Tensor

from jointadapt.config import Config, to_toml
from jointadapt.data import UNLABELLED, Domain
from jointadapt.data.labels import SURPLUS, UNKNOWN
from jointadapt.errors import UserError
from jointadapt.runs.reading import read_metrics, read_run_config
from jointadapt.runs.summary import Summary, TradeOffSearch
from jointadapt.runtime.files import is_part, remove_parts, write_atomically
from jointadapt.runtime.json_text import to_json
from jointadapt.training.checkpoints import DamagedCheckpoint, read_checkpoint, write_checkpoint

KEPT_CHECKPOINTS = 2
LOCK = ".lock"
UNABLE_TO_LOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # as some network storage is


class UnknownCalls(NamedTuple):
    """The score (n,) of "none of the classes" of each row, and the threshold above which it is called unknown."""

    scores: Tensor
    threshold: float

    @property
    def called(self) -> Tensor:
        """Which rows are called unknown, (n,)."""
        return self.scores > self.threshold


@dataclass(frozen=True)
class RunFolder:
    """`config.toml`, `metrics.jsonl`, `checkpoints/`, `model.safetensors`, `predictions.csv`, `features.npz`,
    `summary.json` and `report.html`; with a baseline, a run folder `source-only/` within it.

    Of several processes one `writes`; for the others writing does nothing.
    """

    path: Path
    writes: bool = True

    @property
    def model(self) -> Path:
        """The trained model's file."""
        return self.path / "model.safetensors"

    @property
    def finished(self) -> bool:
        """Whether everything but the report has been written."""
        return (self.path / "summary.json").is_file()

    @property
    def begun(self) -> bool:
        """Whether it holds a run to go on with."""
        return (self.path / "config.toml").is_file()

    @contextmanager
    def held(self, empty: bool = False) -> Iterator[None]:
        """Keep every other process out, by a lock that ends with this one; a folder that is missing is made.

        Whoever wants it `empty` is refused one that holds something. What was made is removed where nothing came of it.
        """
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        lock = FileLock(self.path / LOCK, blocking=False, fallback_to_soft=False)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise UserError(
                f"another process is at work in {self.path}; wait until it ends, or choose another --out."
            ) from error
        except OSError as error:
            if error.errno not in UNABLE_TO_LOCK:
                raise self._not_writable(error) from error
            warnings.warn(f"no file can be locked in {self.path}: let no second process work there.", stacklevel=4)
        try:
            if empty:
                self._check_empty()
            yield
        finally:
            with suppress(OSError):  # before the release: who locks a file that is gone knows it, and tries anew
                (self.path / LOCK).unlink()
            lock.release()
            with suppress(OSError):
                for folder in missing:  # the innermost first; one that holds something stays
                    folder.rmdir()

    def _check_empty(self) -> None:
        try:
            if not all(is_part(entry) or entry.name == LOCK for entry in self.path.iterdir()):
                raise UserError(
                    f"{self.path} is not empty; choose another --out, or go on with: "
                    f"jointadapt train --resume {self.path}"
                )
            remove_parts(self.path)  # of a run that was killed as it wrote its first file
        except OSError as error:
            raise self._not_writable(error) from error

    def _not_writable(self, error: OSError) -> UserError:
        return UserError(f"{self.path} cannot be written to ({error.strerror}); choose another --out.")

    def write_config(self, config: Config) -> None:
        """Write the configuration, as it was given and as it was resolved."""
        self._write("config.toml", to_toml(config).encode())

    def read_config(self) -> Config:
        """Return the configuration, as it was resolved."""
        if not self.begun:
            raise UserError(f"{self.path} holds no run (config.toml); give the folder of an interrupted run.")
        return read_run_config(self.path)

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*.pt"))

    def describe_checkpoints(self) -> str:
        """Return, for a message, what is kept of the training so far."""
        names = [path.name for path in self.checkpoints()]
        return (
            f"the checkpoint before it is kept, {self.path / 'checkpoints' / names[-1]}"
            if names
            else "it had no checkpoint yet"
        )

    def save_checkpoint(self, step: int, state: dict[str, Any]) -> None:
        """Write the checkpoint of a step, after the records up to it, then forget all but the newest ones."""
        if not self.writes:
            return
        with suppress(FileNotFoundError), (self.path / "metrics.jsonl").open("rb") as file:
            os.fsync(file.fileno())
        write_checkpoint(self.path / "checkpoints" / f"step-{step:08d}.pt", state)
        for old in self.checkpoints()[:-KEPT_CHECKPOINTS]:
            old.unlink()

    def read_checkpoint(self) -> dict[str, Any] | None:
        """Return the newest checkpoint that is whole, or None; a damaged one is reported, set aside as `.damaged`."""
        for folder in (self.path, self.path / "checkpoints") if self.writes else ():
            remove_parts(folder)
        for path in reversed(self.checkpoints()):
            try:
                return read_checkpoint(path)
            except DamagedCheckpoint as error:
                before = [other.name for other in self.checkpoints() if other < path]
                instead = f"from the one before, {before[-1]}" if before else "from the beginning, as none is before it"
                warnings.warn(f"{error}; training goes on {instead}.", stacklevel=2)
                if self.writes:
                    path.replace(path.with_suffix(".damaged"))
        return None

    def start_metrics(self, step: int) -> None:
        """Forget the records after a step: those written after the checkpoint that is gone on from."""
        kept = [record for record in read_metrics(self.path)[0] if record["step"] <= step]
        self._write("metrics.jsonl", "".join(to_json(record) + "\n" for record in kept).encode())

    def add_metrics(self, record: dict[str, int | float]) -> None:
        """Append a record."""
        if not self.writes:
            return
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(to_json(record) + "\n")

    def write_summary(self, summary: Summary) -> None:
        """Write the summary, last of all: it says that the run is finished."""
        text = to_json(summary.to_json(), indent=2)
        self._write("summary.json", text.encode(errors="replace"))

    def write_trade_offs(self, found: TradeOffSearch) -> None:
        """Write how λ was chosen: the rule, the trials, and the chosen one once there is one."""
        self._write("trade-off.json", to_json(asdict(found), indent=2).encode())

    def write_predictions(
        self, target: Domain, probabilities: Tensor, labels: Tensor, unknown: UnknownCalls | None = None
    ) -> None:
        """Write what the model makes of each target row, beside its label where there is one."""

        def write(file: BinaryIO) -> None:
            text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="", write_through=True)
            write_predictions(text, target, probabilities, target.classes, labels, unknown=unknown)
            text.detach()

        if self.writes:
            write_atomically(self.path / "predictions.csv", write)

    def take(self, other: Path) -> None:
        """Copy what another run folder holds of its training: metrics and features."""
        for name in ("metrics.jsonl", "features.npz"):
            self._write(name, (other / name).read_bytes())

    def write_features(self, **arrays: np.ndarray) -> None:
        """Write the features of some rows of both domains, for the report's pictures."""
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)  # pyright: ignore[reportArgumentType]
        self._write("features.npz", content.getvalue())

    def _write(self, name: str, content: bytes) -> None:
        if self.writes:
            write_atomically(self.path / name, lambda file: file.write(content))


def write_predictions(
    file: Any,
    domain: Domain,
    probabilities: Tensor,
    classes: Sequence[str],
    labels: Tensor | None = None,
    header: bool = True,
    unknown: UnknownCalls | None = None,
) -> None:
    """Write a CSV of item, class and probability, and of the label (an index into `classes`) where any is known.

    Where unknown classes are told, the class of such a row is "unknown", as is its label where it is `SURPLUS`; behind
    stand the nearest class, of which the probability is, and the score.
    """
    confidence, predicted = probabilities.max(1)
    known = [] if labels is None or bool((labels == UNLABELLED).all()) else labels.tolist()
    names = {**dict(enumerate(classes)), UNLABELLED: "", SURPLUS: UNKNOWN}
    writer = csv.writer(file, lineterminator="\n")
    quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)  # Python < 3.13 lets a bare \r through
    if header:
        told = ["nearest", "unknown_score"] if unknown else []
        writer.writerow(["item", "class", "probability", *told] + ["label"] * bool(known))
    rows = zip(domain.items, predicted.tolist(), confidence.tolist(), strict=True)
    for number, (item, index, probability) in enumerate(rows):
        label = [names[known[number]]] if known else []
        row = [item, classes[index], f"{probability:.6f}", *label]
        if unknown:
            score = float(unknown.scores[number])
            name = UNKNOWN if score > unknown.threshold else classes[index]
            row = [item, name, f"{probability:.6f}", classes[index], f"{score:.6f}", *label]
        (quoting if "\r" in "".join(row) else writer).writerow(row)


def config_of(run: str | Path) -> Config | None:
    """Return the configuration beside a run's model, given the run folder or the model's file; None if none is there.

    A model says what decided its numbers, and the run folder also where things lay.
    """
    folder = RunFolder(Path(run) if Path(run).is_dir() else Path(run).parent)
    return folder.read_config() if folder.begun else None


def free_folder(source: str, target: str, method: str) -> Path:
    """Return a folder below runs/ that does not exist, named after what is run."""
    name = "-".join("".join(c if c.isalnum() or c in "_." else "_" for c in part) for part in (source, target, method))
    candidates = (Path("runs") / (f"{name}-{number}" if number > 1 else name) for number in range(1, 10**6))
    return next(path for path in candidates if not path.exists())
