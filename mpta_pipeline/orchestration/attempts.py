"""Remember what automation has tried to make and could not, so that it does not try for ever."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mpta_pipeline.core.storage import Layout, write_json
from mpta_pipeline.pipeline.staleness import Due

# A node that failed is tried once more, then waits until something that it is made from changes. A run that was killed
# says nothing about its nodes, so more of them are allowed.
MAX_FAILED, MAX_UNFINISHED = 2, 10


def attempts_file(layout: Layout) -> Path:
    """Where the attempts are kept."""
    return layout.root / "attempts.json"


@dataclass(frozen=True)
class Attempts:
    """What became of the attempts to make a node from the same inputs.

    Attributes:
        inputs: Digest of what it would be made from.
        failed: Attempts that failed.
        unfinished: Attempts that were killed.
    """

    inputs: str
    failed: int = 0
    unfinished: int = 0

    @property
    def given_up(self) -> bool:
        """Whether it waits for a person, or for a change."""
        return self.failed >= MAX_FAILED or self.unfinished >= MAX_UNFINISHED


def load_attempts(layout: Layout) -> dict[str, Attempts]:
    """Node → its attempts. Nodes without one are missing; a damaged file counts as none."""
    try:
        stored = json.loads(attempts_file(layout).read_text(encoding="utf-8"))
        return {str(node): Attempts(**attempts) for node, attempts in stored.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


@contextmanager
def changing_attempts(layout: Layout) -> Iterator[dict[str, Attempts]]:
    """Change the stored attempts, which several runs do."""
    layout.root.mkdir(parents=True, exist_ok=True)
    with (layout.root / ".attempts.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = load_attempts(layout)
        now = dict(before)
        yield now
        if now != before:
            write_json({node: asdict(attempts) for node, attempts in now.items()}, attempts_file(layout))


def given_up(found: Due, tried: Mapping[str, Attempts]) -> bool:
    """Whether a node was tried and waits for a person, or for a change of its inputs."""
    attempts = tried.get(str(found.node))
    return attempts is not None and attempts.inputs == found.inputs and attempts.given_up
