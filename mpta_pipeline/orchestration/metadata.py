"""What the UI shows of a table: rows, column schema, column lineage, previews. No table is made here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
import polars as pl

from mpta_pipeline.core.provenance import Node, Record
from mpta_pipeline.core.tables import PUBLISHED, Table
from mpta_pipeline.core.untrusted_text import markdown
from mpta_pipeline.orchestration.column_lineage import lineage
from mpta_pipeline.pipeline import steps
from mpta_pipeline.pipeline.deployment import Deployment

OWNERS = ["team:evaluation"]
DATA_VERSION = "dagster/data_version"
# Tag of each asset: what its tables hold, and so how they are to be handled.
MICRODATA = {"holds": "microdata"}  # rows of single respondents, or texts made from them
AGGREGATES = {"holds": "aggregates"}
QUESTIONS = {"holds": "questions"}
CONFIGURATION = {"holds": "configuration"}

_CELLS = ("responses", "scores", "subgroup_metrics", "pockets")
_UNITS = (
    dict.fromkeys(("survey_file", "raw_wave", "harmonized_wave", "survey_changelog"), ("wave",))
    | dict.fromkeys(("task_card", "items", "prompts"), ("task",))
    | {"model_card": ("model",)}
    | dict.fromkeys(_CELLS, ("model", "task"))
)


def table_schema(table: Table) -> dg.TableSchema:
    """Dagster's column schema of a declared table."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                c.name,
                type=str(c.dtype),
                description=c.description,
                constraints=dg.TableColumnConstraints(
                    nullable=c.nullable,
                    unique=table.key == (c.name,),
                    other=[f"one of {', '.join(c.isin)}"] if c.isin else [],
                ),
            )
            for c in table.columns
        ]
    )


def definition_metadata(table: Table) -> dict[str, Any]:
    """Metadata of an asset that makes a declared table."""
    return {"dagster/column_schema": table_schema(table), "key": ", ".join(table.key)}


def published_schema() -> dg.TableSchema:
    """The columns of all published tables, as `table.column`."""
    return dg.TableSchema(
        [dg.TableColumn(f"{t.name}.{c.name}", str(c.dtype), c.description) for t in PUBLISHED for c in t.columns]
    )


def data_version(node: Node, version: str, removed: Mapping[str, int]) -> str:
    """The version of a node that Dagster is told: its content's and, behind it, how often it left the study.

    Dagster remembers what was made of a wave, model or task that has left. Should it come back with equal content, all
    of it must count as changed, or what was thrown away with it would not be made anew.

    Args:
        node: The asset and partition.
        version: Of its content.
        removed: As the catalogue says it.
    """
    keys = dict(zip(_UNITS.get(node.asset, ()), node.partition.rsplit("|", 1), strict=False))
    times = sum(removed.get(f"{unit} {key}", 0) for unit, key in keys.items())
    return f"{version}-{times}" if times else version


def common(deployment: Deployment, asset: str) -> dict[str, Any]:
    """What every partition of an asset shows: the releases in use, and what its columns are made from."""
    releases = deployment.waves()["release_id"].to_list() if deployment.harmonized_waves() else []
    return {"release ids": dg.MetadataValue.json(releases)} | lineage(asset)


def record_metadata(deployment: Deployment, record: Record) -> dict[str, Any]:
    """Metadata of one materialization: file, rows, descent and the step's own notes."""
    shown: dict[str, Any] = {"made from": dg.MetadataValue.json(dict(record.parents))}
    path = steps.path_of(deployment, Node(*record.node.split("|", 1)))
    shown["file"] = dg.MetadataValue.path(str(path))
    if record.rows is not None:
        shown["dagster/row_count"] = record.rows
    for name, note in record.notes.items():
        shown[name] = dg.MetadataValue.json(note) if isinstance(note, list | dict) else note
    return {k: v if v is not None else "none" for k, v in shown.items()}


def preview(frame: pl.DataFrame, rows: int = 10) -> dg.MarkdownMetadataValue:
    """The first rows as a Markdown table; long texts are cut."""
    head = frame.head(rows).with_columns(pl.col(pl.Float64).round(3))
    lines = ["| " + " | ".join(head.columns) + " |", "|" + " --- |" * head.width]
    lines += ["| " + " | ".join(_cell(v) for v in row) + " |" for row in head.iter_rows()]
    return dg.MetadataValue.md("\n".join(lines))


def _cell(value: object, limit: int = 120) -> str:
    text = "" if value is None else str(value)
    return markdown(text if len(text) <= limit else text[: limit - 1] + "…")


def result(
    deployment: Deployment,
    record: Record,
    *,
    extra: Mapping[str, Any] | None = None,
    checks: list[dg.AssetCheckResult] | None = None,
    version: str | None = None,
) -> dg.MaterializeResult[Any]:
    """One materialization from a step's record; `version` is what Dagster is told instead of the record's."""
    node = Node(*record.node.split("|", 1))
    return dg.MaterializeResult(
        metadata=common(deployment, node.asset) | record_metadata(deployment, record) | dict(extra or {}),
        data_version=dg.DataVersion(data_version(node, version or record.version, deployment.catalogue().removed)),
        check_results=checks or [],
    )
