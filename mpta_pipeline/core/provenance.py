"""Keep a record beside every stored table partition: its version and what it was made from.

The record answers two questions without an orchestrator: is the partition up to date with what it was made from, and
what does it descend from (the `lineage` table). It is deleted before a partition is rewritten and written afterwards,
so a partition whose writing was interrupted never counts as up to date.

A large table is stored in chunks (`chunks.py`): a folder of Parquet files, each with a record of its own. Its record
names the chunks in use; where the functions here take the path of a table, it is the path that the table would have as
one file.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.errors import DamagedError
from mpta_pipeline.core.hashing import content_hash, digest
from mpta_pipeline.core.storage import (
    CHUNKS,
    UNREADABLE,
    chunk_folder,
    holds_chunks,
    listed,
    on_object_store,
    parquet_metadata,
    read_parquet,
    read_text,
    remove_folder,
    write_json,
    write_parquet,
)

_BLOCK = 1 << 20
_CONTENT = "content_hash"
_READINGS = 5  # of a table in chunks that is replaced while it is read


@dataclass(frozen=True)
class Node:
    """A stored table, or one partition of it. `str(node)` is its name in records and in the lineage table."""

    asset: str
    partition: str = ""

    def __str__(self) -> str:
        return f"{self.asset}|{self.partition}" if self.partition else self.asset

    @classmethod
    def parse(cls, name: str) -> Node:
        """The node that a record names."""
        asset, _, partition = name.partition("|")
        return cls(asset, partition)


@dataclass(frozen=True)
class Record:
    """Version and parents of one stored partition.

    Attributes:
        node: Name of the table and partition.
        version: Data version: equal content has equal versions. Tables stored beside this one count as its content.
        rows: Number of rows; null for a document such as the report.
        parents: Name → version of everything it was made from, code included.
        notes: Facts about the run that made it and that the table does not contain.
        checksum: CRC-32 of the stored file, which reveals flipped bits; empty in records of earlier versions.
        content: Hash of the table's own rows; empty in records of earlier versions and for documents.
        chunks: Chunk → version, in the order of their names; empty for a table in one file.
        sorted_by: Key by which the rows of a table in chunks are sorted as a whole.
    """

    node: str
    version: str
    rows: int | None
    parents: Mapping[str, str]
    notes: Mapping[str, Any]
    checksum: str = ""
    content: str = ""
    chunks: Mapping[str, str] = field(default_factory=dict)
    sorted_by: Sequence[str] = ()


def record_path(path: Path) -> Path:
    """Path of a partition's record."""
    return path.with_name(path.name + ".json")


def read_record(path: Path) -> Record | None:
    """The record of a table partition; None if the table or the record is missing or the record cannot be read."""
    try:
        record = Record(**json.loads(read_text(record_path(path))))
        mappings = (record.parents, record.notes, record.chunks)
        readable = all(isinstance(each, dict) for each in mappings) and not isinstance(record.sorted_by, str)
    except (FileNotFoundError, ValueError, TypeError):  # a damaged record: the partition is rebuilt
        return None
    return record if readable and _is_there(path, record) else None


def _is_there(path: Path, record: Record) -> bool:
    if not record.chunks:
        return path.exists()
    there = {file.name for file in listed(chunk_folder(path), "*.parquet")}
    return there >= {chunk_file(path, *chunk).name for chunk in record.chunks.items()}


def write_record(path: Path, record: Record) -> Record:
    """Write the record of a partition that is already in place."""
    content = {name: dict(value) if isinstance(value, Mapping) else value for name, value in vars(record).items()}
    if record.chunks:
        content["sorted_by"] = list(record.sorted_by)
    else:  # as versions without chunks wrote it, and can read it
        del content["chunks"], content["sorted_by"]
    write_json(content, record_path(path))
    return record


def chunk_file(path: Path, chunk: str, version: str) -> Path:
    """The file of one chunk of a table. It never changes: other rows have another version, and so another file."""
    return chunk_folder(path) / f"{chunk}-{version}.parquet"


def files_of(path: Path) -> list[Path]:
    """The Parquet files that hold a table's rows: its own, or its chunks in use; empty if it is not stored.

    Each can be read, verified and rewritten on its own.
    """
    record = read_record(path)
    if record is not None and record.chunks:
        return [chunk_file(path, *chunk) for chunk in record.chunks.items()]
    return [path] if path.exists() else []


def stored_tables(folder: Path) -> list[Path]:
    """The paths of all tables that are stored below a folder, in one file or in chunks, in name order."""
    files = listed(folder, "**/*.parquet")
    found = dict.fromkeys(table_of_chunks(path.parent) if holds_chunks(path.parent) else path for path in files)
    return sorted(found, key=lambda path: path.parts)


def table_of_chunks(folder: Path) -> Path:
    """The path of the table whose chunks a folder holds; the opposite of `chunk_folder`."""
    return folder.with_name(folder.name.removesuffix(CHUNKS) + ".parquet")


def unused_chunks(path: Path) -> list[Path]:
    """The files of a table's chunks that its record does not name: replaced, or written by a run that was killed."""
    used = set(files_of(path))
    return [file for file in listed(chunk_folder(path), "*.parquet") if file not in used]


def store(
    frame: pl.DataFrame,
    path: Path,
    node: Node,
    parents: Mapping[str, str],
    *,
    notes: Mapping[str, Any] | None = None,
    beside: Sequence[str] = (),
) -> Record:
    """Write a table partition and its record; a partition with equal content keeps its version.

    Args:
        frame: The rows.
        path: The file of the partition.
        node: Name of the table and partition.
        parents: Version of everything that it was made from.
        notes: Further facts to keep in the record.
        beside: Versions of tables that are stored already and count as part of this one.
    """
    record_path(path).unlink(missing_ok=True)
    write_parquet(frame, path)
    content = content_hash(frame)
    version = digest(content, *beside) if beside else content
    notes = dict(notes or {})
    record = Record(str(node), version, frame.height, dict(parents), notes, checksum(path), content)
    write_record(path, record)
    remove_folder(chunk_folder(path))  # it had more rows before
    return record


def rewrite(frame: pl.DataFrame, path: Path, record: Record) -> Record:
    """Replace the rows of a partition; the record keeps its parents and gets a new version."""
    record_path(path).unlink(missing_ok=True)
    write_parquet(frame, path)
    content = content_hash(frame)
    now = replace(record, version=content, rows=frame.height, checksum=checksum(path), content=content)
    return write_record(path, now)


def checksum(path: Path) -> str:
    """CRC-32 of a file as eight hexadecimal digits; takes about a sixth of the time of reading compressed Parquet."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    return f"{crc:08x}"


def read_table(path: Path) -> pl.DataFrame:
    """Read a stored partition and verify that its bytes are those that were written.

    A table in chunks has the rows, and their order, that it would have in one file.

    Raises:
        FileNotFoundError: There is no such partition.
        DamagedError: The file was damaged. It is deleted, so that nothing reads it and the next run rebuilds it.
    """
    for attempt in range(_READINGS):
        record = read_record(path)
        if record is None or not record.chunks:
            break
        try:
            parts = [read_table(chunk_file(path, *chunk)) for chunk in record.chunks.items()]
            return pl.concat(parts).sort(record.sorted_by, maintain_order=True)
        except FileNotFoundError:  # it was made again meanwhile, and its record names other chunks now
            if attempt + 1 == _READINGS:
                raise
    return read_file(path)


def read_file(path: Path, columns: Collection[str] | None = None) -> pl.DataFrame:
    """Read a stored file (`files_of`) and verify that its bytes are those that were written.

    Args:
        path: A table in one file, or a chunk.
        columns: Columns to read, as far as they are stored; None for all.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedError: The file was damaged. It is deleted, so that nothing reads it and the next run rebuilds it.
    """
    verify(path)
    try:
        return read_parquet(path, columns)
    except UNREADABLE as failure:
        raise _damaged(path, type(failure).__name__) from None


def read_in_parts(path: Path, rows: int) -> Iterator[pl.DataFrame]:
    """Read a stored partition in one file, some rows at a time, as `read_table` reads it at once."""
    record = read_record(path)
    if record is None or record.chunks or (record.rows or 0) <= rows or on_object_store(path):
        yield read_table(path)
        return
    verify(path)
    for first in range(0, record.rows or 0, rows):
        try:
            part = pl.scan_parquet(path).slice(first, rows).collect()
        except UNREADABLE as failure:
            raise _damaged(path, type(failure).__name__) from None
        yield part


def verify(path: Path) -> None:
    """Compare a stored file with the checksum of its record.

    A damaged file must not stay without its record: the next to read it would have nothing to compare it with.

    Raises:
        DamagedError: They differ; file and record are deleted.
    """
    if not is_whole(path):
        raise _damaged(path, "its bytes are not those that were written")


def is_whole(path: Path) -> bool:
    """Whether a stored file has the checksum of its record; also if there is no record, or one without a checksum."""
    record = read_record(path)
    if record is None or not record.checksum or checksum(path) == record.checksum:
        return True
    # The file may have been rewritten between the two reads: then its record is another one, or not there yet.
    return read_record(path) != record or checksum(path) == record.checksum


def _damaged(path: Path, why: str) -> DamagedError:
    discard(path)
    return DamagedError(
        f"A stored file is damaged: {why}",
        file=path,
        remedy="run `mpta run` again: it rebuilds the file from what is stored and repeats no request; "
        "if this happens again, check the disk",
    )


def store_only_copy(frame: pl.DataFrame, path: Path) -> Path:
    """Write a table that nothing could make again, with the hash of its rows inside the file."""
    return write_parquet(frame, path, {_CONTENT: content_hash(frame)})


def read_only_copy(path: Path) -> pl.DataFrame:
    """Read what `store_only_copy` wrote; a file of an earlier version states no hash.

    Raises:
        DamagedError: The file is damaged. It is left as it is.
    """
    try:
        frame, stated = read_parquet(path), parquet_metadata(path).get(_CONTENT)
    except UNREADABLE as failure:
        raise _lost(path, type(failure).__name__) from None
    if stated is not None and content_hash(frame) != stated:
        raise _lost(path, "its rows are not those that were written")
    return frame


def _lost(path: Path, why: str) -> DamagedError:
    return DamagedError(
        f"A stored file is damaged, and no run can make it again: {why}",
        file=path,
        remedy="restore the file from a backup, or move it out of the data folder; what it kept is then lost",
    )


def discard(path: Path) -> None:
    """Delete a partition and its record, if they exist."""
    record_path(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    remove_folder(chunk_folder(path))


@cache
def code_version(*modules: str) -> str:
    """Hash of the source and data files of packages or modules.

    Args:
        modules: Dotted names; a package includes everything below it. `package/file` names one data file of a package.
    """
    return digest(*(part for path in sorted(_sources(modules)) for part in (path.name, path.read_bytes())), length=12)


def _sources(modules: Iterable[str]) -> Iterable[Path]:
    for name, _, data_file in (module.partition("/") for module in modules):
        file = Path(str(import_module(name).__file__))
        if data_file:
            yield file.with_name(data_file)
        elif file.name == "__init__.py":
            yield from (p for p in file.parent.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        else:
            yield file
