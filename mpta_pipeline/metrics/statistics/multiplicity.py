"""Correct p-values and e-values for the number of tests."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mpta_pipeline.metrics.statistics.arrays import Floats


def benjamini_hochberg(p: Floats) -> Floats:
    """BH-adjusted p-values (Benjamini and Hochberg 1995); nan stays nan and is not counted."""
    return _step_up(p, 1.0)


def benjamini_yekutieli(p: Floats) -> Floats:
    """BY-adjusted p-values, valid under any dependence (Benjamini and Yekutieli 2001)."""
    m = int(np.isfinite(p).sum())
    return _step_up(p, float((1 / np.arange(1, m + 1)).sum()) if m else 1.0)


def bonferroni(p: Floats) -> Floats:
    """Bonferroni-adjusted p-values."""
    return np.asarray(np.minimum(np.asarray(p, dtype=float) * np.isfinite(p).sum(), 1.0))


def holm(p: Floats) -> Floats:
    """Holm-adjusted p-values (Holm 1979), valid under any dependence; nan stays nan and is not counted."""
    p = np.asarray(p, dtype=float)
    out = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    if len(known):
        order = known[np.argsort(p[known], kind="stable")]
        raw = p[order] * np.arange(len(known), 0, -1)
        out[order] = np.minimum(np.maximum.accumulate(raw), 1.0)
    return out


def _step_up(p: Floats, factor: float) -> Floats:
    # scipy.stats.false_discovery_control rounds m/i before it multiplies, so that most results would differ from these
    # in the last bit, and it does not accept nan. Published q-values must not change.
    p = np.asarray(p, dtype=float)
    out = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    m = len(known)
    if m:
        order = known[np.argsort(p[known], kind="stable")]
        raw = p[order] * m * factor / np.arange(1, m + 1)
        out[order] = np.minimum(np.minimum.accumulate(raw[::-1])[::-1], 1.0)
    return out


def e_benjamini_hochberg(e: Floats, level: float) -> NDArray[np.bool_]:
    """Rejections of e-BH (Wang and Ramdas 2022), valid under any dependence.

    It rejects the k largest e-values, for the largest k with e_(k) ≥ K/(level · k).
    """
    e = np.asarray(e, dtype=float)
    count = len(e)
    order = np.argsort(-e, kind="stable")
    passed = np.flatnonzero(e[order] >= count / (level * np.arange(1, count + 1)))
    rejected = np.zeros(count, dtype=bool)
    if len(passed):
        rejected[order[: passed[-1] + 1]] = True
    return rejected


def q_values(column: str, over: list[str]) -> pl.Expr:
    """Benjamini–Hochberg q-values of a column of p-values within families; null stays null and is not counted."""
    return (
        pl.col(column)
        .map_batches(
            lambda p: pl.Series(benjamini_hochberg(p.fill_null(np.nan).to_numpy())),
            return_dtype=pl.Float64,
        )
        .over(over)
        .fill_nan(None)
    )
