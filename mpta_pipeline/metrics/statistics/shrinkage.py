"""Compute empirical-Bayes estimates, which shrink the estimates of small groups towards those of all groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats
from scipy.special import betaln

from mpta_pipeline.metrics.statistics.arrays import Floats


@dataclass(frozen=True)
class Shrunken:
    """Posterior means with their intervals, and the spread between groups (τ², normal–normal only)."""

    estimate: Floats
    low: Floats
    high: Floats
    tau2: float


def normal_normal(estimate: Floats, variance: Floats) -> Shrunken:
    """Shrink to the precision-weighted mean, with τ² after DerSimonian and Laird (1986).

    Args:
        estimate: Estimates of the groups; nan values are left out and stay nan.
        variance: Their error variances; groups with 0 or nan are left out.
    """
    y, v = np.asarray(estimate, dtype=float), np.asarray(variance, dtype=float)
    out = np.full(y.shape, np.nan)
    low, high = out.copy(), out.copy()
    use = np.isfinite(y) & np.isfinite(v) & (v > 0)
    if use.sum() < 2:
        return Shrunken(out, low, high, float("nan"))
    yu, vu = y[use], v[use]
    w = 1 / vu
    pooled = (w * yu).sum() / w.sum()
    q = (w * (yu - pooled) ** 2).sum()
    tau2 = max(0.0, (q - (len(yu) - 1)) / (w.sum() - (w**2).sum() / w.sum()))
    w = 1 / (vu + tau2)
    pooled = (w * yu).sum() / w.sum()
    keep = tau2 / (tau2 + vu)
    spread = np.sqrt(keep * vu + (1 - keep) ** 2 / w.sum())
    out[use] = pooled + keep * (yu - pooled)
    low[use], high[use] = out[use] - 1.959964 * spread, out[use] + 1.959964 * spread
    return Shrunken(out, low, high, float(tau2))


@dataclass(frozen=True)
class BetaPrior:
    """A fitted beta distribution of group proportions and the marginal log-likelihood (with binomial coefficients)."""

    alpha: float
    beta: float
    log_likelihood: float


def fit_beta(successes: Floats, n: Floats) -> BetaPrior:
    """Fit α, β by marginal maximum likelihood of the beta-binomial; counts may be fractional (effective counts).

    If the groups vary no more than binomial sampling would, α + β diverges. It is capped at 10⁶, which pools fully.
    """
    y, n = np.asarray(successes, dtype=float), np.asarray(n, dtype=float)
    pooled = float(np.clip(y.sum() / n.sum(), 1e-6, 1 - 1e-6))

    def loss(theta: Floats) -> float:
        mean, size = 1 / (1 + np.exp(-theta[0])), np.exp(theta[1])
        a, b = mean * size, (1 - mean) * size
        return -float((betaln(a + y, b + n - y) - betaln(a, b)).sum())

    start = np.array([np.log(pooled / (1 - pooled)), np.log(20.0)])
    bounds = [(-14.0, 14.0), (np.log(1e-3), np.log(1e6))]
    fit = optimize.minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13, "gtol": 1e-9})
    mean, size = 1 / (1 + np.exp(-fit.x[0])), np.exp(fit.x[1])
    coefficient = float((-betaln(n - y + 1, y + 1) - np.log(n + 1)).sum())
    return BetaPrior(float(mean * size), float((1 - mean) * size), -float(fit.fun) + coefficient)


def beta_binomial(successes: Floats, n: Floats, *, level: float = 0.05) -> tuple[Shrunken, BetaPrior]:
    """Posterior means (α + y)/(α + β + n) and beta quantiles of each group."""
    y, n = np.asarray(successes, dtype=float), np.asarray(n, dtype=float)
    use = np.isfinite(y) & np.isfinite(n) & (n > 0)
    prior = fit_beta(y[use], n[use])
    a, b = prior.alpha + y, prior.beta + n - y
    mean = np.where(use, a / (a + b), np.nan)
    a, b = np.where(use, a, np.nan), np.where(use, b, np.nan)
    return (
        Shrunken(mean, stats.beta.ppf(level / 2, a, b), stats.beta.ppf(1 - level / 2, a, b), float("nan")),
        prior,
    )
