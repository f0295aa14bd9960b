"""Models asked in jobs of a Slurm cluster, through dagster-slurm: a cluster of one node, started by the test."""

from pathlib import Path

import pytest

from tests.scale import slurm
from tests.scale.conftest import need
from tests.scale.deployment import partitions, published


@pytest.fixture(scope="module")
def cluster():
    """The environment that points to a fresh cluster."""
    need("dagster_slurm")
    if missing := sorted(set(slurm.PROGRAMS) - set(slurm.programs())):
        pytest.skip(f"{', '.join(missing)} absent: apt-get install slurm-wlm munge openssh-server")
    with slurm.cluster() as environment:
        yield environment


def test_a_study_asked_in_slurm_jobs_has_the_tables_of_one_machine(one_machine, deployment, cluster):
    world = deployment()
    world.run("run", **cluster)
    # One job a model, for all its tasks.
    assert slurm.finished(cluster) == ["COMPLETED"] * 2
    assert partitions(world.data) == partitions(one_machine().data)
    assert published(world.data / "warehouse.duckdb") == published(one_machine().data / "warehouse.duckdb")


def test_a_job_that_cannot_ask_fails_the_partition_with_its_message(deployment, cluster):
    world = deployment()
    world.run("run", "--until", "prompts")
    world.models({"gone": {"provider": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "gone"}})
    process = world.start("run", "--until", "responses", **cluster)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "gone|value_alignment" in output and "on the cluster" in output


def test_an_array_job_makes_the_chunks_of_a_large_step_and_a_killed_task_is_made_up_for(deployment, cluster):
    alone, world = (deployment(name).in_chunks(12) for name in ("alone", "cut"))
    alone.run("run", "--until", "prompts")
    # What a user's activate.sh does on the nodes; the second task of each array is killed.
    activate = Path(cluster["MPTA_SLURM_ENVIRONMENT"]) / "activate.sh"
    before = activate.read_text()
    kills = 'if [ "$SLURM_ARRAY_TASK_ID" = 2 ]; then kill -9 $$; fi'
    activate.write_text(f"{before}export PYTHONPATH={world.further['PYTHONPATH']}\n{kills}\n")
    try:
        output = world.run(
            *("run", "--until", "prompts"),
            **cluster | {"MPTA_PARTS": "3", "MPTA_SLURM_PART_OPTIONS": "--cpus-per-task=1 --mem=300M"},
        )
    finally:
        activate.write_text(before)
    for task in ("sample_myths", "value_alignment"):
        assert f"prompts [{task}]: 3 jobs on Slurm make" in output
        assert f"prompts [{task}]: the jobs left" in output
    states = slurm.finished(cluster)[-6:]
    assert sorted(states) == ["COMPLETED"] * 4 + ["FAILED"] * 2
    made = partitions(world.data)
    assert made == partitions(alone.data)
    assert sum("%chunks" in name for name in made) > 6
    assert "0 table(s) built" in world.run("run", "--until", "prompts", **cluster, MPTA_PARTS="3")
