"""The command line in the surroundings that people have: other encodings, closed outputs, signals."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import write_arrays

from jointadapt.cli import VERBS
from jointadapt.cli.console import Console, open_console
from jointadapt.cli.printing import output, print_table

ENCODINGS = ("ascii", "cp1252", "latin-1", "cp437", "utf-8")


def stream(encoding: str, monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """Return what a standard output of this encoding receives."""
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding, write_through=True))
    open_console()
    return content


def run(*arguments: object, encoding: str = "utf-8", close: str = "", **options) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-m", "jointadapt", *map(str, arguments)]
    line = ["bash", "-c", f'"$@" {close}', "bash", *line] if close else line
    return subprocess.run(line, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}, **options)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_table_is_written_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.table import Table

    content = stream(encoding, monkeypatch)
    table = Table("λ", "true → predicted", title="amazon → webcam ≤ 5 × 3")
    table.add_row("é世界", "… · –")
    print_table(table)
    text = content.getvalue().decode(encoding)
    assert ("lambda" in text) == ("amazon -> webcam" in text) == (encoding != "utf-8")
    assert len(text.splitlines()) == 6


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_help_and_lists_are_written_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from jointadapt.cli import main

    for arguments in (["--help"], *([verb, "--help"] for verb in VERBS), ["ls"], ["ls", "jan"]):
        content = stream(encoding, monkeypatch)
        monkeypatch.setattr(sys, "argv", ["jointadapt", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0
        assert content.getvalue().decode(encoding).strip()


def test_bytes_that_are_no_text_pass_and_what_is_replaced_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    content = stream("ascii", monkeypatch)
    with (
        pytest.warns(UserWarning, match="3 characters are not in .*ascii.*; --out FILE keeps them"),
        output(None) as file,
    ):
        file.write("a\udcff\udcfeé世λ")
    assert content.getvalue() == b"a\xff\xfee?lambda"


def test_a_closed_output_is_told_where_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    open_console()
    assert Console.closed
    sys.stdout.close()
    assert run("ls", "methods", close=">&-").returncode == 0
    told = run("predict", "nothing", "nothing.npz", close=">&- 2>&1 | cat")
    assert b"Traceback" not in told.stdout + told.stderr


def test_a_reader_that_goes_ends_it_without_a_word() -> None:
    done = run("train", "--help", close="| head -1")
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b""
    full = run("ls", "methods", close="> /dev/full")
    assert full.returncode == 2
    assert b"Traceback" not in full.stderr
    assert full.stderr.startswith(b"jointadapt: ")


def test_a_working_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    done = run("ls", close="", cwd=tmp_path / "gone", preexec_fn=(tmp_path / "gone").rmdir)
    assert done.returncode == 2
    assert done.stderr == b"jointadapt: the working folder is gone; change to one that is there.\n"


@pytest.mark.parametrize("wait", [0.05, 0.2, 0.5, 1.0, 2.0])
def test_an_interruption_while_starting_is_one_line(wait: float, tmp_path: Path) -> None:
    write_arrays(tmp_path / "s.npz")
    options = ("--source", "s.npz", "--target", "s.npz", "--out", "run", "--steps", "100000", "--no-report")
    process = subprocess.Popen(
        [sys.executable, "-m", "jointadapt", "train", *options],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},  # it hears it, too
    )
    time.sleep(wait)
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=100)[1]
    begun = "Traceback" not in errors or "site" not in errors  # Python itself was not up yet
    assert process.returncode in (130, -signal.SIGINT), errors
    if process.returncode == 130 and begun:
        assert "Traceback" not in errors
        assert errors.splitlines()[-1].startswith("jointadapt: ")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_hangup_leaves_no_lock(number: int, tmp_path: Path) -> None:
    write_arrays(tmp_path / "s.npz")
    options = ("--source", "s.npz", "--target", "s.npz", "--out", "run", "--steps", "100000", "--no-report")
    process = subprocess.Popen(
        [sys.executable, "-m", "jointadapt", "train", *options], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    for _ in range(600):
        time.sleep(0.1)
        if (tmp_path / "run" / ".lock").exists():
            break
    process.send_signal(number)
    errors = process.communicate(timeout=100)[1]
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors
    assert not (tmp_path / "run" / ".lock").exists()
