"""Compute intervals of proportions that are based on few answers."""

from __future__ import annotations

import numpy as np
from scipy import stats

from mpta_pipeline.metrics.statistics.arrays import Floats


def wilson(p: Floats, n: Floats, z: Floats | float = 1.959963984540054) -> tuple[Floats, Floats]:
    """Wilson's score interval of a proportion.

    Args:
        p: Proportions in [0, 1].
        n: (Effective) number of answers, > 0.
        z: Normal or, after Korn and Graubard (1998), t quantile.

    Returns:
        Lower and upper ends in [0, 1]. Source: Wilson (1927); equals statsmodels'
        `proportion_confint(method="wilson")`.
    """
    p, n = np.asarray(p, dtype=float), np.asarray(n, dtype=float)
    z2 = np.asarray(z, dtype=float) ** 2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2) / (1 + z2 / n) * np.sqrt(p * (1 - p) / n + z2 / (4 * n**2))
    return np.clip(np.minimum(centre - half, p), 0, 1), np.clip(np.maximum(centre + half, p), 0, 1)


def clopper_pearson(p: Floats, n: Floats, *, level: float) -> tuple[Floats, Floats]:
    """Clopper and Pearson's interval of a proportion, also of a number of answers that is not whole.

    Args:
        p: Proportions in [0, 1].
        n: (Effective) number of answers, > 0.
        level: 1 − confidence.

    Returns:
        Lower and upper ends in [0, 1]. With the effective number of a survey's answers this is Korn and Graubard's
        interval (1998), `svyciprop(method="beta")` of R's package survey. With a whole number, it equals statsmodels'
        `proportion_confint(method="beta")`.
    """
    p, n = np.asarray(p, dtype=float), np.asarray(n, dtype=float)
    hits, others = n * p, n * (1 - p)
    with np.errstate(invalid="ignore"):
        low = np.where(hits > 0, stats.beta.ppf(level / 2, np.where(hits > 0, hits, 1.0), others + 1), 0.0)
        high = np.where(others > 0, stats.beta.ppf(1 - level / 2, hits + 1, np.where(others > 0, others, 1.0)), 1.0)
    known = np.isfinite(n) & np.isfinite(p)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def kish(weights: Floats) -> float:
    """Effective sample size (Σw)²/Σw² (Kish 1965); nan without weight."""
    w = np.asarray(weights, dtype=float)
    return float(w.sum() ** 2 / (w**2).sum()) if (w > 0).any() else float("nan")
