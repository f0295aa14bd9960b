"""Store a large table in chunks by a hash of the persona, so that memory does not grow with it.

A chunk is an immutable Parquet file with a record of its own beside it, which says what it was made from. The table's
record names the chunks in use and is swapped in at the end: until then the table stays as it was stored before. A chunk
whose inputs are those of its record is not made again, be it in use or left by a run that was killed.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mpta_pipeline.core.errors import ReplacedError
from mpta_pipeline.core.hashing import content_hash, digest, hash_uniform, short_hashes
from mpta_pipeline.core.provenance import (
    Node,
    Record,
    checksum,
    chunk_file,
    discard,
    is_whole,
    read_file,
    read_record,
    record_path,
    table_of_chunks,
    unused_chunks,
    write_record,
)
from mpta_pipeline.core.storage import UNREADABLE, chunk_folder, listed, parquet_metadata, write_parquet

CHUNK_ROWS = 64_000
"""Most prompts per chunk, on average over a table's chunks."""

_INPUTS = "inputs"
_DISTINCT = f"different {{}} by polars {pl.__version__}"
"""Metadata of a chunk's file: the different hashes of a column. Another version of polars may compute other ones."""


def chunk_names(rows: int) -> list[str]:
    """The chunks of a table of prompts; one, if the table fits into one file.

    Their number is a power of two that depends on the number of prompts alone, so that equal studies have equal chunks
    whatever was stored before, and a study that grows little keeps its chunks.
    """
    n = 1
    while rows > n * CHUNK_ROWS:
        n *= 2
    return [f"{i:04d}-of-{n:04d}" for i in range(n)]


def becomes_chunks(record: Record) -> bool:
    """Whether a table in one file, of an earlier version, has so many rows that it is stored in chunks when it is made.

    Responses and scores have at most one row per prompt, so their prompts are as many or more.
    """
    return not record.chunks and (record.rows or 0) > CHUNK_ROWS


def chunk_numbers(respondent_ids: pl.Series, n: int) -> pl.DataFrame:
    """Each respondent's chunk among `n`: respondent_id, chunk (from 0)."""
    frame = respondent_ids.unique().to_frame("respondent_id")
    place = hash_uniform(frame, ["respondent_id"], key="chunk") * n
    return frame.with_columns(place.cast(pl.Int64).alias("chunk"))


@dataclass(frozen=True)
class Chunk:
    """A chunk to store.

    Attributes:
        name: Its name; the names of a table's chunks sort in their order.
        inputs: Digest of everything that it is made from; empty if that cannot be stated.
        make: Makes its rows and the notes for its record.
        again: Make it in any case.
        counted: A column of hashes whose different values are counted over all chunks (`distinct`); they are kept in
            the file, so that the chunks that are not made again need not be read for it.
    """

    name: str
    inputs: str
    make: Callable[[], tuple[pl.DataFrame, Mapping[str, Any]]]
    again: bool = False
    counted: str = ""


@dataclass(frozen=True)
class StoredChunk:
    """A chunk of a stored table, or a table in one file as its only chunk.

    Attributes:
        name: Name of the chunk; empty for a table in one file.
        version: Data version.
        rows: Number of rows.
        path: The file.
        notes: Facts about the chunk that its rows do not contain.
    """

    name: str
    version: str
    rows: int
    path: Path
    notes: Mapping[str, Any] = field(default_factory=dict)

    def read(self, columns: Collection[str] | None = None) -> pl.DataFrame:
        """The rows of the chunk, verified.

        Args:
            columns: Columns to read, as far as they are stored; None for all.

        Raises:
            ReplacedError: The table was made again since its chunks were listed.
            DamagedError: The file was damaged, as in `provenance.read_file`.
        """
        try:
            return read_file(self.path, columns)
        except FileNotFoundError:
            raise ReplacedError(
                "A stored table was made again while it was being read",
                file=self.path,
                remedy="run it again: it is then made from the new table",
            ) from None


def distinct(chunks: Iterable[StoredChunk], column: str) -> pl.Series:
    """The different hashes in a column of stored chunks, as 64 bits each (`short_hashes`).

    Raises:
        DamagedError: A file is not as it was written.
    """
    found = []
    for chunk in chunks:
        kept = _kept_hashes(chunk.path, column)
        found.append(short_hashes(chunk.read([column])[column]) if kept is None else kept)
    return pl.concat(found).unique() if found else pl.Series([], dtype=pl.UInt64)


def _as_metadata(hashes: pl.Series) -> str:
    """Hashes of 64 bits as text, which begins with a checksum of the rest."""
    text = base64.b64encode(hashes.sort().to_numpy().astype("<u8").tobytes()).decode("ascii")
    return f"{zlib.crc32(text.encode('ascii')):08x}{text}"


def _kept_hashes(file: Path, column: str) -> pl.Series | None:
    """The hashes of a column that were kept in a file; None if there are none, or they are not as they were written."""
    try:
        text = parquet_metadata(file).get(_DISTINCT.format(column), "")
    except (FileNotFoundError, *UNREADABLE):  # reading the column tells what happened to the file
        return None
    if text[:8] != f"{zlib.crc32(text[8:].encode()):08x}":
        return None
    return pl.Series(np.frombuffer(base64.b64decode(text[8:]), dtype="<u8").astype(np.uint64), dtype=pl.UInt64)


def stored_chunks(path: Path) -> list[StoredChunk]:
    """The chunks of a stored table, in the order of their names; empty if it has not been made."""
    record = read_record(path)
    if record is None:
        return []
    if not record.chunks:
        return [StoredChunk("", record.version, record.rows or 0, path, record.notes)]
    found = []
    for name, version in record.chunks.items():
        file = chunk_file(path, name, version)
        own = read_record(file)
        if own is None:  # its record was lost or damaged: the chunk is made again
            discard(file)
            return []
        found.append(StoredChunk(name, version, own.rows or 0, file, own.notes))
    return found


def write_chunks(path: Path, node: Node, chunks: Sequence[Chunk]) -> Iterator[StoredChunk]:
    """Make and write the chunks whose inputs changed, one after the other; the table itself is not touched.

    Args:
        path: Path of the table.
        node: Name of the table and partition.
        chunks: All chunks of the table.
    """
    known = chunks_by_inputs(path)
    for chunk in chunks:
        found = known.get((chunk.name, chunk.inputs)) if chunk.inputs and not chunk.again else None
        if found is None:  # whether its bytes are those that were written is looked at when it is read
            found = _write_chunk(path, node, chunk)
        yield found


def chunks_by_inputs(path: Path) -> dict[tuple[str, str], StoredChunk]:
    """Name and inputs → chunk, for all that are there, in use or not."""
    found = {}
    for file in listed(chunk_folder(path), "*.parquet"):
        record = read_record(file)
        if record is not None and (inputs := record.parents.get(_INPUTS)):
            name = _name_of(record)
            found[name, inputs] = StoredChunk(name, record.version, record.rows or 0, file, record.notes)
    return found


def _name_of(record: Record) -> str:
    return record.node.rpartition("#")[2]


def _write_chunk(path: Path, node: Node, chunk: Chunk) -> StoredChunk:
    frame, notes = chunk.make()
    version = content_hash(frame)
    file = chunk_file(path, chunk.name, version)
    before = read_record(file)
    record = Record(f"{node}#{chunk.name}", version, frame.height, {_INPUTS: chunk.inputs}, dict(notes), "", version)
    if before is None or not is_whole(file):
        if before is not None:  # that of another process, which is writing the same bytes, stays
            record_path(file).unlink(missing_ok=True)
        kept = {_DISTINCT.format(name): _as_metadata(short_hashes(frame[name])) for name in (chunk.counted,) if name}
        write_parquet(frame, file, kept or None)
        record = replace(record, checksum=checksum(file))
    else:  # the same rows, made from other inputs
        record = replace(record, checksum=before.checksum)
    write_record(file, record)
    return StoredChunk(chunk.name, version, frame.height, file, dict(notes))


def use_chunks(
    path: Path,
    node: Node,
    parents: Mapping[str, str],
    chunks: Sequence[StoredChunk],
    *,
    sorted_by: Sequence[str],
    notes: Mapping[str, Any],
    beside: Sequence[str] = (),
) -> Record:
    """Let a table consist of these chunks from now on, and delete what it consisted of before.

    Args:
        path: Path of the table.
        node: Name of the table and partition.
        parents: Version of everything that it was made from.
        chunks: What `write_chunks` gave.
        sorted_by: Key by which the rows are sorted as a whole.
        notes: Further facts to keep in the record.
        beside: Versions of tables that are stored already and count as part of this one.
    """
    versions = {chunk.name: chunk.version for chunk in chunks}
    rows = sum(chunk.rows for chunk in chunks)
    version = _version(versions, beside)
    record = Record(str(node), version, rows, dict(parents), dict(notes), "", "", versions, list(sorted_by))
    write_record(path, record)
    discard_unused(path)
    return record


def _version(versions: Mapping[str, str], beside: Sequence[str] = ()) -> str:
    return digest(*(part for chunk in sorted(versions.items()) for part in chunk), *beside)


def discard_unused(path: Path) -> None:
    """Delete the chunks that a table's record does not name, and the file of a table that has chunks instead."""
    for file in unused_chunks(path):
        discard(file)
    record = read_record(path)
    if record is not None and record.chunks:
        path.unlink(missing_ok=True)


def rewrite_chunk(frame: pl.DataFrame, file: Path) -> Record | None:
    """Replace the rows of a chunk in use. It is made again by the next run, whatever its inputs.

    Args:
        frame: The new rows.
        file: The file of the chunk, which is deleted.

    Returns:
        The table's record with its new version; None if the chunk was not in use.
    """
    path = table_of_chunks(file.parent)
    own, table = read_record(file), read_record(path)
    if own is None or table is None or table.chunks.get(_name_of(own)) != own.version:
        discard(file)
        return None
    name = _name_of(own)
    now = _write_chunk(path, Node.parse(table.node), Chunk(name, "", lambda: (frame, own.notes)))
    chunks = {**table.chunks, name: now.version}
    rows = (table.rows or 0) - (own.rows or 0) + now.rows
    record = write_record(path, replace(table, version=_version(chunks), rows=rows, chunks=chunks))
    if now.path != file:
        discard(file)
    return record
