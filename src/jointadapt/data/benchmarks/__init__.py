"""Named benchmarks, each a TOML file here; a user's own set of domains is one too."""

from jointadapt.data.benchmarks.reading import fingerprint_of, read, scan
from jointadapt.data.benchmarks.spec import Benchmark, Published, Task, benchmark_names, domains_of, load_benchmark
from jointadapt.data.benchmarks.verify import Finding, check

__all__ = [
    "Benchmark",
    "Finding",
    "Published",
    "Task",
    "benchmark_names",
    "check",
    "domains_of",
    "fingerprint_of",
    "load_benchmark",
    "read",
    "scan",
]
