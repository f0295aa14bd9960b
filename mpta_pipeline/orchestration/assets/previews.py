"""Previews: what a materialization shows in the UI beside rows, columns and lineage.

A preview of rows that describe single respondents is shown only where the policy of their source permits it. A table
without a preview of its own shows its first rows if it holds aggregates, and nothing otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import polars as pl

from mpta_pipeline import harmonize, surveys
from mpta_pipeline import personas as domain
from mpta_pipeline.core import tables
from mpta_pipeline.core.provenance import Node, Record
from mpta_pipeline.core.untrusted_text import markdown, verbatim
from mpta_pipeline.metrics.metric import METRICS
from mpta_pipeline.orchestration import charts, links
from mpta_pipeline.orchestration.assets.way_back import way_back
from mpta_pipeline.orchestration.column_lineage import lineage
from mpta_pipeline.orchestration.metadata import preview, preview_linked, table_schema
from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.stored import read, reduced

Preview = Callable[[Deployment, Record, str], dict[str, Any]]
_PREVIEWS: dict[str, Preview] = {}


def extra_metadata(deployment: Deployment, record: Record) -> dict[str, Any]:
    """The preview of a table that has just been made."""
    node = Node.parse(record.node)
    own = _PREVIEWS.get(node.asset)
    if own is not None:
        return own(deployment, record, node.partition)
    table = graph.TABLES[node.asset]
    if table.holds == "aggregates" and table.schema is not None:
        return {"first rows": preview(read(deployment, node.asset, node.partition))}
    return {}


def _preview(table: str) -> Callable[[Preview], Preview]:
    """Register the preview of a table."""

    def register(function: Preview) -> Preview:
        _PREVIEWS[table] = function
        return function

    return register


# --- surveys --------------------------------------------------------------------------------------------------------


@_preview("raw_wave")
def _raw_wave(deployment: Deployment, record: Record, wave: str) -> dict[str, Any]:
    raws = surveys.load_parts(deployment.layout, wave, registry=deployment.sources)
    variables = (
        pl.concat([raw.variables for raw in raws])
        .select("variable", "label", "storage", pl.col("value_labels").list.len().alias("labels"))
        .unique("variable", keep="first", maintain_order=True)
    )
    return {
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
    }


@_preview("harmonized_wave")
def _harmonized_wave(deployment: Deployment, record: Record, wave: str) -> dict[str, Any]:
    frame = read(deployment, "harmonized_wave", wave)
    columns = [c for c in frame.columns if f"{c}__missing" in frame.columns]
    coverage = frame.select(pl.col(columns).is_not_null().mean()).transpose(
        include_header=True, header_name="concept", column_names=["answered"]
    )
    raws = surveys.load_parts(deployment.layout, wave, registry=deployment.sources, in_use=True)
    codebooks = frame["codebook"].unique().sort().to_list()
    return {
        "dagster/column_schema": _column_schema(deployment, codebooks, frame, columns),
        **lineage("harmonized_wave", _native_variables(raws, deployment)),
        "release ids": dg.MetadataValue.json([raw.release_id for raw in raws]),
        "answered share": preview(coverage.sort("answered", "concept", descending=[True, False]), rows=60),
        "years": dg.MetadataValue.json(frame["year"].unique().sort().to_list()),
    }


def _column_schema(
    deployment: Deployment, codebooks: list[str], frame: pl.DataFrame, columns: list[str]
) -> dg.TableSchema:
    """The declared columns, followed by the concepts that this wave has."""
    concepts = deployment.crosswalk.concepts.filter(pl.col("codebook").is_in(codebooks))
    labels = dict(concepts.select("column", "label").drop_nulls().iter_rows())
    harmonized = [dg.TableColumn(c, str(frame.schema[c]), labels.get(c)) for c in columns if c != "country"]
    return dg.TableSchema([*table_schema(tables.RESPONDENTS).columns, *harmonized])


def _native_variables(raws: list[surveys.RawWave], deployment: Deployment) -> dict[str, list[tuple[str, str]]]:
    """Each column, its native code and its missing kind, by the variables of the files that they were made from."""
    found: dict[str, list[tuple[str, str]]] = {}
    for raw in raws:
        for column, variable in harmonize.column_sources(raw, deployment.crosswalk).select("column", "variable").rows():
            for name in (column, f"{column}__missing", f"{column}__code"):
                found.setdefault(name, []).append(("raw_wave", variable))
        if weight := raw.release["weight_name"]:
            found.setdefault("weight", []).append(("raw_wave", weight))
    return {name: list(dict.fromkeys(origins)) for name, origins in found.items()}


@_preview("survey_changelog")
def _survey_changelog(deployment: Deployment, record: Record, wave: str) -> dict[str, Any]:
    counts = read(deployment, "survey_changelog", wave).group_by("change").len("count").sort("change")
    file = deployment.wave_file(wave)
    ids = [*(surveys.release_id(file.wave, p.sha256) for p in file.parts), record.notes["previous_release"]]
    return {
        "changes": preview(counts),
        "release ids": dg.MetadataValue.json([release for release in ids if release is not None]),
    }


# --- personas -------------------------------------------------------------------------------------------------------


@_preview("personas")
def _personas(deployment: Deployment, record: Record, partition: str) -> dict[str, Any]:
    frame = read(deployment, "personas")
    summary = frame.group_by("survey", "wave").agg(
        pl.len().alias("personas"),
        pl.col("n_traits").mean().alias("mean traits"),
        (pl.col("k_anonymity") == 1).mean().alias("unique by demographics"),
    )
    return {
        "personas by wave": preview(summary.sort("wave")),
        "one persona": _one_persona(frame, deployment),
        **lineage("personas", {"traits": [("harmonized_wave", column) for column in _trait_columns(frame)]}),
    }


def _trait_columns(frame: pl.DataFrame) -> list[str]:
    """The concept columns that at least one persona carries as a trait."""
    columns = frame.select(pl.col("traits").list.eval(pl.element().struct.field("column")).explode())
    return columns.to_series().drop_nulls().unique().sort().to_list()


def _one_persona(frame: pl.DataFrame, deployment: Deployment) -> dg.MarkdownMetadataValue:
    """A rendered persona, only from a source whose policy permits showing it."""
    shown = frame.filter(pl.col("data_use") == "any").sort("respondent_id").head(1)
    if shown.is_empty():
        return dg.MetadataValue.md("No source in use permits its personas to be shown outside this machine.")
    text = domain.render(shown, style=deployment.study.styles[0], framing=deployment.study.framings[0])[0]
    return dg.MetadataValue.md(verbatim(text))


@_preview("panel")
def _panel(deployment: Deployment, record: Record, partition: str) -> dict[str, Any]:
    strata = (
        read(deployment, "panel")
        .group_by("survey", "stratum", "stratum_size", "stratum_selected", "inclusion_probability")
        .len("drawn")
        .sort("survey", "stratum")
    )
    return {"strata": preview(strata, rows=60)}


# --- tasks ----------------------------------------------------------------------------------------------------------


@_preview("items")
def _items(deployment: Deployment, record: Record, task: str) -> dict[str, Any]:
    frame = read(deployment, "items", task)
    asked = frame["column"].drop_nulls().unique().sort().to_list()
    return {
        "items preview": preview(frame.select("item_id", "category", "question", "options")),
        **lineage("items", {"column": [("harmonized_wave", column) for column in asked]} if asked else {}),
    }


@_preview("prompts")
def _prompts(deployment: Deployment, record: Record, task: str) -> dict[str, Any]:
    """Counts by condition, and one prompt from a source whose policy permits showing its personas."""
    texts = pl.col("content_hash").hash().unique().alias("texts")
    by = ("condition", "survey")
    found = reduced(deployment, "prompts", task, lambda part: part.group_by(by).agg(pl.len().alias("prompts"), texts))
    counts = found.group_by(by).agg(
        pl.col("prompts").sum(), pl.col("texts").list.explode().n_unique().alias("distinct texts")
    )
    shown: dict[str, Any] = {"prompts by condition": preview(counts.sort("condition", "survey"))}
    may_show = (pl.col("data_use") == "any") & (pl.col("condition") == "persona")
    example = reduced(deployment, "prompts", task, lambda part: part.filter(may_show).head(1)).head(1)
    if not example.is_empty():
        system, user = example.select("system", "user").row(0)
        shown["one prompt"] = dg.MetadataValue.md("\n\n".join(verbatim(t) for t in (system, user) if t))
    return shown


# --- responses and estimates ----------------------------------------------------------------------------------------


@_preview("responses")
def _responses(deployment: Deployment, record: Record, partition: str) -> dict[str, Any]:
    columns = ("prompt_id", "text", "option_logprobs", "finish_reason", "error")
    first = reduced(deployment, "responses", partition, lambda part: part.head(10))
    return {"answers preview": preview(first.select(*columns))}


@_preview("scores")
def _scores(deployment: Deployment, record: Record, partition: str) -> dict[str, Any]:
    """Number of answers by condition and status."""
    by, score = ("condition", "status"), pl.col("score")
    frame = reduced(
        deployment,
        "scores",
        partition,
        lambda part: part.group_by(by).agg(pl.len().alias("answers"), score.sum(), score.count().alias("scored")),
    )
    right = pl.when(pl.col("scored").sum() > 0).then(score.sum() / pl.col("scored").sum()).alias("right")
    counts = frame.group_by(by).agg(pl.col("answers").sum(), right)
    return {"answers by condition": preview(counts.sort("condition", "status"), rows=40)}


@_preview("subgroup_metrics")
def _subgroup_metrics(deployment: Deployment, record: Record, partition: str) -> dict[str, Any]:
    """A chart of the largest subgroups, the estimates for everyone with links to their traces, and the way back."""
    frame = read(deployment, "subgroup_metrics", partition)
    shown = frame.filter(pl.col("weighted")) if frame["weighted"].any() else frame
    shown = shown.sort("baseline", nulls_last=True).unique("estimate_id", keep="first", maintain_order=True)
    columns = ("survey", "metric", "condition", "estimate", "ci_low", "ci_high", "n_answers", "baseline_estimate")
    everyone = shown.filter(pl.col("dimensions") == "all")
    return (
        _subgroup_chart(shown)
        | {"estimates for everyone": preview_linked(everyone.select(*columns, "estimate_id"), "estimate_id", rows=40)}
        | way_back(deployment, everyone.sort(pl.col("condition") != "persona").head(1), "estimate_id", partition)
    )


# What a chart of subgroups shows, the first that was computed.
_CHARTED = ("accuracy", "agreement", "distance")


def _subgroup_chart(frame: pl.DataFrame) -> dict[str, Any]:
    known = frame["metric"].unique().to_list()
    metric = next((name for name in _CHARTED if name in known), known[0] if known else None)
    if metric is None:
        return {}
    condition = "persona" if "persona" in frame["condition"] else frame["condition"][0]
    chosen = frame.filter(pl.col("metric") == metric, pl.col("condition") == condition, pl.col("estimate").is_finite())
    chosen = chosen.sort(pl.col("dimensions") != "all", "n_answers", descending=[False, True]).head(charts.MOST_ROWS)
    several = chosen["survey"].n_unique() > 1
    rows = [
        charts.Row(
            _subgroup_label(row, several=several),
            row["estimate"],
            row["ci_low"],
            row["ci_high"],
            strong=row["verdict"] == "gap",
            compared=row["baseline_estimate"],
        )
        for row in chosen.iter_rows(named=True)
    ]
    if not rows:
        return {}
    title = f"{metric.replace('_', ' ')}, condition {condition.replace('_', ' ')}"
    note = f"{title}; bold red: differs from everyone else; hollow: baseline; the largest subgroups"
    known_metric = METRICS.get(metric)
    percent = known_metric is not None and known_metric.unit == "share"
    return {
        f"largest subgroups: {title}": charts.strips(rows, percent=percent),
        f"chart: {title}": charts.picture(charts.forest(rows, percent=percent, note=note), title),
    }


def _subgroup_label(row: dict[str, Any], *, several: bool) -> str:
    label = "everyone" if row["dimensions"] == "all" else f"{row['dimensions']}: {row['subgroup']}"
    return f"{row['survey']}, {label}" if several else label


@_preview("pockets")
def _pockets(deployment: Deployment, record: Record, partition: str) -> dict[str, Any]:
    """The pockets with the strongest evidence, as a chart and a table with links to their traces."""
    columns = ("survey", "condition", "outcome", "dimensions", "subgroup", "difference", "ci_low", "ci_high", "q_value")
    frame = read(deployment, "pockets", partition).sort("q_value", "p_value", nulls_last=True)
    several = frame["survey"].n_unique() > 1
    rows = [
        charts.Row(
            f"{row['outcome'].replace('_', ' ')}, {_subgroup_label(row, several=several)}",
            row["difference"],
            row["ci_low"],
            row["ci_high"],
            strong=row["confirmed"],
        )
        for row in frame.head(charts.MOST_ROWS).iter_rows(named=True)
        if row["difference"] is not None
    ]
    shown: dict[str, Any] = {}
    if rows:
        note = "Difference to everyone else with its interval; bold red: confirmed on the other half of the data"
        shown["strongest pockets, difference to everyone else"] = charts.strips(rows, reference=0.0)
        shown["chart: strongest pockets"] = charts.picture(charts.forest(rows, reference=0.0, note=note), note)
    table = frame.select(*columns, "n_personas", "confirmed", "pocket_id")
    return (
        shown
        | {"strongest pockets": preview_linked(table, "pocket_id", rows=20)}
        | way_back(deployment, frame.head(1), "pocket_id", partition)
    )


@_preview("model_comparison")
def _model_comparison(deployment: Deployment, record: Record, partition: str) -> dict[str, Any]:
    """The differences between models on all surveys and groups, as a chart and a table."""
    frame = read(deployment, "model_comparison")
    pairs = frame.filter(pl.col("model") < pl.col("other_model"))
    rows = [
        charts.Row(
            f"{row['task']}, {row['survey']}: {row['model']} − {row['other_model']}",
            row["difference"],
            row["ci_low"],
            row["ci_high"],
            strong=row["ci_low"] is not None and (row["ci_low"] > 0 or row["ci_high"] < 0),
        )
        for row in pairs.filter(pl.col("condition") == "persona").head(charts.MOST_ROWS).iter_rows(named=True)
        if row["difference"] is not None
    ]
    if not rows:
        return {"comparison": preview(frame, rows=30)}
    note = "Difference of two models on the same prompts, with persona; bold red: its interval excludes 0"
    chart = charts.picture(charts.forest(rows, reference=0.0, note=note), note)
    strips = charts.strips(rows, reference=0.0)
    return {"models in pairs": strips, "chart: models in pairs": chart, "comparison": preview(frame, rows=30)}


# --- publication ----------------------------------------------------------------------------------------------------


@_preview("warehouse")
def _warehouse(deployment: Deployment, record: Record, partition: str) -> dict[str, Any]:
    published = pl.DataFrame(
        {"table": [t.name for t in tables.PUBLISHED], "holds": [t.description for t in tables.PUBLISHED]}
    )
    return {"bytes": deployment.layout.warehouse.stat().st_size, "published tables": preview(published, 50)}


@_preview("report")
def _report(deployment: Deployment, record: Record, partition: str) -> dict[str, Any]:
    return {
        "open the report": dg.MetadataValue.md(
            f"[Open the report]({links.REPORT}) (served by `mpta ui`), or the file: "
            f"`{markdown(str(deployment.layout.report))}`"
        )
    }
