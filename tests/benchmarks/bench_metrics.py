"""How long estimates take on 1,000,000 scores of 4,000 personas, 800 items and 60 groups, as ratios in one run.

Run: python -m tests.benchmarks.bench_metrics
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
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


if __name__ == "__main__":
    main()
