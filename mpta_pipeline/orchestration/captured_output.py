"""Keep what steps print in the logs of their run, and out of the terminal of a command that runs them in its process.

Dagster captures the standard output and error of each step into files, which the UI shows. It also copies both to the
terminal through two processes per stream, which end with a traceback when Ctrl-C reaches them, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# No public option of a compute log manager leaves the copy out.
from dagster._core.execution import compute_logs

_COPY = "tail_to_stream"


@contextmanager
def not_copied_to_the_terminal() -> Iterator[None]:
    """Capture without the copy, for the time of the context."""
    copying = vars(compute_logs)[_COPY]
    vars(compute_logs)[_COPY] = _no_copy
    try:
        yield
    finally:
        vars(compute_logs)[_COPY] = copying


@contextmanager
def _no_copy(path: str, stream: Any) -> Iterator[tuple[None, None]]:
    yield None, None
