"""One browser for the tests of a module."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.factories.chromium import chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A running Chromium; the tests that use it skip where none is installed."""
    with chromium() as running:
        yield running
