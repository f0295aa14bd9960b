"""One flipped bit in a stored file: never a changed figure, never a panic, always said, and made again."""

import json
import os
import random
import shutil
from contextlib import suppress
from pathlib import Path

import duckdb
import polars as pl
import pytest

import mpta_pipeline
from mpta_pipeline.core import provenance
from mpta_pipeline.core.errors import DamagedError, MptaError, TaskError, ValidationError
from mpta_pipeline.core.provenance import Node, read_table, store
from mpta_pipeline.core.storage import listed, read_parquet
from mpta_pipeline.external.file_formats import read as read_answers
from mpta_pipeline.pipeline import graph, integrity
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.stored import stacked
from mpta_pipeline.publication import warehouse
from mpta_pipeline.tasks.kinds import multiple_choice
from tests.plain_run import bring_up_to_date

FLIPS = int(os.environ.get("MPTA_FLIPS", "60"))
"""Flips of the campaign; 500 and more: `MPTA_FLIPS=500 python -m pytest tests/attack/test_flipped_bits.py`."""


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_every_flip_in_a_table_is_seen_when_it_is_read(tmp_path):
    frame = pl.DataFrame({"x": range(2000), "text": [f"row {i % 7}" for i in range(2000)]})
    path, rng = tmp_path / "t.parquet", random.Random(1)
    for _ in range(FLIPS * 3):
        store(frame, path, Node("t"), {})
        flip(path, rng.randrange(path.stat().st_size * 8))
        with pytest.raises(DamagedError, match=r"t\.parquet.*rebuilds the file"):
            read_table(path)
        assert provenance.read_record(path) is None, "it counts as not made"
        assert not path.exists(), "without its record it would be read without a word"


def test_a_table_of_before_there_were_checksums_is_read_and_what_cannot_be_read_is_told(tmp_path):
    path = tmp_path / "t.parquet"
    store(pl.DataFrame({"x": [1]}), path, Node("t"), {})
    record = json.loads(provenance.record_path(path).read_text())
    del record["checksum"]
    provenance.record_path(path).write_text(json.dumps(record))
    assert read_table(path).height == 1
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(DamagedError):
        read_table(path)


def test_a_table_that_is_written_again_while_it_is_read_is_not_taken_for_damaged(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    store(pl.DataFrame({"x": [1]}), path, Node("t"), {})
    look = provenance.checksum

    def and_meanwhile(file):
        monkeypatch.setattr(provenance, "checksum", look)
        store(pl.DataFrame({"x": [2]}), path, Node("t"), {})
        return look(file)

    monkeypatch.setattr(provenance, "checksum", and_meanwhile)
    assert read_table(path)["x"].to_list() == [2]
    assert provenance.read_record(path) is not None


@pytest.mark.usefixtures("finished")
def test_the_campaign_over_every_stored_file_ends_with_the_figures_as_they_were(world, server, tmp_path):
    deployment = Deployment.from_env()
    figures = {asset: stacked(deployment, asset) for asset in ("scores", "subgroup_metrics", "pockets")}
    calls, kept = server.calls, tmp_path / "kept"
    shutil.copytree(deployment.layout.root, kept)
    stored = [
        *listed(deployment.layout.root, "harmonized/*.parquet*"),
        *listed(deployment.layout.root, "tables/**/*.parquet*"),
    ]
    assert {"personas", "prompts", "scores"} <= {p.parts[-2] for p in stored} | {p.parts[-3] for p in stored}
    rng, told = random.Random(7), 0
    for path in rng.sample(stored, min(FLIPS // 10, len(stored))):
        flip(path, rng.randrange(path.stat().st_size * 8))
        failed = [f for f in integrity.check_all(Deployment.from_env()) if not f.passed]
        told += bool(failed)
        for _ in range(3):  # each run mends what it meets: the file, or what was half-way made from it
            try:
                bring_up_to_date()
                break
            except MptaError:
                continue
        again = Deployment.from_env()
        for asset in figures:
            with suppress(DamagedError):  # no step had read it: it is made again, as the check says
                stacked(again, asset)
        bring_up_to_date()
        for asset, frame in figures.items():
            assert stacked(again, asset).equals(frame), f"{asset} after a flip in {path.name}"
        shutil.rmtree(deployment.layout.root)
        shutil.copytree(kept, deployment.layout.root)
    assert told, "flips show in the check"
    assert server.calls == calls, "nothing was asked again"


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("lost", ["flipped", "deleted"])
def test_tables_that_another_ones_step_stores_are_made_again(lost, world, server):
    """They have no step of their own; their owner's record said that everything was there."""
    deployment = Deployment.from_env()
    figures, calls = stacked(deployment, "subgroup_metrics"), server.calls
    names = [t.name for t in graph.TABLES.values() if t.companion_of and not t.on_demand]
    before = {path: path.read_bytes() for n in names for path in listed(world.data / "tables" / n, "**/*.parquet")[:1]}
    assert len(before) == len(names) > 5
    for path, content in before.items():
        if lost == "deleted":
            provenance.discard(path)
        else:
            flip(path, len(content) * 4)
    kept = {provenance.record_path(path) for path in before}
    # Without these records, something makes everything read them.
    published = provenance.record_path(deployment.layout.warehouse)
    for record in [published, *listed(world.data / "tables", "**/*.parquet.json")]:
        if record not in kept:
            record.unlink()
    for _ in range(3 * len(names)):  # a run ends where it meets one
        with suppress(MptaError):
            if bring_up_to_date()[1] == []:
                break
    assert [path.name for path, content in before.items() if path.read_bytes() != content] == []
    assert stacked(Deployment.from_env(), "subgroup_metrics").equals(figures)
    assert server.calls == calls, "nothing was asked again"


@pytest.mark.usefixtures("finished")
def test_the_check_lets_polars_read_no_damaged_table(world, monkeypatch):
    """It panics over some, and prints that to the terminal."""
    deployment = Deployment.from_env()
    for path in (deployment.layout.table("personas"), deployment.layout.harmonized("gss_extract-2016")):
        whole = path.read_bytes()
        flip(path, len(whole) * 4)
        with monkeypatch.context() as patch:
            patch.setattr(integrity, "read_parquet", _all_but(path))
            failed = [f for f in integrity.check_all(deployment) if not f.passed]
        path.write_bytes(whole)
        assert {"stored_tables", "records"} <= {f.check for f in failed}
        assert not [f for f in failed if f.subject == "the check itself" and f.check in ("stored_tables", "waves")]


def _all_but(damaged):
    def read(path):
        assert path != damaged
        return read_parquet(path)

    return read


def test_what_polars_raises_for_a_damaged_file_is_named_in_one_place(tmp_path, monkeypatch):
    """A panic is no `Exception`, and passes a handler that names `PolarsError` alone."""
    package = Path(mpta_pipeline.__file__).parent
    named = {p.relative_to(package).as_posix() for p in package.rglob("*.py") if "PolarsError" in p.read_text("utf-8")}
    assert named == {"core/storage.py"}

    def panic(*_, **__):
        raise pl.exceptions.PanicException("called `Result::unwrap()` on an `Err` value")

    path = tmp_path / "items.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setattr(pl, "read_parquet", panic)
    with pytest.raises(TaskError, match=r"items\.parquet"):
        multiple_choice.read_file(path)
    with pytest.raises(ValidationError, match=r"items\.parquet"):
        read_answers(path)


def test_replaced_estimates_which_nothing_could_make_again_are_verified(tmp_path):
    frame, rng = pl.DataFrame({"x": range(300), "text": [f"row {i % 7}" for i in range(300)]}), random.Random(1)
    path = tmp_path / "t.parquet"
    seen = 0
    for _ in range(FLIPS):
        provenance.store_only_copy(frame, path)
        flip(path, rng.randrange(path.stat().st_size * 8))
        try:
            assert provenance.read_only_copy(path).equals(frame), "the bit was one that says nothing of the rows"
        except DamagedError as failure:
            assert "t.parquet" in str(failure) and "backup" in str(failure)
            seen += 1
        assert path.exists()
    assert seen > FLIPS // 2
    frame.write_parquet(path)
    assert provenance.read_only_copy(path).equals(frame), "an earlier version stated no hash"


@pytest.mark.usefixtures("finished")
def test_damaged_replaced_estimates_are_told_and_no_trace_shows_them(world):
    kept = Deployment.from_env().layout.replaced_estimates("loopback", "value_alignment")
    provenance.store_only_copy(pl.DataFrame({"x": range(1000)}), kept)
    flip(kept, kept.stat().st_size * 4)
    told = [f for f in integrity.check_all(Deployment.from_env(), "records") if not f.passed]
    assert len(told) == 1 and kept.name in told[0].message
    with pytest.raises(DamagedError, match=kept.name), warehouse.connect(Deployment.from_env().layout):
        pass


@pytest.mark.usefixtures("finished")
def test_what_a_trace_reads_is_verified(world):
    layout = Deployment.from_env().layout
    path = layout.table("scores", "loopback", "value_alignment")
    flip(path, path.stat().st_size * 4)
    with pytest.raises(DamagedError, match=path.name), warehouse.connect(layout):
        pass


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("name", ["survey_files.json", "catalogue.json"])
def test_a_flip_in_what_is_known_of_the_survey_folder_is_seen(name, world, server):
    path, calls, rng = world.data / name, server.calls, random.Random(5)
    waves = Deployment.from_env().look().waves
    whole = path.read_bytes()
    for _ in range(FLIPS):
        flip(path, rng.randrange(len(whole) * 8))
        assert Deployment.from_env().look().waves == waves
        path.write_bytes(whole)
    assert bring_up_to_date()[1] == [] and server.calls == calls


@pytest.mark.usefixtures("finished")
def test_a_damaged_publication_is_told(world):
    deployment = Deployment.from_env()
    path = deployment.layout.warehouse
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    told = [f.message for f in integrity.check_all(deployment, "published") if not f.passed]
    assert any("changed or damaged after it was published" in m for m in told)
    path.unlink()
    bring_up_to_date()
    with duckdb.connect(str(path), read_only=True) as con:
        assert con.execute("select count(*) from scores").fetchone()[0] == stacked(deployment, "scores").height
    assert read_parquet(deployment.layout.table("personas")).height > 0


@pytest.mark.usefixtures("finished")
def test_a_flip_in_a_raw_wave_is_mended_from_the_survey_file(world, server):
    deployment = Deployment.from_env()
    figures, calls, rng = stacked(deployment, "subgroup_metrics"), server.calls, random.Random(3)
    for pattern in ("*/*/data.parquet", "*/*/variables.parquet", "*/current.json"):
        path = listed(deployment.layout.raw, pattern)[0]
        flip(path, rng.randrange(path.stat().st_size // 2 * 8))
        wave = path.relative_to(deployment.layout.raw).parts[0]
        provenance.record_path(deployment.layout.harmonized(wave)).unlink()  # something makes it read the raw wave
        with pytest.raises(MptaError, match=path.name):
            bring_up_to_date()
        again, _ = bring_up_to_date()
        assert stacked(again, "subgroup_metrics").equals(figures), pattern
    assert server.calls == calls, "nothing was asked again"
