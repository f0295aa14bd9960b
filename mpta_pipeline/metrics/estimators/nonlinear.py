"""Compute ratio metrics and other functions of totals, with bootstrap errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
from scipy import sparse

from mpta_pipeline.metrics.estimators.means import THIS_ITEM
from mpta_pipeline.metrics.metric import Metric
from mpta_pipeline.metrics.samples.balancing import Units
from mpta_pipeline.metrics.samples.survey_answers import Block, View
from mpta_pipeline.metrics.statistics.arrays import Features, Flags, Floats, Ints
from mpta_pipeline.metrics.statistics.bootstrap import Levels, combined_se, reweighted
from mpta_pipeline.metrics.statistics.intervals import Ratio, fieller, interval, meaningless_words
from mpta_pipeline.metrics.statistics.jackknife import TwoWay

# Matrices with more features than this stay sparse.
WIDE = 64


def weighted_features(block: Block, features: Callable[[Units], Features]) -> Features | None:
    """Compute a metric's features over the block's rows times their weight; None if it applies to no row."""
    made = features(block.units)
    if isinstance(made, np.ndarray):
        # Column by column, the order in which they are summed.
        return np.asfortranarray(made * block.weight[:, None]) if made.any() else None
    made = sparse.csr_matrix(sparse.diags(block.weight) @ made)
    made.eliminate_zeros()
    if not made.nnz:
        return None
    return made if made.shape[1] > WIDE else made.toarray()


def nonlinear_estimates(view: View, metric: Metric, features: Features) -> pl.DataFrame | None:
    """Compute all rows of one metric over the slices of one dimension; None if it applies to no row.

    Args:
        view: The rows and their slices.
        metric: A metric with a `statistic` or the `parts` of a ratio.
        features: Its weighted features over the rows.
    """
    block, slices = view.block, view.slices
    statistic = metric.statistic
    if isinstance(features, np.ndarray):
        used = slices.inside & np.any([column != 0 for column in features.T], axis=0)
        totals = np.stack([slices.sum(column) for column in features.T], axis=1)
    else:
        used = (np.diff(features.indptr) > 0) & slices.inside
        inside = np.flatnonzero(slices.inside)
        gather = sparse.csr_matrix((np.ones(len(inside)), (view.cut.codes[inside], inside)), shape=(view.n, len(used)))
        totals = (gather @ features).toarray()
    if not used.any():
        return None
    sizes = view.sizes(used)
    clusters = view.clusters(used)
    one = clusters == 1
    units = view.units(used)
    df = np.where(one, units, np.minimum(units, clusters)) - 1.0
    df = np.where(df >= 1, df, np.nan)
    codes = np.where(used, view.cut.codes, -1)
    levels = (block.replicates.persona, block.replicates.item, block.replicates.cell)
    notes: list[str | None] = [THIS_ITEM if only else None for only in one & np.isfinite(df)]
    if statistic is None:
        found, undefined = _ratio(
            metric, view.n, features, totals, codes=codes, levels=levels, df=df, one=one, level=block.rules.level
        )
        notes = [words or note for words, note in zip(undefined, notes, strict=True)]
        estimate, se, low, high = found.estimate, found.se, found.low, found.high
        default = "combined one-way bootstraps (persona × item), Fieller"
    else:
        estimate = statistic(np.asarray(totals))
        se = combined_se(block.replicates, codes, view.n, features, lambda totals, _slice: statistic(totals))
        se = np.where(np.isfinite(df) & np.isfinite(estimate), se, np.nan)
        se = np.where(se < 1e-9, 0.0, se)
        low, high, _ = interval(metric, estimate, se, df, level=block.rules.level)
        default = "combined one-way bootstraps (persona × item), t"
    words = np.select(
        [~np.isfinite(se), se == 0],
        ["no error: too few clusters", "all replicates alike: Wilson on the smaller number of clusters"],
        default=default,
    )
    return pl.DataFrame(
        {
            "slice": np.arange(view.n),
            "baseline": [""] * view.n,
            "estimate": estimate,
            "se": se,
            "ci_low": low,
            "ci_high": high,
            "method": [f"{word}; {block.note}" for word in words],
            "note": pl.Series(notes, dtype=pl.String),
            **sizes,
        }
    )


def _ratio(
    metric: Metric,
    n: int,
    features: Features,
    totals: Floats,
    *,
    codes: Ints,
    levels: tuple[Levels, Levels, Levels],
    df: Floats,
    one: Flags,
    level: float,
) -> tuple[Ratio, list[str | None]]:
    """Compute a ratio over the slices, with a note if it is undefined because its denominator is within its noise."""
    parts = metric.parts
    assert parts is not None

    def with_sum(totals: Floats) -> Floats:
        """Return numerator, denominator and their sum, whose variance gives their covariance."""
        a, b = parts(totals)
        return np.stack([a, b, a + b], axis=-1)

    def covariance(of: Levels) -> Floats:
        v = reweighted(of, codes, n, features, lambda totals, _slice: with_sum(totals), k=3)
        shared = (v[:, 2] - v[:, 0] - v[:, 1]) / 2
        return np.stack([v[:, 0], shared, shared, v[:, 1]], axis=-1).reshape(n, 2, 2)

    persona, item, cell = (covariance(of) for of in levels)
    errors = TwoWay(persona, item, cell, df, one)
    numerator, denominator = parts(np.asarray(totals))
    found = fieller(numerator, denominator, errors.kinds, df, level=level)
    # Without a known error, keep a ratio that is bounded below; an unbounded ratio could have any value.
    unknown = np.isfinite(denominator) & ~np.isfinite(found.noise) & (metric.low is None)
    found = replace(found, estimate=np.where(unknown, np.nan, found.estimate))
    return found, [
        meaningless_words(metric.meaningless, float(d), float(noise)) if bad else None
        for d, noise, bad in zip(denominator, found.noise, found.meaningless | unknown, strict=True)
    ]
