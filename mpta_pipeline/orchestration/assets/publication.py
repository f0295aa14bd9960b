"""What readers get: one DuckDB file and one report."""

import dagster as dg

from mpta_pipeline.orchestration import automation, steps
from mpta_pipeline.orchestration.metadata import OWNERS, result
from mpta_pipeline.orchestration.project import Project

GROUP = "publication"


@dg.asset(
    deps=[
        dg.AssetDep(name, partition_mapping=dg.AllPartitionMapping())
        for name in ("subgroup_metrics", "pockets", "harmonized_wave", "survey_changelog", "prompts")
    ]
    + ["model_comparison", "personas", "panel"],
    code_version=steps.code("warehouse"),
    group_name=GROUP,
    owners=OWNERS,
    kinds={"duckdb"},
    automation_condition=automation.PUBLISH,
)
def warehouse(project: dg.ResourceParam[Project]) -> dg.MaterializeResult:
    """All tables in one DuckDB file, built beside and swapped in, so that an open notebook stops nothing."""
    record = steps.make_warehouse(project)
    path = project.layout.warehouse
    return result(record, extra={"file": dg.MetadataValue.path(str(path)), "bytes": path.stat().st_size})


@dg.asset(
    deps=[warehouse],
    code_version=steps.code("report"),
    group_name=GROUP,
    owners=OWNERS,
    kinds={"html"},
    automation_condition=automation.SAME_RUN_AS_PARENT,
)
def report(project: dg.ResourceParam[Project]) -> dg.MaterializeResult:
    """The figures as a self-contained page: headline, subgroups with intervals and baselines, how to trace each."""
    record = steps.make_report(project)
    return result(record, extra={"file": dg.MetadataValue.path(str(project.layout.report))})


ASSETS = [warehouse, report]
