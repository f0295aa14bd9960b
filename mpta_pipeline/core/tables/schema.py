"""Define tables by columns with type, meaning and bounds, and validate frames against them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

from mpta_pipeline.core.errors import ValidationError

if TYPE_CHECKING:
    import pandera.polars as pa


@dataclass(frozen=True)
class Column:
    """A column: its polars type, meaning, and the bounds that its values must keep.

    An `optional` column was added after the table was first published, or exists for few sources. A frame without it
    conforms and gets nulls. `earlier` is the name under which versions before 0.2 stored the column.
    """

    name: str
    dtype: pl.DataType | type[pl.DataType]
    description: str
    nullable: bool = False
    isin: tuple[str, ...] | None = None
    ge: float | None = None
    le: float | None = None
    optional: bool = False
    earlier: str | None = None


@dataclass(frozen=True)
class Table:
    """A table: its meaning, key and columns. An `open` table may carry further columns after the declared ones."""

    name: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    open: bool = False

    @cached_property
    def schema(self) -> pl.Schema:
        """Names and types of the declared columns, in order."""
        return pl.Schema({c.name: c.dtype for c in self.columns})

    @property
    def earlier_names(self) -> dict[str, str]:
        """Map the column names of versions before 0.2 to the current names."""
        return {c.earlier: c.name for c in self.columns if c.earlier is not None}

    def with_current_names(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rename the columns of a frame that was stored by a version before 0.2."""
        return frame.rename({old: new for old, new in self.earlier_names.items() if new not in frame}, strict=False)

    def completed(self, frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
        """A frame with some of the columns; those that it lacks, because an earlier version stored it, are null."""
        absent = [pl.lit(None, self.schema[name]).alias(name) for name in names if name not in frame.columns]
        return frame.with_columns(absent)

    def empty(self) -> pl.DataFrame:
        """The table with no rows."""
        return pl.DataFrame(schema=self.schema)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Cast to the declared types, order the columns (undeclared ones last), sort by key and validate.

        Optional columns that are absent become null.

        Raises:
            ValidationError: A column is missing or undeclared, a value breaks its bound, or the key repeats.
        """
        frame = frame.with_columns(
            pl.lit(None, c.dtype).alias(c.name) for c in self.columns if c.optional and c.name not in frame.columns
        )
        missing = [name for name in self.schema if name not in frame.columns]
        extra = [name for name in frame.columns if name not in self.schema]
        if missing or (extra and not self.open):
            raise ValidationError(
                f"Table {self.name} has the wrong columns: missing {missing}, undeclared {[] if self.open else extra}",
                variable=(missing + extra)[0],
                remedy="make the frame as mpta_pipeline/core/tables/ declares it",
            )
        frame = frame.select(
            *(pl.col(name).cast(dtype, strict=True) for name, dtype in self.schema.items()), *extra
        ).sort(self.key, maintain_order=True)
        return self.validate(frame)

    def validate(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Check an eager frame against the bounds and the key.

        A LazyFrame is not accepted, because pandera would check only its schema.

        Raises:
            ValidationError: A value breaks its bound or the key repeats. The message names table, column, the first
                offending value and how many there are.
        """
        if not self._holds_for(frame):
            self._find_what_breaks(frame)
        if self.key and (repeated := frame.height - frame.select(self.key).n_unique()):
            example = frame.filter(pl.struct(self.key).is_duplicated()).select(self.key).row(0)
            raise ValidationError(
                f"Table {self.name} repeats its key in {repeated} row(s)",
                variable="+".join(self.key),
                value=str(example),
                remedy="each row must be unique by its key",
            )
        return frame

    def _holds_for(self, frame: pl.DataFrame) -> bool:
        """Whether all types and bounds hold, in one pass over the frame.

        False may also mean that pandera has to decide: it treats a NaN otherwise from bound to bound.
        """
        if any(frame.schema.get(name) != dtype for name, dtype in self.schema.items()):
            return False
        return all(frame.select(self._rules).row(0)) if self._rules else True

    def _find_what_breaks(self, frame: pl.DataFrame) -> None:
        # Imported here because it takes a second to load, which everything that conforms can save.
        from pandera.errors import SchemaErrors

        try:
            self._pandera.validate(frame, lazy=True)
        except SchemaErrors as failure:
            first = failure.failure_cases.row(0, named=True)
            raise ValidationError(
                f"Table {self.name} breaks rule {first['check']} in {failure.failure_cases.height} place(s)",
                variable=str(first["column"]),
                value=first["failure_case"],
                remedy="correct the input of this row; the stored table is unchanged",
            ) from None

    @cached_property
    def _rules(self) -> list[pl.Expr]:
        """One value per rule of a column: whether it holds for all rows."""
        return [rule.alias(str(i)) for i, rule in enumerate(rule for c in self.columns for rule in _rules_of(c))]

    @cached_property
    def _pandera(self) -> pa.DataFrameSchema:
        import pandera.polars as pa

        return pa.DataFrameSchema({c.name: _pandera_column(c) for c in self.columns}, strict=False)


def _rules_of(column: Column) -> Iterator[pl.Expr]:
    """The rules of a column, as strict as those of `_pandera_column` or stricter."""
    values = pl.col(column.name)
    bounded = column.ge is not None or column.le is not None
    if not column.nullable:
        yield values.null_count() == 0
    if pl.Series(dtype=column.dtype).dtype.is_float() and (bounded or not column.nullable):
        yield ~values.is_nan().any()
    if column.isin is not None:
        yield values.drop_nulls().is_in(list(column.isin)).all()
    if column.ge is not None:
        yield (values >= column.ge).all()
    if column.le is not None:
        yield (values <= column.le).all()


def _pandera_column(column: Column) -> pa.Column:
    import pandera.polars as pa

    checks = []
    if column.isin is not None:
        checks.append(pa.Check.isin(list(column.isin)))
    if column.ge is not None:
        checks.append(pa.Check.ge(column.ge))
    if column.le is not None:
        checks.append(pa.Check.le(column.le))
    return pa.Column(column.dtype, checks=checks, nullable=column.nullable)


def shared_columns(*names: str) -> tuple[Column, ...]:
    """Return the columns that mean the same in every table that has them.

    `persona` gives the column `respondent_id` of tables about personas, which had another name before version 0.2.
    """
    whose = "Respondent: stable hash of survey lineage and native key, without the version"
    shared = {
        "wave": Column("wave", pl.String, "Wave: survey and its wave or year, e.g. gss-2018"),
        "survey": Column("survey", pl.String, "Survey source, e.g. gss; estimates are never pooled over surveys"),
        "codebook": Column(
            "codebook", pl.String, "Codebook that the file follows, e.g. wvs7, joint, gss", earlier="dialect"
        ),
        "release_id": Column("release_id", pl.String, "Release: wave and the first 12 digits of the file's SHA-256"),
        "respondent_id": Column("respondent_id", pl.String, whose),
        "persona": Column("respondent_id", pl.String, whose, earlier="persona_id"),
        "task": Column("task", pl.String, "Task, as named in study.yaml"),
        "item_id": Column("item_id", pl.String, "Item within the task"),
        "model": Column("model", pl.String, "Model, as named in models.yaml"),
        "condition": Column("condition", pl.String, "What the model is told about the persona"),
        "prompt_id": Column("prompt_id", pl.String, "Prompt: hash of its design cell and text"),
    }
    return tuple(shared[name] for name in names)
