"""Equivalence tests (gap, no gap or inconclusive) and the smallest effect that could be found."""

from __future__ import annotations

import numpy as np
from scipy import stats

from mpta_pipeline.metrics.statistics.arrays import Floats


def verdicts(difference: Floats, se: Floats, df: Floats, q: Floats, *, margin: float, level: float) -> list[str | None]:
    """Judge each gap.

    `no_gap`: two one-sided tests at `level` (the 1 − 2·level interval lies within ±margin; Schuirmann 1987). Else
    `gap` where `q` ≤ level. Else `inconclusive`; None where the gap has no error.
    """
    reach = stats.t.ppf(1 - level, df) * se
    same = (difference - reach >= -margin) & (difference + reach <= margin)
    words = np.select([~np.isfinite(se), same, q <= level], ["", "no_gap", "gap"], default="inconclusive")
    return [str(word) or None for word in words]


def minimal_detectable(se: Floats, df: Floats | float = np.inf, *, level: float = 0.05, power: float = 0.8) -> Floats:
    """Smallest true difference found with `power`: (t_{1−level/2} + t_power) · se; null where se is 0 or unknown.

    With infinite `df` this is Miller's (2024, section 5) formula with normal quantiles; with few clusters these would
    promise far more than the interval, which rests on t, can keep.
    """
    quantiles = stats.t.ppf(1 - level / 2, df) + stats.t.ppf(power, df)
    return np.asarray(np.where(np.asarray(se) > 0, quantiles * se, np.nan), dtype=float)


def planned_answers(variance: float, difference: float, *, level: float = 0.05, power: float = 0.8) -> int:
    """Answers needed to find `difference` when single paired differences have `variance`."""
    z = stats.norm.ppf(1 - level / 2) + stats.norm.ppf(power)
    return int(np.ceil(z**2 * variance / difference**2))
