"""What readers get: one DuckDB file and one report."""

import dagster as dg
import polars as pl

from mpta_pipeline.core.tables import PUBLISHED
from mpta_pipeline.orchestration import automation
from mpta_pipeline.orchestration.metadata import AGGREGATES, MICRODATA, OWNERS, preview, published_schema, result
from mpta_pipeline.pipeline import steps
from mpta_pipeline.pipeline.deployment import Deployment

GROUP = "publication"


@dg.asset(
    deps=[
        dg.AssetDep(name, partition_mapping=dg.AllPartitionMapping())
        for name in ("subgroup_metrics", "pockets", "harmonized_wave", "survey_changelog", "prompts")
    ]
    + ["model_comparison", "personas", "panel", "figures_card", "departure_card"],
    code_version=steps.code("warehouse"),
    group_name=GROUP,
    owners=OWNERS,
    tags=MICRODATA,
    kinds={"duckdb"},
    metadata={"dagster/column_schema": published_schema()},
    automation_condition=automation.PUBLISH,
)
def warehouse(deployment: dg.ResourceParam[Deployment]) -> dg.MaterializeResult:
    """All tables in one DuckDB file, built beside and swapped in, so that an open notebook stops nothing."""
    record = steps.make_warehouse(deployment)
    path = deployment.layout.warehouse
    return result(
        deployment, record, extra={"bytes": path.stat().st_size, "published tables": preview(_published(), 50)}
    )


def _published() -> pl.DataFrame:
    """The tables of the file, each with what it holds."""
    return pl.DataFrame({"table": [t.name for t in PUBLISHED], "holds": [t.description for t in PUBLISHED]})


@dg.asset(
    deps=[warehouse],
    code_version=steps.code("report"),
    group_name=GROUP,
    owners=OWNERS,
    tags=AGGREGATES,
    kinds={"html"},
    automation_condition=automation.SAME_RUN_AS_PARENT,
)
def report(deployment: dg.ResourceParam[Deployment]) -> dg.MaterializeResult:
    """The figures as a self-contained page: headline, subgroups with intervals and baselines, how to trace each."""
    record = steps.make_report(deployment)
    return result(deployment, record)


ASSETS = [warehouse, report]
