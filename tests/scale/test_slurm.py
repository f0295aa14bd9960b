"""Models asked in jobs of a Slurm cluster, through dagster-slurm: a cluster of one node, started by the test."""

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
