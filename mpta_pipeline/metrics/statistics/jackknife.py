"""Compute errors of functions of sums over people and items with three one-way delete-a-group jackknives.

People, item clusters and their crossings are left out one group at a time. V = V_person + V_item − V_cell, but at least
the larger of the first two, as in two-way clustering. Unlike linearization, it captures the noise of quantities whose
true value is near 0, such as the variance between groups that do not differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpta_pipeline.metrics.statistics.arrays import Flags, Floats

# Number of random groups of people, and of crossings. The error of the variance is √(2/40); t with 39 degrees of
# freedom accounts for it.
GROUPS = 40


@dataclass(frozen=True)
class LeftOut:
    """Estimates that leave out one group each.

    Attributes:
        values: (groups × n × q) estimates without the group.
        present: (groups × n) whether the group is part of the estimate.
    """

    values: Floats
    present: Flags

    @property
    def count(self) -> NDArray[np.int64]:
        """(n,) number of groups that are part of each estimate."""
        return np.asarray(self.present.sum(axis=0))

    def covariance(self) -> Floats:
        """(n × q × q) jackknife covariance; nan with fewer than two groups."""
        used = self.present[:, :, None] & np.isfinite(self.values)
        count = used.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(used, self.values, 0.0).sum(axis=0) / count
            away = np.where(used, self.values - mean, 0.0)
            n = count.min(axis=1)[:, None, None]
            return np.asarray(np.where(n > 1, (n - 1) / n * np.einsum("gnq,gnr->nqr", away, away), np.nan))


@dataclass(frozen=True)
class TwoWay:
    """Covariances (n × q × q) by people, items and crossings, and the degrees of freedom of combined estimates."""

    person: Floats
    item: Floats
    cell: Floats
    df: Floats
    one_item: Flags

    @property
    def kinds(self) -> Floats:
        """(3 × n × q × q) covariances; a combination takes the largest variance. People alone if there is one item."""
        one = self.one_item[:, None, None]
        both = np.where(one, self.person, self.person + self.item - self.cell)
        return np.stack([both, self.person, np.where(one, self.person, self.item)])

    def variance(self, weights: Floats | None = None) -> Floats:
        """Variance of Σ weights · value: (n,) of (n × q) weights, or (n × q) of each value by itself."""
        kinds = self.kinds
        if weights is None:
            return np.asarray(np.einsum("knqq->knq", kinds).max(axis=0))
        return np.asarray(np.maximum(np.einsum("nq,knqr,nr->kn", weights, kinds, weights).max(axis=0), 0.0))


def two_way(person: LeftOut, item: LeftOut, cell: LeftOut) -> TwoWay:
    """Combine the three jackknives. The degrees of freedom are the smaller number of groups minus one."""
    one = item.count == 1
    df = np.where(one, person.count, np.minimum(person.count, item.count)) - 1.0
    return TwoWay(person.covariance(), item.covariance(), cell.covariance(), np.where(df >= 1, df, np.nan), one)
