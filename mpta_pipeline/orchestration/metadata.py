"""Metadata for the UI: rows, column schema, column lineage, previews. No table is made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.provenance import Node, Record
from mpta_pipeline.core.storage import chunk_folder
from mpta_pipeline.core.tables import PUBLISHED, Table
from mpta_pipeline.core.untrusted_text import markdown
from mpta_pipeline.orchestration import links
from mpta_pipeline.orchestration.column_lineage import lineage
from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.graph import Holds
from mpta_pipeline.pipeline.stored import path_of

OWNERS = ["team:evaluation"]
DATA_VERSION = "dagster/data_version"
_REASONS = 8  # that a materialization names


def holds(what: Holds) -> dict[str, str]:
    """Tag of each asset: what its rows are, and so how they must be handled."""
    return {"holds": what}


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
    """The version of a node that is reported to Dagster: its content's, followed by how often it left the study.

    Dagster remembers what was made of a wave, model or task that has left. If it comes back with equal content, all of
    it must count as changed, or what was discarded with it would not be rebuilt.

    Args:
        node: The asset and partition.
        version: Version of its content.
        removed: Wave, model or task → how often it left, from the catalogue.
    """
    keys = graph.partitioning_of(node.asset).values(node.partition) if node.partition else {}
    times = sum(removed.get(f"{dimension} {key}", 0) for dimension, key in keys.items())
    return f"{version}-{times}" if times else version


def common(deployment: Deployment, asset: str) -> dict[str, Any]:
    """Metadata that all partitions of an asset share: the releases in use and the origins of its columns."""
    releases = deployment.waves()["release_id"].to_list() if deployment.harmonized_waves() else []
    return {"release ids": dg.MetadataValue.json(releases)} | lineage(asset)


def record_metadata(deployment: Deployment, record: Record) -> dict[str, Any]:
    """Metadata of one materialization: file, rows, parents and the step's own notes."""
    shown: dict[str, Any] = {"made from": dg.MetadataValue.json(dict(record.parents))}
    path = path_of(deployment, Node.parse(record.node))
    shown["file"] = dg.MetadataValue.path(str(chunk_folder(path) if record.chunks else path))
    if record.rows is not None:
        shown["dagster/row_count"] = record.rows
    for name, note in record.notes.items():
        shown[name] = dg.MetadataValue.json(note) if isinstance(note, list | dict) else note
    return {k: v if v is not None else "none" for k, v in shown.items()}


def in_order(first: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata as the UI lists it: why it was made and what it shows stand above where it is and what it was made from.

    Args:
        first: What stands first, and counts if both have an entry.
        then: What follows.
    """
    return dict(first) | {name: value for name, value in then.items() if name not in first}


def made_because(reasons: Sequence[str]) -> dict[str, Any]:
    """Metadata that says why a table was rebuilt."""
    if not reasons:
        return {"made because": "a run of it was started; nothing that it is made from had changed"}
    return {"made because": "; ".join(reasons[:_REASONS]) + _more(len(reasons) - _REASONS)}


def _more(further: int) -> str:
    return f"; and {further} more" if further > 0 else ""


def observations(record: Record) -> list[dg.AssetObservation]:
    """An observation per release that is held, with what a person needs to decide on it."""
    node = Node.parse(record.node)
    return [
        dg.AssetObservation(
            node.asset,
            partition=node.partition or None,
            metadata={
                name: dg.MetadataValue.json(fact) if isinstance(fact, list | dict) else fact
                for name, fact in facts.items()
                if fact is not None
            },
        )
        for facts in record.notes.get("held", {}).values()
    ]


def preview(frame: pl.DataFrame, rows: int = 10) -> dg.MarkdownMetadataValue:
    """The first rows as a Markdown table; long texts are cut."""
    head = frame.head(rows).with_columns(pl.col(pl.Float64).round(3))
    lines = ["| " + " | ".join(head.columns) + " |", "|" + " --- |" * head.width]
    lines += ["| " + " | ".join(_cell(v) for v in row) + " |" for row in head.iter_rows()]
    return dg.MetadataValue.md("\n".join(lines))


def preview_linked(frame: pl.DataFrame, column: str, rows: int = 10) -> dg.MarkdownMetadataValue:
    """As `preview`; the ids in a column lead to their traces."""
    shown = preview(frame.drop(column), rows).md_str or ""
    ids = ["trace", "---", *(f"[{_cell(i)}]({links.trace(str(i))})" for i in frame[column].head(rows))]
    lines = [f"{line} {cell} |" for line, cell in zip(shown.splitlines(), ids, strict=True)]
    return dg.MetadataValue.md("\n".join(lines))


def _cell(value: object, limit: int = 120) -> str:
    text = "" if value is None else str(value)
    return markdown(text if len(text) <= limit else text[: limit - 1] + "…")


def reported_version(deployment: Deployment, record: Record) -> str:
    """The version of a materialization: the record's, with the settings whose changes reach Dagster by this asset."""
    node = Node.parse(record.node)
    settings = [
        setting.version(deployment, node.partition)
        for setting in graph.reported_with(node.asset)
        if setting.version is not None
    ]
    version = digest(record.version, *settings) if settings else record.version
    return data_version(node, version, deployment.catalogue().removed)


def result(
    deployment: Deployment,
    record: Record,
    *,
    extra: Mapping[str, Any] | None = None,
    checks: list[dg.AssetCheckResult] | None = None,
) -> dg.MaterializeResult[Any]:
    """One materialization from a step's record."""
    asset = Node.parse(record.node).asset
    return dg.MaterializeResult(
        metadata=in_order(extra or {}, common(deployment, asset) | record_metadata(deployment, record)),
        data_version=dg.DataVersion(reported_version(deployment, record)),
        check_results=checks or [],
    )
