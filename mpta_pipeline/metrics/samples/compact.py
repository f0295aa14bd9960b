"""Hold many rows in little memory: each column as its values and the number of its value on each row.

Of the columns of an answer, most have the same value on every row of a study, and nearly all others have few. A column
with one value takes no memory here, one with up to 256 values a byte per row. Columns of persons and items share the
numbers of the rows' persons and items. Values are the same as those of the frame, to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mpta_pipeline.metrics.statistics.arrays import Flags, Ints

# Numbers with more distinct values than this are kept as they are.
MOST_VALUES = 65_536
_Codes = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class _Column:
    """One column.

    Attributes:
        values: Its values; without codes the one value of all rows, or the value of each row.
        codes: Place of each row's value among them.
    """

    values: pl.Series
    codes: _Codes | None = None

    def series(self, height: int) -> pl.Series:
        """The value of each row."""
        if self.codes is not None:
            if self.values.dtype.is_numeric() and not self.values.null_count():
                return pl.Series(self.values.name, self.values.to_numpy()[self.codes], self.values.dtype)
            return self.values.gather(pl.Series(self.codes.astype(np.uint32, copy=False)))
        return self.values if len(self.values) == height else self.values.new_from_index(0, height)

    def constant(self, height: int) -> bool:
        """Whether one value is stored for all rows, which are several."""
        return self.codes is None and len(self.values) != height

    def rows(self, rows: slice | Ints, height: int, chosen: dict[int, _Codes]) -> _Column:
        """The same column of chosen rows. Columns that share codes still do: `chosen` has those chosen, by identity."""
        if self.codes is not None:
            if id(self.codes) not in chosen:
                chosen[id(self.codes)] = self.codes[rows]
            return _Column(self.values, chosen[id(self.codes)])
        if self.constant(height):
            return self
        if isinstance(rows, slice):
            return _Column(self.values[rows])
        return _Column(self.values.gather(pl.Series(rows, dtype=pl.UInt32)))


def _narrow(codes: NDArray[np.integer[Any]], n: int) -> _Codes:
    dtype = np.uint8 if n <= 2**8 else np.uint16 if n <= 2**16 else np.uint32
    return np.asarray(codes).astype(dtype)


def _coded(values: pl.Series) -> _Column:
    """Number the values of a column, if that saves memory."""
    n, nulls = len(values), values.null_count()
    if n and nulls == n:
        return _Column(values.head(1))
    if n < 2 or values.dtype.is_nested():
        return _Column(values)
    if values.dtype in (pl.String, pl.Categorical, pl.Enum):
        names = values.cast(pl.String).drop_nulls().unique().sort()
        if len(names) == 1 and not nulls:
            return _Column(values.head(1))
        codes = values.cast(pl.String).cast(pl.Enum(names)).to_physical().cast(pl.UInt32).fill_null(len(names))
        known = names.cast(values.dtype) if values.dtype != pl.Enum else names.cast(pl.String).cast(values.dtype)
        return _Column(_with_null(known, nulls).alias(values.name), _narrow(codes.to_numpy(), len(names) + bool(nulls)))
    if values.dtype == pl.Boolean:
        known = pl.Series(values.name, [False, True, None], pl.Boolean)
        truth = np.asarray(values.cast(pl.UInt8).fill_null(2).to_numpy())
        return _Column(known, truth) if (truth != truth[0]).any() else _Column(values.head(1))
    if not values.dtype.is_numeric():
        return _Column(values)
    x = values.to_numpy()
    if not nulls and bool((x == x[0]).all()):
        return _Column(values.head(1))
    # Nulls come as nan.
    if nulls and values.dtype.is_float() and values.is_nan().any():
        return _Column(values)
    if values.head(1000).n_unique() > 500:
        return _Column(values)
    known_x = np.sort(values.drop_nulls().unique().to_numpy())
    if len(known_x) > min(MOST_VALUES, n // 4) or (values.dtype.is_float() and np.isnan(known_x).any()):
        return _Column(values)
    found = np.searchsorted(known_x, x)
    if nulls:
        found = np.where(values.is_null().to_numpy(), len(known_x), found)
    return _Column(
        _with_null(pl.Series(values.name, known_x, values.dtype), nulls), _narrow(found, len(known_x) + bool(nulls))
    )


def _with_null(values: pl.Series, nulls: int) -> pl.Series:
    return values.extend_constant(None, 1) if nulls else values


class CompactFrame:
    """Rows that are read like a frame, by column names and expressions.

    Args:
        columns: The columns by name.
        height: Number of rows.
    """

    def __init__(self, columns: dict[str, _Column], height: int) -> None:
        self._columns, self.height = columns, height

    @classmethod
    def of(cls, frame: pl.DataFrame | CompactFrame) -> CompactFrame:
        """Store the rows of a frame."""
        if isinstance(frame, CompactFrame):
            return frame
        return cls({name: _coded(frame.get_column(name)) for name in frame.columns}, frame.height)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self._columns)

    def get_column(self, name: str) -> pl.Series:
        """The values of a column."""
        return self._columns[name].series(self.height).alias(name)

    def select(self, *chosen: str | pl.Expr | Iterable[pl.Expr] | Iterable[str]) -> pl.DataFrame:
        """Evaluate expressions, as a frame does. Only the columns that they name are read."""
        expressions: list[str | pl.Expr] = []
        for one in chosen:
            expressions.extend([one] if isinstance(one, str | pl.Expr) else one)
        names = dict.fromkeys(
            name for one in expressions for name in ([one] if isinstance(one, str) else one.meta.root_names())
        )
        # One value for all rows stays one value while expressions are evaluated.
        single = {
            name: self._columns[name].values
            for name in names
            if self._columns[name].constant(self.height) and not self._columns[name].values.dtype.is_nested()
        }
        read = [self.get_column(name) for name in names if name not in single]
        if not read:
            read = [pl.Series("", np.zeros(self.height, dtype=bool))]
        frame = pl.DataFrame(read).with_columns(
            pl.lit(values.item(), dtype=values.dtype).alias(name) for name, values in single.items()
        )
        return frame.select(*expressions)

    def codes(self, name: str) -> Ints:
        """Number the rows by a column's distinct values, from 0, in the values' sorted order (as `arrays.dense`)."""
        column = self._columns[name]
        if column.constant(self.height):
            return np.zeros(self.height, dtype=np.int64)
        if column.codes is None:
            column = _coded(column.values)
            if column.codes is None:
                code = np.unique(column.series(self.height).to_numpy(), return_inverse=True)[1]
                return np.asarray(code, dtype=np.int64)
        place, _ = self._places(column)
        return place[column.codes]

    def distinct(self, name: str) -> pl.Series:
        """The distinct values of a column, sorted: those that `codes` numbers."""
        column = self._columns[name]
        if column.codes is None:
            return column.values.unique().sort()
        return self._places(column)[1]

    @staticmethod
    def _places(column: _Column) -> tuple[Ints, pl.Series]:
        """Number of each stored value among those that some row has, −1 for others; and these values, sorted."""
        assert column.codes is not None
        there = np.bincount(column.codes, minlength=len(column.values)) > 0
        # Several persons can have the same value of a trait.
        values = column.values.filter(pl.Series(there)).unique().sort()
        named = column.values.cast(pl.String) if column.values.dtype == pl.Categorical else column.values
        place = named.to_frame("value").join(
            values.cast(named.dtype).to_frame("value").with_row_index("place"),
            on="value",
            how="left",
            maintain_order="left",
            nulls_equal=True,
        )
        found = place.get_column("place").cast(pl.Int64).fill_null(-1).to_numpy()
        return np.where(there, found, -1), values

    def of_each(self, by: str, columns: Sequence[str]) -> tuple[Ints, pl.DataFrame] | None:
        """Columns that depend on the value of another, once per value: number of each row, and a row per number.

        None if they are stored otherwise. The frame has a column `there`: whether any row has this number.
        """
        number = self._columns[by].codes
        if number is None or any(self._columns[c].codes is not number for c in columns):
            return None
        there = np.bincount(number, minlength=len(self._columns[by].values)) > 0
        return number.astype(np.int64), pl.DataFrame(
            [pl.Series("there", there), *(self._columns[c].values.alias(c) for c in columns)]
        )

    def rows(self, rows: slice | Flags | Ints) -> CompactFrame:
        """Choose rows. Adjacent rows are not copied."""
        if not isinstance(rows, slice):
            place: Ints = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.asarray(rows, dtype=np.int64)
            if len(place) == self.height and rows.dtype == np.bool_:
                return self
            if rows.dtype == np.bool_ and len(place) and int(place[-1]) - int(place[0]) + 1 == len(place):
                return self.rows(slice(int(place[0]), int(place[-1]) + 1))
            return self._chosen(place, len(place))
        return self._chosen(rows, len(range(self.height)[rows]))

    def _chosen(self, rows: slice | Ints, height: int) -> CompactFrame:
        chosen: dict[int, _Codes] = {}
        return CompactFrame({n: c.rows(rows, self.height, chosen) for n, c in self._columns.items()}, height)

    def __getitem__(self, rows: Ints) -> CompactFrame:
        return self.rows(rows)

    def with_columns(self, *columns: pl.Series) -> CompactFrame:
        """Add or replace columns."""
        return CompactFrame(self._columns | {c.name: _coded(c) for c in columns}, self.height)

    def looked_up(self, by: str, table: pl.DataFrame) -> CompactFrame:
        """Add the columns of a table with one row per value of a column; null for values that it does not have."""
        column = self._columns[by]
        if column.codes is None:
            column = _Column(column.values.unique(), None) if column.constant(self.height) else _coded(column.values)
        if column.codes is None and not column.constant(self.height):
            made = column.values.alias(by).to_frame().join(table, on=by, how="left", maintain_order="left")
            return CompactFrame(
                self._columns | {c: _Column(made.get_column(c)) for c in table.columns if c != by}, self.height
            )
        made = column.values.alias(by).to_frame().join(table, on=by, how="left", maintain_order="left")
        if made.height != len(column.values):
            raise ValueError(f"several rows of one {by}")
        added = {c: _Column(made.get_column(c), column.codes) for c in table.columns if c != by}
        return CompactFrame(self._columns | {by: column} | added, self.height)

    @classmethod
    def joined(cls, parts: list[CompactFrame]) -> CompactFrame:
        """Put parts with the same columns below each other. The parts are emptied one column after the other."""
        heights = [part.height for part in parts]
        names = parts[0].columns
        made: dict[str, _Column] = {}
        for name in names:
            made[name] = _stacked([part._columns.pop(name) for part in parts], heights)
        return cls(made, sum(heights))

    def in_order(self, order: Ints) -> CompactFrame:
        """Sort the rows. This frame is emptied one column after the other."""
        made = {}
        for name in self.columns:
            made[name] = self._columns.pop(name).rows(order, self.height, {})
        return CompactFrame(made, self.height)


def _stacked(columns: list[_Column], heights: list[int]) -> _Column:
    plain = [c.codes is None and not c.constant(h) and h > 1 for c, h in zip(columns, heights, strict=True)]
    if any(plain):
        return _Column(pl.concat([c.series(h) for c, h in zip(columns, heights, strict=True)]))
    values = pl.concat([c.values for c in columns])
    together = _coded(values) if len(values) > 1 else _Column(values)
    if together.codes is None and len(together.values) == 1:
        return together
    if together.codes is None:
        if len(together.values) > MOST_VALUES:
            return _Column(pl.concat([c.series(h) for c, h in zip(columns, heights, strict=True)]))
        known = values.unique(maintain_order=True)
        place = values.to_frame("v").join(
            known.to_frame("v").with_row_index("i"), on="v", how="left", maintain_order="left", nulls_equal=True
        )
        together = _Column(known, place.get_column("i").to_numpy())
    assert together.codes is not None
    starts = np.cumsum([0, *(len(c.values) for c in columns)])
    parts = []
    for column, height, start, end in zip(columns, heights, starts[:-1], starts[1:], strict=True):
        if not height:
            continue
        table = _narrow(together.codes[start:end], len(together.values))
        parts.append(np.full(height, table[0]) if column.codes is None else table[column.codes])
    return _Column(together.values, np.concatenate(parts))
