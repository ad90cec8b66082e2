"""Named benchmarks, each a TOML file here; a user's own set of domains is one too."""

from jointadapt.data.benchmarks.checking import Finding, check
from jointadapt.data.benchmarks.form import Benchmark, Published, Task, benchmark_names, load_benchmark
from jointadapt.data.benchmarks.reading import fingerprint_of, read, scan

__all__ = [
    "Benchmark",
    "Finding",
    "Published",
    "Task",
    "benchmark_names",
    "check",
    "fingerprint_of",
    "load_benchmark",
    "read",
    "scan",
]
