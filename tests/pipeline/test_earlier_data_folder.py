"""A data folder of version 0.1, whose files name the codebook `dialect`, is taken over without a request."""

import json
import shutil
from dataclasses import replace

import polars as pl
import pytest

from mpta_pipeline import surveys
from mpta_pipeline.core import chunks, tables
from mpta_pipeline.core.provenance import Node, read_record, read_table, rewrite, write_record
from mpta_pipeline.core.storage import listed
from mpta_pipeline.pipeline import integrity, status
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.run_step import make
from mpta_pipeline.pipeline.stored import INTO_CHUNKS, path_of, read, stacked
from tests.factories.deployment import STUDY, respondents, write_wave
from tests.plain_run import bring_up_to_date

WAVE = "gss_extract-2018"


@pytest.mark.usefixtures("finished")
def test_a_folder_of_the_version_before_is_rebuilt_without_a_request(world, server):
    deployment = Deployment.from_env()
    estimates, calls = stacked(deployment, "subgroup_metrics"), server.calls
    for path in listed(deployment.layout.raw, "*/*/release.json"):
        release = json.loads(path.read_text())
        new = ("codebook", "checksum", "checksums", "record")
        kept = {key: value for key, value in release.items() if key not in new}
        path.write_text(json.dumps(kept | {"dialect": release["codebook"]}))
    for pattern in ("tables/waves/*.parquet", "harmonized/*.parquet"):
        for path in listed(deployment.layout.store, pattern):
            record = replace(read_record(path), parents={"code": "of version 0.1"})
            rewrite(read_table(path).rename({"codebook": "dialect"}), path, record)
    again, _ = bring_up_to_date()
    assert server.calls == calls, "nothing was asked again"
    assert stacked(again, "subgroup_metrics").equals(estimates)
    assert again.waves().columns[: len(tables.WAVES.schema)] == list(tables.WAVES.schema)


@pytest.mark.usefixtures("finished")
def test_a_large_table_in_one_file_is_made_again_in_chunks_and_says_so(world, server, monkeypatch):
    deployment = Deployment.from_env()
    task = next(iter(deployment.study.tasks))
    node, calls = Node("responses", f"{next(iter(deployment.models))}|{task}"), server.calls
    before = read(deployment, node.asset, node.partition)
    for each in (Node("prompts", task), node):
        path = path_of(deployment, each)
        record = read_record(path)
        write_record(path, replace(record, parents=record.parents | {"code": "of the version before"}))
    assert not [one for one in status.outdated(deployment) if "chunks" in one.reason], "it is small"
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 12)
    assert {one.table for one in status.outdated(deployment) if "repeats no request" in one.reason} >= {
        "prompts",
        "responses",
    }
    for each in (Node("prompts", task), node):
        assert INTO_CHUNKS in make(deployment, each.asset, each.partition).because
        assert INTO_CHUNKS not in make(deployment, each.asset, each.partition).because
    assert read(deployment, node.asset, node.partition).equals(before) and server.calls == calls


def as_version_0_1_wrote_the_catalogue(deployment: Deployment) -> None:
    path = deployment.layout.catalogue
    document = {key: value for key, value in json.loads(path.read_text()).items() if key != "checksum"}
    for wave in document["waves"].values():
        wave["parts"] = [
            {{"codebook": "dialect"}.get(key, key): value for key, value in part.items()} for part in wave["parts"]
        ]
    path.write_text(json.dumps(document))


def test_a_wave_whose_file_became_unusable_stays_when_the_catalogue_is_that_of_an_earlier_version(world):
    """A reader that is stricter than that of the version before must not take a wave out of the study."""
    path = write_wave(world.surveys, respondents(2018))
    before = Deployment.from_env().look()
    as_version_0_1_wrote_the_catalogue(Deployment.from_env())
    path.write_bytes(path.read_bytes()[:300])
    now = Deployment.from_env().look()
    assert now.waves == before.waves and path.name in now.problems


def test_a_release_that_the_version_before_held_is_held_and_the_release_before_stays_in_use(world, server):
    """That version listed only what was read last, took held releases for superseded, and named them in `waves`."""
    world.study(STUDY | {"tasks": {"value_alignment": STUDY["tasks"]["value_alignment"]}})
    path = write_wave(world.surveys, respondents(2018))
    shutil.copy2(path, world.root / "old.sav")
    deployment, _ = bring_up_to_date()
    layout, calls = deployment.layout, server.calls
    (in_use,) = deployment.waves().filter(wave=WAVE)["release_id"]
    estimates = stacked(deployment, "subgroup_metrics")
    lists = layout.raw_store / WAVE / "current.json"
    other = respondents(2018).with_columns(educ=(pl.col("educ") + pl.col("id") % 2) % 21)
    # Two releases were held one after the other, so that the second seems to have superseded the first.
    for held in (other.head(40), other):
        write_wave(world.surveys, held)
        deployment = Deployment.from_env()
        deployment.look()
        make(deployment, "raw_wave", WAVE)
        parts = json.loads(lists.read_text())["parts"]
        lists.write_text(json.dumps({"parts": parts}))
    refused = surveys.load_raw(layout, WAVE).release_id
    assert parts[0]["previous"][0]["release"] not in (in_use.partition("@")[2], parts[0]["release"])
    stored = layout.table("waves", WAVE)
    record = replace(read_record(layout.table("raw_wave", WAVE)), parents={"code": "of version 0.1"})
    rewrite(read_table(layout.table("raw_wave", WAVE)).rename({"codebook": "dialect"}), stored, record)
    shutil.rmtree(layout.table("raw_wave", WAVE).parent)
    harmonized = layout.harmonized(WAVE)
    record = replace(read_record(harmonized), parents={"code": "of version 0.1"})
    rewrite(read_table(harmonized).rename({"codebook": "dialect"}), harmonized, record)
    as_version_0_1_wrote_the_catalogue(deployment)

    again, _ = bring_up_to_date()
    assert again.waves().filter(wave=WAVE)["release_id"].to_list() == [in_use]
    assert stacked(again, "subgroup_metrics").equals(estimates) and server.calls == calls
    (waiting,) = (f for f in integrity.check_all(again) if not f.passed)
    assert waiting.check == "releases" and refused in waiting.message and in_use in waiting.message
    superseded = surveys.previous_releases(layout, WAVE)[refused.partition("@")[2]]
    assert superseded == [(in_use.partition("@")[2], ("USA",))]

    shutil.copy2(world.root / "old.sav", path)
    again, _ = bring_up_to_date()
    assert all(f.passed for f in integrity.check_all(again))
    assert surveys.previous_releases(layout, WAVE) == {in_use.partition("@")[2]: []}
    assert stacked(again, "subgroup_metrics").equals(estimates) and server.calls == calls
