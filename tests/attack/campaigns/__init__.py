"""Attack campaigns of any length: kills, flipped bits, hostile files, hostile responses, policies that change.

Each campaign is a function that makes a number of attacks and yields an outcome for each. `python -m tests.attack` runs
them with the counts of its options and prints what was tried and what held; the suite runs a short form of each.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Outcome(NamedTuple):
    """One attack: what it was aimed at, and what went wrong (empty if the guarantee held)."""

    target: str
    problem: str = ""


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
