"""Benchmark: publishing the scores of 20 models and 7 tasks, all of them and after one cell changed.

Run with `python -m tests.benchmarks.bench_warehouse 50000` (scores per model and task). Each publication is a process
of its own. Fails if one takes more than 4 GB, or the second more than 5 % of the time of the first. Compared are
seconds of the processor, because other programs may run meanwhile.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb
import polars as pl

from mpta_pipeline.core import tables
from mpta_pipeline.core.provenance import Node, Record, checksum, store, write_record
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.publication import warehouse
from tests.factories import stored_study as fab

MODELS, TASKS = 20, 7


def scores(model: str, task: str, n: int, halved: bool = False) -> pl.DataFrame:
    """Scores with as many different prompts and respondents as a large study has."""
    _, some = fab.answers(fab.MODELS[0], *_questions())
    row = pl.int_range(n)
    frame = some.sample(n, with_replacement=True, seed=1).with_columns(
        pl.lit(model).alias("model"),
        pl.lit(task).alias("task"),
        pl.format("{}-{}", row.hash(seed=1), row).alias("prompt_id"),
        row.hash(seed=hash_of(model, task)).cast(pl.String).alias("request_hash"),
        pl.format("r_{}", row // 70).alias("respondent_id"),
    )
    score = pl.col("score") / 2 if halved else pl.col("score")
    return tables.SCORES.conform(frame.with_columns(score))


def hash_of(model: str, task: str) -> int:
    """A seed for the hashes of a cell."""
    return int(model[1:]) * 100 + int(task[1:])


def _questions() -> tuple[pl.DataFrame, dict[str, str]]:
    task, asked = next(iter(fab.items().items()))
    return fab.prompts(task, asked), dict(asked.select("item_id", "category").iter_rows())


def set_up(folder: Path, n: int) -> None:
    """Store the scores of all cells."""
    layout = Layout(folder)
    for model in map("m{}".format, range(MODELS)):
        for task in map("t{}".format, range(TASKS)):
            store(scores(model, task, n), layout.table("scores", model, task), Node("scores", f"{model}|{task}"), {})


def change(folder: Path, n: int) -> None:
    """Other scores for one model and task."""
    store(scores("m7", "t3", n, True), Layout(folder).table("scores", "m7", "t3"), Node("scores", "m7|t3"), {})


def publish(folder: Path) -> dict[str, object]:
    """The step `warehouse`."""
    path = warehouse.publish(Layout(folder))
    write_record(path, Record("warehouse", "1", None, {}, {}, checksum(path)))
    return {"GB": round(path.stat().st_size / 1e9, 2)}


def run(folder: Path) -> dict[str, float]:
    """Publish in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_warehouse", "--publish", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark, or one publication."""
    if arguments[:1] == ["--publish"]:
        start, before = time.perf_counter(), time.process_time()
        facts = publish(Path(arguments[1]))
        cpu, seconds = time.process_time() - before, time.perf_counter() - start
        status = Path("/proc/self/status").read_text(encoding="ascii")
        peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1e6
        print(json.dumps({"seconds": round(seconds, 2), "cpu": round(cpu, 2), "peak": round(peak, 2), **facts}))
        return 0
    n = int(arguments[0]) if arguments else 50_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        set_up(folder, n)
        first = run(folder)
        change(folder, n)
        second = run(folder)
        with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as con:
            assert con.execute("select count(*) from scores").fetchone() == (n * MODELS * TASKS,)
    share = second["cpu"] / first["cpu"]
    print(f"{n * MODELS * TASKS:,} scores: all {first}; one cell changed {second}, {share:.1%}")
    return 0 if max(first["peak"], second["peak"]) <= 4 and share <= 0.05 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
