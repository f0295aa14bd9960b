"""Rows of figures that are functions of totals but no means, with bootstrap errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from scipy import sparse

from mpta_pipeline.metrics.answers import Units
from mpta_pipeline.metrics.arrays import Features
from mpta_pipeline.metrics.block import Block, View
from mpta_pipeline.metrics.bootstrap import combined_se
from mpta_pipeline.metrics.intervals import interval
from mpta_pipeline.metrics.registry import Metric

# Matrices with more features than this stay sparse.
WIDE = 64


def weighted_features(block: Block, features: Callable[[Units], Features]) -> Features | None:
    """A metric's features over the block's rows times their weight; None where it applies to no row."""
    made = features(block.units)
    if isinstance(made, np.ndarray):
        # Column by column, as they are summed up.
        return np.asfortranarray(made * block.weight[:, None]) if made.any() else None
    made = sparse.csr_matrix(sparse.diags(block.weight) @ made)
    made.eliminate_zeros()
    if not made.nnz:
        return None
    return made if made.shape[1] > WIDE else made.toarray()


def nonlinear_figures(view: View, metric: Metric, features: Features) -> pl.DataFrame | None:
    """All rows of one metric over the slices of one dimension; None where it applies to no row.

    Args:
        view: The rows and their slices.
        metric: A metric with a `statistic`.
        features: Its weighted features over the rows.
    """
    block, slices = view.block, view.slices
    assert metric.statistic is not None
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
    estimate = statistic(np.asarray(totals))
    se = combined_se(
        block.replicates, np.where(used, view.cut.codes, -1), view.n, features, lambda totals, _slice: statistic(totals)
    )
    sizes = view.sizes(used)
    df = np.minimum(view.units(used), view.clusters(used)) - 1.0
    se = np.where((df >= 1) & np.isfinite(estimate), se, np.nan)
    se = np.where(se < 1e-9, 0.0, se)
    low, high, _ = interval(metric, estimate, se, np.where(df >= 1, df, np.nan), level=block.rules.level)
    words = np.select(
        [~np.isfinite(se), se == 0],
        ["no error: too few clusters", "all replicates alike: Wilson on the smaller number of clusters"],
        default="combined one-way bootstraps (persona × item), t",
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
            **sizes,
        }
    )
