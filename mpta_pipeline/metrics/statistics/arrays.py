"""Define array types and the summation that every estimate uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]
# Single or double precision.
Reals = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class ItemFeatures:
    """Values of rows that are summed by item, for statistics of single items that are averaged over items.

    Attributes:
        row: The rows, sorted by item.
        item: Item of each, from 0.
        values: (rows × m) values.
        n_items: Number of items.
        height: Number of rows of which these are some.
    """

    row: Ints
    item: Ints
    values: Floats
    n_items: int
    height: int


# (rows × m) values that are summed to totals: sparse if m is large and most values are 0.
Features = Floats | sparse.csr_matrix | ItemFeatures


def sums(codes: Ints, values: Reals | Flags, n: int) -> Floats:
    """Sum values by code, 0 … n − 1, sequentially in row order, so that the same rows give the same bytes."""
    return np.bincount(codes, values, minlength=n).astype(np.float64)


def distinct(codes: Ints) -> int:
    """Count the distinct values among small codes from 0."""
    return int(np.count_nonzero(np.bincount(codes)))


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide; nan where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(denominator > 0, numerator / denominator, np.nan))


def dense(values: pl.Series) -> NDArray[np.int64]:
    """Assign codes from 0 in the values' sorted order, so that codes do not depend on row order."""
    names = values.unique().sort().to_list()
    return values.cast(pl.Enum(names)).to_physical().cast(pl.Int64).to_numpy() if names else np.zeros(0, dtype=np.int64)


# Codes of more rows than this are kept in as few bytes as possible. Of fewer, time counts more than memory.
MANY_ROWS = 1_000_000


def narrow(codes: Ints, most: int) -> NDArray[np.signedinteger[Any]]:
    """Keep codes from −1 to `most` in few bytes, if they are many."""
    if len(codes) <= MANY_ROWS:
        return codes
    return codes.astype(np.int8 if most < 2**7 else np.int16 if most < 2**15 else np.int32)


def numbered(keys: Ints, size: int) -> tuple[Ints, Ints]:
    """Number keys below `size` by their rank among the distinct ones, and return these: `np.unique` with its inverse.

    Without sorting, if the keys could be marked in a table that is not much longer than they are many.
    """
    if size <= 32 * len(keys):
        present = np.zeros(size, dtype=bool)
        present[keys] = True
        number = np.cumsum(present, dtype=np.int32 if size < 2**31 else np.int64)
        return number[keys].astype(np.int64) - 1, np.flatnonzero(present)
    unique, code = np.unique(keys, return_inverse=True)
    return np.asarray(code, dtype=np.int64), unique


def difference_of_ratios(totals: Floats) -> Floats:
    """First ratio minus second, from two pairs of numerator and denominator on the last axis."""
    return ratio(totals[..., 0], totals[..., 1]) - ratio(totals[..., 2], totals[..., 3])
