"""Fixtures: services that a proof starts, and the same study on one machine to compare with."""

import importlib.util
from functools import cache
from pathlib import Path

import pytest

from tests.scale import services
from tests.scale.deployment import Deployment, respondents, serving, write_wave


def need(*packages: str) -> None:
    """Skip where a package of the extra `scale` is absent."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install -e '.[test,scale,scale-test,slurm,ray,kubernetes]'")


@pytest.fixture(scope="session")
def endpoint():
    """A loopback model endpoint that counts what it is asked."""
    with serving() as server:
        yield server


@pytest.fixture(scope="session")
def surveys(tmp_path_factory) -> Path:
    """Survey files of two waves; a file made twice would differ in its time of creation."""
    folder = tmp_path_factory.mktemp("surveys")
    for year in (2016, 2018):
        write_wave(folder, respondents(year))
    return folder


@pytest.fixture
def deployment(tmp_path, endpoint, surveys):
    """Makes deployments of the small study, each below a folder of its own."""
    return lambda name="world": Deployment(tmp_path / name, endpoint.url, surveys)


@pytest.fixture(scope="session")
def one_machine(tmp_path_factory, endpoint, surveys):
    """Gives the study after a run on one machine, SQLite and a folder; it runs when first asked for."""

    @cache
    def finished() -> Deployment:
        made = Deployment(tmp_path_factory.mktemp("one") / "world", endpoint.url, surveys)
        made.run("run")
        return made

    return finished


@pytest.fixture(scope="session")
def postgres():
    """The URL of a fresh PostgreSQL server."""
    need("dagster_postgres")
    if services.postgres_programs() is None:
        pytest.skip("initdb is absent: apt-get install postgresql")
    with services.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def s3():
    """The environment that points to a fresh S3 server."""
    need("s3fs", "moto", "boto3", "flask")
    with services.s3() as environment:
        yield environment
