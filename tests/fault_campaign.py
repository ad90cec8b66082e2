"""Faults put into real runs, and whether anything was lost: `python tests/fault_campaign.py` prints the table.

Every run of the campaign ends in a comparison of all its result files with those of a run that nothing befell: model,
predictions and records of the method and of its baseline, byte by byte. What differs, or does not end, is lost.
"""

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from jointadapt.config import Config, make_config
from jointadapt.data import extract, read_domain
from jointadapt.data.transforms import Framing
from jointadapt.errors import Interrupted, UserError
from jointadapt.experiment import execute, resume
from jointadapt.runtime.files import is_part

RESULTS = ("predictions.csv", "model.safetensors", "metrics.jsonl", "features.npz")
TRAINING = {
    "backbone": "mlp",
    "discriminator_width": 64,
    "method": "dann",
    "batch_size": 16,
    "report": False,
    "checkpoint_every": 4,
}
PATIENCE = 120  # seconds
WHOLE = Framing(16, 16, "bilinear")  # the pictures as they are


@dataclass
class Row:
    """One kind of fault: how many were injected, how many of the runs they befell ended as if nothing had."""

    fault: str
    injected: int = 0
    runs: int = 0
    same: int = 0
    seen: str = ""

    @property
    def lost(self) -> int:
        """Runs that did not end, or in other numbers."""
        return self.runs - self.same


class Campaign:
    """Two small domains, and a run on them that nothing befalls; then the faults, each a method.

    Processes are forked from this one, which has imported everything, so that a run takes a second.
    """

    def __init__(self, folder: Path, seed: int = 0, steps: int = 120) -> None:
        self.folder, self.chance, self.number = folder, random.Random(seed), 0
        generator = np.random.default_rng(0)
        for name, shift in (("s", 0.0), ("t", 0.5)):
            x = generator.normal(size=(60, 4)).astype(np.float32)
            np.savez(folder / f"{name}.npz", x=x + np.float32(shift), y=np.where(x[:, 0] > 0, "cat", "dog"))
        self.writes = 2 * steps // TRAINING["checkpoint_every"]  # of checkpoints, with the baseline's
        self.options = {**TRAINING, "steps": steps, "source": f"{folder}/s.npz", "target": f"{folder}/t.npz"}
        self.whole = folder / "whole"
        started = time.monotonic()
        execute(self.config(self.whole))
        self.seconds = time.monotonic() - started

    def config(self, out: Path) -> Config:
        """Return the configuration of a run into a folder."""
        return make_config({**self.options, "out": str(out)})

    def fresh(self) -> Path:
        """Return a run folder that is not there yet."""
        self.number += 1
        return self.folder / f"run-{self.number}"

    def go_on(self, out: Path) -> None:
        """Begin a run, or resume it when it was begun, as a user or a job scheduler would."""
        if (out / "config.toml").exists():
            resume(out)
        else:
            execute(self.config(out))

    def finish(self, out: Path, row: Row) -> None:
        """Let the run end, and count whether its files are those of the run that nothing befell."""
        row.runs += 1
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            self.go_on(out)
        row.same += same(out, self.whole)

    def kills(self, times: int) -> Row:
        """SIGKILL at random moments; a run is begun anew when one has ended. A checkpoint is written every 4 steps."""
        row, writing, out = Row("SIGKILL at a random moment"), 0, self.fresh()
        while row.injected < times:
            child = fork(lambda out=out: self.go_on(out))
            wait(child, self.chance.uniform(0, 0.6 * self.seconds))
            if finished(child) is None:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                row.injected += 1
                writing += half_written(out)
            if (out / "summary.json").exists():
                self.finish(out, row)
                out = self.fresh()
        self.finish(out, row)
        row.seen = f"{writing} left a half-written file"
        return row

    def kills_while_writing(self, times: int) -> Row:
        """SIGKILL between the bytes of a checkpoint, before it is renamed, and just after."""
        row, writing = Row("SIGKILL while a checkpoint is written"), 0
        for _ in range(times):
            out, moment = self.fresh(), self.chance.randint(1, self.writes)
            place = self.chance.choice(("bytes", "name", "after"))
            child = fork(lambda out=out, moment=moment, place=place: (die_writing(moment, place), self.go_on(out)))
            assert os.waitpid(child, 0)[1] == signal.SIGKILL
            row.injected += 1
            writing += half_written(out)
            self.finish(out, row)
        row.seen = f"{writing} left a half-written file"
        return row

    def requests(self, times: int) -> Row:
        """SIGINT and SIGTERM in turn: each run has to end by itself, with a checkpoint of the step it was at."""
        row, told = Row("SIGINT or SIGTERM"), 0
        for number in range(times):
            out, sent = self.fresh(), (signal.SIGINT, signal.SIGTERM)[number % 2]
            child = fork(lambda out=out: self.go_on(out))
            until((out / "metrics.jsonl").exists)
            records = self.chance.randint(1, self.options["steps"] // 2)
            until(lambda out=out, records=records: (out / "metrics.jsonl").read_bytes().count(b"\n") >= records)
            os.kill(child, sent)
            row.injected += 1
            told += exit_code(child) == 128 + sent
            self.finish(out, row)
        row.seen = f"{told} ended with 130 or 143"
        return row

    def second_processes(self, times: int) -> Row:
        """A second process that goes on with a run while the first one trains."""
        row, told = Row("a second process in the run folder"), 0
        for _ in range(times):
            out = self.fresh()
            first = fork(lambda out=out: self.go_on(out))
            until((out / "metrics.jsonl").exists)
            second = fork(lambda out=out: self.go_on(out))
            row.injected += 1
            told += exit_code(second) == 2
            assert exit_code(first) == 0
            self.finish(out, row)
        row.seen = f"{told} kept out, the others came when the first had ended"
        return row

    def full_disks(self, times: int) -> Row:
        """A disk that is full after a random number of bytes while checkpoints are written."""
        row, told = Row("disk full while checkpointing"), 0
        for _ in range(times):
            with small_disk(self.folder / "disk") as (disk, fill, kind):
                out, room = disk / "run", self.chance.randrange(0, 400_000)
                child = fork(lambda out=out, room=room, fill=fill: (fill(room), self.go_on(out)))
                code = exit_code(child)
                row.fault = f"disk full while checkpointing ({kind})"
                row.injected += 1
                told += code == 28
                fill(None)
                self.finish(out, row)
        row.seen = f"{told} stopped with the reason, the others before or after their training"
        return row

    def interrupt(self, out: Path) -> None:
        """Begin a run that dies just after one of its checkpoints, but for the first."""
        moment = self.chance.randint(2, self.writes)
        os.waitpid(fork(lambda: (die_writing(moment, "after"), self.go_on(out))), 0)

    def damages(self, times: int) -> Row:
        """The newest checkpoint truncated, or one bit of it flipped."""
        row, told = Row("newest checkpoint truncated or bit-flipped"), 0
        for number in range(times):
            out = self.fresh()
            self.interrupt(out)
            newest = max(out.rglob("step-*.pt"), key=lambda path: (len(path.parts) == len(out.parts) + 2, path.name))
            content = bytearray(newest.read_bytes())
            if number % 2:
                content = content[: self.chance.randrange(len(content))]
            else:
                content[self.chance.randrange(len(content))] ^= 1 << self.chance.randrange(8)
            newest.write_bytes(content)
            row.injected += 1
            self.finish(out, row)
            told += newest.with_suffix(".damaged").exists()
        row.seen = f"{told} reported, and the one before taken"
        return row

    def clocks(self, times: int) -> Row:
        """The clock set back by a day between interruption and resumption; files then are of the future."""
        row = Row("clock set back by a day")
        for _ in range(times):
            out = self.fresh()
            self.interrupt(out)
            for place, path in enumerate(sorted(out.rglob("*"), reverse=True)):
                os.utime(path, (time.time() + 86_400 + place,) * 2)  # the older a checkpoint, the newer its time
            child = fork(lambda out=out: (set_clock_back(), self.go_on(out)))
            row.injected += 1
            assert exit_code(child) == 0
            self.finish(out, row)
        return row


class Pictures:
    """Two folders of small pictures: what befalls the processes that decode them, and the cache of their features."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder, self.chance, self.number = folder, random.Random(seed), 0
        generator = np.random.default_rng(0)
        for name in ("cams", "webs"):
            for index in range(12):
                path = folder / name / ("cat", "dog")[index % 2] / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(generator.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(path)
        self.domain = read_domain(folder / "cams", folder / "checked")

    def features(self, cache: Path) -> torch.Tensor:
        """Return the features of the domain, of a backbone that takes its time."""
        content = extract(self.domain, embed, WHOLE, "weights", cache, batch_size=2).content
        assert isinstance(content, torch.Tensor)
        return content

    def fresh(self) -> Path:
        """Return a folder that is not there yet."""
        self.number += 1
        return self.folder / f"cache-{self.number}"

    def full_disks(self, times: int) -> Row:
        """A disk that is full while features are cached: they are used all the same, and kept by the next run."""
        row, told = Row("disk full while caching features"), 0
        whole = self.features(self.fresh())
        for _ in range(times):
            with small_disk(self.folder / "disk") as (disk, fill, kind):
                row.fault, room = f"disk full while caching features ({kind})", self.chance.randrange(0, 4_096)
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always")
                    fill(room)
                    try:
                        found = self.features(disk / "cache")
                    finally:
                        fill(None)
                row.injected, row.runs = row.injected + 1, row.runs + 1
                told += any("cannot be kept in the cache" in str(warning.message) for warning in said)
                row.same += torch.equal(found, whole) and torch.equal(self.features(disk / "cache"), whole)
        row.seen = f"{told} reported"
        return row

    def shared_caches(self, times: int) -> Row:
        """Two processes fill one cache at once; in every second round one of them is killed at a random moment."""
        row, whole = Row("two processes fill one feature cache"), self.features(self.fresh())
        for number in range(times):
            cache = self.fresh()
            children = [fork(lambda cache=cache: self.features(cache)) for _ in range(2)]
            if number % 2:
                time.sleep(self.chance.uniform(0, 0.05))
                os.kill(children[0], signal.SIGKILL)
            row.injected, row.runs = row.injected + 1, row.runs + 1
            codes = [exit_code(child) for child in children]
            row.same += codes[1] == 0 and torch.equal(self.features(cache), whole)
        return row

    def killed_workers(self, times: int) -> Row:
        """A process that decodes images killed while a fine-tuning waits for it."""
        row, told, whole = Row("a data worker killed"), 0, self.folder / "whole"
        options = [
            *("train", "--source", "cams", "--target", "webs", "--backbone", "squeezenet1_1", "--weights", "none"),
            *("--no-frozen", "--steps", "8", "--batch-size", "2", "--no-baseline", "--no-report"),
        ]

        def start(out: str, workers: int) -> subprocess.Popen[str]:
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "JOINTADAPT_CACHE": str(self.folder / "checked")}
            command = [sys.executable, "-m", "jointadapt", *options, "--out", out, "--workers", str(workers)]
            return subprocess.Popen(command, cwd=self.folder, env=environment, stderr=subprocess.PIPE, text=True)

        undisturbed = start("whole", 0)
        undisturbed.communicate(timeout=PATIENCE)
        assert undisturbed.returncode == 0
        for number in range(times):
            run = start(f"killed-{number}", 2)
            until((self.folder / f"killed-{number}" / "metrics.jsonl").exists)
            until(lambda run=run: len(children_of(run.pid)) == 2 or run.poll() is not None)
            for child in children_of(run.pid)[:1]:
                os.kill(child, signal.SIGKILL)
                row.injected += 1
            said = run.communicate(timeout=PATIENCE)[1]
            told += "was killed; a new one goes on" in said
            row.runs += 1
            row.same += run.returncode == 0 and same(self.folder / f"killed-{number}", whole)
        row.seen = f"{told} reported, a new one went on"
        return row


# Processes


def fork(work: Callable[[], object]) -> int:
    """Return the number of a new process that does the work; its exit code tells how it ended."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work()
        code = 0
    except Interrupted as stop:
        code = 128 + stop.number
    except OSError as error:
        code = 28 if error.errno in (27, 28) else 71
    except UserError:
        code = 2
    finally:
        os._exit(code)


def half_written(folder: Path) -> bool:
    """Return whether a file that was being written is left there."""
    return any(is_part(path) for path in folder.rglob(".*"))


def exit_code(child: int) -> int:
    """Wait for a process to end and return its exit code, −n where signal n ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def finished(child: int) -> int | None:
    """Return whether a process has ended, without waiting for it."""
    return os.waitpid(child, os.WNOHANG)[0] or None


def wait(child: int, seconds: float) -> None:
    """Wait for so long, less when the process ends before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.002)


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.002)


def children_of(process: int) -> list[int]:
    """Return the numbers of a process's children."""
    text = Path(f"/proc/{process}/task/{process}/children")
    return [int(number) for number in text.read_text().split()] if text.exists() else []


# Faults within the process


def die_writing(moment: int, place: str) -> None:
    """Make this process kill itself at its nth checkpoint: amid its bytes, before or after it gets its name."""
    from jointadapt.runs import folder as runs

    count, write = 0, runs.write_checkpoint

    def kill(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def deadly(path: Path, state: dict) -> None:
        nonlocal count
        count += 1
        if count == moment and place == "bytes":
            from jointadapt.training import checkpoints

            checkpoints._seal = kill  # pyright: ignore[reportAttributeAccessIssue]
        if count == moment and place == "name":
            os.fsync = kill
        write(path, state)
        if count == moment:
            kill()

    runs.write_checkpoint = deadly


def set_clock_back() -> None:
    """Make this process see a clock that runs backwards."""
    now = time.time()
    moments = iter(range(10**9))
    time.time = lambda: now - next(moments)


@contextmanager
def small_disk(path: Path) -> Iterator[tuple[Path, Callable[[int | None], None], str]]:
    """Give a folder, and a function that leaves it so many bytes of room, and all for None.

    A tmpfs of 4 MB where this process may mount one; else a limit of this process on the size of a file.
    """
    path.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", path], capture_output=True, check=False)
    if mounted.returncode == 0:
        ballast = path / "ballast"

        def fill(room: int | None) -> None:
            ballast.unlink(missing_ok=True)
            if room is not None:
                free = os.statvfs(path).f_bavail * os.statvfs(path).f_frsize
                ballast.write_bytes(bytes(max(0, free - room)))

        try:
            yield path, fill, "tmpfs"
        finally:
            subprocess.run(["umount", path], check=True)
    else:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)

        def fill(room: int | None) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, before if room is None else (room, before[1]))

        try:
            yield path, fill, "limit on file size"
        finally:
            fill(None)
    shutil.rmtree(path)


def embed(x: torch.Tensor) -> torch.Tensor:
    """Return some features of a batch, after a while."""
    time.sleep(0.005)
    x = x.float()
    return torch.cat([x.mean((2, 3)), x.flatten(1)[:, :125]], 1)


def same(one: Path, other: Path) -> bool:
    """Return whether all results of two runs are equal, byte by byte, their baselines' too."""
    files = [path.relative_to(other) for path in other.rglob("*") if path.name in RESULTS]
    assert files
    return all((one / file).is_file() and (one / file).read_bytes() == (other / file).read_bytes() for file in files)


def campaign(folder: Path, scale: int, seed: int = 0, steps: int = 120) -> Iterator[Row]:
    """Yield the rows of the table; at scale 10, SIGKILL at 50 random moments."""
    arrays = Campaign(folder, seed, steps)
    yield arrays.kills(5 * scale)
    yield arrays.kills_while_writing(2 * scale)
    yield arrays.requests(scale)
    yield arrays.damages(2 * scale)
    yield arrays.second_processes(scale)
    yield arrays.full_disks(scale)
    yield arrays.clocks(scale)
    pictures = Pictures(folder / "pictures", seed)
    yield pictures.full_disks(2 * scale)
    yield pictures.shared_caches(2 * scale)
    yield pictures.killed_workers(max(1, scale // 4))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, default=10, help="how many faults: 10 kills 50 times at random")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    print("| fault | injected | runs | survived | lost | |\n|:---|---:|---:|---:|---:|:---|")
    with tempfile.TemporaryDirectory() as folder:
        for row in campaign(Path(folder), options.scale, options.seed):
            rows.append(row)
            print(f"| {row.fault} | {row.injected} | {row.runs} | {row.same} | {row.lost} | {row.seen} |", flush=True)
    injected, runs, survived = (sum(getattr(row, name) for row in rows) for name in ("injected", "runs", "same"))
    print(f"| **all** | {injected} | {runs} | {survived} | {runs - survived} | |")
    sys.exit(runs != survived)


if __name__ == "__main__":
    main()
