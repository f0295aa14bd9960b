"""Fixtures for every room (a small deployment and its model server), the marks `unit` and `integration`, and order."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mpta_pipeline.pipeline.deployment import Deployment
from tests import no_literal_filters, quick_dagster
from tests.factories.deployment import Server, World, respondents, serving, write_wave

TESTS = Path(__file__).parent
MEMORY = Path("/dev/shm")
ENOUGH = 4 << 30  # bytes
# Folders whose tests start Dagster, processes or services, or run several rooms together.
INTEGRATION = ("orchestration", "cli", "docs", "scale", "attack", "pipeline", "publication")
# Fixtures that start a server or a deployment, or that read files which are not part of the repository.
FIXTURES = {"server", "serve", "finished", "site", "gss_wave", "benchmarks"}
# What a test calls itself to start a server, a process or a deployment, or to find such a file.
CALLS = {"Server", "serving", "serving_site", "World", "bring_up_to_date", "subprocess", "real", "present"}


def pytest_configure(config: pytest.Config) -> None:
    """Keep temporary files in memory if there is room, as SQLite waits for the disk at each of Dagster's commits.

    `TMPDIR` or `--basetemp` name another folder.
    """
    if "TMPDIR" in os.environ or config.option.basetemp or not os.access(MEMORY, os.W_OK):
        return
    room = os.statvfs(MEMORY)
    if room.f_bavail * room.f_frsize >= ENOUGH and not room.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave folders without unit tests alone if only those are wanted: they import Dagster, and all that it imports."""
    return (
        True
        if config.option.markexpr == "unit"
        and collection_path.parent == TESTS
        and (collection_path.name in INTEGRATION)
        else None
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test, and begin with the files whose single tests take longest.

    Workers of pytest-xdist take one file after the other in this order. A long file at the end would keep one worker
    busy while the others have nothing left to do.
    """
    for item in items:
        if not _is_integration(item):
            item.add_marker("unit")
        elif not item.get_closest_marker("integration"):
            item.add_marker("integration")
    items.sort(key=lambda item: _place(item.path))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Spare Dagster and the figures work that no test is about, and the garbage collector what stays until the end.

    Thousands of tests and all that they import would be looked through again and again.
    """
    if "dagster" in sys.modules:
        quick_dagster.install()
    if any(item.get_closest_marker("integration") for item in session.items):
        from tests import quick_forests

        quick_forests.install()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def pytest_unconfigure() -> None:
    """Let the interpreter free everything at its end; DuckDB's binding would list what it takes for leaks."""
    gc.unfreeze()


def _is_integration(item: pytest.Item) -> bool:
    code = getattr(getattr(item, "function", None), "__code__", None)
    return bool(
        item.path.relative_to(TESTS).parts[0] in INTEGRATION
        or FIXTURES.intersection(getattr(item, "fixturenames", ()))
        or (code and CALLS.intersection(code.co_names))
        or any(item.get_closest_marker(name) for name in ("integration", "shared_data", "slow"))
    )


def _place(path: Path) -> int:
    room = path.relative_to(TESTS).parts[0]
    return INTEGRATION.index(room) if room in INTEGRATION else len(INTEGRATION)


@pytest.fixture(autouse=True)
def _every_filter_names_a_column(monkeypatch):
    """Every test is a proof that the package filters by no literal (see `tests/no_literal_filters.py`)."""
    no_literal_filters.install(monkeypatch)


@dataclass(frozen=True)
class Finished:
    """A deployment that has run once, its server, and what the server was asked for."""

    world: World
    server: Server
    asked: Counter[str]
    by_model: Counter[str]

    def copy_to(self, world: World) -> None:
        """Make another deployment the same as this one: configuration, survey files, stored tables, with their times.

        The environment points to the other one.
        """
        for folder in (self.world.config, self.world.data, self.world.surveys):
            shutil.rmtree(world.root / folder.name)
            shutil.copytree(folder, world.root / folder.name)
        Deployment.from_env().look()  # the catalogue names the copied survey files from now on
        self.rewind()

    def copy(self, root: Path, patch: pytest.MonkeyPatch) -> World:
        """A copy in this folder, to which the environment points from now on."""
        made = World(root, self.server.url)
        for name, value in made.environment.items():
            patch.setenv(name, value)
        self.copy_to(made)
        return made

    def changed(self, root: Path, change: Callable[[World], None]) -> Finished:
        """A copy in which something was changed, after the run that follows; for several tests that begin with it."""
        from tests.plain_run import bring_up_to_date

        with pytest.MonkeyPatch.context() as patch:
            made = self.copy(root, patch)
            change(made)
            bring_up_to_date()
        return replace(self, world=made, asked=self.server.asked.copy(), by_model=self.server.by_model.copy())

    def rewind(self) -> Server:
        """Return the server as it was when the deployment had run."""
        self.server.asked, self.server.by_model = self.asked.copy(), self.by_model.copy()
        self.server.delay, self.server.refuse, self.server.meanwhile = 0.0, None, None
        return self.server


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Iterator[Finished]:
    """The deployment of `world` after one run without Dagster, made once per worker.

    A test that uses it (`usefixtures`) gets a copy as its `world`, and its server with the counts of that run.
    """
    from tests.plain_run import bring_up_to_date

    with serving() as server, pytest.MonkeyPatch.context() as patch:
        made = World(tmp_path_factory.mktemp("finished"), server.url)
        for name, value in made.environment.items():
            patch.setenv(name, value)
        for year in (2016, 2018):
            write_wave(made.surveys, respondents(year))
        bring_up_to_date()
        patch.undo()
        yield Finished(made, server, server.asked.copy(), server.by_model.copy())


@pytest.fixture
def server(request) -> Iterator[Server]:
    """A loopback model endpoint that counts the requests it gets."""
    if "finished" in request.fixturenames:
        yield request.getfixturevalue("finished").rewind()
        return
    with serving() as running:
        yield running


@pytest.fixture
def world(request, tmp_path, server, monkeypatch) -> World:
    """A deployment with two waves in the survey folder and one model; the environment points to it."""
    made = World(tmp_path, server.url)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    if "finished" in request.fixturenames:
        request.getfixturevalue("finished").copy_to(made)
    else:
        for year in (2016, 2018):
            write_wave(made.surveys, respondents(year))
    return made
