"""Bootstrap the errors of statistics that are not means: three one-way bootstraps, combined as in two-way clustering.

Personas, item clusters and their crossings are reweighted one kind at a time. V = V_persona + V_item − V_cell, but at
least the larger of the first two. The pigeonhole bootstrap, which multiplies both weights, would triple the noise of
sparse crossed data. Weights are exponential, from a hash of (seed, id, replicate), so that they do not depend on
partitions or on the order of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from mpta_pipeline.core.hashing import hash_rows
from mpta_pipeline.metrics.statistics.arrays import Features, Floats, Ints, ItemFeatures, dense, sums

Hashes = NDArray[np.uint64]
# If there are more clusters than this, they are reweighted in random groups. The groups are independent too, and the
# error of the variance, √(2/512) ≈ 6 %, stays below that of 400 replicates.
MOST_LEVELS = 512
# Share of non-zero entries above which a dense product is faster than a sparse one.
DENSE = 0.1
Statistic = Callable[[Floats, int], Floats]
ItemStatistic = Callable[[Floats], Floats]
# Rows of an item per level above which they are summed by level first.
FULL = 0.4


def hash_ids(ids: pl.Series, *, key: str) -> Hashes:
    """Hash each id to 60 bits."""
    names = ids.unique().sort()
    if names.is_empty():
        return np.zeros(0, dtype=np.uint64)
    hashed = hash_rows(names.alias("id").to_frame(), ["id"], key=key, length=15)
    of_name = hashed.str.to_integer(base=16, dtype=pl.Int64).to_numpy().astype(np.uint64)
    return np.asarray(of_name[dense(ids)])


def mix(values: Hashes) -> Hashes:
    """Apply Splitmix64's finalizer (Steele, Lea and Flood 2014): neighbouring inputs give independent outputs."""
    with np.errstate(over="ignore"):
        z = values + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))


def exponential_weights(ids: Hashes, replicates: int) -> Floats:
    """Make (replicates × ids) weights with mean 1 and variance 1."""
    counter = mix(np.arange(replicates, dtype=np.uint64) * np.uint64(0xD1342543DE82EF95))
    u = (mix(ids[None, :] ^ counter[:, None]) >> np.uint64(11)).astype(np.float64) / 2.0**53
    return np.asarray(-np.log1p(-u))


@dataclass(frozen=True)
class Levels:
    """Rows that are reweighted together: the level of each row, and the (replicates × levels) weights."""

    code: Ints
    weights: Floats


class Replicates:
    """Bootstrap weights of some rows, computed once for all statistics.

    Args:
        persona: Persona of each row.
        cluster: Item cluster of each row.
        replicates: Number of replicates.
        seed: Seed, part of every hash.
    """

    def __init__(self, persona: pl.Series, cluster: pl.Series, *, replicates: int, seed: int) -> None:
        self._persona_hash = hash_ids(persona, key=f"persona|{seed}")
        self._cluster_hash = hash_ids(cluster, key=f"cluster|{seed}")
        self._replicates = replicates

    @classmethod
    def of_hashes(cls, persona: Hashes, cluster: Hashes, *, replicates: int) -> Replicates:
        """The same weights, from the hashes of each row's persona and item cluster (`hash_ids`)."""
        made = cls.__new__(cls)
        made._persona_hash, made._cluster_hash, made._replicates = persona, cluster, replicates
        return made

    @cached_property
    def persona(self) -> Levels:
        """Weights by persona."""
        return self._levels(self._persona_hash)

    @cached_property
    def item(self) -> Levels:
        """Weights by item cluster."""
        return self._levels(self._cluster_hash)

    @cached_property
    def cell(self) -> Levels:
        """Weights by crossing of persona and item cluster."""
        return self._levels(mix(self._persona_hash ^ mix(self._cluster_hash)))

    def _levels(self, hashes: Hashes) -> Levels:
        levels, code = np.unique(hashes, return_inverse=True)
        if len(levels) > MOST_LEVELS:
            code = (mix(hashes) % np.uint64(MOST_LEVELS)).astype(np.int64)
            levels = mix(np.arange(MOST_LEVELS, dtype=np.uint64))
        return Levels(code.astype(np.int64), exponential_weights(levels, self._replicates))


def reweighted(levels: Levels, slices: Ints, n: int, features: Features, statistic: Statistic, *, k: int = 0) -> Floats:
    """Compute the bootstrap variance of a statistic of each slice when one kind of level is reweighted.

    Args:
        levels: Rows that are reweighted together.
        slices: Slice of each row, −1 for excluded rows.
        n: Number of slices.
        features: (rows × m) features; the statistic is a function of their weighted totals. Sparse if m is large.
        statistic: (totals of shape (replicates × m), slice) → (replicates,), or (replicates × k) for k statistics.
        k: Number of statistics; 0 for one statistic without its own axis.

    Returns:
        (n,) or (n × k) variances, nan where undefined in most replicates or with fewer than two levels.
        The factor (C + 1)/(C − 1) scales the exponential weights' variance to that of the cluster-robust estimator.
    """
    size = levels.weights.shape[1]
    place = np.where(slices >= 0, slices, n) * size + levels.code
    present = np.bincount(place, minlength=(n + 1) * size).reshape(n + 1, size)[:n] > 0
    n_levels = present.sum(axis=1)
    totals_of = _dense_totals if isinstance(features, np.ndarray) else _sparse_totals
    out = np.full((n, k) if k else n, np.nan)
    for s, totals in totals_of(levels, slices, n, features, np.flatnonzero(n_levels >= 2)):  # type: ignore[arg-type]
        values = statistic(totals, s)
        known = np.isfinite(values)
        count = known.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            deviation = np.where(known, values - np.where(known, values, 0.0).sum(axis=0) / count, 0.0)
            variance = (deviation**2).sum(axis=0) / (count - 1)
        variance = variance * (n_levels[s] + 1) / (n_levels[s] - 1)
        out[s] = np.where(count > len(values) / 2, variance, np.nan)
    return out


def reweighted_items(
    levels: Levels, slices: Ints, n: int, features: ItemFeatures, statistics: Sequence[ItemStatistic]
) -> Floats:
    """As `reweighted`, for statistics of single items that are averaged over items, several at a time.

    Args:
        levels: Rows that are reweighted together.
        slices: Slice of each of the features' rows, −1 for excluded rows.
        n: Number of slices.
        features: Equally many values per row for each statistic, side by side.
        statistics: (totals of shape (m × items × replicates)) → (replicates,). A factor on all totals of an item must
            not change its value.

    Returns:
        (statistics × slices) variances.
    """
    size, replicates = levels.weights.shape[1], len(levels.weights)
    level = levels.code[features.row]
    place = np.where(slices >= 0, slices, n) * size + level
    n_levels = (np.bincount(place, minlength=(n + 1) * size).reshape(n + 1, size)[:n] > 0).sum(axis=1)
    out = np.full((len(statistics), n), np.nan)
    first = np.flatnonzero(np.diff(features.item, prepend=-1))
    if len(first) and (np.minimum.reduceat(level, first) == np.maximum.reduceat(level, first)).all():
        # Whole items are reweighted, which does not change the statistics of any.
        out[:, n_levels >= 2] = 0.0
        return out
    # Rows by slice, and by item within slices.
    narrow = slices.astype(np.int16 if n < 2**15 else np.int64)
    order = np.argsort(narrow, kind="stable")
    ends = np.cumsum(np.bincount(slices + 1, minlength=n + 1))
    weights = np.ascontiguousarray(levels.weights.T)
    width = features.values.shape[1] // len(statistics)
    for s in np.flatnonzero(n_levels >= 2):
        rows = order[ends[s] : ends[s + 1]]
        totals = _item_totals(weights, level[rows], features.item[rows], features.values[rows])
        for i, statistic in enumerate(statistics):
            values = statistic(np.moveaxis(totals[:, i * width : (i + 1) * width], 1, 0))
            known = np.isfinite(values)
            if (count := int(known.sum())) > replicates / 2:
                variance = float(((values[known] - values[known].mean()) ** 2).sum()) / (count - 1)
                out[i, s] = variance * (n_levels[s] + 1) / (n_levels[s] - 1)
    return out


def _item_totals(weights: Floats, level: Ints, item: Ints, values: Floats) -> Floats:
    """(items × m × replicates) weighted totals of rows sorted by item."""
    first = np.flatnonzero(np.diff(item, prepend=-1))
    ends = np.append(first[1:], len(item))
    m, (size, replicates) = values.shape[1], weights.shape
    if len(item) > len(first) * size * FULL:
        # With many rows, most levels occur in each item.
        place = (np.cumsum(np.diff(item, prepend=item[0]) > 0)) * size + level
        by_level = np.stack([sums(place, column, len(first) * size).reshape(-1, size) for column in values.T], axis=1)
        return np.asarray((by_level.reshape(-1, size) @ weights).reshape(-1, m, replicates))
    out = np.empty((len(first), m, replicates))
    of_rows = np.empty((int((ends - first).max(initial=0)), replicates))
    for i, (begin, end) in enumerate(zip(first.tolist(), ends.tolist(), strict=True)):
        chosen = np.take(weights, level[begin:end], axis=0, out=of_rows[: end - begin], mode="clip")
        np.matmul(values[begin:end].T, chosen, out=out[i])
    return out


def _dense_totals(levels: Levels, slices: Ints, n: int, features: Floats, wanted: Ints) -> Iterator[tuple[int, Floats]]:
    """Yield each wanted slice with its (replicates × m) weighted totals."""
    size = levels.weights.shape[1]
    place = np.where(slices >= 0, slices, n) * size + levels.code
    sums_of = np.stack([sums(place, column, (n + 1) * size).reshape(n + 1, size)[wanted] for column in features.T])
    # One product for all slices, because the threads of many small products would mostly wait for each other.
    totals = levels.weights @ sums_of.reshape(-1, size).T
    for s, of_slice in zip(
        wanted, np.moveaxis(totals.reshape(len(totals), features.shape[1], len(wanted)), 2, 0), strict=True
    ):
        yield int(s), of_slice


def _sparse_totals(
    levels: Levels, slices: Ints, n: int, features: sparse.csr_matrix, wanted: Ints
) -> Iterator[tuple[int, Floats]]:
    """As `_dense_totals`, for a wide and sparse matrix: the cost depends on its non-zero entries only."""
    weights = np.ascontiguousarray(levels.weights.T)
    width = features.shape[1]
    row = np.repeat(np.arange(features.shape[0]), np.diff(features.indptr))
    kept = np.flatnonzero(slices[row] >= 0)
    row = row[kept]
    by_level = sparse.csr_matrix(
        (features.data[kept], (slices[row] * width + features.indices[kept], levels.code[row])),
        shape=(n * width, len(weights)),
    )
    for s in wanted:
        of_slice = by_level[s * width : (s + 1) * width]
        # With many rows, each feature occurs in most levels.
        full = of_slice.nnz > DENSE * width * len(weights)
        yield int(s), ((of_slice.toarray() if full else of_slice) @ weights).T


def combine(persona: Floats, item: Floats, cell: Floats) -> Floats:
    """Combine the three variances as Cameron, Gelbach and Miller do, with the floor, into a standard error."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(np.maximum(persona + item - cell, np.maximum(persona, item))))


def combined_se(replicates: Replicates, slices: Ints, n: int, features: Features, statistic: Statistic) -> Floats:
    """Compute the two-way standard error of a statistic of each slice; by persona alone with one item cluster."""
    persona, item, cell = (
        reweighted(levels, slices, n, features, statistic)
        for levels in (replicates.persona, replicates.item, replicates.cell)
    )
    one = np.isnan(item)
    return np.asarray(np.where(one, np.sqrt(persona), combine(persona, item, cell)))
