"""Parents that change while something is made from them: the result is stale, and nobody who withdrew comes back."""

import threading
from datetime import UTC, datetime

import polars as pl
import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli, personas, surveys
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.core.storage import alone, at_work
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.run_step import make
from mpta_pipeline.pipeline.staleness import is_current
from mpta_pipeline.pipeline.stored import made, read
from mpta_pipeline.publication import withdrawal as forget
from tests.factories.deployment import STUDY, model, respondents, write_wave
from tests.plain_run import bring_up_to_date

WAVE = "gss_extract-2016"
PATIENCE = 20.0  # seconds; a lock that fails shows as this much waiting, never as a hang


def _harmonized() -> Deployment:
    deployment = Deployment.from_env()
    deployment.look()
    for wave in deployment.catalogue().waves:
        make(deployment, "raw_wave", wave)
        make(deployment, "harmonized_wave", wave)
    return deployment


@pytest.mark.usefixtures("finished")
def test_a_parent_that_changes_after_it_was_read_leaves_the_table_stale(world, monkeypatch):
    deployment = Deployment.from_env()
    build = personas.build_personas

    def and_meanwhile(*args, **kwargs):
        frame = build(*args, **kwargs)
        write_wave(
            world.surveys, respondents(2016).with_columns(educ=pl.when(pl.col("id") < 3).then(1.0).otherwise("educ"))
        )
        later = Deployment.from_env()
        later.look()
        _in_thread(lambda: (make(later, "raw_wave", WAVE), make(later, "harmonized_wave", WAVE)))
        return frame

    monkeypatch.setattr(personas, "build_personas", and_meanwhile)
    make(deployment, "personas")
    monkeypatch.undo()
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    deployment = Deployment.from_env()
    assert not is_current(deployment, Node("personas")), "made from the release that was replaced meanwhile"
    make(deployment, "personas")
    assert is_current(deployment, Node("personas"))


@pytest.mark.usefixtures("finished")
def test_prompts_that_are_made_again_while_a_model_is_asked_are_asked_by_the_next_run(world, server):
    world.study(STUDY | {"tasks": {"value_alignment": STUDY["tasks"]["value_alignment"]}})
    world.models({"asked": model(server.url) | {"model": "asked"}})

    def more_items() -> None:
        task = STUDY["tasks"]["value_alignment"] | {"items_per_persona": 3}
        world.study(STUDY | {"tasks": {"value_alignment": task}})
        _in_thread(lambda: make(Deployment.from_env(), "prompts", "value_alignment"))

    server.meanwhile = more_items
    bring_up_to_date()
    deployment, rebuilt = bring_up_to_date()
    assert "responses|asked|value_alignment" in rebuilt
    prompts = read(deployment, "prompts", "value_alignment")
    answers = read(deployment, "responses", "asked|value_alignment")
    assert prompts.join(answers, on="prompt_id", how="anti").is_empty(), "nothing is left unasked"
    assert all(times == 1 for times in server.asked.values()), "nothing is asked twice"


@pytest.mark.usefixtures("finished")
def test_a_withdrawal_waits_for_what_is_being_made_and_then_takes_it_out(world, monkeypatch):
    deployment = Deployment.from_env()
    who = surveys.respondents(surveys.load_raw(deployment.layout, WAVE))["respondent_id"][4]
    build, begun, go_on = personas.build_personas, threading.Event(), threading.Event()

    def held(*args, **kwargs):
        frame = build(*args, **kwargs)
        begun.set()
        go_on.wait(PATIENCE)
        return frame

    monkeypatch.setattr(personas, "build_personas", held)
    maker = threading.Thread(target=lambda: make(deployment, "personas"))
    maker.start()
    assert begun.wait(PATIENCE)
    outcome = []
    withdrawal = threading.Thread(
        target=lambda: outcome.append(CliRunner().invoke(cli.app, ["forget", who, "--yes", "--no-run"]))
    )
    withdrawal.start()
    withdrawal.join(1.0)
    assert withdrawal.is_alive(), "it waits for the step that has read the respondent"
    go_on.set()
    maker.join(PATIENCE)
    withdrawal.join(PATIENCE)
    assert outcome[0].exit_code == 0, outcome[0].output
    assert who not in read(Deployment.from_env(), "personas")["respondent_id"]
    assert forget.tables_with(deployment.layout, who) == []


def test_a_withdrawal_on_another_machine_keeps_a_table_that_was_read_before_from_being_stored(world, monkeypatch):
    deployment = _harmonized()
    who = surveys.respondents(surveys.load_raw(deployment.layout, WAVE))["respondent_id"][4]
    build = personas.build_personas

    def and_meanwhile(*args, **kwargs):
        frame = build(*args, **kwargs)
        found = forget.find(deployment.layout, deployment.sources, who)
        # Another machine does not see this one's lock.
        forget.forget(deployment.layout, deployment.sources, deployment.models, found, on=datetime.now(UTC).date())
        return frame

    monkeypatch.setattr(personas, "build_personas", and_meanwhile)
    with pytest.raises(ConfigError, match="withdrew while this table was being made; nothing was stored"):
        make(deployment, "personas")
    assert made(deployment, Node("personas")) is None
    assert forget.tables_with(deployment.layout, who) == []


def test_a_waiting_withdrawal_is_not_overtaken_by_new_steps(tmp_path, monkeypatch):
    monkeypatch.setenv("MPTA_DATA_DIR", str(tmp_path))
    layout, order, waits = Deployment.from_env().layout, [], threading.Event()

    def withdraw() -> None:
        with alone(layout, waits.set):
            order.append("withdrawal")

    def step() -> None:
        with at_work(layout):
            order.append("step")

    with at_work(layout):
        first = threading.Thread(target=withdraw)
        first.start()
        assert waits.wait(PATIENCE)
        second = threading.Thread(target=step)
        second.start()
        second.join(0.3)
        assert order == []
    first.join(PATIENCE)
    second.join(PATIENCE)
    assert order == ["withdrawal", "step"]


def _in_thread(work) -> None:
    """Do work outside of the step that is under way here, as another process would."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
