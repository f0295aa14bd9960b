"""Runs as jobs of a Ray cluster, through dagster-ray's run launcher: a local cluster, started by the test."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import dagster as dg
import pytest
import yaml

from tests.scale import services
from tests.scale.conftest import need
from tests.scale.deployment import installed, partitions
from tests.scale.launch import launch, wait, without_queue


@pytest.fixture(scope="module")
def cluster():
    """Address of a fresh Ray cluster of one node."""
    need("dagster_ray", "ray", "aiohttp_cors")
    ports = {name: services.free_port() for name in ("port", "dashboard-port", "dashboard-agent-listen-port")}
    # Short, since Ray makes sockets below it, whose paths must not be long.
    folder = Path(tempfile.mkdtemp(prefix="mpta-ray-"))
    head = subprocess.Popen(
        [
            Path(sys.executable).with_name("ray"),
            *("start", "--head", "--block", "--include-dashboard=true", "--num-cpus=3", "--disable-usage-stats"),
            *("--node-ip-address=127.0.0.1", "--object-store-memory=80000000", f"--temp-dir={folder}"),
            *(f"--{name}={port}" for name, port in ports.items()),
        ],
        env=os.environ | installed(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        services.wait_until(lambda: services.listens(ports["dashboard-agent-listen-port"]), "the Ray cluster", 120)
        yield f"http://127.0.0.1:{ports['dashboard-port']}"
    finally:
        head.terminate()  # with --block the head ends what it has started
        head.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_models_answers_are_made_by_a_ray_job(one_machine, deployment, postgres, cluster, monkeypatch):
    from ray.job_submission import JobSubmissionClient

    world = deployment().use("ray", MPTA_POSTGRES_URL=postgres, MPTA_RAY_ADDRESS=cluster)
    for name, value in world.further.items():
        monkeypatch.setenv(name, value)
    without_queue(world.config)
    world.run("run", "--until", "prompts")
    run_id = launch(world, "responses", "one|sample_myths", "one|value_alignment")
    assert wait(world, run_id) == dg.DagsterRunStatus.SUCCESS
    client = JobSubmissionClient(cluster)
    assert [job.submission_id for job in client.list_jobs()] == [f"dagster-run-{run_id}"]
    # Its process ends a little after the run has.
    services.wait_until(lambda: str(client.get_job_status(f"dagster-run-{run_id}")) == "SUCCEEDED", "the Ray job")
    made = {k: v for k, v in partitions(world.data).items() if k.startswith("tables/responses/")}
    assert sorted(made) == ["tables/responses/one/sample_myths.parquet", "tables/responses/one/value_alignment.parquet"]
    assert made.items() <= partitions(one_machine().data).items()


def test_ray_jobs_make_the_chunks_of_a_large_step(deployment, postgres, cluster, monkeypatch):
    from ray.job_submission import JobSubmissionClient

    alone = deployment("alone").in_chunks(12)
    alone.run("run", "--models", "one", "--until", "scores")
    world = deployment("cut").use("ray", MPTA_POSTGRES_URL=postgres, MPTA_RAY_ADDRESS=cluster).in_chunks(12)
    world.further |= {"MPTA_CLUSTER": "ray", "MPTA_PARTS": "2"}
    for name, value in world.further.items():
        monkeypatch.setenv(name, value)
    without_queue(world.config)
    settings = yaml.safe_load((world.config / "dagster.yaml").read_text())
    settings["run_launcher"]["config"]["ray"]["env_vars"].append("PYTHONPATH")
    (world.config / "dagster.yaml").write_text(yaml.safe_dump(settings))
    client = JobSubmissionClient(cluster)
    # A command on a machine outside the cluster cuts its steps, too: the prompts of both tasks.
    output = world.run("run", "--models", "one", "--until", "responses")
    assert "prompts [value_alignment]: 2 jobs on Ray make" in output
    assert "prompts [value_alignment]: the jobs made all" in output
    ended = {job.submission_id: str(job.status) for job in client.list_jobs() if job.submission_id.startswith("mpta-")}
    assert sorted(ended.values()) == ["SUCCEEDED"] * 4 and all(name.startswith("mpta-prompts-") for name in ended)
    # The run is a job itself, and submits jobs for the parts of its steps.
    run_id = launch(world, "scores", "one|sample_myths", "one|value_alignment")
    assert wait(world, run_id) == dg.DagsterRunStatus.SUCCESS
    ended = {job.submission_id: str(job.status) for job in client.list_jobs() if "mpta-scores-" in job.submission_id}
    assert sorted(ended.values()) == ["SUCCEEDED"] * 4
    made = partitions(world.data)
    assert made == partitions(alone.data)
    assert sum("scores" in name and "%chunks" in name for name in made) > 4
