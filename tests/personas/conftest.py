"""A fabricated study, made once."""

import pytest

from mpta_pipeline import personas
from tests.factories import small_survey


@pytest.fixture(scope="session")
def crosswalk():
    return small_survey.crosswalk()


@pytest.fixture(scope="session")
def people():
    return small_survey.respondents()


@pytest.fixture(scope="session")
def study():
    return small_survey.study()


@pytest.fixture(scope="session")
def frame(people, crosswalk, study):
    return personas.build_personas(people, crosswalk, study, small_survey.waves(people))
