"""How long estimates take on 1,000,000 scores of 4,000 personas, 800 items and 60 groups, as ratios in one run.

Run: python -m tests.benchmarks.bench_metrics
With numbers, how time and memory grow from 1 million scores to more, read from stored chunks, each in a process of its
own: python -m tests.benchmarks.bench_metrics 1 3 10, or of one of them: --work estimates 1 3 10
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.metrics import compute_estimates, find_pockets
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.samples.balancing import balance
from mpta_pipeline.metrics.statistics.arrays import dense
from mpta_pipeline.metrics.statistics.bootstrap import Replicates, combined_se
from mpta_pipeline.metrics.statistics.clustered import Moments, Rows, Slices
from tests.factories.scores import world

TRAITS = tuple((f"trait{i:02d}", 5) for i in range(12))


def clock(name: str, work: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Best wall-clock time of some runs, and the last result."""
    best, result = float("inf"), None
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    print(f"{name:75s} {best:8.2f} s", flush=True)
    return best, result


def main() -> None:
    """Measure and print."""
    scores, groups, gold = world(
        personas=4000, items=800, items_per_persona=63, options=4, orders=2, weights=True, traits=TRAITS
    )
    print(f"{scores.height:,} scores, {groups.height:,} personas, 800 items, {sum(n for _, n in TRAITS)} groups")
    base = _parts(scores, groups)
    rules = EstimateRules(dimensions=tuple(name for name, _ in TRAITS), bootstrap=400)
    estimates, _ = clock(
        "all estimates, weighted and unweighted, 2 conditions, 12 traits",
        lambda: compute_estimates(scores, groups, gold, rules=rules),
    )
    print(f"  limit 30 s; {estimates / base:.1f} × the plain group-by")
    clock("pockets over 12 traits to depth 3", lambda: find_pockets(scores, groups, gold, rules=rules, seed=1))
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9:.2f} GB (limit 4)")


def _parts(scores: pl.DataFrame, groups: pl.DataFrame) -> float:
    """What estimates are made of, each alone; returns the seconds of the plain group-by."""
    _, units = clock("balance the option orders", lambda: balance(scores))
    rows = scores.join(groups, on="respondent_id").with_columns(pl.col("score").fill_null(0.0))
    names = [name for name, _ in TRAITS]

    def plain() -> list[pl.DataFrame]:
        return [
            rows.group_by(name).agg(
                (pl.col("score") * pl.col("weight")).sum() / pl.col("weight").sum(),
                pl.len(),
                pl.col("respondent_id").n_unique(),
                pl.col("item_id").n_unique(),
            )
            for name in names
        ]

    x, w = rows.get_column("score").to_numpy(), rows.get_column("weight").to_numpy()
    persona, item = dense(rows.get_column("respondent_id")), dense(rows.get_column("item_id"))

    def errors() -> list[Any]:
        crossed = Rows(persona, item)
        moments = Moments(crossed, x, w)
        return [Slices(g.cut(rows, n).codes, 5, rows=crossed).means_of(moments) for n in names]

    base, _ = clock("plain polars group-by of the same columns, 12 traits", plain, 3)
    two_way, _ = clock("two-way clustered errors, 12 traits", errors, 3)
    print(f"  limit 2 × plain + .5 s = {2 * base + 0.5:.2f} s; ratio {two_way / base:.2f}")

    frame = units.frame.join(groups, on="respondent_id", how="left", maintain_order="left")
    features = np.column_stack([frame.get_column("credit").to_numpy(), np.ones(frame.height)])

    def bootstraps() -> list[Any]:
        replicates = Replicates(
            frame.get_column("respondent_id"), frame.get_column("cluster_id"), replicates=400, seed=0
        )
        return [
            combined_se(replicates, g.cut(frame, n).codes, 5, features, lambda t, _s: t[..., 0] / t[..., 1])
            for n in names
        ]

    ours, _ = clock("400 bootstrap replicates (three one-way, combined), 60 groups", bootstraps)
    _fairlearn(rows, names[0], ours / (400 * 3 * 12))
    return base


def _fairlearn(rows: pl.DataFrame, trait: str, ours: float) -> None:
    """fairlearn's bootstrap of one trait on a tenth of the rows, per replicate."""
    from fairlearn.metrics import MetricFrame

    tenth = rows.head(rows.height // 10)
    y, group, w = (tenth.get_column(c).to_numpy() for c in ("score", trait, "weight"))
    n = 5
    start = time.perf_counter()
    MetricFrame(
        metrics=lambda y_true, y_pred, weight: float(np.average(y_pred, weights=weight)),
        y_true=y,
        y_pred=y,
        sensitive_features=group,
        sample_params={"weight": w},
        n_boot=n,
        ci_quantiles=[0.025, 0.975],
        random_state=0,
    )
    each = (time.perf_counter() - start) / n
    print(f"fairlearn, one replicate of one trait on a tenth of the rows {each * 1e3:.1f} ms")
    print(f"ours, one replicate of one kind and trait on all rows {ours * 1e3:.2f} ms; {each / ours:.0f} × faster")


class Parts:
    """Stored parts of a table, read one after another."""

    def __init__(self, folder: Path, table: str) -> None:
        self.files = sorted(folder.glob(f"{table}-*.parquet"))

    def __iter__(self) -> Iterator[pl.DataFrame]:
        return (pl.read_parquet(file) for file in self.files)


PERSONAS_PER_CHUNK = 250


def store(folder: Path, millions: int) -> None:
    """Store scores, groups and people's answers part by part, so that no part of the study is in memory with another.

    4,000 personas per million scores, 63 of 800 items each, two orders, two conditions; everyone answered all items.
    """
    folder.mkdir(parents=True)
    groups = []
    for i in range(4000 * millions // PERSONAS_PER_CHUNK):
        made = world(
            personas=PERSONAS_PER_CHUNK, items=800, items_per_persona=63, options=4, orders=2, weights=True,
            traits=TRAITS, seed=i,
        )  # fmt: skip
        named = [
            frame.with_columns(
                pl.col(c).str.replace("gss", f"gss{i:04d}")
                for c in ("respondent_id", "prompt_id")
                if c in frame.columns
            )
            for frame in made
        ]
        for table, frame in zip(("scores", "groups", "gold"), named, strict=True):
            if table == "groups":
                groups.append(frame)
            else:
                frame.write_parquet(folder / f"{table}-{i:04d}.parquet")
    pl.concat(groups).write_parquet(folder / "groups.parquet")


def one(folder: Path, work: str) -> None:
    """Measure one piece of work on a stored study and print seconds, CPU seconds and peak memory in MB."""
    groups, scores, gold = pl.read_parquet(folder / "groups.parquet"), Parts(folder, "scores"), Parts(folder, "gold")
    rules = EstimateRules(dimensions=tuple(name for name, _ in TRAITS), bootstrap=400)
    start = time.perf_counter()
    if work == "estimates":
        compute_estimates(scores, groups, gold, rules=rules)
    else:
        find_pockets(scores, groups, gold, rules=rules, seed=1)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3)


def growth(sizes: list[int], works: tuple[str, ...] = ("estimates", "pockets")) -> None:
    """Measure studies of some million scores and print a table with the ratios to the first."""
    first: dict[str, tuple[float, ...]] = {}
    print("work       million scores   seconds   CPU seconds   peak MB   seconds over the first")
    for millions in sizes:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "study"
            store(folder, millions)
            for work in works:
                command = [sys.executable, "-m", "tests.benchmarks.bench_metrics", "--one", str(folder), work]
                made = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                values = tuple(map(float, made.split()))
                ratio = values[0] / first.setdefault(work, values)[0]
                print(
                    f"{work:10s} {millions:14d} {values[0]:9.1f} {values[1]:13.1f} {values[2]:9,.0f} {ratio:23.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(Path(sys.argv[2]), sys.argv[3])
    elif sys.argv[1:2] == ["--work"]:
        growth([int(size) for size in sys.argv[3:]], (sys.argv[2],))
    elif sys.argv[1:]:
        growth([int(size) for size in sys.argv[1:]])
    else:
        main()
