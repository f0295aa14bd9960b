"""Test equivalence (gap, no gap or inconclusive), and compute the smallest detectable effect."""

from __future__ import annotations

import numpy as np
from scipy import stats

from mpta_pipeline.metrics.statistics.arrays import Floats


def verdicts(difference: Floats, se: Floats, df: Floats, q: Floats, *, margin: float, level: float) -> list[str | None]:
    """Return the verdict of each gap.

    `no_gap`: two one-sided tests at `level` (the 1 − 2·level interval lies within ±margin; Schuirmann 1987). Otherwise
    `gap` if `q` ≤ level. Otherwise `inconclusive`. None if the gap has no error.
    """
    reach = stats.t.ppf(1 - level, df) * se
    same = (difference - reach >= -margin) & (difference + reach <= margin)
    words = np.select([~np.isfinite(se), same, q <= level], ["", "no_gap", "gap"], default="inconclusive")
    return [str(word) or None for word in words]


def minimal_detectable(se: Floats, df: Floats | float = np.inf, *, level: float = 0.05, power: float = 0.8) -> Floats:
    """Smallest true difference detectable with `power`: (t_{1−level/2} + t_power) · se; null if se is 0 or unknown.

    With infinite `df` this is Miller's (2024, section 5) formula with normal quantiles. With few clusters, normal
    quantiles would promise far more power than the t-based interval has.
    """
    quantiles = stats.t.ppf(1 - level / 2, df) + stats.t.ppf(power, df)
    return np.asarray(np.where(np.asarray(se) > 0, quantiles * se, np.nan), dtype=float)


def planned_answers(variance: float, difference: float, *, level: float = 0.05, power: float = 0.8) -> int:
    """Number of answers needed to detect `difference` if single paired differences have `variance`."""
    z = stats.norm.ppf(1 - level / 2) + stats.norm.ppf(power)
    return int(np.ceil(z**2 * variance / difference**2))
