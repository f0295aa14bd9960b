"""Fixtures of the tests that drive automation ticks."""

import dagster as dg
import pytest

from tests.orchestration.ticks import Daemon


@pytest.fixture
def daemon(world):
    with dg.instance_for_test(temp_dir=str(world.config)) as instance:
        yield Daemon(instance)
