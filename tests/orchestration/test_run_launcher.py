"""A run whose process is gone is told from one that works, so that its partitions are requested again."""

import json
import socket

import dagster as dg
import pytest
from dagster._core.launcher.base import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from mpta_pipeline.orchestration import run_launcher
from mpta_pipeline.orchestration.command_runs import COMMAND_TAG, PART_OF_TAG, sole_command
from mpta_pipeline.pipeline.deployment import Deployment


@pytest.fixture
def status(world):
    """Status of the worker of a started run with given tags."""
    with dg.DagsterInstance.get() as instance:

        def of(**tags):
            run = instance.create_run_for_job(
                dg.job(name="j")(lambda: None), tags=tags, status=dg.DagsterRunStatus.STARTED
            )
            assert isinstance(instance.run_launcher, run_launcher.WatchedRunLauncher), "the deployment's own settings"
            return instance.run_launcher.check_run_worker_health(run).status

        yield of, instance


def address(port):
    return {GRPC_INFO_TAG: json.dumps({"host": "127.0.0.1", "port": port})}


def test_a_run_whose_code_server_is_gone_is_gone(status):
    of, _ = status
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert of(**address(port)) == WorkerStatus.NOT_FOUND


def test_a_code_server_that_is_slow_to_answer_is_no_proof(status, monkeypatch):
    of, _ = status
    monkeypatch.setattr(run_launcher, "ANSWER_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert of(**address(server.getsockname()[1])) == WorkerStatus.RUNNING


def test_a_run_inside_a_command_lives_as_long_as_a_command_is_at_work(status):
    of, instance = status
    tag = {COMMAND_TAG: "mpta run"}
    assert of(**tag) == WorkerStatus.NOT_FOUND
    with sole_command(Deployment.from_env(), instance):
        assert of(**tag) == WorkerStatus.RUNNING
    assert of(**tag) == WorkerStatus.NOT_FOUND


def test_of_a_run_that_was_started_otherwise_nothing_is_claimed(status):
    of, _ = status
    assert of() == WorkerStatus.RUNNING


def test_a_run_inside_another_one_lives_as_long_as_that(status):
    of, instance = status
    whole = instance.create_run_for_job(dg.job(name="whole")(lambda: None), status=dg.DagsterRunStatus.STARTED)
    assert of(**{PART_OF_TAG: whole.run_id}) == WorkerStatus.RUNNING
    instance.report_run_failed(whole)
    assert of(**{PART_OF_TAG: whole.run_id}) == WorkerStatus.NOT_FOUND
    assert of(**{PART_OF_TAG: "deleted"}) == WorkerStatus.NOT_FOUND
