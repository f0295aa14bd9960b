"""Turn keys of several columns into integers. Sorting a million rows by text would take seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from mpta_pipeline.metrics.samples.compact import CompactFrame
from mpta_pipeline.metrics.statistics.arrays import Ints, dense

_MOST = 2**62


class Keys:
    """The rows of a frame, numbered by the values of chosen columns."""

    def __init__(self, frame: pl.DataFrame | CompactFrame) -> None:
        self._frame = frame
        self._codes: dict[str, tuple[Ints, int]] = {}

    def _column(self, name: str) -> tuple[Ints, int]:
        """Rank each row's value among the column's distinct sorted values, and count these values."""
        if name not in self._codes and isinstance(self._frame, CompactFrame):
            self._codes[name] = (self._frame.codes(name), len(self._frame.distinct(name)))
        elif name not in self._codes:
            values = self._frame.get_column(name)
            if values.dtype.is_integer():
                known, code = np.unique(values.to_numpy(), return_inverse=True)
                self._codes[name] = (code.astype(np.int64), len(known))
            else:
                code = dense(values.cast(pl.String))
                self._codes[name] = (code, int(code.max(initial=-1)) + 1)
        return self._codes[name]

    def of(self, names: Sequence[str]) -> Ints:
        """Number the rows in the order of the columns' values. Rows with equal values get the same number."""
        key, size = np.zeros(self._frame.height, dtype=np.int64), 1
        for name in names:
            code, n = self._column(name)
            if n == 1:
                continue
            if size > _MOST // max(n, 1):
                known, key = np.unique(key, return_inverse=True)
                size = len(known)
            key, size = key * n + code, size * max(n, 1)
        return np.asarray(key, dtype=np.int64)

    def order(self, names: Sequence[str], tie: str) -> Ints:
        """Sort the rows by columns, with ties broken by `tie`."""
        key = self.of(names)
        order = np.argsort(key, kind="stable")
        if len(key) and (np.diff(key[order]) == 0).any():
            order = np.argsort(self.of([*names, tie]), kind="stable")
        return order
