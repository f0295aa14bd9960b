"""From survey files to harmonized waves; one partition a wave, one run a wave."""

import dagster as dg
import polars as pl

from mpta_pipeline import harmonize, surveys
from mpta_pipeline.core import tables
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.orchestration import asset_checks, automation
from mpta_pipeline.orchestration.column_lineage import lineage
from mpta_pipeline.orchestration.metadata import MICRODATA, OWNERS, definition_metadata, preview, result, table_schema
from mpta_pipeline.orchestration.partitions import SURVEY_WAVE
from mpta_pipeline.pipeline import steps
from mpta_pipeline.pipeline.deployment import Deployment

GROUP = "surveys"


@dg.asset(
    partitions_def=SURVEY_WAVE,
    deps=["survey_file"],
    code_version=steps.code("raw_wave"),
    group_name=GROUP,
    owners=OWNERS,
    tags=MICRODATA,
    kinds={"parquet", "polars"},
    automation_condition=automation.FIRST_IN_RUN,
)
def raw_wave(context: dg.AssetExecutionContext, deployment: dg.ResourceParam[Deployment]) -> dg.MaterializeResult:
    """A release of a wave as read: every column, value labels and declared missing codes, never changed again."""
    record = steps.make_raw_wave(deployment, context.partition_key)
    raws = surveys.load_parts(deployment.layout, context.partition_key, registry=deployment.sources)
    variables = (
        pl.concat([raw.variables for raw in raws])
        .select("variable", "label", "storage", pl.col("value_labels").list.len().alias("labels"))
        .unique("variable", keep="first", maintain_order=True)
    )
    return result(
        deployment,
        record,
        extra={
            # The columns of a raw wave are the file's own variables.
            "dagster/column_schema": dg.TableSchema(
                [
                    dg.TableColumn(name, storage, label)
                    for name, storage, label in variables.select("variable", "storage", "label").iter_rows()
                ]
            ),
            "release ids": dg.MetadataValue.json([raw.release_id for raw in raws]),
            "release": dg.MetadataValue.json([{k: v for k, v in raw.release.items() if v is not None} for raw in raws]),
            "variables preview": preview(variables),
        },
    )


@dg.asset(
    partitions_def=SURVEY_WAVE,
    deps=[raw_wave, "crosswalk_card"],
    code_version=steps.code("harmonized_wave"),
    group_name=GROUP,
    owners=OWNERS,
    tags=MICRODATA,
    kinds={"parquet", "polars", "pandera"},
    metadata=definition_metadata(tables.RESPONDENTS),
    automation_condition=automation.SAME_RUN_AS_PARENT,
    check_specs=asset_checks.specs("harmonized_wave"),
)
def harmonized_wave(
    context: dg.AssetExecutionContext, deployment: dg.ResourceParam[Deployment]
) -> dg.MaterializeResult:
    """One row a respondent and one column a concept, missing answers by kind, weights, checked before it replaces."""
    wave = context.partition_key
    record, found = steps.make_harmonized_wave(deployment, wave)
    frame = steps.read(deployment, "harmonized_wave", wave)
    columns = [c for c in frame.columns if f"{c}__missing" in frame.columns]
    coverage = frame.select(pl.col(columns).is_not_null().mean()).transpose(
        include_header=True, header_name="concept", column_names=["answered"]
    )
    file = deployment.wave_file(wave)
    raws = surveys.load_parts(deployment.layout, wave, registry=deployment.sources)
    return result(
        deployment,
        record,
        extra={
            "dagster/column_schema": _column_schema(deployment, file.codebooks, frame, columns),
            **lineage("harmonized_wave", _native(raws, deployment)),
            "release ids": dg.MetadataValue.json([raw.release_id for raw in raws]),
            "answered share": preview(coverage.sort("answered", "concept", descending=[True, False]), rows=60),
            "years": dg.MetadataValue.json(frame["year"].unique().sort().to_list()),
        },
        checks=asset_checks.results("harmonized_wave", found),
        # Wording stands in the crosswalk alone, but personas and items are made of it: an edit is a change of the wave.
        version=digest(record.version, deployment.harmonizing_version(file)),
    )


def _column_schema(
    deployment: Deployment, codebooks: list[str], frame: pl.DataFrame, columns: list[str]
) -> dg.TableSchema:
    """The declared columns and, behind them, the concepts that this wave has."""
    concepts = deployment.crosswalk.concepts.filter(pl.col("codebook").is_in(codebooks))
    labels = dict(concepts.select("column", "label").drop_nulls().iter_rows())
    harmonized = [dg.TableColumn(c, str(frame.schema[c]), labels.get(c)) for c in columns if c != "country"]
    return dg.TableSchema([*table_schema(tables.RESPONDENTS).columns, *harmonized])


def _native(raws: list[surveys.RawWave], deployment: Deployment) -> dict[str, list[tuple[str, str]]]:
    """Each column, its native code and its missing kind, by the variables of the files that they were made from."""
    found: dict[str, list[tuple[str, str]]] = {}
    for raw in raws:
        for column, variable in harmonize.column_sources(raw, deployment.crosswalk).select("column", "variable").rows():
            for name in (column, f"{column}__missing", f"{column}__code"):
                found.setdefault(name, []).append(("raw_wave", variable))
        if weight := raw.release["weight_name"]:
            found.setdefault("weight", []).append(("raw_wave", weight))
    return {name: list(dict.fromkeys(made)) for name, made in found.items()}


@dg.asset(
    partitions_def=SURVEY_WAVE,
    deps=[raw_wave],
    code_version=steps.code("survey_changelog"),
    group_name=GROUP,
    owners=OWNERS,
    tags=MICRODATA,
    kinds={"parquet", "polars"},
    metadata=definition_metadata(tables.CHANGELOG),
    automation_condition=automation.SAME_RUN_AS_PARENT,
)
def survey_changelog(
    context: dg.AssetExecutionContext, deployment: dg.ResourceParam[Deployment]
) -> dg.MaterializeResult:
    """What the release in use changed against the one before: respondents, answers, labels."""
    record = steps.make_survey_changelog(deployment, context.partition_key)
    frame = steps.read(deployment, "survey_changelog", context.partition_key)
    counts = frame.group_by("change").len("count").sort("change")
    file = deployment.wave_file(context.partition_key)
    ids = [*(surveys.release_id(file.wave, p.sha256) for p in file.parts), record.notes["previous_release"]]
    return result(
        deployment,
        record,
        extra={"changes": preview(counts), "release ids": dg.MetadataValue.json([i for i in ids if i is not None])},
    )


ASSETS = [raw_wave, harmonized_wave, survey_changelog]
