"""Assign each row to a slice of a dimension."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mpta_pipeline.core import labels as names
from mpta_pipeline.core import row_dimensions
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.metrics.statistics.arrays import narrow

CROSS = names.CROSS
ALL = names.ALL
ROW_DIMENSIONS = row_dimensions.NAMES
# Prefix of user-defined columns in our frames, so that a trait may have any name, such as `score` or `weight`.
TRAIT = "trait:"
# The survey's sampling design: columns of GROUPS that are not dimensions.
DESIGN = ("sample", "sample_wave", "stratum", "psu")
# Name of the column with each person's sampling unit.
UNIT = "sampled_with"


class Cut:
    """A dimension over some rows: the slice of each row (−1 if unknown) and the sorted names of the slices."""

    def __init__(self, dimension: str, codes: NDArray[np.int64], labels: list[str]) -> None:
        self.dimension, self.labels = dimension, labels
        self._codes = narrow(codes, len(labels))

    @property
    def codes(self) -> NDArray[np.int64]:
        """Slice of each row."""
        return self._codes.astype(np.int64, copy=False)


def sampled(groups: pl.DataFrame, respondent_id: pl.Series) -> pl.Series:
    """Return the sampling unit of each row's person: the primary sampling unit, or the person.

    The result is named `UNIT` if anyone has a primary sampling unit. Otherwise it is `respondent_id`, unchanged.

    People of one unit are alike, so that errors over people are clustered by unit if the file has units.

    Args:
        groups: GROUPS; without `psu`, everyone counts as sampled individually.
        respondent_id: Person of each row.
    """
    if "psu" not in groups.columns or groups.get_column("psu").null_count() == groups.height:
        return respondent_id
    units = groups.select("respondent_id", (pl.lit("psu ") + pl.col("psu")).alias("sampled"))
    rows = (
        respondent_id.alias("respondent_id")
        .to_frame()
        .join(units, on="respondent_id", how="left", maintain_order="left")
    )
    return rows.select(pl.coalesce("sampled", "respondent_id")).to_series().alias(UNIT)


def bases(dimension: str) -> list[str]:
    """List the base dimensions of an intersection; none for `all`."""
    return [] if dimension == ALL else dimension.split(CROSS)


def traits(groups: pl.DataFrame) -> list[str]:
    """List the traits that persons are grouped by, in the frame's order."""
    return [c for c in groups.columns if c not in ("respondent_id", "survey", *DESIGN)]


def apart(groups: pl.DataFrame) -> pl.DataFrame:
    """Rename the traits of the groups so that they cannot clash with our columns."""
    return groups.rename({name: TRAIT + name for name in traits(groups)})


def column(base: str) -> str:
    """Return the name of a base dimension's column in our frames."""
    return base if base in ROW_DIMENSIONS else TRAIT + base


def of_people(dimension: str) -> bool:
    """Whether the dimension groups people only, not questions or paraphrases."""
    return not any(base in ROW_DIMENSIONS for base in bases(dimension))


def check_dimensions(dimensions: tuple[str, ...], groups: pl.DataFrame) -> None:
    """Check that every base dimension is known and unambiguous.

    Raises:
        ConfigError: A dimension is unknown or ambiguous. The message lists the known ones.
    """
    known = traits(groups)
    for dimension in dimensions:
        for base in bases(dimension):
            if base not in known and base not in ROW_DIMENSIONS:
                raise ConfigError(
                    "A subgroup dimension of the study is unknown",
                    variable=dimension,
                    value=base,
                    remedy=f"use one of {', '.join([*known, *ROW_DIMENSIONS])} in study.yaml, figures.dimensions",
                )
            if base in known and base in ROW_DIMENSIONS:
                raise ConfigError(
                    "A trait of the personas has the same name as a dimension of the questions, so that the "
                    "subgroup dimension is ambiguous",
                    variable=dimension,
                    value=base,
                    remedy=f"give the trait another name, for example own_{base}",
                )


def labels(dimension: str) -> pl.Expr:
    """Name the slice of each row; null if a base dimension is unknown."""
    parts = [column(base) for base in bases(dimension)]
    return pl.concat_str([pl.col(p).cast(pl.String) for p in parts], separator=CROSS) if parts else pl.lit(ALL)


def cut(rows: pl.DataFrame, dimension: str, names: list[str] | None = None) -> Cut:
    """Cut rows by a dimension whose base dimensions are columns (`column`). With `names`, other slices are unknown."""
    return _cut(rows, dimension, labels(dimension), names)


def cut_by_trait(rows: pl.DataFrame, trait: str) -> Cut:
    """Cut rows by one trait of any name."""
    return _cut(rows, trait, pl.col(TRAIT + trait).cast(pl.String), None)


def _cut(rows: pl.DataFrame, dimension: str, labels: pl.Expr, names: list[str] | None) -> Cut:
    text = rows.select(labels.alias("slice")).get_column("slice")
    if len(text) != rows.height:
        text = text.new_from_index(0, rows.height)
    names = sorted(text.drop_nulls().unique().to_list()) if names is None else names
    if not names:
        return Cut(dimension, np.full(rows.height, -1, dtype=np.int64), [])
    codes = text.cast(pl.Enum(names), strict=False).to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
    return Cut(dimension, codes, names)
