"""Errors of linear contrasts and of regression coefficients, clustered by persona and item.

To first order, an estimate is a sum over rows of an influence: V = Σ over personas of (their influence)² + the same
over items − the same over crossings (Cameron, Gelbach and Miller 2011), each times C/(C − 1) of its C clusters, and at
least the larger of the first two. With one item, it is clustered by persona alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpta_pipeline.metrics.statistics.arrays import Flags, Floats, Ints, sums


@dataclass(frozen=True)
class Contrast:
    """An estimate with its error.

    Attributes:
        estimate: The estimate.
        se: Its error; nan with fewer than two clusters.
        df: Degrees of freedom: the smaller number of clusters minus 1.
    """

    estimate: float
    se: float
    df: float


@dataclass(frozen=True)
class Sample:
    """Values with weights, persona and item cluster of each row.

    Attributes:
        x: Value of each row; nan excludes it.
        w: Weight of each row.
        persona: Persona of each row.
        item: Item cluster of each row.
    """

    x: Floats
    w: Floats
    persona: Ints
    item: Ints

    def take(self, keep: Flags) -> Sample:
        """Keep the rows of a mask."""
        return Sample(self.x[keep], self.w[keep], self.persona[keep], self.item[keep])


def of_means(sample: Sample, sides: Ints, signs: Floats) -> Contrast:
    """Compute a sum of signed means: with the signs (1, −1), the difference of two.

    Args:
        sample: The rows.
        sides: Which mean each row belongs to; −1 for none.
        signs: Sign of each mean.
    """
    used = np.isfinite(sample.x) & (sample.w > 0) & (sides >= 0)
    rows, sides, n = sample.take(used), sides[used], len(signs)
    weight = sums(sides, rows.w, n)
    if (weight <= 0).any():
        return Contrast(np.nan, np.nan, np.nan)
    mean = sums(sides, rows.w * rows.x, n) / weight
    influence = signs[sides] * rows.w * (rows.x - mean[sides]) / weight[sides]
    # Personas of each side: two arms of ten persons each are as informative as ten, not twenty.
    clusters = min(len(np.unique(rows.persona[sides == side])) for side in range(n))
    return _contrast(float(signs @ mean), influence, rows, most=clusters)


def _contrast(estimate: float, influence: Floats, rows: Sample, *, most: int | None = None) -> Contrast:
    by_persona, n_persona = _squares(influence, rows.persona)
    by_item, n_item = _squares(influence, rows.item)
    n_persona = n_persona if most is None else min(n_persona, most)
    if n_persona < 2:
        return Contrast(estimate, np.nan, np.nan)
    v_persona = by_persona * n_persona / (n_persona - 1)
    if n_item < 2:
        return Contrast(estimate, float(np.sqrt(v_persona)), n_persona - 1.0)
    v_item = by_item * n_item / (n_item - 1)
    cell = rows.persona.astype(np.int64) * (int(rows.item.max()) + 1) + rows.item
    by_cell, n_cell = _squares(influence, cell)
    v = max(v_persona + v_item - by_cell * n_cell / max(n_cell - 1, 1), v_persona, v_item)
    return Contrast(estimate, float(np.sqrt(v)), min(n_persona, n_item) - 1.0)


def _squares(influence: Floats, cluster: Ints) -> tuple[float, int]:
    """Sum of the squared influences of clusters, and their number."""
    _, code = np.unique(cluster, return_inverse=True)
    n = int(code.max(initial=-1)) + 1
    return float((sums(code, influence, n) ** 2).sum()), n


class Regression:
    """Weighted least squares of the values on columns, with errors of linear combinations of the coefficients.

    Args:
        design: (rows × columns) of the regressors, a constant among them.
        rows: The values.
    """

    def __init__(self, design: Floats, rows: Sample) -> None:
        self._rows = rows
        weighted = design * rows.w[:, None]
        self._bread = np.linalg.pinv(design.T @ weighted)
        self._gram = design.T @ weighted
        self.coefficients: Floats = self._bread @ (weighted.T @ rows.x)
        self._scores = weighted * (rows.x - design @ self.coefficients)[:, None]

    def combination(self, factors: Floats) -> Contrast:
        """A linear combination of the coefficients; nan if the rows do not determine it."""
        if not np.allclose(self._gram @ (self._bread @ factors), factors, atol=1e-8):
            return Contrast(np.nan, np.nan, np.nan)
        influence = self._scores @ (self._bread @ factors)
        return _contrast(float(factors @ self.coefficients), influence, self._rows)
