"""Shared fixtures: a small deployment of the project's own making."""

import warnings

import dagster as dg
import pytest

from tests import no_literal_filters
from tests.factories.deployment import World, respondents, serving, write_wave

warnings.filterwarnings("ignore", category=dg.BetaWarning)


@pytest.fixture(autouse=True)
def _every_filter_names_a_column(monkeypatch):
    """Every test is a proof that the package filters by no literal (see `tests/no_literal_filters.py`)."""
    no_literal_filters.install(monkeypatch)


@pytest.fixture
def server():
    """A loopback model endpoint that counts what it is asked."""
    with serving() as running:
        yield running


@pytest.fixture
def world(tmp_path, server, monkeypatch):
    """A deployment with two waves in the survey folder and one model; the environment points to it."""
    made = World(tmp_path, server.url)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    for year in (2016, 2018):
        write_wave(made.surveys, respondents(year))
    return made
