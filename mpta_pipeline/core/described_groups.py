"""Name the groups that the condition `group` asks about, in the column that names a person elsewhere."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.labels import ALL, CROSS
from mpta_pipeline.core.vocabulary import GROUP_CONDITION

# Survey and dimensions contain neither sign; a subgroup may contain both.
_NAME = r"^group:([^:]*):([^=]*)=(.*)$"


# Dimensions whose groups consist of whole samples of a published poll. It has no answers of other groups.
_OF_SAMPLES = ("country", "country_group", "cultural_zone")


def covers(dimension: str) -> bool:
    """Whether a poll has the answers of a dimension's groups."""
    return dimension == ALL or all(base in _OF_SAMPLES for base in dimension.split(CROSS))


def group_ids(survey: pl.Expr, dimensions: pl.Expr, subgroup: pl.Expr) -> pl.Expr:
    """The id of a group, e.g. `group:gss:sex×age_band=female×65+`."""
    return pl.format("group:{}:{}={}", survey, dimensions, subgroup)


def named_groups(respondent_id: pl.Expr) -> dict[str, pl.Expr]:
    """The dimensions and subgroup of ids of groups."""
    return {"dimensions": respondent_id.str.extract(_NAME, 2), "subgroup": respondent_id.str.extract(_NAME, 3)}


def of_people(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of prompts or scores that are about single persons, not about a described group."""
    return frame.filter(pl.col("condition").ne_missing(GROUP_CONDITION))


def of_groups(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of prompts or scores that are about a described group."""
    return frame.filter(pl.col("condition") == GROUP_CONDITION)
