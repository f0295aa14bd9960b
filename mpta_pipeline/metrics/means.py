"""Rows of figures that are means: estimate, interval, persona effect, gap, each beside its baselines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from mpta_pipeline.metrics import equivalence, shrinkage
from mpta_pipeline.metrics.arrays import Flags, Floats, Ints, sums
from mpta_pipeline.metrics.block import Block, View
from mpta_pipeline.metrics.clustered import p_value, t_quantile
from mpta_pipeline.metrics.intervals import interval
from mpta_pipeline.metrics.registry import Metric


@dataclass(frozen=True)
class Values:
    """A mean metric over a block's rows.

    Attributes:
        metric: The metric.
        x: Value of each row; nan where it does not apply.
        count: Its denominator: the row's weight besides the survey's.
        baselines: Baseline → value of each row.
    """

    metric: Metric
    x: Floats
    count: Floats
    baselines: dict[str, Floats]


def evaluate(frame: pl.DataFrame, metric: Metric) -> Values:
    """Evaluate a metric's record over the rows."""
    assert metric.value is not None
    made = frame.select(
        pl.when(metric.where).then(metric.value.cast(pl.Float64) / metric.count.cast(pl.Float64)).alias("value"),
        pl.when(metric.where).then(metric.count.cast(pl.Float64)).otherwise(0.0).alias("count"),
        *(expr.cast(pl.Float64).alias(f"baseline {name}") for name, expr in metric.baselines.items()),
        pl.col("n_orders"),
    )
    x = made.get_column("value").fill_null(np.nan).to_numpy()
    return Values(
        metric,
        x,
        np.where(np.isfinite(x), made.get_column("count").fill_null(0.0).to_numpy(), 0.0),
        {name: made.get_column(f"baseline {name}").fill_null(np.nan).to_numpy() for name in metric.baselines},
    )


def reference_values(x: Floats, count: Floats, reference: Flags, pair: Ints) -> Floats:
    """Value without a persona of each row's person and item; nan where there is none.

    Args:
        x: Value of each row.
        count: Weight of each row.
        reference: Rows without a persona.
        pair: Code of each row's person and item, from 0.
    """
    used = reference & np.isfinite(x) & (count > 0)
    n = int(pair.max(initial=0)) + 1
    total = sums(pair[used], (x * count)[used], n)
    weight = sums(pair[used], count[used], n)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((total / weight)[pair])


def mean_figures(view: View, values: Values, reference: Floats | None) -> pl.DataFrame | None:
    """All rows of one mean metric over the slices of one dimension; None where it applies to no row.

    Args:
        view: The rows and their slices.
        values: The metric over the block's rows.
        reference: Value without a persona of each row's person and item; None for no effect.
    """
    block, metric, slices, rules = view.block, values.metric, view.slices, view.block.rules
    used = np.isfinite(values.x) & (values.count > 0) & (block.weight > 0)
    if not (used & slices.inside).any():
        return None
    w = np.where(used, block.weight * values.count, 0.0)
    means = slices.means(values.x, w)
    low, high, few = interval(metric, means.estimate, means.se, means.df, n_eff=means.n_eff, level=rules.level)
    width = ((high - low) / 2 / t_quantile(means.df, rules.level)) ** 2
    gaps = slices.gaps(values.x, w)
    # What differs between groups is judged by errors without the items that they share; no error seen is not no error.
    error = np.where(gaps.deviation_variance > 0, gaps.deviation_variance, width)
    base = pl.DataFrame(
        {
            "slice": np.arange(slices.n),
            "estimate": means.estimate,
            "se": means.se,
            "ci_low": low,
            "ci_high": high,
            "n_eff": means.n_eff,
            "shrunken_estimate": shrinkage.normal_normal(means.estimate, error).estimate,
            "method": _methods(means.se, few, block),
            **view.sizes(used),
        }
    )
    if reference is not None and np.isfinite(reference[used & slices.inside]).any():
        effect = slices.means(values.x - reference, w)
        base = base.with_columns(
            pl.Series("effect", effect.estimate),
            pl.Series("effect_se", effect.se),
            pl.Series("p_value", p_value(effect.estimate, effect.se, effect.df)),
            pl.Series("mde", equivalence.minimal_detectable(effect.se, level=rules.level)),
        )
    parts = [base.with_columns(pl.lit("").alias("baseline"), *_gaps(view, metric, values.x, w))]
    for name, baseline in values.baselines.items():
        if not np.isfinite(baseline[used & slices.inside]).any():
            continue
        of_baseline = slices.means(np.where(used, baseline, np.nan), w)
        parts.append(
            base.with_columns(
                pl.lit(name).alias("baseline"),
                pl.Series("baseline_estimate", of_baseline.estimate),
                *_gaps(view, metric, values.x - baseline, w),
            )
        )
    return pl.concat(parts, how="diagonal").filter(pl.col("n_answers") > 0)


def _methods(se: Floats, few: Flags, block: Block) -> list[str]:
    words = np.select(
        [~np.isfinite(se), few],
        ["no error: fewer than 2 personas or item clusters", "two-way clustered (persona × item), Wilson on n_eff"],
        default="two-way clustered (persona × item), t",
    )
    return [f"{word}; {block.note}" for word in words]


def _gaps(view: View, metric: Metric, x: Floats, w: Floats) -> list[pl.Series]:
    if not metric.gap or view.n < 2:
        return []
    gaps = view.slices.gaps(x, w)
    return [
        pl.Series("gap", gaps.difference),
        pl.Series("gap_se", gaps.se),
        pl.Series("gap_df", gaps.df),
        pl.Series("gap_p", p_value(gaps.difference, gaps.se, gaps.df)),
    ]
