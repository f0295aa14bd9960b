"""Compute intervals of proportions that are based on few answers."""

from __future__ import annotations

import numpy as np

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


def kish(weights: Floats) -> float:
    """Effective sample size (Σw)²/Σw² (Kish 1965); nan without weight."""
    w = np.asarray(weights, dtype=float)
    return float(w.sum() ** 2 / (w**2).sum()) if (w > 0).any() else float("nan")
