"""What every stored table partition was made from, in a small record beside it.

The record answers two questions without an orchestrator: is this partition still in step with what it was made from,
and (for the `lineage` table) what does it descend from. It is removed before a partition is rewritten and written
after, so a partition that was interrupted half-way is never taken for current.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.hashing import content_hash, digest
from mpta_pipeline.storage import read_text, write_json, write_parquet


@dataclass(frozen=True)
class Node:
    """An asset, or one partition of it. `str(node)` is its name in records and in the lineage table."""

    asset: str
    partition: str = ""

    def __str__(self) -> str:
        return f"{self.asset}|{self.partition}" if self.partition else self.asset


@dataclass(frozen=True)
class Record:
    """Version and descent of one stored partition.

    Attributes:
        node: Name of the asset and partition.
        version: Data version: equal content has equal versions.
        rows: Rows of the table; null for what is no table.
        parents: Name → version of all it was made from, code included.
        notes: Figures about the making that the table does not hold.
    """

    node: str
    version: str
    rows: int | None
    parents: Mapping[str, str]
    notes: Mapping[str, Any]


def record_path(path: Path) -> Path:
    """Where the record of a table partition lies."""
    return path.with_name(path.name + ".json")


def read_record(path: Path) -> Record | None:
    """The record of a table partition, or None where table or record is absent."""
    try:
        fields = json.loads(read_text(record_path(path)))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return Record(**fields) if path.exists() else None


def write_record(path: Path, record: Record) -> Record:
    """Write the record of a partition that is already in place."""
    write_json(vars(record) | {"parents": dict(record.parents), "notes": dict(record.notes)}, record_path(path))
    return record


def store(
    frame: pl.DataFrame,
    path: Path,
    node: Node,
    parents: Mapping[str, str],
    *,
    notes: Mapping[str, Any] | None = None,
    beside: str = "",
) -> Record:
    """Write a table partition and its record; a partition with equal content keeps its version.

    Args:
        frame: The rows.
        path: The partition.
        node: What it is.
        parents: Version of everything that it was made from.
        notes: What else there is to say of it.
        beside: Version of a table that is stored already and counts as part of it.
    """
    record_path(path).unlink(missing_ok=True)
    write_parquet(frame, path)
    version = content_hash(frame)
    version = digest(version, beside) if beside else version
    return write_record(path, Record(str(node), version, frame.height, dict(parents), dict(notes or {})))


def discard(path: Path) -> None:
    """Remove a partition and its record; nothing happens where there is none."""
    record_path(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


@cache
def code_version(*modules: str) -> str:
    """Hash of the source and data files of packages or modules: what a change of code changes.

    Args:
        modules: Dotted names; a package counts with everything below it.
    """
    return digest(*(part for path in sorted(_sources(modules)) for part in (path.name, path.read_bytes())), length=12)


def _sources(modules: Iterable[str]) -> Iterable[Path]:
    for name in modules:
        file = Path(str(import_module(name).__file__))
        if file.name == "__init__.py":
            yield from (p for p in file.parent.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        else:
            yield file
