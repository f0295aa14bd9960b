"""What the UI shows of a table: rows, column schema, column lineage, previews. No table is made here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
import polars as pl

from mpta_pipeline.provenance import Record
from mpta_pipeline.tables import Table

OWNERS = ["team:evaluation"]


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


def record_metadata(record: Record) -> dict[str, Any]:
    """Metadata of one materialization: rows, data version, descent and the step's own notes."""
    shown: dict[str, Any] = {"made from": dg.MetadataValue.json(dict(record.parents))}
    if record.rows is not None:
        shown["dagster/row_count"] = record.rows
    for name, note in record.notes.items():
        shown[name] = dg.MetadataValue.json(note) if isinstance(note, list | dict) else note
    return {k: v if v is not None else "none" for k, v in shown.items()}


def preview(frame: pl.DataFrame, rows: int = 10) -> dg.MarkdownMetadataValue:
    """The first rows as a Markdown table; long texts are cut."""
    head = frame.head(rows).with_columns(
        pl.col(pl.Float64).round(3),
        pl.selectors.by_dtype(pl.String).str.replace_all("|", "\\|", literal=True).str.replace_all("\n", " "),
    )
    lines = ["| " + " | ".join(head.columns) + " |", "|" + " --- |" * head.width]
    lines += ["| " + " | ".join(_cell(v) for v in row) + " |" for row in head.iter_rows()]
    return dg.MetadataValue.md("\n".join(lines))


def _cell(value: object, limit: int = 120) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def result(
    record: Record,
    *,
    extra: Mapping[str, Any] | None = None,
    checks: list[dg.AssetCheckResult] | None = None,
) -> dg.MaterializeResult[Any]:
    """One materialization from a step's record."""
    return dg.MaterializeResult(
        metadata=record_metadata(record) | dict(extra or {}),
        data_version=dg.DataVersion(record.version),
        check_results=checks or [],
    )
