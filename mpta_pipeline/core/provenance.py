"""What every stored table partition was made from, in a small record beside it.

The record answers two questions without an orchestrator: is this partition still in step with what it was made from,
and (for the `lineage` table) what does it descend from. It is removed before a partition is rewritten and written
after, so a partition that was interrupted half-way is never taken for current.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.errors import DamagedError
from mpta_pipeline.core.hashing import content_hash, digest
from mpta_pipeline.core.storage import read_parquet, read_text, write_json, write_parquet

_BLOCK = 1 << 20


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
        checksum: CRC-32 of the stored file, by which a flipped bit shows; empty: written before there was one.
    """

    node: str
    version: str
    rows: int | None
    parents: Mapping[str, str]
    notes: Mapping[str, Any]
    checksum: str = ""


def record_path(path: Path) -> Path:
    """Where the record of a table partition lies."""
    return path.with_name(path.name + ".json")


def read_record(path: Path) -> Record | None:
    """The record of a table partition, or None where table or record is absent or the record cannot be read."""
    try:
        record = Record(**json.loads(read_text(record_path(path))))
        readable = isinstance(record.parents, dict) and isinstance(record.notes, dict)
    except (FileNotFoundError, ValueError, TypeError):  # damaged: the partition is made again
        return None
    return record if readable and path.exists() else None


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
    notes = dict(notes or {})
    return write_record(path, Record(str(node), version, frame.height, dict(parents), notes, checksum(path)))


def rewrite(frame: pl.DataFrame, path: Path, record: Record) -> Record:
    """Replace the rows of a partition, which keeps what it was made from."""
    record_path(path).unlink(missing_ok=True)
    write_parquet(frame, path)
    now = replace(record, version=content_hash(frame), rows=frame.height, checksum=checksum(path))
    return write_record(path, now)


def checksum(path: Path) -> str:
    """CRC-32 of a file, eight hexadecimal digits: about a sixth of the time that reading well-packed Parquet takes."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    return f"{crc:08x}"


def read_table(path: Path) -> pl.DataFrame:
    """Read a stored partition whose bytes are those that were written.

    Raises:
        FileNotFoundError: There is none.
        DamagedError: It was damaged since. Its record is removed, so that the next run makes it again.
    """
    verify(path)
    try:
        return read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as failure:
        raise _damaged(path, type(failure).__name__) from None


def verify(path: Path) -> None:
    """Compare a stored file with the checksum of its record.

    Raises:
        DamagedError: They differ; the record is removed.
    """
    record = read_record(path)
    if record is None or not record.checksum or checksum(path) == record.checksum:
        return
    # Written anew between the two looks: what is there now has another record, or none yet.
    if read_record(path) == record and checksum(path) != record.checksum:
        raise _damaged(path, "its bytes are not those that were written")


def _damaged(path: Path, why: str) -> DamagedError:
    record_path(path).unlink(missing_ok=True)
    return DamagedError(
        f"A stored file is damaged: {why}",
        file=path,
        remedy="run `mpta run` again: it makes the file anew from what is stored, and asks nothing twice; "
        "if it happens again, look at the disk",
    )


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
