"""Large tables are published in parts: the same rows in the same order, and only what changed is written again."""

from pathlib import Path
from urllib.parse import quote

import duckdb
import polars as pl
import pytest

from mpta_pipeline import surveys
from mpta_pipeline.core import tables
from mpta_pipeline.core.provenance import Node, Record, checksum, read_table, store, stored_tables, write_record
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.publication import warehouse, warehouse_parts
from tests.factories import stored_study as fab

LARGE = ("prompts", "responses", "scores")


def publish(layout: Layout) -> dict[str, list[tuple]]:
    """Publish as the step does; the rows of every table and view."""
    path = warehouse.publish(layout)
    write_record(path, Record("warehouse", "1", None, {}, {}, checksum(path)))
    with duckdb.connect(str(path), read_only=True) as con:
        return {each.name: con.table(each.name).fetchall() for each in (*tables.PUBLISHED, *tables.VIEWS)}


def restore(frame: pl.DataFrame, path: Path) -> None:
    store(frame, path, Node(path.parts[-2], path.stem), {})


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    layout = fab.store(tmp_path)
    for name in LARGE:
        for path in stored_tables(layout.store / "tables" / name):
            restore(pl.read_parquet(path), path)
    monkeypatch.setattr(warehouse_parts, "PART_ROWS", 0)
    return layout


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that are written."""
    names: list[str] = []
    declare = warehouse._declare

    def declared(con, table, name=None):
        names.extend([] if name is None else [name])
        declare(con, table, name)

    monkeypatch.setattr(warehouse, "_declare", declared)
    return names


def part_of_scores() -> str:
    """The part that `change_scores` changes."""
    return f"scores|{quote(fab.MODELS[0], safe='')}|values"


def change_scores(layout: Layout) -> Path:
    path = layout.table("scores", fab.MODELS[0], "values")
    restore(read_table(path).with_columns(pl.col("score") / 2), path)
    return path


def test_parts_have_the_rows_and_the_order_of_one_table(layout, filled, monkeypatch):
    in_parts = publish(layout)
    assert len(filled) == sum(len(stored_tables(layout.store / "tables" / name)) for name in LARGE)
    with duckdb.connect(str(layout.warehouse), read_only=True) as con:
        told = dict(con.execute("select view_name, comment from duckdb_views() where not internal").fetchall())
        columns = con.execute(
            "select comment from duckdb_columns() where table_name = 'scores' and schema_name = 'main'"
        )
        assert all(comment for (comment,) in columns.fetchall())
    assert told["scores"] == tables.SCORES.description
    monkeypatch.setattr(warehouse_parts, "PART_ROWS", 10**9)
    assert publish(layout) == in_parts


def test_only_the_partition_that_changed_is_written(layout, filled, monkeypatch):
    before = publish(layout)
    filled.clear()
    changed = change_scores(layout)
    after = publish(layout)
    assert [part_of_scores() in name for name in filled] == [True]
    assert after["scores"] != before["scores"] and after["responses"] == before["responses"]
    filled.clear()
    # A partition that left the study leaves the file, and nothing is written for it.
    warehouse.leave_out(layout, [changed])
    left = publish(layout)
    assert filled == [] and 0 < len(left["scores"]) < len(after["scores"])
    with duckdb.connect(str(layout.warehouse), read_only=True) as con:
        names = {name for (name,) in con.execute("select table_name from duckdb_tables()").fetchall()}
    assert part_of_scores() not in names
    monkeypatch.setattr(warehouse_parts, "begin", lambda layout, target: False)
    assert publish(layout) == left, "as from nothing"


def test_a_file_that_cannot_be_trusted_is_not_reused(layout, monkeypatch, tmp_path):
    publish(layout)
    copy = tmp_path / "copy.duckdb"
    assert warehouse_parts.begin(layout, copy) and copy.read_bytes() == layout.warehouse.read_bytes()
    with monkeypatch.context() as patch:
        withdrawn = type("Listed", (), {"version": "1"})()
        patch.setattr(surveys, "load_withdrawals", lambda layout: withdrawn)
        assert not warehouse_parts.begin(layout, copy), "somebody withdrew"
    with monkeypatch.context() as patch:
        patch.setattr(duckdb, "__version__", "another")
        assert not warehouse_parts.begin(layout, copy)
    content = bytearray(layout.warehouse.read_bytes())
    content[len(content) // 2] ^= 1
    layout.warehouse.write_bytes(content)
    assert not warehouse_parts.begin(layout, copy), "its bytes are not those that were written"
    layout.warehouse.unlink()
    assert not warehouse_parts.begin(layout, copy)


def test_a_file_that_is_changed_keeps_the_bytes_of_what_was_dropped(tmp_path):
    """Why a withdrawal builds the published file anew: no statement of DuckDB wipes the blocks of dropped rows."""
    path = tmp_path / "kept.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("pragma force_compression = 'uncompressed'")  # compressed text could not be searched for
        for part in ("theirs", "other"):
            con.execute(f"create table {part} as select '{part}_' || (7919 * range) as person from range(30_000)")
    assert b"theirs_7919" in path.read_bytes()
    with duckdb.connect(str(path)) as con:
        con.execute("drop table theirs")
        con.execute("create table again as select 'again_' || (7919 * range) as person from range(20_000)")
        con.execute("checkpoint; vacuum; force checkpoint")
        assert con.execute("select count(*) from duckdb_tables()").fetchone() == (2,)
    assert b"theirs_" in path.read_bytes()
