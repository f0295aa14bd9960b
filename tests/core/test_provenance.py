"""A partition must never be taken for current when it is not."""

import contextlib

import polars as pl

from mpta_pipeline.core import provenance
from mpta_pipeline.core.provenance import Node, code_version, discard, read_record, record_path, store

FRAME = pl.DataFrame({"a": [1]})


def test_a_record_tells_version_rows_and_parents(tmp_path):
    path = tmp_path / "t.parquet"
    record = store(FRAME, path, Node("t", "x"), {"p": "1"}, notes={"n": 2})
    assert read_record(path) == record
    assert (record.node, record.rows, record.parents, record.notes) == ("t|x", 1, {"p": "1"}, {"n": 2})


def test_equal_content_keeps_its_version_whatever_it_was_made_from(tmp_path):
    one = store(FRAME, tmp_path / "a.parquet", Node("t"), {"p": "1"})
    two = store(FRAME, tmp_path / "b.parquet", Node("t"), {"p": "2"})
    assert one.version == two.version
    assert store(FRAME + 1, tmp_path / "b.parquet", Node("t"), {}).version != one.version


def test_the_version_of_two_tables_in_one_is_written_in_one_piece(tmp_path, monkeypatch):
    written = []
    keep = provenance.write_record
    monkeypatch.setattr(provenance, "write_record", lambda path, record: written.append(record) or keep(path, record))
    path = tmp_path / "t.parquet"
    versions = {store(FRAME, path, Node("t"), {}, beside=other).version for other in ((), ("1",), ("2",))}
    assert len(versions) == len(written) == 3, "a change of either table shows, and no kill leaves half of it"


def test_an_interrupted_write_leaves_no_record(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    store(FRAME, path, Node("t"), {"p": "1"})
    monkeypatch.setattr("mpta_pipeline.core.provenance.write_parquet", lambda frame, path: 1 / 0)
    with contextlib.suppress(ZeroDivisionError):
        store(FRAME + 1, path, Node("t"), {"p": "2"})
    assert pl.read_parquet(path).equals(FRAME), "the table as it was is kept"
    assert read_record(path) is None, "but it is not taken for current"


def test_a_record_without_its_table_and_a_damaged_record_count_as_absent(tmp_path):
    path = tmp_path / "t.parquet"
    store(FRAME, path, Node("t"), {})
    path.unlink()
    assert read_record(path) is None
    store(FRAME, path, Node("t"), {})
    record_path(path).write_text('{"half')
    assert read_record(path) is None
    discard(path)
    assert list(tmp_path.iterdir()) == []


def test_code_version_covers_data_files_of_a_package():
    assert code_version("mpta_pipeline.core.errors") != code_version("mpta_pipeline.core.hashing")
    assert len(code_version("mpta_pipeline.harmonize")) == 12
