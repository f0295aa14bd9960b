"""Tell a listener which steps begin and end, so that a command can show progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from mpta_pipeline.core.provenance import Node

Listener = Callable[[Node, Literal["begun", "ended"]], None]

_listener: ContextVar[Listener | None] = ContextVar("step_listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call `listener` at the beginning and the end of each step in this context, from the thread that runs it."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def reported(node: Node) -> Iterator[None]:
    """Report the step that makes this node; its end is reported even if it fails."""
    listener = _listener.get()
    if listener is None:
        yield
        return
    listener(node, "begun")
    try:
        yield
    finally:
        listener(node, "ended")
