"""The two lanes of the automation: when a run is requested, what it waits for, and what it says."""

import dagster as dg
import pytest

from mpta_pipeline.core.storage import Layout
from mpta_pipeline.orchestration import automation
from mpta_pipeline.orchestration.attempts import MAX_UNFINISHED, Attempts, changing_attempts, load_attempts
from mpta_pipeline.orchestration.automation import BECAUSE_TAG, OF_MODELS, TO_PROMPTS
from mpta_pipeline.orchestration.command_runs import PART_OF_TAG, sole_command
from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment
from tests.factories.deployment import STUDY, model, respondents, write_wave
from tests.orchestration.ticks import CELLS, partitions

STARTED = dg.DagsterRunStatus.STARTED


def at_work(daemon, job, models=None):
    """A run of a lane's job that another process works on."""
    config = {"ops": {OF_MODELS.op: {"config": {"models": models}}}} if models is not None else {}
    return daemon.instance.create_run_for_job(
        daemon.definitions.get_job_def(job), run_config=config, status=STARTED, tags={}
    )


def test_every_asset_belongs_to_one_lane_in_the_order_of_work():
    assert [*TO_PROMPTS.assets, *OF_MODELS.assets] == graph.assets()
    assert TO_PROMPTS.assets[-2:] == ["prompts", "power"] and OF_MODELS.assets[0] == "responses"


def test_from_a_full_folder_to_the_report_in_one_run_per_lane(daemon, world):
    daemon.settle()
    runs = [r for r in daemon.instance.get_runs() if PART_OF_TAG not in r.tags]
    assert [r.job_name for r in reversed(runs)] == ["files_to_prompts", "models_to_report"]
    inside = [r for r in daemon.instance.get_runs() if PART_OF_TAG in r.tags]
    assert {r.tags[PART_OF_TAG] for r in inside} == {r.run_id for r in runs}
    assert runs[1].tags[BECAUSE_TAG] == "raw_wave|gss_extract-2016: it has not been made"
    assert daemon.evaluate() == {}
    assert daemon.said == dict.fromkeys((TO_PROMPTS.name, OF_MODELS.name), "Nothing is out of date.")


@pytest.mark.usefixtures("filled")
def test_each_table_says_in_the_ui_why_it_was_made(daemon, world):
    world.study(STUDY | {"figures": STUDY["figures"] | {"min_personas": 6}})
    daemon.settle()

    def because(asset, key=None):
        wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[key] if key else None)
        (record,) = daemon.instance.fetch_materializations(wanted, limit=1).records
        return record.asset_materialization.metadata["made because"].value

    assert because("subgroup_metrics", sorted(CELLS)[0]) == "figure_rules changed"
    assert "figure_rules changed" in because("report")
    assert because("personas") == "it has not been made"


@pytest.mark.usefixtures("filled")
def test_nothing_is_looked_at_again_while_nothing_changes(daemon, monkeypatch):
    daemon.evaluate()
    looked = []
    wanted = automation.wanted
    monkeypatch.setattr(automation, "wanted", lambda *given: looked.append(given) or wanted(*given))
    monkeypatch.setattr(daemon, "due", lambda lane: [])
    assert daemon.evaluate() == {} and looked == []
    assert daemon.said[OF_MODELS.name] == "Nothing is out of date."
    path = Layout.from_env().table("scores", *sorted(CELLS)[0].split("|"))
    path.with_name(path.name + ".json").unlink()  # as a reader does that finds it damaged
    daemon.evaluate()
    assert looked, "a record that is gone is noticed"
    assert [lane.name for lane, _ in daemon.requests] == [OF_MODELS.name]


@pytest.mark.usefixtures("filled")
def test_a_model_that_is_added_while_others_are_asked_does_not_wait_for_them(daemon, world, server):
    names = {name: model(server.url) | {"model": name} for name in ("slow", "quick")}
    world.models({"loopback": model(server.url), **names})
    daemon.look()
    slow = at_work(daemon, OF_MODELS.job, ["slow"])
    requested = daemon.evaluate()
    assert requested["responses"] == {f"quick|{task}" for task in STUDY["tasks"]}
    daemon.execute()
    assert {key.split("|")[0] for key in partitions(daemon.ran, "subgroup_metrics")} == {"quick"}
    assert "report" not in daemon.assets_run(), "what all models share is made by the run that ends last"
    assert daemon.evaluate() == {} and "is at work" in daemon.said[OF_MODELS.name]
    daemon.instance.report_run_failed(slow)
    daemon.settle()
    assert server.by_model["slow"] == server.by_model["quick"] and "report" in daemon.assets_run()
    assert max(server.asked.values()) == 1


@pytest.mark.usefixtures("filled")
def test_models_wait_for_prompts_and_both_wait_for_commands_and_for_runs_of_a_person(daemon, world):
    write_wave(world.surveys, respondents(2014))
    daemon.look()
    with sole_command(Deployment.from_env(), daemon.instance):
        assert daemon.evaluate() == {}
        assert "a command" in daemon.said[TO_PROMPTS.name] and "a command" in daemon.said[OF_MODELS.name]
    person = daemon.instance.create_run_for_job(
        daemon.definitions.resolve_implicit_global_asset_job_def(),
        asset_selection={dg.AssetKey("personas")},
        status=STARTED,
    )
    assert daemon.evaluate() == {} and "is at work" in daemon.said[TO_PROMPTS.name]
    assert "prompts are out of date: raw_wave|gss_extract-2014" in daemon.said[OF_MODELS.name]
    daemon.instance.report_run_failed(person)
    assert daemon.evaluate() == {"raw_wave": {"gss_extract-2014"}}


@pytest.mark.usefixtures("filled")
def test_what_was_killed_again_and_again_waits_for_a_person(daemon, world):
    write_wave(world.surveys, respondents(2014))
    daemon.look()
    (found,) = automation.wanted(Deployment.from_env(), daemon.instance, TO_PROMPTS).nodes
    layout = Layout.from_env()
    for n in range(1, MAX_UNFINISHED + 1):
        daemon.requests.clear()
        assert daemon.evaluate() == {"raw_wave": {"gss_extract-2014"}}, "a killed run is repeated"
        assert daemon.evaluate() == {}, "but not requested twice"
        with changing_attempts(layout) as attempts:
            attempts[str(found.node)] = Attempts(found.inputs, unfinished=n)
    daemon.requests.clear()
    assert daemon.evaluate() == {} and "raw_wave|gss_extract-2014" in daemon.said[TO_PROMPTS.name]
    write_wave(world.surveys, respondents(2014, seed=2))
    daemon.settle()
    assert partitions(daemon.ran, "raw_wave") == ["gss_extract-2014"] and load_attempts(layout) == {}


@pytest.mark.usefixtures("filled")
def test_a_run_that_a_person_cancels_is_not_requested_again(daemon, world, monkeypatch):
    from mpta_pipeline.orchestration import lane_runs

    write_wave(world.surveys, respondents(2014))
    daemon.look()
    daemon.evaluate()

    def cancelled(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lane_runs, "materialize", cancelled)
        with pytest.raises(KeyboardInterrupt):
            lane_runs.Worker(TO_PROMPTS, lambda _: daemon.definitions, daemon.instance, "1").run()
    daemon.requests.clear()
    assert daemon.evaluate() == {} and "not started again by itself" in daemon.said[TO_PROMPTS.name]
    assert load_attempts(Layout.from_env()) == {}
    write_wave(world.surveys, respondents(2012))
    daemon.settle()
    assert set(partitions(daemon.ran, "raw_wave")) == {"gss_extract-2012", "gss_extract-2014"}
