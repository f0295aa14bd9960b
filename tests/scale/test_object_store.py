"""Partitions on an object store, by MPTA_DATA_URL alone: the same bytes as in a folder, whole or not at all."""

import signal
import time

import polars as pl
import pytest

from mpta_pipeline.core import storage
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.provenance import Node, discard, read_record, store
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.publication import warehouse
from tests.scale.conftest import need
from tests.scale.deployment import partitions, published
from tests.scale.services import BUCKET

FRAME = pl.DataFrame({"a": range(1000)})


@pytest.fixture
def in_memory(tmp_path):
    """A layout on fsspec's object store in memory: what needs no server is tested in every suite."""
    need("upath")
    layout = Layout(tmp_path, f"memory://{tmp_path.name}")
    yield layout
    layout.store.fs.store.clear()


def test_equal_frames_are_equal_bytes_in_a_folder_and_on_a_store(in_memory, tmp_path):
    here = storage.write_parquet(FRAME, tmp_path / "t.parquet")
    there = storage.write_parquet(FRAME, in_memory.table("personas"))
    assert there.read_bytes() == here.read_bytes()
    assert storage.read_parquet(there).equals(FRAME)


def test_records_lie_beside_partitions_and_go_with_them(in_memory):
    path = in_memory.table("scores", "org/model", "task")
    made = store(FRAME, path, Node("scores", "org/model|task"), {"prompts|task": "1"})
    assert read_record(path) == made
    discard(path)
    assert read_record(path) is None and not path.exists()
    discard(path)


def test_a_failing_write_keeps_the_object_and_leaves_no_other(in_memory):
    path = storage.write_text("old", in_memory.store / "t.txt")

    def breaks(made):
        made.write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        storage.write_atomic(path, breaks)
    assert storage.read_text(path) == "old"
    assert [p.name for p in in_memory.store.iterdir()] == ["t.txt"]


def test_a_folder_is_whole_when_its_last_file_is_there(in_memory, tmp_path):
    source = tmp_path / "release"
    for name in ("data.parquet", "variables.parquet"):
        storage.write_parquet(FRAME, source / name)
    target = in_memory.raw_store / "wave" / "release"
    storage.mirror(source, target, last="release.json")
    assert not target.exists(), "an unfinished snapshot must not be copied"
    storage.write_json({}, source / "release.json")
    storage.mirror(source, target, last="release.json")
    assert [p.name for p in storage.listed(target, "*")] == ["data.parquet", "release.json", "variables.parquet"]
    back = tmp_path / "back"
    storage.mirror(target, back, last="release.json")
    assert (back / "data.parquet").read_bytes() == (source / "data.parquet").read_bytes()


def test_what_is_not_a_store_is_said_with_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match=r"MPTA_DATA_URL.*s3://bucket/prefix"):
        _ = Layout(tmp_path, "nosuchscheme://bucket").store


def test_a_study_on_s3_has_the_bytes_of_one_in_a_folder(one_machine, deployment, s3, monkeypatch):
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    url = f"s3://{BUCKET}/study"
    world = deployment()
    world.run("run", MPTA_DATA_URL=url)
    layout = Layout(world.data, url)
    assert partitions(layout.store) == partitions(one_machine().data)
    assert published(world.data / "warehouse.duckdb") == published(one_machine().data / "warehouse.duckdb")
    # Nothing but raw snapshots, ledgers and what is published stays on the machine; the store has a copy of that.
    assert sorted(p.name for p in world.data.iterdir() if p.is_dir()) == ["ledger", "raw"]
    assert (layout.store / "warehouse.duckdb").read_bytes() == (world.data / "warehouse.duckdb").read_bytes()
    assert (layout.store / "report.html").exists()
    figure = "one/value_alignment/gss_extract/accuracy/persona/sex/female"
    assert warehouse.trace(layout, figure).text() == warehouse.trace(Layout(one_machine().data), figure).text()
    assert "0 table(s) built" in world.run("run", MPTA_DATA_URL=url), "what stands on the store is known as current"


def test_a_killed_run_leaves_whole_objects_and_the_next_one_ends_with_the_same(
    one_machine, deployment, s3, monkeypatch
):
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    url = f"s3://{BUCKET}/killed"
    world = deployment()
    layout = Layout(world.data, url)
    for wanted in (6, 14):
        process = world.start("run", MPTA_DATA_URL=url)
        while process.poll() is None and len(list(layout.store.glob("tables/**/*.parquet"))) < wanted:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for path in layout.store.glob("tables/**/*.parquet"):
            storage.read_parquet(path)
    world.run("run", MPTA_DATA_URL=url)
    assert partitions(layout.store) == partitions(one_machine().data)
