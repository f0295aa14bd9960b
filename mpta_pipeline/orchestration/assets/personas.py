"""From harmonized waves to personas and the panel that is asked."""

import dagster as dg
import polars as pl

from mpta_pipeline import personas as domain
from mpta_pipeline.core import tables
from mpta_pipeline.core.untrusted_text import verbatim
from mpta_pipeline.orchestration import asset_checks, automation
from mpta_pipeline.orchestration.column_lineage import lineage
from mpta_pipeline.orchestration.metadata import MICRODATA, OWNERS, definition_metadata, preview, result
from mpta_pipeline.pipeline import steps
from mpta_pipeline.pipeline.deployment import Deployment

GROUP = "personas"


@dg.asset(
    deps=[dg.AssetDep("harmonized_wave", partition_mapping=dg.AllPartitionMapping()), "study_card"],
    code_version=steps.code("personas"),
    group_name=GROUP,
    owners=OWNERS,
    tags=MICRODATA,
    kinds={"parquet", "polars"},
    metadata=definition_metadata(tables.PERSONAS),
    automation_condition=automation.FAN_IN,
    check_specs=asset_checks.specs("personas"),
)
def personas(deployment: dg.ResourceParam[Deployment]) -> dg.MaterializeResult:
    """Real respondents with the traits that they stated; never a missing answer, never more than they said."""
    record, found = steps.make_personas(deployment)
    frame = steps.read(deployment, "personas")
    summary = frame.group_by("survey", "wave").agg(
        pl.len().alias("personas"),
        pl.col("n_traits").mean().alias("mean traits"),
        (pl.col("k_anonymity") == 1).mean().alias("unique by demographics"),
    )
    return result(
        deployment,
        record,
        extra={
            "personas by wave": preview(summary.sort("wave")),
            "one persona": _example(frame, deployment),
            **lineage("personas", {"traits": [("harmonized_wave", column) for column in _carried(frame)]}),
        },
        checks=asset_checks.results("personas", found),
    )


def _carried(frame: pl.DataFrame) -> list[str]:
    """The concept columns that anybody carries as a trait."""
    columns = frame.select(pl.col("traits").list.eval(pl.element().struct.field("column")).explode())
    return columns.to_series().drop_nulls().unique().sort().to_list()


def _example(frame: pl.DataFrame, deployment: Deployment) -> dg.MarkdownMetadataValue:
    """A rendered persona, only of a source whose policy lets its personas be shown."""
    shown = frame.filter(pl.col("data_use") == "any").sort("respondent_id").head(1)
    if shown.is_empty():
        return dg.MetadataValue.md("No source in use lets its personas be shown outside this machine.")
    text = domain.render(shown, style=deployment.study.styles[0], framing=deployment.study.framings[0])[0]
    return dg.MetadataValue.md(verbatim(text))


@dg.asset(
    deps=[personas, "study_card"],
    code_version=steps.code("panel"),
    group_name=GROUP,
    owners=OWNERS,
    tags=MICRODATA,
    kinds={"parquet", "polars"},
    metadata=definition_metadata(tables.PANEL),
    automation_condition=automation.SAME_RUN_AS_PARENT,
)
def panel(deployment: dg.ResourceParam[Deployment]) -> dg.MaterializeResult:
    """Who is asked: a stratified sample by lowest keyed hash, with inclusion probabilities."""
    record = steps.make_panel(deployment)
    strata = (
        steps.read(deployment, "panel")
        .group_by("survey", "stratum", "stratum_size", "stratum_selected", "inclusion_probability")
        .len("drawn")
        .sort("survey", "stratum")
    )
    return result(deployment, record, extra={"strata": preview(strata, rows=60)})


ASSETS = [personas, panel]
