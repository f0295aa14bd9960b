"""Declare the lineage table, and list the published tables."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.tables.harmonize import CONCEPTS, OPTIONS, RESPONDENTS
from mpta_pipeline.core.tables.inference import MODELS, RESPONSES
from mpta_pipeline.core.tables.metrics import (
    ANSWER_SHARES,
    EXPERIMENTS,
    MODEL_COMPARISON,
    PEOPLE_SHARES,
    POCKETS,
    POWER,
    RIVALS,
    SCORES,
    SUBGROUP_METRICS,
)
from mpta_pipeline.core.tables.multiverse import (
    CONFIGURATION_ESTIMATES,
    CONFIGURATIONS,
    FACTOR_MOVES,
    MULTIVERSE_FINDINGS,
    SPECIFICATION_CURVE,
    VARIANCE_BUDGET,
)
from mpta_pipeline.core.tables.personas import GROUPS, PANEL, PERSONAS
from mpta_pipeline.core.tables.schema import Column, Table
from mpta_pipeline.core.tables.surveys import CHANGELOG, VARIABLES, WAVES
from mpta_pipeline.core.tables.tasks import GOLD, ITEMS, PROMPTS

LINEAGE = Table(
    "lineage",
    "The partitions that each table partition was made from.",
    ("child", "parent"),
    (
        Column("child", pl.String, "Asset and partition, e.g. personas or prompts|value_alignment"),
        Column("parent", pl.String, "Asset and partition that it was made from"),
        Column("child_version", pl.String, "Data version of the child", nullable=True),
        Column("parent_version", pl.String, "Data version of the parent", nullable=True),
    ),
)

PUBLISHED: list[Table] = [
    WAVES,
    VARIABLES,
    CONCEPTS,
    OPTIONS,
    RESPONDENTS,
    CHANGELOG,
    PERSONAS,
    PANEL,
    ITEMS,
    GOLD,
    PEOPLE_SHARES,
    GROUPS,
    PROMPTS,
    RESPONSES,
    SCORES,
    SUBGROUP_METRICS,
    RIVALS,
    EXPERIMENTS,
    ANSWER_SHARES,
    POCKETS,
    MODEL_COMPARISON,
    MODELS,
    POWER,
    CONFIGURATIONS,
    CONFIGURATION_ESTIMATES,
    SPECIFICATION_CURVE,
    MULTIVERSE_FINDINGS,
    FACTOR_MOVES,
    VARIANCE_BUDGET,
    LINEAGE,
]


def publish(table: Table) -> None:
    """Add a table to those that the warehouse publishes. The graph calls this for every table that it declares."""
    if all(known.name != table.name for known in PUBLISHED):
        PUBLISHED.append(table)
