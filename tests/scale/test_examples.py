"""The example configurations: definitions load with each, and each says what the pipeline reads."""

import re
import sys

import pytest

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.orchestration import cluster
from tests.scale.conftest import need
from tests.scale.deployment import EXAMPLES, ROOT, finish, start

NEEDS = {
    "postgres": ("dagster_postgres",),
    "ray": ("dagster_postgres", "dagster_ray", "ray"),
    "kubernetes": ("dagster_postgres", "dagster_k8s"),
}


def test_every_example_is_covered_here():
    assert {p.name for p in EXAMPLES.iterdir() if p.is_dir()} == {*NEEDS, "slurm"}


@pytest.mark.parametrize("example", NEEDS)
def test_definitions_load_with(example, deployment, postgres):
    need(*NEEDS[example])
    world = deployment().use(
        example, MPTA_POSTGRES_URL=postgres, MPTA_RAY_ADDRESS="http://127.0.0.1:9", MPTA_IMAGE="registry.example/mpta:1"
    )
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-m", "mpta_pipeline.definitions"]
    assert "Validation successful" in finish(start(command, world.environment | world.further))


def test_definitions_load_with_slurm(deployment, tmp_path):
    need("dagster_slurm")
    (tmp_path / "key").touch()
    text = (EXAMPLES / "slurm" / "slurm.env").read_text()
    settings = dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE)) | {"SLURM_SSH_KEY": str(tmp_path / "key")}
    world = deployment()
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-m", "mpta_pipeline.definitions"]
    assert "Validation successful" in finish(start(command, settings | world.environment))


def test_every_example_hands_on_all_paths():
    """A job that did not know where the store or the ledgers are would make its own."""
    for name in ("ray/dagster.yaml", "kubernetes/environment.yaml"):
        text = (EXAMPLES / name).read_text()
        assert [v for v in cluster.PASSED_ON if v not in text] == [], name


def test_examples_differ_from_the_deployments_own_settings_in_what_they_are_about():
    own = (ROOT / "dagster_home" / "dagster.yaml").read_text()
    own = own[own.index("telemetry:") :]
    for name in NEEDS:
        assert (EXAMPLES / name / "dagster.yaml").read_text().endswith(own), f"{name} has fallen behind"


def test_a_cluster_that_is_not_known_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setenv("MPTA_CLUSTER", "grid")
    with pytest.raises(ConfigError, match=r"MPTA_CLUSTER.*grid.*set it to slurm"):
        cluster.resource()


def test_slurm_without_its_settings_says_which_are_missing(monkeypatch):
    monkeypatch.setenv("MPTA_CLUSTER", "slurm")
    for name in ("SLURM_SSH_HOST", "MPTA_SLURM_ENVIRONMENT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"slurm\.env"):
        cluster.resource()
