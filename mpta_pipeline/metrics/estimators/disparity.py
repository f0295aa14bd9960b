"""Estimate the disparity between the groups of a dimension, beside the disparity expected by chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from mpta_pipeline.core.hashing import digest
from mpta_pipeline.metrics.estimators.means import Prepared
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.samples.survey_answers import View
from mpta_pipeline.metrics.statistics import shrinkage
from mpta_pipeline.metrics.statistics.arrays import Floats, Ints, distinct, sums
from mpta_pipeline.metrics.statistics.proportions import kish

# Smaller groups are left out, because their means reflect mostly chance.
LEAST_PERSONAS = 5
# Eigenvalues that are smaller than this share of the variances that they come from are rounding errors.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Spread:
    """Worst group, best minus worst, and worst over best, of means (… × groups)."""

    worst: Floats
    range: Floats
    ratio: Floats


def spread(means: Floats) -> Spread:
    """Summarize group means along the last axis."""
    worst, best = means.min(axis=-1), means.max(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Spread(worst, best - worst, np.where(best > 0, worst / best, np.nan))


def permuted_means(a: Floats, b: Floats, group: Ints, n: int, *, draws: int, seed: int) -> Floats:
    """Group means after people are randomly reassigned to groups: the null hypothesis of chance differences only.

    Args:
        a: Weighted sum of each persona's values.
        b: Weight of each persona's values.
        group: Group of each persona, from 0.
        n: Number of groups.
        draws: Number of permutations.
        seed: Seed; personas must come in canonical order.

    Returns:
        (draws × n) means.
    """
    rng = np.random.default_rng(seed)
    out = np.empty((draws, n))
    for i in range(draws):
        dealt = rng.permutation(group)
        out[i] = sums(dealt, a, n) / sums(dealt, b, n)
    return out


def question_noise(a: Floats, b: Floats, share: Floats, *, cell: Floats, draws: int, seed: int) -> Floats | None:
    """Draw group differences that arise because questions differ in difficulty by group, if the true means are equal.

    Permuting people keeps the questions fixed, so that effects of these specific questions count as group effects. The
    covariance of the groups' deviations from their common mean over item clusters, minus that of single crossings, is
    the variation that another sample of questions would cause (Cameron, Gelbach and Miller 2011). Its negative
    eigenvalues are set to 0. Draws are from t with items − 1 degrees of freedom, because the covariance is estimated.

    Args:
        a: (groups × item clusters) Σwx.
        b: (groups × item clusters) Σw.
        share: Share of each group in the weight.
        cell: Error variance of each group's mean by single crossings.
        draws: Number of draws.
        seed: Seed.

    Returns:
        (draws × groups); None with fewer than two item clusters.
    """
    items = int((b > 0).any(axis=0).sum())
    if items < 2:
        return None
    mean = a.sum(axis=1, keepdims=True) / b.sum(axis=1, keepdims=True)
    scores = (a - mean * b) / b.sum(axis=1, keepdims=True)
    scores = scores - (share[:, None] * scores).sum(axis=0)
    centring = np.eye(len(share)) - share
    covariance = items / (items - 1) * scores @ scores.T - centring @ np.diag(cell) @ centring.T
    values, vectors = np.linalg.eigh(covariance)
    # Without a rounding error in place of a 0, the groups' draws keep their ties with the estimate.
    values = np.where(values > ROUNDING * ((scores**2).sum() + np.abs(cell).sum()), values, 0.0)
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal((draws, len(share))) * np.sqrt(values)
    heavy = np.sqrt((items - 1) / rng.chisquare(items - 1, (draws, 1)))
    return np.asarray(normal * heavy @ vectors.T)


def between_variance(means: Floats, error_variance: Floats) -> float:
    """Variance of the groups' true means: variance of the estimates minus their mean error variance.

    It can be negative, as an unbiased estimate of 0 must be. Source: Lum, Zhang and Bower (2022), single correction,
    with error variances of divisor n − 1.
    """
    return float(means.var(ddof=1) - error_variance.mean())


def double_corrected_variance(replicate_means: Floats, error_variance: Floats, n: Floats) -> float:
    """Lum, Zhang and Bower's correction for means of bootstrap replicates, which contain the sampling error twice.

    Args:
        replicate_means: Group means of a replicate.
        error_variance: s²/n of each group in the resampled data, with s² of divisor n − 1.
        n: Group sizes.

    Returns:
        S² − 2 · mean(s²/n) + mean(s²/n²): resampling n of n adds the error again, reduced by a share of 1/n.
    """
    return float(replicate_means.var(ddof=1) - 2 * error_variance.mean() + (error_variance / n).mean())


def generalized_entropy(benefit: Floats, weight: Floats | None = None) -> Floats:
    """Generalized entropy index with α = 2 along the last axis, mean((b/μ)² − 1)/2 (Speicher et al. 2018).

    nan if the mean is 0.
    """
    w = np.ones(benefit.shape[-1]) if weight is None else weight
    mean = (w * benefit).sum(axis=-1, keepdims=True) / w.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        index = (w * ((benefit / mean) ** 2 - 1)).sum(axis=-1) / w.sum() / 2
    return np.asarray(np.where(mean[..., 0] > 0, index, np.nan))


def entropy_parts(benefit: Floats, group: Ints, n: int) -> tuple[float, float]:
    """Generalized entropy (α = 2) between groups (everyone has the group's mean) and within groups (the rest)."""
    means = sums(group, benefit, n) / sums(group, np.ones(len(benefit)), n)
    between = float(generalized_entropy(means[group]))
    return between, float(generalized_entropy(benefit)) - between


def disparity_estimates(view: View, prepared: Prepared) -> dict[str, pl.DataFrame]:
    """Compute the disparity of accuracy over the groups of one dimension of people.

    For the null hypothesis (`baseline` permutation_null), personas are randomly reassigned to groups, and the effects
    of questions on groups (`question_noise`) are redrawn. The mean over draws is the baseline, and the share of draws
    at least as unequal is the p-value. With a single item cluster, question effects are unknown: p-values then hold
    for this item only, and the note says so.
    """
    block, slices = view.block, view.slices
    if not g.of_people(view.cut.dimension) or view.n < 2:
        return {}
    moments = prepared.moments
    used = prepared.used & slices.inside
    n_personas = int(block.persona.max(initial=-1)) + 1
    a, b = moments.persona.stats[0], moments.persona.stats[1]
    weight = np.zeros(n_personas)
    weight[block.persona[used]] = block.weight[used]
    group = np.full(n_personas, -1)
    group[block.persona[used]] = view.cut.codes[used]
    size = sums(group[group >= 0], np.ones(int((group >= 0).sum())), view.n)
    kept = np.flatnonzero(size >= LEAST_PERSONAS)
    if len(kept) < 2:
        return {}
    code = np.full(view.n, -1)
    code[kept] = np.arange(len(kept))
    people = np.flatnonzero((group >= 0) & (code[np.maximum(group, 0)] >= 0))
    group = code[group[people]]
    seed = int(digest("disparity", block.survey, view.cut.dimension, view.condition, length=12), 16)
    null = permuted_means(a[people], b[people], group, len(kept), draws=block.rules.bootstrap, seed=seed)
    item_a, item_b = (grid[kept] for grid in slices.by_item(moments))
    questions = question_noise(
        item_a,
        item_b,
        item_b.sum(axis=1) / item_b.sum(),
        cell=slices.cell_variance(moments)[kept],
        draws=block.rules.bootstrap,
        seed=seed + 1,
    )
    if questions is not None:
        null = null + questions
        null = np.clip(null, prepared.values.metric.low, prepared.values.metric.high)
    estimate = slices.means_of(moments).estimate[kept]
    # All groups share the items, so that only effects that do not cancel between groups are errors here.
    error = slices.gaps_of(moments).deviation_variance[kept] * len(kept) / (len(kept) - 1)
    seen, chance = spread(estimate), spread(null)
    shrunken = shrinkage.normal_normal(estimate, error).estimate
    tau2 = between_variance(estimate, error) if np.isfinite(error).all() else float("nan")
    person = a[people] / b[people]
    between, _ = entropy_parts(person, group, len(kept))
    within = used & np.isin(view.cut.codes, kept)
    sizes = {
        "n_answers": [round(float(block.orders[within].sum()))],
        "n_personas": [len(people)],
        "n_items": [distinct(block.item[within])],
        "even_personas": [round(kish(weight[people]), 6)],
    }

    on_these_items = "on this item only: another item may serve the groups otherwise" if questions is None else None

    def one(estimate: float, null_values: Floats | None, *, upper: bool = True) -> pl.DataFrame:
        base = pl.DataFrame({"slice": [-1], "estimate": [estimate], **sizes})
        if null_values is None:
            return base.with_columns(
                pl.Series("baseline", [""]), pl.Series("method", [f"point estimate; {block.note}"])
            )
        extreme = null_values >= estimate - 1e-12 if upper else null_values <= estimate + 1e-12
        p = (1 + int(extreme.sum())) / (1 + len(null_values))
        drawn = "" if questions is None else " and group × question differences drawn anew"
        text = f"people dealt anew to groups{drawn}, {len(null_values)} times; {block.note}"
        return pl.concat([base, base]).with_columns(
            pl.Series("baseline", ["", "permutation_null"]),
            pl.Series("baseline_estimate", [None, float(null_values.mean())], pl.Float64),
            pl.Series("p_value", [p, p]),
            pl.Series("note", [on_these_items, on_these_items], pl.String),
            pl.Series("method", [text, text]),
        )

    name = prepared.values.metric.name
    return {
        f"{name}_worst": one(float(seen.worst), chance.worst, upper=False),
        f"{name}_range": one(float(seen.range), chance.range),
        f"{name}_ratio": one(float(seen.ratio), chance.ratio, upper=False),
        f"{name}_range_shrunken": one(float(np.ptp(shrunken)), None),
        f"{name}_between_sd": one(float(np.sqrt(max(tau2, 0.0))) if np.isfinite(tau2) else float("nan"), None),
        f"{name}_entropy_between": one(between, generalized_entropy(null, np.bincount(group).astype(float))),
    }
