"""What changes while a model is asked: only what is still wanted is sent, nothing is lost, nothing is sent twice."""

import asyncio
import hashlib
import threading
import time

import polars as pl
import pytest
import yaml

from mpta_pipeline import inference
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.inference import outdated_requests
from mpta_pipeline.inference.outdated_requests import LOOK_EVERY, OutdatedRequests
from mpta_pipeline.inference.requests import ModelRequest
from mpta_pipeline.inference.run_control import Stop
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.run_step import make
from mpta_pipeline.pipeline.staleness import is_current
from mpta_pipeline.pipeline.stored import made, read
from mpta_pipeline.surveys.snapshots import release_id
from tests.factories.deployment import STUDY, model, respondents, write_wave
from tests.plain_run import bring_up_to_date

WAVE = "gss_extract-2016"
RESPONSES = "loopback|value_alignment"
CONNECTIONS = 2
# Requests that may be sent after the change: those of the chunk that it falls into, and those in flight.
A_CHUNK = LOOK_EVERY + CONNECTIONS
PATIENCE = 30.0


@pytest.fixture
def asking(world, server, monkeypatch):
    """A study with one task of many prompts, whose model takes a little time for each."""
    task = STUDY["tasks"]["value_alignment"] | {"items": 6, "items_per_persona": 6}
    world.study(STUDY | {"panel": {"size": 50, "strata": ["sex"]}, "tasks": {"value_alignment": task}})
    world.models({"loopback": model(world.url) | {"connections": CONNECTIONS}})
    server.delay = 0.004
    # Count chunks by requests alone, however busy the machine is.
    monkeypatch.setattr(outdated_requests, "MOST_OF_TIME", 1e6)
    return world


def _other_people(world) -> None:
    """A wave in which every person states another education, so that every persona's prompts change."""
    accepted = {}
    for year in (2016, 2018):
        file = write_wave(world.surveys, respondents(year).with_columns(educ=(pl.col("educ") + 1) % 20))
        accepted[release_id(f"gss_extract-{year}", hashlib.sha256(file.read_bytes()).hexdigest())] = (
            "the test changes everybody"
        )
    (world.config / "surveys.yaml").write_text(yaml.safe_dump({"sources": {"gss_extract": {"accept": accepted}}}))
    deployment = Deployment.from_env()
    deployment.look()
    for wave in deployment.catalogue().waves:
        make(deployment, "raw_wave", wave)
        make(deployment, "harmonized_wave", wave)
    for table in ("personas", "panel"):
        make(deployment, table)
    for table in ("items", "prompts"):
        make(deployment, table, "value_alignment")


def _in_thread(work) -> None:
    """Do work outside of the step that is under way here, as another process would."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def _requests(deployment) -> set[str]:
    prompts = read(deployment, "prompts", "value_alignment")
    return set(inference.with_request_hashes(deployment.model("loopback"), prompts)["request_hash"])


def test_a_wave_that_lands_while_a_model_is_asked_costs_a_chunk_of_requests_at_most(asking, server):
    before_it_landed = []

    def lands() -> None:
        before_it_landed.append((server.calls, _requests(Deployment.from_env())))
        _in_thread(lambda: _other_people(asking))

    server.meanwhile = lands
    bring_up_to_date()
    deployment = Deployment.from_env()
    calls, old = before_it_landed[0]
    new = _requests(deployment)
    assert len(old - new) > 200, "most prompts changed"
    record = made(deployment, Node("responses", RESPONSES))
    assert record.notes["superseded"] > 150
    assert record.notes["left"] == record.notes["superseded"]
    assert not is_current(deployment, Node("responses", RESPONSES)), "the table is made again"
    server.delay = 0.0
    deployment, _ = bring_up_to_date()
    prompts = read(deployment, "prompts", "value_alignment")
    answers = read(deployment, "responses", RESPONSES)
    assert prompts.join(answers, on="prompt_id", how="anti").is_empty(), "nothing is left unasked"
    assert all(times == 1 for times in server.asked.values()), "nothing is asked twice"
    assert server.calls <= len(new) + calls + A_CHUNK, "paid for prompts that were out of date"


def test_a_policy_that_is_tightened_while_a_model_is_asked_counts_from_the_next_chunk(asking, server, monkeypatch):
    local = inference.ModelSpec.is_local
    monkeypatch.setattr(
        inference.ModelSpec, "is_local", property(lambda spec: spec.name != "loopback" and local.fget(spec))
    )
    use = asking.config / "surveys.yaml"
    use.write_text(yaml.safe_dump({"sources": {"gss_extract": {"data_use": "any"}}}))
    server.meanwhile = lambda: use.write_text(yaml.safe_dump({"sources": {"gss_extract": {"data_use": "local_only"}}}))
    deployment, _ = bring_up_to_date()
    prompts = read(deployment, "prompts", "value_alignment")
    answers = read(deployment, "responses", RESPONSES)
    personas = prompts.filter(pl.col("shown_respondent_id").is_not_null())
    assert personas.join(answers, on="prompt_id").height <= 2 * A_CHUNK, "personas were sent under yesterday's policy"
    deployment, _ = bring_up_to_date()
    record = made(deployment, Node("responses", RESPONSES))
    assert record.notes["withheld"] > 150 and "superseded" not in record.notes
    assert all(times == 1 for times in server.asked.values())


def test_a_model_that_is_taken_out_or_changed_while_it_is_asked_is_asked_no_more(asking, server):
    other = {"other": model(asking.url) | {"model": "other"}}
    server.meanwhile = lambda: asking.models(other)
    bring_up_to_date()
    assert server.by_model["loopback"] <= 2 * A_CHUNK
    entry = model(asking.url) | {"connections": CONNECTIONS}
    asking.models({"loopback": entry | {"model": "first"}})
    server.meanwhile = lambda: asking.models({"loopback": entry | {"model": "second"}})
    bring_up_to_date()
    assert server.by_model["first"] <= 2 * A_CHUNK
    deployment, _ = bring_up_to_date()
    assert server.by_model["second"] == len(_requests(deployment))
    assert all(times == 1 for times in server.asked.values())


def test_a_file_that_is_being_edited_or_touched_stops_nothing(asking, server):
    server.meanwhile = lambda: (asking.config / "models.yaml").write_text("models: [")
    asking_again = Deployment.from_env()
    asking_again.look()
    assert asking_again.models
    for wave in asking_again.catalogue().waves:
        make(asking_again, "raw_wave", wave)
        make(asking_again, "harmonized_wave", wave)
    for table in ("personas", "panel"):
        make(asking_again, table)
    for table in ("items", "prompts"):
        make(asking_again, table, "value_alignment")
    record = make(asking_again, "responses", RESPONSES).record
    assert "superseded" not in record.notes and record.notes["asked"] == record.notes["requests"]


def test_what_is_wanted_again_at_the_end_is_sent_after_all(asking, server):
    """The old wave is put back while its model is asked: one run asks everything, once."""
    deployment, _ = bring_up_to_date()
    prompts = inference.with_request_hashes(
        deployment.model("loopback"), read(deployment, "prompts", "value_alignment")
    )
    server.asked.clear()
    looks = iter([pl.Series([], dtype=pl.String), prompts["request_hash"]])
    report = inference.send_requests(
        deployment.model("loopback"), prompts, asking.data / "another", look_again=lambda: next(looks, None)
    )
    assert (report.answered, report.superseded, report.left) == (report.requests, 0, 0)
    assert all(times == 1 for times in server.asked.values())


@pytest.mark.parametrize("cost", [0.0, 0.02])
def test_looking_costs_little_of_a_runs_time(cost):
    looks = []

    def look() -> None:
        looks.append(time.perf_counter())
        time.sleep(cost)

    async def run() -> None:
        outdated = OutdatedRequests(look, pl.DataFrame({"request_hash": ["a"]}))
        began = time.perf_counter()
        while time.perf_counter() - began < 0.5:
            assert not await outdated.skip(ModelRequest("a", None, "", (), "letter", ""))
            await asyncio.sleep(0.001)

    asyncio.run(Stop().watch(run()))
    assert len(looks) <= 2 if cost else len(looks) >= 2
