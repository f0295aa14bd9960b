"""Means of slices with errors clustered by persona and by item at once, weighted, and gaps of a slice to the rest.

Two-way clustering after Cameron, Gelbach and Miller (2011): V = V_persona + V_item − V_cell, each with C/(C − 1), and
not less than the larger of V_persona and V_item; t with the smaller C − 1. It equals statsmodels' OLS and WLS on a
constant with `cov_type="cluster"` and two groups. Sums run over canonically sorted rows: their order does not show.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats

from mpta_pipeline.metrics.arrays import Floats, Ints, sums


@dataclass(frozen=True)
class Means:
    """One entry a slice.

    Attributes:
        estimate: Weighted mean; nan without rows.
        se: Two-way clustered standard error; nan with fewer than two clusters on either side.
        df: Degrees of freedom: the smaller number of clusters less 1.
        n_eff: Rows of a simple random sample with the same error, at most the rows.
        variance: Weighted variance of the rows, with n/(n − 1).
        n_persona: Persona clusters.
        n_item: Item clusters.
        n_rows: Rows.
    """

    estimate: Floats
    se: Floats
    df: Floats
    n_eff: Floats
    variance: Floats
    n_persona: Ints
    n_item: Ints
    n_rows: Ints


@dataclass(frozen=True)
class Gaps:
    """Difference of each slice to all other rows that have a slice, its error and degrees of freedom.

    Attributes:
        difference: Slice less rest.
        se: Its error.
        df: Degrees of freedom.
        share: The slice's share of the weight.
    """

    difference: Floats
    se: Floats
    df: Floats
    share: Floats

    @property
    def deviation_variance(self) -> Floats:
        """Error variance of the slice's difference to the mean of all slices, in which shared items cancel."""
        return ((1 - self.share) * self.se) ** 2


class _Pairs:
    """Sums over (slice, cluster) pairs."""

    def __init__(self, slices: Ints, clusters: Ints) -> None:
        self.n_clusters = int(clusters.max(initial=-1)) + 1
        key = slices * self.n_clusters + clusters
        unique, inverse = np.unique(key, return_inverse=True)
        self.inverse = inverse
        self.slice = unique // max(self.n_clusters, 1)
        self.cluster = unique % max(self.n_clusters, 1)

    def sum(self, values: Floats) -> Floats:
        return sums(self.inverse, values, len(self.slice))


class Slices:
    """Rows cut into disjoint slices, with their persona and item clusters.

    Args:
        slices: Slice of each row, from 0; −1 for rows in none.
        n_slices: Number of slices.
        persona: Persona code of each row, from 0.
        item: Item-cluster code of each row, from 0.
    """

    def __init__(self, slices: Ints, n_slices: int, persona: Ints, item: Ints) -> None:
        self.n = n_slices
        self.inside = slices >= 0
        self.slices = slices[self.inside].astype(np.int64)
        self._persona_code = persona[self.inside].astype(np.int64)
        self._item_code = item[self.inside].astype(np.int64)

    @cached_property
    def _persona(self) -> _Pairs:
        return _Pairs(self.slices, self._persona_code)

    @cached_property
    def _item(self) -> _Pairs:
        return _Pairs(self.slices, self._item_code)

    @cached_property
    def _cell(self) -> _Pairs:
        n_items = int(self._item_code.max(initial=-1)) + 1
        _, cell = np.unique(self._persona_code * max(n_items, 1) + self._item_code, return_inverse=True)
        return _Pairs(self.slices, cell)

    def sum(self, values: Floats) -> Floats:
        """Sum of a full-length row vector by slice."""
        return sums(self.slices, values[self.inside], self.n)

    def _prepare(self, x: Floats, w: Floats) -> tuple[Floats, Floats, float]:
        """Values and weights of the rows in slices; unusable rows get weight 0; values are centred for precision."""
        x, w = x[self.inside], w[self.inside]
        usable = np.isfinite(x) & (w > 0)
        w = np.where(usable, w, 0.0)
        x = np.where(usable, x, 0.0)
        total = w.sum()
        centre = float((w * x).sum() / total) if total > 0 else 0.0
        return np.where(usable, x - centre, 0.0), w, centre

    def means(self, x: Floats, w: Floats) -> Means:
        """Weighted means and two-way clustered errors of all slices.

        Args:
            x: Value of each row (full length); nan leaves the row out.
            w: Weight of each row; 0 leaves the row out.
        """
        x, w, centre = self._prepare(x, w)
        count = sums(self.slices, w > 0, self.n)
        total = sums(self.slices, w, self.n)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = sums(self.slices, w * x, self.n) / total
            residual = np.where(w > 0, x - mean[self.slices], 0.0)
            variance = sums(self.slices, w * residual**2, self.n) / total * count / (count - 1)
            score = w * residual / total[self.slices]
        parts, clusters = [], []
        for pairs in (self._persona, self._item, self._cell):
            v, c = _cluster_variance(pairs, score, w, self.n)
            parts.append(v)
            clusters.append(c)
        v_persona, v_item, v_cell = parts
        with np.errstate(invalid="ignore", divide="ignore"):
            v = np.maximum(v_persona + v_item - v_cell, np.maximum(v_persona, v_item))
            df = np.minimum(clusters[0], clusters[1]) - 1.0
            defined = (df >= 1) & (count > 0)
            se = np.where(defined, np.sqrt(v), np.nan)
            tiny = 1e-12 * np.maximum(1.0, np.abs(mean + centre))
            se = np.where(se < tiny, 0.0, se)
            n_eff = np.where(se > 0, np.minimum(variance / se**2, count), np.where(se == 0, df + 1, np.nan))
        return Means(
            estimate=mean + centre,
            se=se,
            df=np.where(defined, df, np.nan),
            n_eff=n_eff,
            variance=variance,
            n_persona=clusters[0].astype(np.int64),
            n_item=clusters[1].astype(np.int64),
            n_rows=count.astype(np.int64),
        )

    def gaps(self, x: Floats, w: Floats) -> Gaps:
        """Mean of each slice less the mean of the rest, with the error of the difference.

        Clusters shared by both sides (every item, mostly) enter with their covariance. C/(C − 1) and the degrees of
        freedom take the smaller side's number of clusters.
        """
        x, w, _ = self._prepare(x, w)
        a = sums(self.slices, w * x, self.n)
        b = sums(self.slices, w, self.n)
        rest_b = b.sum() - b
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = a / b
            rest = (a.sum() - a) / rest_b
        parts, sides = [], []
        for pairs in (self._persona, self._item, self._cell):
            v, c = _gap_variance(pairs, pairs.sum(w * x), pairs.sum(w), mean=mean, rest=rest, own=b, others=rest_b)
            parts.append(v)
            sides.append(c)
        v_persona, v_item, v_cell = parts
        with np.errstate(invalid="ignore"):
            v = np.maximum(v_persona + v_item - v_cell, np.maximum(v_persona, v_item))
            df = np.minimum(sides[0], sides[1]) - 1.0
            defined = (df >= 1) & np.isfinite(mean) & np.isfinite(rest)
            se = np.where(defined, np.sqrt(np.maximum(v, 0.0)), np.nan)
        return Gaps(
            difference=np.where(np.isfinite(rest), mean - rest, np.nan),
            se=np.where(se < 1e-9, 0.0, se),
            df=np.where(defined, df, np.nan),
            share=b / max(b.sum(), 1e-300),
        )


def _cluster_variance(pairs: _Pairs, score: Floats, w: Floats, n: int) -> tuple[Floats, Floats]:
    """C/(C − 1) · Σ_c (Σ score)² of each slice, and C, the clusters with weight."""
    clusters = sums(pairs.slice, pairs.sum(w) > 0, n)
    squares = sums(pairs.slice, pairs.sum(score) ** 2, n)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(clusters > 1, clusters / (clusters - 1) * squares, np.nan), clusters


def _gap_variance(
    pairs: _Pairs, a: Floats, b: Floats, *, mean: Floats, rest: Floats, own: Floats, others: Floats
) -> tuple[Floats, Floats]:
    """Variance part of slice − rest for one kind of cluster, and the smaller side's clusters.

    With u the slice's and v the rest's cluster score, Σ(u − v)² = Σ_all v̄² + Σ_pairs[(u − v)² − v̄²], where v̄ is the
    rest's score as if the slice had no part in the cluster: no slice × cluster matrix is needed.
    """
    n = len(mean)
    a_all = sums(pairs.cluster, a, pairs.n_clusters)
    b_all = sums(pairs.cluster, b, pairs.n_clusters)
    m, r = mean[pairs.slice], rest[pairs.slice]
    with np.errstate(divide="ignore", invalid="ignore"):
        base = ((a_all**2).sum() - 2 * rest * (a_all * b_all).sum() + rest**2 * (b_all**2).sum()) / others**2
        u = (a - m * b) / own[pairs.slice]
        v = (a_all[pairs.cluster] - a - r * (b_all[pairs.cluster] - b)) / others[pairs.slice]
        bar = (a_all[pairs.cluster] - r * b_all[pairs.cluster]) / others[pairs.slice]
        squares = base + sums(pairs.slice, (u - v) ** 2 - bar**2, n)
        slice_clusters = sums(pairs.slice, b > 0, n)
        whole = (b > 0) & (b_all[pairs.cluster] - b <= 1e-12 * b_all[pairs.cluster])
        fully = sums(pairs.slice, whole, n)
        rest_clusters = (b_all > 0).sum() - fully
        c = np.minimum(slice_clusters, rest_clusters)
        return np.where(c > 1, c / (c - 1) * squares, np.nan), c


def t_quantile(df: Floats, level: float = 0.05) -> Floats:
    """Two-sided t quantile; nan where df is."""
    return np.asarray(stats.t.ppf(1 - level / 2, df), dtype=float)


def p_value(estimate: Floats, se: Floats, df: Floats) -> Floats:
    """Two-sided p of estimate/se with t(df); nan without an error; 0/0 gives 1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(estimate == 0, 0.0, np.abs(estimate) / se)
        return np.where(np.isfinite(se) & np.isfinite(df), 2 * stats.t.sf(t, df), np.nan)
