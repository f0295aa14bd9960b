"""What verifying a stored table costs when it is read: ratio to reading it alone, both in one run (limit 1.05).

Usage: python -m tests.benchmarks.bench_checksums [ROWS]
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from mpta_pipeline.core.provenance import Node, read_table, store
from mpta_pipeline.core.storage import read_parquet

ROUNDS = 41


def prompts(rows: int) -> pl.DataFrame:
    """A table with the columns that weigh in one of prompts: hashed ids, repeated texts, numbers."""
    rng = np.random.default_rng(1)
    words = [f"Respondent {i}: " + "something that somebody said about a question. " * 8 for i in range(500)]
    return pl.DataFrame(
        {
            "prompt_id": [f"{a:016x}" for a in rng.integers(0, 2**62, rows)],
            "system": pl.Series(words)[rng.integers(0, len(words), rows)],
            "weight": rng.random(rows),
            "gold_idx": rng.integers(0, 5, rows),
        }
    )


def seconds(read: Callable[[Path], pl.DataFrame], path: Path) -> float:
    """CPU time of one reading, which other work on the machine does not stretch."""
    started = time.process_time()
    read(path)
    return time.process_time() - started


def main() -> None:
    """Print the ratio."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "prompts.parquet")
        store(prompts(rows), path, Node("prompts", "t"), {})
        verified, plain = [], []
        for _ in range(ROUNDS):
            verified.append(seconds(read_table, path))
            plain.append(seconds(read_parquet, path))
        print(
            f"{rows:,} rows, {path.stat().st_size / 1e6:.1f} MB, CPU of {ROUNDS} readings: verified over plain "
            f"{min(verified) / min(plain):.3f} by the fastest, "
            f"{statistics.median(verified) / statistics.median(plain):.3f} by the median (limit 1.05)"
        )


if __name__ == "__main__":
    main()
