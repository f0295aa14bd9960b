"""Compute metrics that are means: estimate, interval, persona effect and gap, each with its baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from mpta_pipeline.metrics.metric import Metric
from mpta_pipeline.metrics.samples.compact import CompactFrame
from mpta_pipeline.metrics.samples.survey_answers import Block, View, stacked
from mpta_pipeline.metrics.statistics import equivalence, shrinkage
from mpta_pipeline.metrics.statistics.arrays import Flags, Floats, Ints, ratio, sums
from mpta_pipeline.metrics.statistics.clustered import Means, Moments, SliceGaps, Together, Totals, t_quantile
from mpta_pipeline.metrics.statistics.intervals import apart, interval, paired

# Note of an estimate with a single item cluster.
THIS_ITEM = "this item or battery of items only: clustered by person alone, it says nothing about other items"


@dataclass(frozen=True)
class Values:
    """A mean metric over rows.

    Attributes:
        metric: The metric.
        x: Value of each row; nan where the metric does not apply.
        count: Denominator of each row: its weight in addition to the survey weight.
        baselines: Baseline → value of each row; baselines of the row's group are added later, with the dimension.
    """

    metric: Metric
    x: Floats
    count: Floats
    baselines: dict[str, Floats]


def of_group(expression: pl.Expr) -> bool:
    """Whether a baseline depends on the row's group."""
    return any(name.startswith("group_") for name in expression.meta.root_names())


def evaluate(frame: pl.DataFrame | CompactFrame, metric: Metric, *, baselines: bool = True) -> Values:
    """Evaluate a metric over the rows, without group baselines."""
    assert metric.value is not None
    chosen = {name: e for name, e in metric.baselines.items() if baselines and not of_group(e)}
    made = frame.select(
        pl.when(metric.where).then(metric.value.cast(pl.Float64) / metric.count.cast(pl.Float64)).alias("value"),
        pl.when(metric.where).then(metric.count.cast(pl.Float64)).otherwise(0.0).alias("count"),
        *(e.cast(pl.Float64).alias(f"baseline {name}") for name, e in chosen.items()),
        pl.col("n_orders"),
    )
    x = made.get_column("value").fill_null(np.nan).to_numpy()
    return Values(
        metric,
        x,
        np.where(np.isfinite(x), made.get_column("count").fill_null(0.0).to_numpy(), 0.0),
        {name: made.get_column(f"baseline {name}").fill_null(np.nan).to_numpy() for name in chosen},
    )


def reference_values(x: Floats, count: Floats, reference: Flags, pair: Ints) -> Floats:
    """Find the no-persona value of each row's person and item; nan if there is none.

    Args:
        x: Value of each row.
        count: Weight of each row.
        reference: Rows without a persona.
        pair: Code of each row's person and item, from 0.
    """
    return values_of_pairs(x[reference], count[reference], pair[reference], int(pair.max(initial=0)) + 1)[pair]


def values_of_pairs(x: Floats, count: Floats, pair: Ints, n: int) -> Floats:
    """Find the mean value of each of `n` pairs of a person and an item; nan if there is none."""
    used = np.isfinite(x) & (count > 0)
    total = sums(pair[used], (x * count)[used], n)
    weight = sums(pair[used], count[used], n)
    return ratio(total, weight)


class Prepared:
    """A mean metric over one condition's rows, summed once for all dimensions.

    Args:
        block: The block, of one condition.
        values: The metric over its rows.
        reference: No-persona value of each row's person and item; None if no effect is computed.
        together: The slices of all dimensions; None keeps the rows.
    """

    def __init__(
        self, block: Block, values: Values, reference: Floats | None, together: Together | None = None
    ) -> None:
        self.block, self.values = block, values
        self.used = np.isfinite(values.x) & (values.count > 0) & (block.weight > 0)
        self.w = np.where(self.used, block.weight * values.count, 0.0)
        self._together = Together([]) if together is None else together
        self.moments = self.summed(values.x)
        self.effect: Moments | None = None
        if reference is not None and np.isfinite(reference[self.used]).any():
            self.effect = self.summed(values.x - reference)
        self.net, self.baselines = {}, {}
        for name, b in values.baselines.items():
            self.net[name] = self.summed(values.x - b)
            self.baselines[name] = Totals(block.rows, b, self.w)
            self.baselines[name].summed(self._together)

    def summed(self, x: Floats) -> Moments:
        """A value over the same rows."""
        made = Moments(self.block.rows, x, self.w)
        made.summed(self._together)
        return made

    def released(self) -> None:
        """Release the rows of baselines."""
        self.values = replace(self.values, baselines={})


def mean_estimates(view: View, prepared: Prepared, guesses: Mapping[str, Floats]) -> pl.DataFrame | None:
    """Compute all rows of one mean metric over the slices of one dimension; None if it applies to no row.

    Args:
        view: The rows and their slices.
        prepared: The metric over them.
        guesses: Baseline of the row's group → value of each row.
    """
    block, metric, slices, rules = view.block, prepared.values.metric, view.slices, view.block.rules
    if not (prepared.used & slices.inside).any():
        return None
    means, gaps = slices.means_of(prepared.moments), slices.gaps_of(prepared.moments)
    # A mean lies within the range of its values, but rounding of sums may put it outside.
    estimate = np.clip(means.estimate, metric.low, metric.high)
    low, high, few = interval(metric, estimate, means.se, means.df, n_eff=means.n_eff, level=rules.level)
    # Gaps use errors in which shared items cancel. An observed error of 0 does not mean that the true error is 0.
    width = ((high - low) / 2 / t_quantile(means.df, rules.level)) ** 2
    error = np.where(gaps.deviation_variance > 0, gaps.deviation_variance, width)
    base = {
        "slice": np.arange(slices.n),
        "estimate": estimate,
        "se": means.se,
        "ci_low": low,
        "ci_high": high,
        "n_eff": means.n_eff,
        "shrunken_estimate": shrinkage.normal_normal(estimate, error).estimate,
        "method": _methods(means, few, metric, block),
        "note": [THIS_ITEM if one else None for one in means.one_item],
        **view.sizes(prepared.used),
    }
    if prepared.effect is not None:
        effect = slices.means_of(prepared.effect)
        low, high, p = paired(effect.estimate, effect.se, effect.df, metric.span, level=rules.level)
        base |= {
            "effect": effect.estimate,
            "effect_se": effect.se,
            "effect_low": low,
            "effect_high": high,
            "p_value": p,
            "mde": equivalence.minimal_detectable(effect.se, effect.df, level=rules.level),
        }
    parts = {"": _gap_columns(view, metric, gaps, prepared.moments)}
    of_groups = {name: Totals(block.rows, b, prepared.w) for name, b in guesses.items()}
    for name, totals in (prepared.baselines | of_groups).items():
        baseline = slices.mean_of(totals)
        if not np.isfinite(baseline).any():
            continue
        found = net = None
        if metric.gap and slices.n > 1:
            net = prepared.net.get(name) or Moments(block.rows, prepared.values.x - guesses[name], prepared.w)
            found = slices.gaps_of(net)
        parts[name] = {
            "baseline_estimate": baseline,
            **_gap_columns(view, metric, found, net, net=True),
        }
    return stacked(base, parts)


def _methods(means: Means, few: Flags, metric: Metric, block: Block) -> list[str]:
    se = means.se
    both = np.where(means.one_item, "clustered by persona", "two-way clustered (persona × item)")
    words = np.select(
        [~np.isfinite(se), se == 0, few],
        [
            "no error: fewer than 2 personas or item clusters",
            "all clusters alike: Wilson on the smaller number of clusters",
            np.char.add(both, ", Wilson on effective answers near the border"),
        ],
        default=np.char.add(both, ", t on the logit" if metric.proportion else ", t"),
    )
    return [f"{word}; {block.note}" for word in words]


@dataclass(frozen=True)
class _Apart:
    """Gaps to everyone else without outlier groups, and the names of the groups left out of each comparison."""

    difference: Floats
    error: Floats
    df: Floats
    p: Floats
    names: list[str | None]


def _apart_from_outliers(
    view: View, moments: Moments, gaps: SliceGaps, ends: tuple[float | None, float | None]
) -> _Apart | None:
    """Compute gaps that outlier groups cannot distort; None if there is no outlier group.

    A group that is much worse than all others is part of the "everyone else" of every other group, so that these all
    seem better. The group with the smallest p is therefore set apart if p is below the level over the number of groups
    (Bonferroni). The others are compared among themselves, and this repeats until no group is an outlier. Groups set
    apart are compared with the rest. Fewer than half of the groups can be outliers.
    """
    level, n = view.block.rules.level, view.n
    out = np.zeros(n, dtype=bool)
    _, p = apart(gaps, *ends, level=level)
    found = gaps
    while out.sum() < (n - 1) // 2:
        left = np.where(out, np.nan, p)
        if not np.isfinite(left).any() or np.nanmin(left) > level / (n - out.sum()):
            break
        out[np.nanargmin(left)] = True
        found = view.slices.regrouped(np.where(out, -1, np.arange(n)), n).gaps_of(moments)
        _, p = apart(found, *ends, level=level)
    if not out.any():
        return None
    error, p = apart(found, *ends, level=level)
    values = [found.difference.copy(), error, found.df.copy(), p]
    for i in np.flatnonzero(out):
        one = view.slices.regrouped(np.where(np.arange(n) == i, 0, np.where(out, -1, 1)), 2).gaps_of(moments)
        of_one = (one.difference, *(v for v in apart(one, *ends, level=level)), one.df)
        for into, value in zip((0, 1, 3, 2), of_one, strict=True):
            values[into][i] = value[0]
    labels = view.cut.labels
    names = [", ".join(labels[j] for j in np.flatnonzero(out) if j != i) or None for i in range(n)]
    return _Apart(values[0], values[1], values[2], values[3], names)


def _gap_columns(
    view: View, metric: Metric, gaps: SliceGaps | None, moments: Moments | None, *, net: bool = False
) -> dict[str, Floats | list[str | None]]:
    if gaps is None or moments is None or not metric.gap or view.n < 2:
        return {}
    # Net of a baseline, values lie within ± the metric's span.
    ends = (metric.low, metric.high) if not net or metric.span is None else (-metric.span, metric.span)
    error, p = apart(gaps, *ends, level=view.block.rules.level)
    columns: dict[str, Floats | list[str | None]] = {
        "gap": gaps.difference,
        "gap_se": gaps.se,
        "gap_error": error,
        "gap_df": gaps.df,
        "gap_p": p,
    }
    found = _apart_from_outliers(view, moments, gaps, ends)
    if found is not None:
        columns |= {
            "gap_apart": found.difference,
            "gap_apart_error": found.error,
            "gap_apart_df": found.df,
            "gap_apart_p": found.p,
            "stand_out": found.names,
        }
    return columns
