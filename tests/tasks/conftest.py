"""A fabricated study with all its tables, made once, and where the real item files are."""

import pytest

from tests.factories import small_survey
from tests.factories.task_tables import made
from tests.shared_data import real


@pytest.fixture(scope="session")
def crosswalk():
    return small_survey.crosswalk()


@pytest.fixture(scope="session")
def world(crosswalk):
    return made(small_survey.respondents(), crosswalk, small_survey.study())


@pytest.fixture(scope="session")
def benchmarks():
    """Folder of the real item files; a test that needs them skips where they are absent."""
    return real("benchmarks")
