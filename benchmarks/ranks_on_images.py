"""amazon → webcam on one process and on two: the same command with `--devices 2`, the same numbers.

    python benchmarks/ranks_on_images.py [--data ../shared/data] [--runs FOLDER]

Frozen features and a short fine-tuning of squeezenet1_0, in float32 and in float64. Printed: target accuracy of both,
how many of the target's rows get another class, the largest difference of a probability (CSV has six decimals) and of a
recorded risk or transfer term relative to 1.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

TUNED = ("--no-frozen", "--steps", "12", "--batch-size", "12", "--workers", "0")
TASKS = {
    "frozen, 600 steps, 32-true": (),
    "frozen, 600 steps, 64-true": ("--precision", "64-true"),
    "fine-tuned, 12 steps of 12, 32-true": TUNED,
    "fine-tuned, 12 steps of 12, 64-true": (*TUNED, "--precision", "64-true"),
}


def train(data: Path, out: Path, devices: int, options: tuple[str, ...]) -> dict:
    """Return the summary of a run in processes of its own."""
    command = [sys.executable, "-m", "jointadapt", "train", "--json", "--no-report", "--no-baseline", "--device", "cpu"]
    domains = [*("--source", data / "office_caltech/amazon"), *("--target", data / "office_caltech/webcam")]
    network = ["--backbone", "squeezenet1_0", "--weights", data / "weights/squeezenet1_0.safetensors"]
    arguments = [*domains, *network, "--out", out, "--devices", devices, *options]
    done = subprocess.run([*command, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def read(out: Path) -> tuple[list[dict[str, str]], list[dict]]:
    """Return predictions and records of a run."""
    with (out / "predictions.csv").open(newline="") as file:
        predictions = list(csv.DictReader(file))
    return predictions, [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def main() -> None:
    """Run each task on one and on two processes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--runs", type=Path, help="keep the run folders there")
    arguments = parser.parse_args()
    print("| run | accuracy, 1 process | 2 processes | other class | largest Δ probability | largest Δ term |")
    print("|:---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as temporary:
        runs = arguments.runs or Path(temporary)
        for number, (name, options) in enumerate(TASKS.items()):
            outs = [runs / f"{number}-{devices}" for devices in (1, 2)]
            summaries = [train(arguments.data, out, devices, options) for devices, out in enumerate(outs, 1)]
            (rows, records), (rows2, records2) = map(read, outs)
            other = sum(a["class"] != b["class"] for a, b in zip(rows, rows2, strict=True))
            apart = [abs(float(a["probability"]) - float(b["probability"])) for a, b in zip(rows, rows2, strict=True)]
            pairs = [(a[key], b[key]) for a, b in zip(records, records2, strict=True) for key in ("risk", "transfer")]
            term = max(abs(a - b) / max(1, abs(a)) for a, b in pairs)
            accuracies = " | ".join(f"{summary['evaluation']['accuracy']:.2f} %" for summary in summaries)
            print(f"| {name} | {accuracies} | {other} of {len(rows)} | {max(apart):.1e} | {term:.1e} |", flush=True)


if __name__ == "__main__":
    main()
