"""Intervals of figures, and how they say they were made."""

from __future__ import annotations

import numpy as np

from mpta_pipeline.metrics.arrays import Flags, Floats
from mpta_pipeline.metrics.clustered import t_quantile
from mpta_pipeline.metrics.proportions import wilson
from mpta_pipeline.metrics.registry import Metric

# With fewer effective answers than this on a proportion's rarer side, the t interval is not to be trusted.
WILSON_BELOW = 10.0


def interval(
    metric: Metric, estimate: Floats, se: Floats, df: Floats, *, n_eff: Floats | None = None, level: float
) -> tuple[Floats, Floats, Flags]:
    """Give lower and upper ends, within the metric's range, and where Wilson's interval was taken.

    t with `df`; for proportions with few effective answers on the rarer side Wilson's on `n_eff` with the t quantile
    (Korn and Graubard 1998).
    """
    t = t_quantile(df, level)
    low, high = estimate - t * se, estimate + t * se
    few = np.zeros(len(estimate), dtype=bool)
    if metric.proportion and n_eff is not None:
        with np.errstate(invalid="ignore"):
            few = np.isfinite(n_eff) & (n_eff * np.minimum(estimate, 1 - estimate) < WILSON_BELOW)
        ends = wilson(np.clip(estimate, 0, 1), np.where(few, n_eff, 1.0), t)
        low, high = np.where(few, ends[0], low), np.where(few, ends[1], high)
    if metric.low is not None:
        low = np.where(np.isfinite(low), np.maximum(low, metric.low), np.nan)
    if metric.high is not None:
        high = np.where(np.isfinite(high), np.minimum(high, metric.high), np.nan)
    return low, high, few
