"""Array types and the one summation that every estimate goes through."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]
# Of either precision.
Reals = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
# (rows × m) estimates of which totals are made: sparse where m is large and most are 0.
Features = Floats | sparse.csr_matrix


def sums(codes: Ints, values: Floats | Flags, n: int) -> Floats:
    """Sum values by code, 0 … n − 1, one after the other in row order: the same rows give the same bytes."""
    return np.bincount(codes, values, minlength=n).astype(np.float64)


def distinct(codes: Ints) -> int:
    """How many different codes there are among codes from 0 that are not many."""
    return int(np.count_nonzero(np.bincount(codes)))


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide; nan where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(denominator > 0, numerator / denominator, np.nan))


def dense(values: pl.Series) -> NDArray[np.int64]:
    """Codes from 0 in the values' sorted order, so that they do not depend on row order."""
    names = values.unique().sort().to_list()
    return values.cast(pl.Enum(names)).to_physical().cast(pl.Int64).to_numpy() if names else np.zeros(0, dtype=np.int64)
