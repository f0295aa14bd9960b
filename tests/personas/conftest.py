"""A fabricated study, made once."""

import pytest

from mpta_pipeline import personas
from tests.personas import fabricate


@pytest.fixture(scope="session")
def crosswalk():
    return fabricate.crosswalk()


@pytest.fixture(scope="session")
def people():
    return fabricate.respondents()


@pytest.fixture(scope="session")
def study():
    return fabricate.study()


@pytest.fixture(scope="session")
def frame(people, crosswalk, study):
    return personas.build_personas(people, crosswalk, study, fabricate.waves(people))
