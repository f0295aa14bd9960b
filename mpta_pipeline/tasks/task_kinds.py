"""The registry of task kinds: what a kind is, and how one is found by its name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.study import TaskConfig
from mpta_pipeline.personas import Crosswalk
from mpta_pipeline.tasks.item_files import ItemFile
from mpta_pipeline.tasks.item_gaps import Gaps

# Said after the persona, by framing. A question about the person is answered as they would; a question with an answer
# key is not: there the persona only says who is asked or who asks.
AS_THE_PERSON: Mapping[str, str] = {
    "you_are": "Answer as this person.",
    "user_is": "Answer as the user would.",
    "third_person": "Answer as this person would.",
}
AS_ASKED: Mapping[str, str] = {"you_are": "", "user_is": "", "third_person": ""}


@dataclass(frozen=True)
class ItemRequest:
    """What a kind may look at to make its items.

    Attributes:
        config: The task's configuration.
        crosswalk: Concepts, options, batteries.
        respondents: RESPONDENTS rows of the study's waves.
        files: Item files, where the kind reads any.
        seed: The study's seed.
        gaps: Where items that cannot be asked are noted.
    """

    config: TaskConfig
    crosswalk: Crosswalk
    respondents: pl.DataFrame
    files: tuple[Path, ...]
    seed: int
    gaps: Gaps = field(default_factory=Gaps)

    def option(self, name: str, default: Any) -> Any:
        """An option of the kind from the configuration."""
        return self.config.options.get(name, default)


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    Attributes:
        name: Name in study.yaml.
        title: What it measures, in a line.
        items: Makes ITEMS columns (task and kind excepted; absent nullable columns are null). A further column
            `spread` names groups among which a cap on the number of items is shared out.
        gold: Makes respondent_id, item_id, survey, gold_idx, weight of every respondent, for kinds whose answer key is
            the persona's own; null for kinds whose items carry it.
        closing: What is said after the persona, by framing.
        file: The item file that it reads; null for kinds that make items from the survey.
        options: Names of the options that it understands, with their meaning.
    """

    name: str
    title: str
    items: Callable[[ItemRequest], pl.DataFrame]
    gold: Callable[[pl.DataFrame, ItemRequest], pl.DataFrame] | None = None
    closing: Mapping[str, str] = field(default_factory=lambda: AS_ASKED)
    file: ItemFile | None = None
    options: Mapping[str, str] = field(default_factory=dict)


@cache
def registered() -> Mapping[str, Kind]:
    """All kinds by name: every module of `kinds/` defines one or more as `KINDS`, every YAML file there is one."""
    package = importlib.import_module("mpta_pipeline.tasks.kinds")

    found: dict[str, Kind] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
        for kind in importlib.import_module(f"{package.__name__}.{module}").KINDS:
            found[kind.name] = kind
    multiple_choice = importlib.import_module(f"{package.__name__}.multiple_choice")
    for path in sorted(Path(package.__path__[0]).glob("*.yaml")):
        kind = multiple_choice.from_yaml(path)
        found[kind.name] = kind
    return found


def kind_of(name: str, config: TaskConfig) -> Kind:
    """The kind of a task.

    Raises:
        ConfigError: The study names a kind, or an option of it, that does not exist.
    """
    known = registered()
    if config.kind not in known:
        raise ConfigError(
            "The study names a kind of task that does not exist",
            variable=f"tasks.{name}.kind",
            value=config.kind,
            remedy=f"use one of {', '.join(sorted(known))}",
        )
    kind = known[config.kind]
    if unknown := sorted(set(config.options) - set(kind.options) - set(COMMON_OPTIONS)):
        raise ConfigError(
            f"Tasks of kind {kind.name} have no such option",
            variable=f"tasks.{name}.options",
            value=unknown[0],
            remedy=f"use {', '.join(sorted({*kind.options, *COMMON_OPTIONS}))}",
        )
    return kind


COMMON_OPTIONS: Mapping[str, str] = {
    "personas_per_item": "Ask each item of this many personas, the lowest keyed hashes (sweep), instead of all",
    "max_orders": "Ask each persona × item in so many of its cyclic orders only, evenly spaced, starting by keyed hash",
    "download": "Get the published item files (pinned by SHA-256) when no path is given, instead of the sample",
    "repeats": "Ask every prompt so many times (repeat agreement)",
}
