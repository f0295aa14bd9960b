"""One flipped bit in a stored file: never a changed figure, never a panic, always said, and made again."""

import json
import os
import random
import shutil
from pathlib import Path

import duckdb
import polars as pl
import pytest

from mpta_pipeline.core import provenance
from mpta_pipeline.core.errors import DamagedError, MptaError
from mpta_pipeline.core.provenance import Node, read_table, store
from mpta_pipeline.core.storage import listed, read_parquet
from mpta_pipeline.pipeline import integrity
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.stored import stacked
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
        for asset, frame in figures.items():
            assert stacked(again, asset).equals(frame), f"{asset} after a flip in {path.name}"
        shutil.rmtree(deployment.layout.root)
        shutil.copytree(kept, deployment.layout.root)
    assert told, "flips show in the check"
    assert server.calls == calls, "nothing was asked again"


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


def test_a_flip_in_a_raw_wave_is_mended_from_the_survey_file(world, server):
    deployment, _ = bring_up_to_date()
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
