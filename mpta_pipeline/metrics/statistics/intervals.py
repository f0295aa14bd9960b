"""Compute intervals of estimates, and the text that describes their method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import expit, logit

from mpta_pipeline.metrics.statistics.arrays import Flags, Floats
from mpta_pipeline.metrics.statistics.clustered import SliceGaps, p_value, t_quantile
from mpta_pipeline.metrics.statistics.proportions import wilson

# With fewer effective answers than this on a proportion's rarer side, its logit is not approximately normal.
WILSON_BELOW = 10.0
# Fewer of them than this say little about how answers cluster. The fewer there are, the more the number of clusters
# counts.
CLUSTERED_BELOW = 5.0


class Bounded(Protocol):
    """The attributes of a metric that its interval needs. The records of metrics have them."""

    @property
    def low(self) -> float | None:
        """Lowest possible value; None: unbounded."""

    @property
    def high(self) -> float | None:
        """Highest possible value; None: unbounded."""

    @property
    def proportion(self) -> bool:
        """Whether the estimate is a proportion."""


def interval(
    metric: Bounded, estimate: Floats, se: Floats, df: Floats, *, n_eff: Floats | None = None, level: float
) -> tuple[Floats, Floats, Flags]:
    """Return lower and upper ends, within the metric's range, and a mask of where Wilson's interval is used.

    Proportions with `n_eff` use t on the logit, as in `svyciprop(method="logit")` of R's survey package, because their
    distribution is skewed near 0 and 1. With few effective answers on the rarer side, they use Wilson's interval on
    `near_border` answers with the t quantile (Korn and Graubard 1998). Other estimates use t with `df`. Estimates with
    an error of 0 use `unseen`.
    """
    t = t_quantile(df, level)
    low, high = estimate - t * se, estimate + t * se
    constant = se == 0
    ends = unseen(estimate, df, metric.low, metric.high, level=level)
    low, high = np.where(constant, ends[0], low), np.where(constant, ends[1], high)
    few = np.zeros(len(estimate), dtype=bool)
    if metric.proportion and n_eff is not None:
        with np.errstate(invalid="ignore"):
            rarer = n_eff * np.minimum(estimate, 1 - estimate)
            few = ~constant & np.isfinite(n_eff) & (rarer < WILSON_BELOW)
            many = ~constant & (rarer >= WILSON_BELOW)
        inside = np.where(many, estimate, 0.5)
        reach = t * se / (inside * (1 - inside))
        low = np.where(many, expit(logit(inside) - reach), low)
        high = np.where(many, expit(logit(inside) + reach), high)
        n = near_border(n_eff, rarer, df + 1)
        ends = wilson(np.clip(estimate, 0, 1), np.where(few, n, 1.0), t)
        low, high = np.where(few, ends[0], low), np.where(few, ends[1], high)
    if metric.low is not None:
        low = np.where(np.isfinite(low), np.maximum(low, metric.low), np.nan)
    if metric.high is not None:
        high = np.where(np.isfinite(high), np.minimum(high, metric.high), np.nan)
    return low, high, few


def near_border(n_eff: Floats, rarer: Floats, clusters: Floats) -> Floats:
    """Effective answers of a proportion near 0 or 1, where deviating answers are too few to show how they cluster.

    Without deviating answers, only the clusters are known to be independent, so that their number counts (`unseen`). A
    single deviating answer must not switch to the number of all answers. In between, the result is the geometric mean
    of both with weight (rarer / CLUSTERED_BELOW)² on `n_eff`, so that the interval changes as gradually as the
    estimate.

    Args:
        n_eff: Effective answers.
        rarer: Effective answers on the rarer side.
        clusters: Number of persona or item clusters, whichever is smaller.
    """
    weight = np.clip(rarer / CLUSTERED_BELOW, 0.0, 1.0) ** 2
    with np.errstate(invalid="ignore"):
        mixed = clusters ** (1 - weight) * n_eff**weight
    return np.where(n_eff > clusters, mixed, n_eff)


def unseen(value: Floats, df: Floats, low: float | None, high: float | None, *, level: float) -> tuple[Floats, Floats]:
    """Interval of a mean from which no observed cluster deviates: the observed error is 0, the true one may not be.

    If none of C = df + 1 clusters deviates, at most a share u = t²/(C + t²) of all clusters may: Wilson's upper end of
    0 of C. Their values may lie anywhere in the range, so that the mean lies between value − u(value − low) and
    value + u(high − value). At an end of the range this is Wilson's interval. nan for means without a range.
    """
    if low is None or high is None:
        nothing = np.full(np.shape(value), np.nan)
        return nothing, nothing.copy()
    t2 = t_quantile(df, level) ** 2
    u = t2 / (df + 1 + t2)
    return value - u * (value - low), value + u * (high - value)


def paired(
    difference: Floats, se: Floats, df: Floats, span: float | None, *, level: float
) -> tuple[Floats, Floats, Floats]:
    """Lower and upper ends and two-sided p-values of mean differences within ±`span`, by t, or `unseen` if se is 0.

    If se is 0, p is the level at which the interval just reaches 0: t² = C · |difference|/span.

    Args:
        difference: Mean differences.
        se: Their errors; nan where undefined.
        df: Degrees of freedom, C − 1 for C clusters.
        span: Largest possible difference; None: unbounded.
        level: Level of the interval.
    """
    t = t_quantile(df, level)
    constant = se == 0
    ends = unseen(difference, df, None if span is None else -span, span, level=level)
    low = np.where(constant, ends[0], difference - t * se)
    high = np.where(constant, ends[1], difference + t * se)
    error = np.where(constant, np.nan if span is None else np.sqrt(np.abs(difference) * (span or 1) / (df + 1)), se)
    if span is not None:
        low, high = np.maximum(low, -span), np.minimum(high, span)
    return low, high, p_value(difference, error, df)


def apart(gaps: SliceGaps, low: float | None, high: float | None, *, level: float) -> tuple[Floats, Floats]:
    """Error and two-sided p-value of each gap between means within a range, based on `unseen` intervals if se is 0.

    If se is 0, the ends of both sides' intervals are combined by Newcombe's square-and-add method (1998, method 10).
    The error is the longer arm over t, and p is the level at which the interval just reaches 0.
    """
    constant = gaps.se == 0
    if low is None or high is None:
        error = np.where(constant, np.nan, gaps.se)
        return error, p_value(gaps.difference, error, gaps.df)
    one, other = gaps.mean, gaps.mean - gaps.difference
    one, other = np.clip(one, low, high), np.clip(other, low, high)
    # Lower and upper arm as multiples of u, the share that may be unseen.
    down, up = np.hypot(one - low, high - other), np.hypot(high - one, other - low)
    clusters, t2 = gaps.df + 1, t_quantile(gaps.df, level) ** 2
    error = np.where(constant, np.maximum(down, up) * np.sqrt(t2) / (clusters + t2), gaps.se)
    reach = np.abs(gaps.difference) / np.where(gaps.difference > 0, down, up)
    with np.errstate(divide="ignore", invalid="ignore"):
        tested = np.abs(gaps.difference) / np.sqrt(clusters * reach / (1 - reach))
    return error, p_value(gaps.difference, np.where(constant, tested, gaps.se), gaps.df)


@dataclass(frozen=True)
class Ratio:
    """Ratios with Fieller's intervals.

    Attributes:
        estimate: Numerator over denominator; nan if the denominator is within its noise.
        se: First-order error.
        low: Lower ends.
        high: Upper ends.
        noise: Half-width of the denominator's own interval: t · se.
        meaningless: The denominator is within its noise, so that the ratio could have any value.
    """

    estimate: Floats
    se: Floats
    low: Floats
    high: Floats
    noise: Floats
    meaningless: Flags


def fieller(numerator: Floats, denominator: Floats, kinds: Floats, df: Floats, *, level: float) -> Ratio:
    """Fieller's (1954) interval of a ratio: all ratios r for which numerator − r · denominator may be 0.

    Symmetric intervals of ratios are too narrow if the denominator is not much larger than its error.

    Args:
        numerator: (n,) numerators.
        denominator: (n,) denominators; the ratio is meaningful only if the true denominator is positive.
        kinds: (kinds × n × 2 × 2) covariances of both; each ratio uses the kind that gives it the largest error.
        df: Degrees of freedom.
        level: Level of the intervals.
    """
    t = t_quantile(df, level)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(denominator != 0, numerator / denominator, np.nan)
        residual = kinds[..., 0, 0] - 2 * ratio * kinds[..., 0, 1] + ratio**2 * kinds[..., 1, 1]
        best = np.where(np.isfinite(residual), residual, -np.inf).argmax(axis=0)
        v = kinds[best, np.arange(len(best))]
        noise = t * np.sqrt(np.maximum(kinds[..., 1, 1].max(axis=0), 0.0))
        meaningless = (denominator <= noise) | (denominator <= 0)
        a = denominator**2 - t**2 * np.maximum(v[:, 1, 1], 0.0)
        b = numerator * denominator - t**2 * v[:, 0, 1]
        c = numerator**2 - t**2 * np.maximum(v[:, 0, 0], 0.0)
        root = np.sqrt(np.maximum(b**2 - a * c, 0.0))
        known = ~meaningless & np.isfinite(noise)
        se = np.sqrt(np.maximum(residual.max(axis=0), 0.0)) / np.abs(denominator)
    # An observed error of 0 does not mean that the true error is 0.
    known &= ~(se < 1e-8)
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = (b - root) / a, (b + root) / a
    return Ratio(
        estimate=np.where(meaningless, np.nan, ratio),
        se=np.where(known | (se < 1e-8), np.where(meaningless, np.nan, se), np.nan),
        low=np.where(known, np.minimum(ends[0], ratio), np.nan),
        high=np.where(known, np.maximum(ends[1], ratio), np.nan),
        noise=noise,
        meaningless=meaningless,
    )


def meaningless_words(words: str, denominator: float, noise: float) -> str:
    """State why a ratio is undefined: the words and the denominator with its noise, as in "… (.01 ± .03)"."""
    if not np.isfinite(noise):
        return f"{words} ({_short(denominator)}, with too few people or questions for an error)"
    return f"{words} ({_short(denominator)} ± {_short(noise)})"


def _short(value: float) -> str:
    text = f"{abs(value):.2f}".removeprefix("0")
    return f"−{text}" if value < 0 and float(text) else text
