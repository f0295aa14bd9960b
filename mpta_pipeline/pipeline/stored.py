"""Find, read and discard the stored tables of the graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mpta_pipeline.core.chunks import StoredChunk, stored_chunks
from mpta_pipeline.core.errors import ConfigError, ValidationError
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.provenance import Node, Record, discard, read_in_parts, read_record, read_table, stored_tables
from mpta_pipeline.core.storage import listed
from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.graph import Partitioning

INTO_CHUNKS = "it was stored in one file and is now stored in chunks, which repeats no request"
"""Why a large table of an earlier version is made again."""
PART_ROWS = 1_000_000
"""Rows of `StoredParts`: as polars' tables with ids as text, they take about 100 MB."""


def path_of(deployment: Deployment, node: Node) -> Path:
    """The file that holds a node's table or document."""
    layout = deployment.layout
    match node.asset:
        case "harmonized_wave":
            return layout.harmonized(node.partition)
        case "warehouse":
            return layout.warehouse
        case "report":
            return layout.report
    declared = graph.TABLES.get(node.asset)
    if declared is not None and declared.partitioning is Partitioning.MODEL_TASK:
        return layout.table(node.asset, *ModelTask.parse(node.partition))
    return layout.table(node.asset, *([node.partition] if node.partition else []))


def made(deployment: Deployment, node: Node) -> Record | None:
    """The record of a node; None if it, or a table that its step stores with it, has not been made or was lost."""
    known = _remembered.get()
    if known is None:
        return _made(deployment, node)
    if node not in known:
        known[node] = _made(deployment, node)
    return known[node]


def _made(deployment: Deployment, node: Node) -> Record | None:
    record = read_record(path_of(deployment, node))
    if record is None or node.asset not in graph.TABLES:
        return record
    stored_with = [
        Node(name, node.partition) for name in graph.companions(node.asset) if not graph.TABLES[name].on_demand
    ]
    return record if all(read_record(path_of(deployment, companion)) for companion in stored_with) else None


_remembered: ContextVar[dict[Node, Record | None] | None] = ContextVar("remembered", default=None)


@contextmanager
def remembering() -> Iterator[None]:
    """Read each record once, to look at the whole study as it is at one moment; nothing may be stored meanwhile."""
    token = _remembered.set({})
    try:
        yield
    finally:
        _remembered.reset(token)


def read(deployment: Deployment, table: str, partition: str = "") -> pl.DataFrame:
    """One partition of a stored table.

    Raises:
        ConfigError: It has not been made yet.
    """
    try:
        return with_current_names(table, read_table(path_of(deployment, Node(table, partition))))
    except FileNotFoundError:
        raise _not_made(table, partition) from None


def chunks_of(deployment: Deployment, table: str, partition: str = "") -> list[StoredChunk]:
    """The chunks of one partition of a stored table; a single one, without a name, if it is in one file.

    Raises:
        ConfigError: It has not been made yet.
    """
    found = stored_chunks(path_of(deployment, Node(table, partition)))
    if not found:
        raise _not_made(table, partition)
    return found


@dataclass(frozen=True)
class StoredParts:
    """The rows of a stored table, some at a time; a person's rows may be in several parts."""

    table: str
    path: Path

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for part in read_in_parts(self.path, PART_ROWS):
            yield with_current_names(self.table, part)


def frames_of(
    deployment: Deployment, table: str, partition: str = "", columns: Collection[str] | None = None
) -> Iterator[pl.DataFrame]:
    """The rows of one partition of a stored table, chunk after chunk; all at once if it is in one file.

    Args:
        deployment: The deployment.
        table: The table.
        partition: The partition.
        columns: Columns to read, as far as they are stored; None for all.

    Raises:
        ConfigError: It has not been made yet.
    """
    chunks = chunks_of(deployment, table, partition)
    if columns is not None:
        schema = graph.TABLES[table].schema
        earlier = {} if schema is None else schema.earlier_names
        columns = {*columns, *(old for old, new in earlier.items() if new in columns)}
    if len(chunks) == 1 and columns is None:
        yield read(deployment, table, partition)
        return
    for chunk in chunks:
        yield with_current_names(table, chunk.read(columns))


def reduced(
    deployment: Deployment, table: str, partition: str, only: Callable[[pl.DataFrame], pl.DataFrame]
) -> pl.DataFrame:
    """One partition of a stored table, reduced chunk by chunk, so that it need not fit into memory.

    Args:
        deployment: The deployment.
        table: The table.
        partition: The partition.
        only: Reduces the rows of some personas. What it gives is sorted by the table's key, as far as it has the key.

    Raises:
        ConfigError: It has not been made yet.
    """
    parts = [only(frame) for frame in frames_of(deployment, table, partition)]
    if len(parts) == 1:
        return parts[0]
    frame = pl.concat(parts)
    schema = graph.TABLES[table].schema
    key = [name for name in (schema.key if schema else ()) if name in frame.columns]
    return frame.sort(key, maintain_order=True) if key else frame


def _not_made(table: str, partition: str) -> ConfigError:
    return ConfigError(
        f"The table {table} has not been made yet",
        variable="partition" if partition else None,
        value=partition or None,
        remedy="make it first: in the UI, or with `mpta run`, which rebuilds everything that is out of date",
    )


def with_current_names(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """A stored partition with the columns' names of today, whichever version stored it."""
    schema = graph.TABLES[table].schema
    return frame if schema is None else schema.with_current_names(frame)


def partitions(deployment: Deployment, table: str) -> list[str]:
    """The partitions of a table that have been made and belong to the study, in its order.

    A wave counts while it has a harmonized table: one that could not be rebuilt stays in the study as it was.
    """
    partitioning = graph.TABLES[table].partitioning
    if partitioning is Partitioning.WAVE:
        return deployment.harmonized_waves()
    keys = graph.partition_keys(deployment, partitioning)
    return [key for key in keys if made(deployment, Node(table, key)) is not None]


def stacked(deployment: Deployment, table: str) -> pl.DataFrame:
    """All partitions of a table that have been made, one below the other."""
    frames = [read(deployment, table, key) for key in partitions(deployment, table)]
    return concatenated(table, frames)


def concatenated(table: str, frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Partitions of a table, one below the other; the empty table if there are none.

    Raises:
        ValidationError: An earlier version stored some of them without a column that must not be null.
    """
    schema = graph.TABLES[table].schema
    if not frames and schema is not None:
        return schema.empty()
    if schema is None:
        return pl.concat(frames)
    needed = {column.name for column in schema.columns if not column.nullable}
    every = {name for frame in frames for name in frame.columns} & needed
    lacking = sorted({name for frame in frames for name in every.difference(frame.columns)})
    if lacking and not schema.open:
        raise ValidationError(
            f"An earlier version stored some partitions of the table {table} without columns that are needed now",
            variable=table,
            value=", ".join(lacking),
            remedy="run `mpta run` without --models and --tasks: it makes all again, and sends no request twice",
        )
    # Waves have the columns of their own concepts; a column that a wave lacks is null in it. So is an optional column
    # that the version which stored a partition did not have.
    return pl.concat(frames, how="diagonal_relaxed" if schema.open else "diagonal")


def outside_the_study(deployment: Deployment) -> list[Path]:
    """Stored partitions of models and tasks that left the study. They are kept for when these come back."""
    found = []
    for table in graph.TABLES.values():
        if "task" in table.partitioning.dimensions:
            keys = graph.partition_keys(deployment, table.partitioning)
            used = {path_of(deployment, Node(table.name, key)) for key in keys}
            stored = stored_tables(deployment.layout.store / "tables" / table.name)
            found += [path for path in stored if path not in used]
    return found


def forget_departed_waves(deployment: Deployment) -> None:
    """Remove the tables of waves that are not in the catalogue; their raw snapshots and the responses stay.

    What is stored decides, not what an orchestrator remembers: the data folder may have been used with another one.
    """
    waves = deployment.catalogue().waves
    for table in graph.TABLES.values():
        if table.partitioning is Partitioning.WAVE:
            used = {path_of(deployment, Node(table.name, wave)) for wave in waves}
            for path in listed(path_of(deployment, Node(table.name, "any")).parent, "*.parquet"):
                if path not in used:
                    discard(path)
