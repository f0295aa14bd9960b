"""Fixtures of the tests that drive automation ticks."""

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from tests.factories.deployment import Server, World, respondents, serving, write_wave
from tests.orchestration.ticks import Daemon

FOLDERS = ("config", "data", "surveys")


@dataclass(frozen=True)
class Filled:
    """A deployment at rest: where it is, its server with what that was asked, how far the sensors have looked, and
    what ran in its first ticks.
    """

    root: Path
    server: Server
    asked: Counter[str]
    by_model: Counter[str]
    cursors: dict[str, str | None]
    ran: list[tuple[str, str | None]]


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """The deployment of `world` after its first ticks, made once: half a minute that most tests would begin with.

    A test that uses it (`usefixtures`) gets a copy of it as `world` and `daemon`, and its server with its counts.
    """
    root = tmp_path_factory.mktemp("filled")
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        made = World(root, server.url)
        for name, value in made.environment.items():
            patch.setenv(name, value)
        for year in (2016, 2018):
            write_wave(made.surveys, respondents(year))
        with dg.instance_for_test(temp_dir=str(made.config)) as instance:
            daemon = Daemon(instance)
            daemon.settle()
        assert not daemon.failed
        patch.undo()
        yield Filled(root, server, server.asked.copy(), server.by_model.copy(), daemon.cursors, daemon.ran)


@pytest.fixture
def server(request, server):
    """The loopback model endpoint."""
    if "filled" not in request.fixturenames:
        return server
    of: Filled = request.getfixturevalue("filled")
    again = of.server
    again.asked, again.by_model = of.asked.copy(), of.by_model.copy()
    again.delay, again.refuse, again.meanwhile = 0.0, None, None
    return again


@pytest.fixture
def world(request, world):
    """The deployment; the environment points to it."""
    if "filled" in request.fixturenames:
        of: Filled = request.getfixturevalue("filled")
        for folder in FOLDERS:
            shutil.copytree(of.root / folder, world.root / folder, dirs_exist_ok=True)
    return world


@pytest.fixture
def daemon(request, world):
    with dg.instance_for_test(temp_dir=str(world.config)) as instance:
        made = Daemon(instance)
        if "filled" in request.fixturenames:
            made.cursors = dict(request.getfixturevalue("filled").cursors)
        yield made
