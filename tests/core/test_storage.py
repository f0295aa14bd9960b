"""Nothing that is stored may be lost or half-written."""

import polars as pl
import pytest

from mpta_pipeline.core.storage import Layout, write_atomic, write_json, write_parquet


def test_a_failing_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("old")

    def breaks(temporary):
        temporary.write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        write_atomic(path, breaks)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["t.txt"]


def test_equal_frames_give_equal_bytes(tmp_path):
    frame = pl.DataFrame({"a": range(5000), "b": ["x"] * 5000})
    one = write_parquet(frame, tmp_path / "one.parquet").read_bytes()
    chunked = pl.concat([frame[:7], frame[7:]], rechunk=False)
    assert write_parquet(chunked, tmp_path / "two.parquet").read_bytes() == one


def test_json_is_the_same_whatever_the_order_of_keys(tmp_path):
    a = write_json({"b": 1, "a": "é"}, tmp_path / "a.json").read_bytes()
    assert write_json({"a": "é", "b": 1}, tmp_path / "b.json").read_bytes() == a


def test_partition_keys_with_slashes_stay_one_folder_level(tmp_path):
    layout = Layout(tmp_path)
    path = layout.table("responses", "org/model%1", "task")
    assert path == tmp_path / "tables" / "responses" / "org%2Fmodel%251" / "task.parquet"
    assert layout.table("responses", "org%2Fmodel", "task") != layout.table("responses", "org/model", "task")


def test_folders_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MPTA_DATA_DIR", str(tmp_path / "d"))
    monkeypatch.delenv("MPTA_SURVEY_DIR", raising=False)
    assert Layout.from_env().surveys == tmp_path / "d" / "surveys"
    monkeypatch.setenv("MPTA_SURVEY_DIR", str(tmp_path / "s"))
    assert Layout.from_env().surveys == tmp_path / "s"
