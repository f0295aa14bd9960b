"""Launches a run as the UI does, by Dagster's GraphQL, and waits until the run launcher's run has ended."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from tests.scale.deployment import Deployment, finish, start

_MUTATION = """
mutation ($run: ExecutionParams!) {
  launchRun(executionParams: $run) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on Error { message }
  }
}
"""


def without_queue(home: Path) -> None:
    """Let runs start at once: the queue that the examples keep is emptied by the daemon, which is not running here."""
    file = home / "dagster.yaml"
    config = yaml.safe_load(file.read_text())
    for part in ("concurrency", "run_monitoring", "run_retries"):
        config.pop(part, None)
    config["run_coordinator"] = {"module": "dagster.core.run_coordinator", "class": "DefaultRunCoordinator"}
    file.write_text(yaml.safe_dump(config))


def launch(world: Deployment, asset: str, first: str, last: str) -> str:
    """Launch a run over a range of an asset's partitions; its id."""
    run = {
        "mode": "default",
        "selector": {
            "repositoryLocationName": "mpta_pipeline.definitions",
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]}],
        },
        "executionMetadata": {
            "tags": [
                {"key": ASSET_PARTITION_RANGE_START_TAG, "value": first},
                {"key": ASSET_PARTITION_RANGE_END_TAG, "value": last},
            ]
        },
    }
    command = [str(Path(sys.executable).with_name("dagster-graphql")), "-m", "mpta_pipeline.definitions"]
    answer = finish(
        start([*command, "-t", _MUTATION, "-v", json.dumps({"run": run})], world.environment | world.further)
    )
    launched = json.loads(answer[answer.index('{"data"') :].splitlines()[0])["data"]["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    return str(launched["run"]["runId"])


def wait(world: Deployment, run_id: str, seconds: float = 180) -> dg.DagsterRunStatus:
    """Wait until a run has ended; its status."""
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(world.config))) as instance:
        deadline = time.monotonic() + seconds
        while True:
            run = instance.get_run_by_id(run_id)
            assert run is not None
            if run.is_finished or time.monotonic() > deadline:
                return run.status
            time.sleep(0.5)
