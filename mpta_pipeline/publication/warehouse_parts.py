"""Large published tables in parts, so that a publication writes only the partitions that changed.

A table with more than `PART_ROWS` rows is stored in the DuckDB file as one table per partition in the schema
`stored_parts`, and published as a view that puts them one below the other in the order of their names. The next file
begins as a copy of the published one: parts that are made from the same files stay as they are. All else, the views and
the comments are made again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from mpta_pipeline import surveys
from mpta_pipeline.core import tables
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.named_sql import quoted
from mpta_pipeline.core.provenance import files_of, is_whole, read_record
from mpta_pipeline.core.storage import Layout

SCHEMA = "stored_parts"
PART_ROWS = 1_000_000
"""A table with more rows is published in parts. Filling one table with a million rows takes about a second."""

_CONTENTS = f"{SCHEMA}.contents"
_FORMAT = "1"  # of the schema `stored_parts`; another one is not reused
_BLOCK = 1 << 26

Stored = dict[tuple[str, str], str]
"""Table and name of the part → digest of what it was made from."""


@dataclass(frozen=True)
class Part:
    """A partition of a published table.

    Attributes:
        table: The published table.
        name: Its partition, e.g. `scores|MODEL|TASK`.
        files: The Parquet files with its rows.
        made_from: Digest of the files' content.
    """

    table: str
    name: str
    files: Sequence[Path]
    made_from: str

    @property
    def sql(self) -> str:
        """The part's table in SQL."""
        return f"{SCHEMA}.{quoted(self.name)}"


def parts_of(layout: Layout, table: tables.Table, paths: Sequence[Path]) -> list[Part] | None:
    """The parts in which a table is published; None if it is published as one table.

    Args:
        layout: The data folder.
        table: The table.
        paths: Paths of its stored partitions, in the order of publication.
    """
    if table.open:  # the columns of its partitions differ
        return None
    records = [read_record(path) for path in paths]
    if sum((record.rows or 0) for record in records if record is not None) <= PART_ROWS:
        return None
    base = layout.store / "tables"
    return [_part(table.name, path, "|".join(path.relative_to(base).with_suffix("").parts)) for path in paths]


def _part(table: str, path: Path, name: str) -> Part:
    files = files_of(path)
    records = [read_record(file) for file in files]
    # A file whose content no record states is read again each time.
    known = all(record is not None and record.checksum for record in records)
    stated = [f"{file.name} {record.checksum}" for file, record in zip(files, records, strict=True) if record]
    return Part(table, name, files, digest(*stated) if known else "")


def stamp(layout: Layout) -> str:
    """What parts of an earlier file depend on beside their own files.

    After a withdrawal nothing is reused: a copied file still holds the bytes of rows that were deleted from it.
    """
    schemas = [f"{table.name} {table.schema}" for table in tables.PUBLISHED]
    return digest(_FORMAT, duckdb.__version__, surveys.load_withdrawals(layout).version, *schemas)


def begin(layout: Layout, target: Path) -> bool:
    """Copy the published file to `target` if its parts can be reused; return whether it was copied."""
    published = layout.warehouse
    if not published.exists() or read_record(published) is None or not is_whole(published):
        return False
    try:
        with duckdb.connect(str(published), read_only=True) as con:
            fits = con.execute(f"select count(*) from {_CONTENTS} where stamp = ?", [stamp(layout)]).fetchone()
            free, used = con.execute("select free_blocks, used_blocks from pragma_database_size()").fetchone() or (0, 0)
    except duckdb.Error:  # of an earlier version, opened by a program that writes, or no DuckDB file
        return False
    if fits is None or not fits[0] or free > used:
        return False
    _copy(published, target)
    return True


def _copy(source: Path, target: Path) -> None:
    """Copy a file within the system; a file system that can shares the blocks, which takes no time."""
    with source.open("rb") as old, target.open("wb") as new:
        left = os.fstat(old.fileno()).st_size
        try:
            while left and (copied := os.copy_file_range(old.fileno(), new.fileno(), min(left, _BLOCK))):
                left -= copied
        except OSError:  # e.g. between file systems that do not support it
            old.seek(0)
            new.seek(0)
            while block := old.read(_BLOCK):
                new.write(block)


def clear(con: duckdb.DuckDBPyConnection, wanted: Mapping[str, Sequence[Part] | None], stamped: str) -> Stored:
    """Drop from a copied file all but the parts that are wanted as they are; return these."""
    stored: Stored = {
        (table, name): made_from
        for table, name, made_from in con.execute(
            f"select table_name, part, made_from from {_CONTENTS} where stamp = ?", [stamped]
        ).fetchall()
    }
    kept = {
        (part.table, part.name): part.made_from
        for parts in wanted.values()
        for part in parts or ()
        if part.made_from and stored.get((part.table, part.name)) == part.made_from
    }
    there = con.execute(
        "select 'view', schema_name, view_name from duckdb_views() where not internal "
        "union all select 'table', schema_name, table_name from duckdb_tables() where not internal"
    ).fetchall()
    names = {name for _, name in kept}
    for kind, schema, name in there:
        if schema != SCHEMA or name not in names:
            con.execute(f"drop {kind} {quoted(schema)}.{quoted(name)}")
    for (schema,) in con.execute(
        f"select schema_name from duckdb_schemas() where not internal and schema_name not in ('main', '{SCHEMA}')"
    ).fetchall():
        con.execute(f"drop schema {quoted(schema)}")
    return kept


def note(con: duckdb.DuckDBPyConnection, parts: Sequence[Part], stamped: str) -> None:
    """Store what the parts of a file were made from; without parts, nothing."""
    if not parts:
        return
    con.execute(f"create table {_CONTENTS} (table_name varchar, part varchar, made_from varchar, stamp varchar)")
    con.executemany(f"insert into {_CONTENTS} values (?, ?, ?, ?)", [[*row, stamped] for row in _rows(parts)])
    con.execute(
        f"comment on table {_CONTENTS} is 'What each part was made from: the next publication keeps equal ones'"
    )


def _rows(parts: Sequence[Part]) -> Iterator[list[str]]:
    for part in parts:
        yield [part.table, part.name, part.made_from]


def view_over(con: duckdb.DuckDBPyConnection, table: tables.Table, parts: Sequence[Part]) -> None:
    """Publish parts as one table: a view with the rows of each, in their order."""
    rows = " union all ".join(f"select * from {part.sql}" for part in parts)
    con.execute(f"create view {quoted(table.name)} as {rows}")
