"""Define correlations between the personas' answers and the people's own, within items and over persons."""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl

from mpta_pipeline.metrics.metric import Metric
from mpta_pipeline.metrics.samples.balancing import Units
from mpta_pipeline.metrics.samples.compact import CompactFrame
from mpta_pipeline.metrics.samples.published_polls import ENTRY
from mpta_pipeline.metrics.statistics.arrays import Features, Floats, Ints, ItemFeatures, dense, numbered, ratio, sums


def _ranks(item: Ints, place: Floats, n_items: int) -> Floats:
    """Mid-rank of each value within its item, as a share of the item's values. Spearman's ρ correlates these."""
    order = np.lexsort((place, item))
    sorted_item, sorted_place = item[order], place[order]
    new = np.concatenate([[True], (np.diff(sorted_item) != 0) | (np.abs(np.diff(sorted_place)) > 1e-12)])
    tie = np.cumsum(new) - 1
    size = np.bincount(tie).astype(float)
    first = np.flatnonzero(new)
    n_of_item = sums(item, np.ones(len(item)), n_items)
    start = np.searchsorted(sorted_item, np.arange(n_items))
    middle = first - start[sorted_item[first]] + (size + 1) / 2
    out = np.empty(len(item))
    out[order] = middle[tie] / n_of_item[sorted_item]
    return out


def _features(units: Units, *, ranked: bool) -> Features:
    """Moments of answer and own answer by item; ordinal items whose key is the person's own."""
    frame = units.frame
    used = (frame.get_column("ordinal") & (frame.get_column("n_ok") > 0)).to_numpy()
    if "own_idx" in frame.columns:
        used &= frame.get_column("own_idx").is_not_null().to_numpy()
    if ENTRY in frame.columns:
        used[:] = False
    rows = np.flatnonzero(used)
    item_of, names = numbered_items(frame, rows)
    k = frame.get_column("k_options").to_numpy()[rows]
    x = (units.answer[rows] * np.arange(units.answer.shape[1])).sum(axis=1) / (k - 1)
    y = frame.get_column("gold_idx").to_numpy()[rows] / (k - 1)
    if ranked and len(rows):
        x, y = (_ranks(item_of, values, names) for values in (x, y))
    values = np.column_stack([np.ones(len(rows)), x, y, x**2, y**2, x * y])
    order = np.argsort(item_of.astype(np.int16) if names < 2**15 else item_of, kind="stable")
    return ItemFeatures(rows[order], item_of[order], values[order], names, frame.height)


def numbered_items(frame: pl.DataFrame | CompactFrame, rows: Ints) -> tuple[Ints, int]:
    """Number the items of some rows in sorted order, and count them."""
    item = frame.codes("item_id") if isinstance(frame, CompactFrame) else dense(frame.get_column("item_id"))
    number, known = numbered(item[rows], int(item.max(initial=-1)) + 1)
    return number, len(known)


def _mean_correlation(totals: Floats) -> Floats:
    """Mean over items of the correlations from (6 × items × …) moments, without items that do not vary on a side."""
    with np.errstate(divide="ignore", invalid="ignore"):
        n, x, y, xx, yy, xy = totals
        mean_x, mean_y = x / n, y / n
        spread = (xx / n - mean_x**2) * (yy / n - mean_y**2)
        each = (xy / n - mean_x * mean_y) / np.sqrt(np.where(spread > 1e-12, spread, np.nan))
    known = np.isfinite(each)
    return ratio(np.where(known, each, 0.0).sum(axis=0), known.sum(axis=0).astype(float))


def _metric(name: str, label: str, what: str, source: str, *, ranked: bool) -> Metric:
    return Metric(
        name=name,
        label=label,
        definition=f"{what} between the personas' answers and the people's own within an item, over persons, averaged "
        "over the ordinal items on which both vary",
        unit="correlation",
        low=-1.0,
        high=1.0,
        direction="higher",
        source=source,
        family="ordinal",
        chance="0, as for any answer that does not depend on the person, such as the most frequent one",
        features=partial(_features, ranked=ranked),
        statistic=_mean_correlation,
    )


METRICS = (
    _metric(
        "pearson",
        "Pearson correlation with the person's own answer",
        "Pearson correlation",
        "as scipy.stats.pearsonr; two-way bootstrap",
        ranked=False,
    ),
    _metric(
        "spearman",
        "Spearman correlation with the person's own answer",
        "Spearman correlation (ranks among everyone, groups included)",
        "as scipy.stats.spearmanr; two-way bootstrap",
        ranked=True,
    ),
)
