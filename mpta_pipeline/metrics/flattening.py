"""Whether the model's people differ as people do: spread, difference between groups, how answers hang together."""

from __future__ import annotations

import numpy as np
import polars as pl

from mpta_pipeline.metrics import groups as g
from mpta_pipeline.metrics.arrays import Floats, Ints
from mpta_pipeline.metrics.block import View

# Fewer common answers make a correlation of two items too loose to say how answers hang together.
LEAST_COMMON = 20


def variance(p: Floats, places: Floats, n: Floats) -> Floats:
    """Variance of the answers' places under (… × K) distributions, unbiased for samples of effective size n."""
    x = np.nan_to_num(places)
    mean = (p * x).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(n > 1, ((p * x**2).sum(axis=-1) - mean**2) * n / (n - 1), np.nan))


def entropy(p: Floats, n: Floats) -> Floats:
    """Entropy in bits of (… × K) distributions, with Miller and Madow's correction for samples of effective size n."""
    with np.errstate(divide="ignore", invalid="ignore"):
        plain = -np.where(p > 0, p * np.log2(p), 0.0).sum(axis=-1)
        return np.asarray(plain + ((p > 0).sum(axis=-1) - 1) / (2 * n * np.log(2)))


def epsilon_squared(means: Floats, variances: Floats, n: Floats) -> tuple[float, float]:
    """Sum of squares between groups that is not chance, and the total, each added up over items.

    Their ratio is ε², η² without its bias (Kelley 1935).

    Args:
        means: (items × groups) or (groups,) means.
        variances: Unbiased variances of the groups.
        n: (Effective) group sizes; 0 for groups that do not count. Items with fewer than two groups do not count.
    """
    means, variances, n = (np.atleast_2d(v) for v in (means, variances, n))
    counted = n > 0
    keep = counted.sum(axis=1) > 1
    means, variances, n, counted = means[keep], variances[keep], n[keep], counted[keep]
    total, groups = n.sum(axis=1), counted.sum(axis=1)
    grand = (n * means).sum(axis=1) / total
    between = (n * (means - grand[:, None]) ** 2).sum(axis=1)
    within = np.where(counted, (n - 1) * variances, 0.0).sum(axis=1)
    error = within / (total - groups)
    return float((between - (groups - 1) * error).sum()), float((between + within).sum())


def pc1_share(correlation: Floats) -> float:
    """Largest eigenvalue over their sum: 1/k when nothing hangs together, 1 when everything does."""
    values = np.linalg.eigvalsh(correlation)
    return float(values[-1] / values.sum())


def effective_dependence(correlation: Floats) -> float:
    """1 − |R|^(1/k), 0 for independent answers (Peña and Rodríguez 2003)."""
    sign, log_determinant = np.linalg.slogdet(correlation)
    return float(1 - np.exp(log_determinant / len(correlation))) if sign > 0 else 1.0


def correlation(matrix: Floats, weight: Floats | None = None) -> Floats | None:
    """Pearson correlations of the columns over rows that have both; None where two columns share too few.

    Args:
        matrix: (rows × columns) values; nan where there is none.
        weight: Weight of each row; None for equal ones.
    """
    known = np.isfinite(matrix).astype(float)
    if matrix.shape[1] < 3:
        return None
    common = known.T @ known
    if common.min() < LEAST_COMMON:
        return None
    if weight is not None:
        known = known * weight[:, None]
        common = known.T @ (known > 0)
    # Sums over the rows that both columns have; centred first, so that squares do not cancel.
    x = np.where(known > 0, matrix - np.nanmean(matrix, axis=0), 0.0)
    first, second = x.T @ known, (x**2).T @ known
    if weight is not None:
        x = x * np.sqrt(weight)[:, None]
    variance_of_both = second / common - (first / common) ** 2
    if variance_of_both.min() <= 1e-12:
        return None
    covariance = (x.T @ x) / common - (first / common) * (first / common).T
    return np.asarray(covariance / np.sqrt(variance_of_both * variance_of_both.T))


def structure_figures(view: View) -> dict[str, pl.DataFrame]:
    """PC1 share and effective dependence of the model's answers over everyone, beside those of the very same people.

    Both sides carry the block's weights, as the persons are the same. Ordinal items that nearly everyone was asked;
    nothing where personas share too few items.
    """
    block = view.block
    if view.cut.dimension != g.ALL or block.people.empty or block.polls is not None:
        return {}
    frame = block.frame.with_columns(
        pl.Series("here", (view.cut.codes >= 0) & (block.weight > 0)),
        pl.Series("w", block.weight),
        pl.Series("place", (block.units.answer * np.arange(block.units.answer.shape[1])).sum(axis=1)),
    ).filter(pl.col("here") & pl.col("ordinal") & (pl.col("n_ok") > 0))
    if frame.is_empty():
        return {}
    persona, item = g.dense(frame.get_column("persona_id")), g.dense(frame.get_column("item_id"))
    model = _matrix(persona, item, frame.get_column("place").to_numpy())
    human = _matrix(persona, item, frame.get_column("gold_idx").to_numpy().astype(float))
    weight = None
    if block.weighted:
        weight = np.empty(len(model))
        weight[persona] = frame.get_column("w").to_numpy()
    of_model, of_human = correlation(model, weight), correlation(human, weight)
    if of_model is None or of_human is None:
        return {}
    out = {}
    for name, statistic in (("pc1_share", pc1_share), ("effective_dependence", effective_dependence)):
        base = pl.DataFrame(
            {
                "slice": [0],
                "baseline": [""],
                "estimate": [statistic(of_model)],
                "n_answers": [int(frame.get_column("n_orders").sum())],
                "n_personas": [model.shape[0]],
                "n_items": [model.shape[1]],
                "method": [f"Pearson correlations over personas, point estimate; {block.note}"],
            }
        )
        of_people = base.with_columns(
            pl.lit("human").alias("baseline"), pl.lit(statistic(of_human)).alias("baseline_estimate")
        )
        out[name] = pl.concat([base, of_people], how="diagonal")
    return out


def _matrix(persona: Ints, item: Ints, values: Floats) -> Floats:
    """(personas × items) first value of each pair; nan where there is none."""
    out = np.full((int(persona.max()) + 1, int(item.max()) + 1), np.nan)
    out[persona[::-1], item[::-1]] = values[::-1]
    return out
