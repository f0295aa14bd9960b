"""Register the steps: one function per table that makes it from its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

import polars as pl

from mpta_pipeline.core.checks import CheckResult
from mpta_pipeline.core.chunks import Chunk, StoredChunk

if TYPE_CHECKING:
    from pathlib import Path

    from mpta_pipeline.pipeline.inputs import Inputs


@dataclass(frozen=True)
class Output:
    """What a step made.

    Attributes:
        frame: The table; None for a document, or where there is nothing to store.
        notes: Facts for the record that the table does not hold.
        checks: Results of the table's checks. A failed blocking check keeps the stored table in place.
        companions: Companion tables to store with it.
        before_storing: Called after the checks and before anything is stored.
        publish: Writes a document, after the companions have been stored, and returns its path.
        chunks: The chunks of a table that is too large for one file, instead of its rows.
        needs: What making the chunks needs, e.g. a temporary folder; closed afterwards.
        summary: Gives the notes and the checks of a table in chunks from its chunks, once they are written.
    """

    frame: pl.DataFrame | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    checks: Sequence[CheckResult] = ()
    companions: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    before_storing: Callable[[], None] | None = None
    publish: Callable[[], Path] | None = None
    chunks: Sequence[Chunk] = ()
    needs: ExitStack = field(default_factory=ExitStack)
    summary: Callable[[Sequence[StoredChunk]], tuple[Mapping[str, Any], Sequence[CheckResult]]] | None = None


Step = Callable[["Inputs"], Output]
STEPS: dict[str, Step] = {}
"""Table → its step, for the modules that have been imported."""


def step(table: str) -> Callable[[Step], Step]:
    """Register a function as the step that makes a table of the graph."""

    def register(function: Step) -> Step:
        STEPS[table] = function
        return function

    return register


def step_of(table: str) -> Step:
    """The step that makes a table.

    Raises:
        KeyError: No module of `pipeline/steps/` has one.
    """
    if table not in STEPS:
        _import_steps()
    return STEPS[table]


@cache
def _import_steps() -> None:
    package = import_module("mpta_pipeline.pipeline.steps")
    for module in iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")
