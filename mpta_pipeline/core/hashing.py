"""Stable hashes for ids, content versions and keyed uniform numbers: the same on every machine."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import duckdb
import polars as pl

_SEPARATOR = "\x1f"  # ASCII unit separator: it does not occur in codes or labels, so joined parts stay distinct
_NULL = "\x00"


def digest(*parts: str | bytes | int | float | None, length: int = 16) -> str:
    """Hash parts to `length` hexadecimal digits of SHA-256; parts and nulls stay distinct."""
    h = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else (_NULL if part is None else str(part)).encode()
        h.update(len(data).to_bytes(8, "little"))
        h.update(data)
    return h.hexdigest()[:length]


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_rows(
    frame: pl.DataFrame, columns: Sequence[str | pl.Expr], *, key: str = "", length: int = 16, long: bool = False
) -> pl.Series:
    """Hash each row's `columns` to `length` hexadecimal digits of SHA-256, in one table operation.

    Args:
        frame: Any frame. A row's hash does not depend on the order of rows.
        columns: Names or expressions, cast to text. The caller joins lists.
        key: A prefix that keeps hashes for different purposes independent.
        length: Hexadecimal digits kept, at most 64.
        long: Rows have a kilobyte and more: then hashlib takes half of DuckDB's processor time, on one core.
    """
    parts = [
        (pl.col(c) if isinstance(c, str) else c).cast(pl.String).fill_null(_NULL).alias(f"c{i}")
        for i, c in enumerate(columns)
    ]
    joined = frame.select(pl.concat_str([pl.lit(key).alias("k"), *parts], separator=_SEPARATOR).alias("text"))
    if long:
        texts = joined.get_column("text")
        return pl.Series("h", [hashlib.sha256(t.encode()).hexdigest()[:length] for t in texts], dtype=pl.String)
    joined = joined.with_row_index("i")
    with _database(os.getpid()).cursor() as con:
        con.register("joined", joined.to_arrow())
        hashed: pl.DataFrame = con.sql(f"select i, left(sha256(text), {int(length)}) as h from joined order by i").pl()
    return hashed.get_column("h")


@cache
def _database(process: int) -> duckdb.DuckDBPyConnection:
    """Open one in-memory database per process: opening one takes ten times as long as hashing a small table."""
    return duckdb.connect()


def hash_uniform(frame: pl.DataFrame, columns: Sequence[str | pl.Expr], *, key: str) -> pl.Series:
    """Give each row a number in [0, 1) that depends only on `key` and the row's `columns` (52 bits of SHA-256)."""
    return hash_rows(frame, columns, key=key, length=13).str.to_integer(base=16, dtype=pl.Int64) / float(16**13)


def short_hashes(hashes: pl.Series) -> pl.Series:
    """64 bits of each hash, each once: enough to count ten million of them, in an eighth of the memory."""
    return hashes.hash().unique()


def content_hash(frame: pl.DataFrame, *, length: int = 16) -> str:
    """Hash a frame's column names, types, values and row order: the data version of a table."""
    sink = hashlib.sha256()
    sink.update(repr(list(frame.schema.items())).encode())
    buffer = io.BytesIO()
    # Parquet, because it stores no values under nulls; one chunk, because the frame's chunking must not matter.
    frame.rechunk().write_parquet(buffer, compression="uncompressed", statistics=False)
    sink.update(buffer.getbuffer())
    return sink.hexdigest()[:length]
