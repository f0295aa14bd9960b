"""Compute ratio metrics and other functions of totals, with bootstrap errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from scipy import sparse

from mpta_pipeline.metrics.estimators.means import THIS_ITEM
from mpta_pipeline.metrics.metric import METRICS, Metric
from mpta_pipeline.metrics.samples.balancing import Units
from mpta_pipeline.metrics.samples.survey_answers import Block, View
from mpta_pipeline.metrics.statistics.arrays import Features, Flags, Floats, Ints, ItemFeatures, sums
from mpta_pipeline.metrics.statistics.bootstrap import Levels, combine, combined_se, reweighted, reweighted_items
from mpta_pipeline.metrics.statistics.intervals import Ratio, fieller, interval, meaningless_words
from mpta_pipeline.metrics.statistics.jackknife import TwoWay

# Matrices with more features than this stay sparse.
WIDE = 64


def weighted_features(block: Block, features: Callable[[Units], Features]) -> Features | None:
    """Compute a metric's features over the block's rows times their weight; None if it applies to no row."""
    made = features(block.units)
    if isinstance(made, ItemFeatures):
        w = block.weight[made.row]
        kept = w > 0
        values = made.values[kept] * w[kept, None]
        return replace(made, row=made.row[kept], item=made.item[kept], values=values) if len(values) else None
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
    assert not isinstance(features, ItemFeatures)
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
    df, one = _degrees(view, used)
    codes = np.where(used, view.cut.codes, -1)
    if statistic is not None:
        estimate = statistic(np.asarray(totals))
        se = combined_se(block.replicates, codes, view.n, features, lambda totals, _slice: statistic(totals))
        return _of_statistic(view, metric, estimate, se, used=used, df=df, one=one)
    levels = (block.replicates.persona, block.replicates.item, block.replicates.cell)
    found, undefined = _ratio(
        metric, view.n, features, totals, codes=codes, levels=levels, df=df, one=one, level=block.rules.level
    )
    ends = found.low, found.high
    default = "combined one-way bootstraps (persona × item), Fieller"
    notes = [words or note for words, note in zip(undefined, _notes(df, one), strict=True)]
    return _rows(view, found.estimate, found.se, ends, used=used, notes=notes, default=default)


def item_estimates(view: View, names: Sequence[str], joint: ItemFeatures) -> Iterator[tuple[str, pl.DataFrame]]:
    """Compute all rows of metrics that are means of statistics of single items.

    Args:
        view: The rows and their slices.
        names: The metrics.
        joint: Their weighted features, side by side.
    """
    block, n = view.block, view.n
    slices = view.cut.codes[joint.row]
    used = np.zeros(joint.height, dtype=bool)
    used[joint.row[slices >= 0]] = True
    if not used.any():
        return
    df, one = _degrees(view, used)
    place = np.where(slices >= 0, slices, n) * joint.n_items + joint.item
    size = (n + 1) * joint.n_items
    totals = [sums(place, column, size).reshape(n + 1, -1)[:n].T for column in joint.values.T]
    statistics = [METRICS[name].statistic for name in names]
    known = [statistic for statistic in statistics if statistic is not None]
    persona, item, cell = (
        reweighted_items(levels, slices, n, joint, known)
        for levels in (block.replicates.persona, block.replicates.item, block.replicates.cell)
    )
    errors = np.where(np.isnan(item), np.sqrt(persona), combine(persona, item, cell))
    width = len(totals) // len(known)
    for i, (name, statistic) in enumerate(zip(names, known, strict=True)):
        estimate = statistic(np.stack(totals[i * width : (i + 1) * width]))
        yield name, _of_statistic(view, METRICS[name], estimate, errors[i], used=used, df=df, one=one)


def joined(parts: Mapping[str, ItemFeatures]) -> list[tuple[list[str], ItemFeatures]]:
    """Put features of single items side by side that are of the same rows, with the names of their metrics."""
    found: list[tuple[list[str], list[ItemFeatures]]] = []
    for name, part in parts.items():
        for names, others in found:
            if np.array_equal(others[0].row, part.row) and np.array_equal(others[0].item, part.item):
                names.append(name)
                others.append(part)
                break
        else:
            found.append(([name], [part]))
    return [(names, replace(alike[0], values=np.hstack([a.values for a in alike]))) for names, alike in found]


def _degrees(view: View, used: Flags) -> tuple[Floats, Flags]:
    """Degrees of freedom of each slice, and whether it has a single item cluster."""
    clusters = view.clusters(used)
    one = clusters == 1
    units = view.units(used)
    df = np.where(one, units, np.minimum(units, clusters)) - 1.0
    return np.where(df >= 1, df, np.nan), one


def _notes(df: Floats, one: Flags) -> list[str | None]:
    return [THIS_ITEM if only else None for only in one & np.isfinite(df)]


def _of_statistic(
    view: View, metric: Metric, estimate: Floats, se: Floats, *, used: Flags, df: Floats, one: Flags
) -> pl.DataFrame:
    se = np.where(np.isfinite(df) & np.isfinite(estimate), se, np.nan)
    se = np.where(se < 1e-9, 0.0, se)
    low, high, _ = interval(metric, estimate, se, df, level=view.block.rules.level)
    default = "combined one-way bootstraps (persona × item), t"
    return _rows(view, estimate, se, (low, high), used=used, notes=_notes(df, one), default=default)


def _rows(
    view: View,
    estimate: Floats,
    se: Floats,
    ends: tuple[Floats, Floats],
    *,
    used: Flags,
    notes: list[str | None],
    default: str,
) -> pl.DataFrame:
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
            "ci_low": ends[0],
            "ci_high": ends[1],
            "method": [f"{word}; {view.block.note}" for word in words],
            "note": pl.Series(notes, dtype=pl.String),
            **view.sizes(used),
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
