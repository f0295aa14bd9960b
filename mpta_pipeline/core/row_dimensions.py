"""Declare the dimensions that describe the question or its wording, not the person, and their columns.

Metrics group estimates by them, and traces use them to find the answers behind an estimate, so that both agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

from mpta_pipeline.core.cultural_zones import ZONES


@dataclass(frozen=True)
class RowDimension:
    """A dimension of single answers.

    Attributes:
        name: As in `figures.dimensions` of study.yaml.
        title: Its name for people.
        of: Table whose columns `value` reads: `scores`, `items`, or `items` with the person's own country.
        value: The value of an answer, null where it is unknown.
    """

    name: str
    title: str
    of: Literal["scores", "items", "items and country"]
    value: pl.Expr


OWN_COUNTRY = "own_country"
"""Column of the person's country (ISO 3166-1 alpha-3), which `in_culture` compares with that of the story."""

_OWN_CULTURE = pl.col(OWN_COUNTRY) == pl.col("story_country")

ROW_DIMENSIONS: tuple[RowDimension, ...] = (
    RowDimension("category", "Category of the question", "scores", pl.col("category")),
    RowDimension("context", "Context", "items", pl.col("context_condition")),
    RowDimension("context_level", "Background given", "items", pl.col("context_level")),
    RowDimension(
        "story_zone",
        "Cultural zone of the story",
        "items",
        pl.col("story_country").replace_strict(ZONES, default=None, return_dtype=pl.String),
    ),
    RowDimension(
        "in_culture",
        "Own or other culture",
        "items and country",
        pl.when(_OWN_CULTURE).then(pl.lit("own culture")).when(~_OWN_CULTURE).then(pl.lit("other culture")),
    ),
    RowDimension("style", "Style of the persona", "scores", pl.col("style")),
    RowDimension("framing", "Framing of the persona", "scores", pl.col("framing")),
    RowDimension("elicitation", "Elicitation", "scores", pl.col("elicitation")),
    RowDimension("wave", "Wave", "scores", pl.col("wave")),
)

NAMES: tuple[str, ...] = tuple(dimension.name for dimension in ROW_DIMENSIONS)


def values(of: Literal["scores", "items", "items and country"]) -> list[pl.Expr]:
    """The dimensions that are made from the columns of `of`, each under its name."""
    return [dimension.value.alias(dimension.name) for dimension in ROW_DIMENSIONS if dimension.of == of]
