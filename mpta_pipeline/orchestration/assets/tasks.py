"""What is asked of whom: items and prompts; one partition a task."""

import dagster as dg
import polars as pl

from mpta_pipeline.core import tables
from mpta_pipeline.core.untrusted_text import verbatim
from mpta_pipeline.orchestration import asset_checks, automation
from mpta_pipeline.orchestration.column_lineage import lineage
from mpta_pipeline.orchestration.metadata import MICRODATA, OWNERS, QUESTIONS, definition_metadata, preview, result
from mpta_pipeline.pipeline import steps
from mpta_pipeline.pipeline.deployment import Deployment

GROUP = "tasks"


def build(partitions: dg.StaticPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The assets over the study's tasks."""

    @dg.asset(
        partitions_def=partitions,
        deps=["task_card", "study_card", dg.AssetDep("harmonized_wave", partition_mapping=dg.AllPartitionMapping())],
        code_version=steps.code("items"),
        group_name=GROUP,
        owners=OWNERS,
        tags=QUESTIONS,
        kinds={"parquet", "polars"},
        metadata=definition_metadata(tables.ITEMS),
        automation_condition=automation.FAN_IN,
    )
    def items(context: dg.AssetExecutionContext, deployment: dg.ResourceParam[Deployment]) -> dg.MaterializeResult:
        """Questions with their options in canonical order and, for survey questions, what every respondent answered."""
        record = steps.make_items(deployment, context.partition_key)
        frame = steps.read(deployment, "items", context.partition_key)
        asked = frame["column"].drop_nulls().unique().sort().to_list()
        return result(
            deployment,
            record,
            extra={
                "items preview": preview(frame.select("item_id", "category", "question", "options")),
                **lineage("items", {"column": [("harmonized_wave", column) for column in asked]} if asked else {}),
            },
        )

    @dg.asset(
        partitions_def=partitions,
        deps=[items, "task_card", "personas", "panel", "study_card"],
        code_version=steps.code("prompts"),
        group_name=GROUP,
        owners=OWNERS,
        tags=MICRODATA,
        kinds={"parquet", "polars"},
        metadata=definition_metadata(tables.PROMPTS),
        automation_condition=automation.ASKING,
        check_specs=asset_checks.specs("prompts"),
    )
    def prompts(context: dg.AssetExecutionContext, deployment: dg.ResourceParam[Deployment]) -> dg.MaterializeResult:
        """Item × persona × condition × option order, as texts that know no model; equal texts are asked once."""
        record, found = steps.make_prompts(deployment, context.partition_key)
        frame = steps.read(deployment, "prompts", context.partition_key)
        return result(deployment, record, extra=_shown(frame), checks=asset_checks.results("prompts", found))

    return [items, prompts]


def _shown(frame: pl.DataFrame) -> dict[str, dg.MetadataValue]:
    """Counts by condition, and one prompt of a source whose policy lets its personas be shown."""
    counts = frame.group_by("condition", "survey").agg(
        pl.len().alias("prompts"), pl.col("content_hash").n_unique().alias("distinct texts")
    )
    shown: dict[str, dg.MetadataValue] = {"prompts by condition": preview(counts.sort("condition", "survey"))}
    example = frame.filter(pl.col("data_use") == "any", pl.col("condition") == "persona").head(1)
    if not example.is_empty():
        system, user = example.select("system", "user").row(0)
        shown["one prompt"] = dg.MetadataValue.md("\n\n".join(verbatim(t) for t in (system, user) if t))
    return shown
