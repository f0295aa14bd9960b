"""Which slice of a dimension each row belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mpta_pipeline.core import labels as names
from mpta_pipeline.core import row_dimensions
from mpta_pipeline.core.errors import ConfigError

CROSS = names.CROSS
ALL = names.ALL
ROW_DIMENSIONS = row_dimensions.NAMES
# Before the names of users' columns in our frames, so that a trait may have any name: `a`, `score`, `weight`.
TRAIT = "trait:"
# How the survey drew its people: columns of GROUPS that are no dimensions.
DESIGN = ("sample", "stratum", "psu")
# Name of what each row's person was drawn with.
UNIT = "sampled_with"


@dataclass(frozen=True)
class Cut:
    """A dimension over some rows: the slice of each row (−1: unknown) and the slices' names, sorted."""

    dimension: str
    codes: NDArray[np.int64]
    labels: list[str]


def sampled(groups: pl.DataFrame, respondent_id: pl.Series) -> pl.Series:
    """What was drawn when each row's person was: their primary sampling unit, or they themselves.

    The result is named `UNIT` where anybody has a unit, and else is `respondent_id` as it was.

    People of one unit are alike, so that errors over people are clustered by it where the file has it.

    Args:
        groups: GROUPS; without `psu` everybody was drawn alone.
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
    """The base dimensions of an intersection; none for `all`."""
    return [] if dimension == ALL else dimension.split(CROSS)


def traits(groups: pl.DataFrame) -> list[str]:
    """Names of the traits that persons are grouped by, in the frame's order."""
    return [c for c in groups.columns if c not in ("respondent_id", "survey", *DESIGN)]


def apart(groups: pl.DataFrame) -> pl.DataFrame:
    """The groups with their traits under names that no column of ours has."""
    return groups.rename({name: TRAIT + name for name in traits(groups)})


def column(base: str) -> str:
    """The column of a base dimension in our frames."""
    return base if base in ROW_DIMENSIONS else TRAIT + base


def of_people(dimension: str) -> bool:
    """Whether the dimension cuts people only, not questions or wordings."""
    return not any(base in ROW_DIMENSIONS for base in bases(dimension))


def check_dimensions(dimensions: tuple[str, ...], groups: pl.DataFrame) -> None:
    """Check that every base dimension is known, and is one thing.

    Raises:
        ConfigError: With the dimension and what there is.
    """
    known = traits(groups)
    for dimension in dimensions:
        for base in bases(dimension):
            if base not in known and base not in ROW_DIMENSIONS:
                raise ConfigError(
                    "A subgroup dimension of the study is not known",
                    variable=dimension,
                    value=base,
                    remedy=f"use one of {', '.join([*known, *ROW_DIMENSIONS])} in study.yaml, figures.dimensions",
                )
            if base in known and base in ROW_DIMENSIONS:
                raise ConfigError(
                    "A trait of the personas has the name of a dimension of the questions, so that it is not clear "
                    "which of the two estimates should be cut by",
                    variable=dimension,
                    value=base,
                    remedy=f"give the trait another name, for example own_{base}",
                )


def labels(dimension: str) -> pl.Expr:
    """The slice's name of each row, null where a base dimension is unknown."""
    parts = [column(base) for base in bases(dimension)]
    return pl.concat_str([pl.col(p).cast(pl.String) for p in parts], separator=CROSS) if parts else pl.lit(ALL)


def cut(rows: pl.DataFrame, dimension: str, names: list[str] | None = None) -> Cut:
    """Cut rows that carry their base dimensions as columns (`column`); with `names`, other slices are unknown."""
    return _cut(rows, dimension, labels(dimension), names)


def cut_by_trait(rows: pl.DataFrame, trait: str) -> Cut:
    """Cut rows by one trait, whatever its name."""
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
