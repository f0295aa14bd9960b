"""Array types and the one summation that every figure goes through."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
# (rows × m) figures of which totals are made: sparse where m is large and most are 0.
Features = Floats | sparse.csr_matrix


def sums(codes: Ints, values: Floats | Flags, n: int) -> Floats:
    """Sum values by code, 0 … n − 1, one after the other in row order: the same rows give the same bytes."""
    return np.bincount(codes, values, minlength=n).astype(np.float64)


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide; nan where the denominator is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(denominator > 0, numerator / denominator, np.nan))
