"""Define what a task kind is: the record from which items, prompts, examples and documentation are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.study import TaskConfig
from mpta_pipeline.personas import CrosswalkTables
from mpta_pipeline.tasks.item_files import ItemFile
from mpta_pipeline.tasks.item_gaps import Gaps

# The sentence after the persona, by framing. A question about the person is answered as they would answer it. A
# question with a right answer is not: there the persona only states who is asked, or who asks.
AS_THE_PERSON: Mapping[str, str] = {
    "you_are": "Answer as this person.",
    "user_is": "Answer as the user would.",
    "third_person": "Answer as this person would.",
    "forecast": "How would this person answer the following question? Predict their answer.",
}
AS_ASKED: Mapping[str, str] = {"you_are": "", "user_is": "", "third_person": "", "forecast": ""}


@dataclass(frozen=True)
class ItemRequest:
    """What a kind receives to make its items.

    Attributes:
        config: The task's configuration.
        crosswalk: Concepts, options and batteries.
        respondents: RESPONDENTS rows of the study's waves.
        files: Item files; empty if the kind reads none.
        seed: The study's seed.
        gaps: Collects items that cannot be asked.
    """

    config: TaskConfig
    crosswalk: CrosswalkTables
    respondents: pl.DataFrame
    files: tuple[Path, ...]
    seed: int
    gaps: Gaps = field(default_factory=Gaps)

    def option(self, name: str, default: Any) -> Any:
        """An option of the kind from the configuration."""
        return self.config.options.get(name, default)


@dataclass(frozen=True)
class Example:
    """Invented content for the example prompts of the documentation.

    Attributes:
        files: File name → content, in the structure of the kind's item file; empty for kinds that read none or that
            come with sample items.
        options: Options of the example task.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ItemFileSignature:
    """How `mpta score` recognizes an item file of a kind that the user did not name.

    Attributes:
        columns: Columns that the file has.
        file_name: Exact name of the file; None if any name will do.
    """

    columns: frozenset[str] = frozenset()
    file_name: str | None = None


@dataclass(frozen=True)
class TaskKind:
    """A kind of task.

    Attributes:
        name: Name in study.yaml.
        title: What it measures, in one line.
        items: Makes the items: columns of ITEMS without task, kind and scoring. Absent nullable columns are null,
            `reveals` is empty and `sample_item` false. A further column `spread` names groups among which a limit on
            the number of items is divided; `keeps_empty` keeps empty options of a published file.
        gold: Makes respondent_id, item_id, survey, gold_idx and weight of every respondent, for kinds whose answer key
            is the persona's own; None for kinds whose items carry the key.
        closing: The sentence after the persona, by framing; a framing without one has that of `third_person`.
        file: The item file that it reads; None for kinds that make items from the survey.
        options: Options that it understands, with their meaning.
        option_files: Those of them that name a file, relative to the configuration folder. If its content changes, the
            items are made again.
        example: Content of its example prompt; None for kinds that the documentation does not show.
        signature: How `mpta score` recognizes its item file; None if the user must name the kind.
        shuffles_options: The canonical order of options is set by a hash, so that letters in answers to the published
            order cannot refer to it.
    """

    name: str
    title: str
    items: Callable[[ItemRequest], pl.DataFrame]
    gold: Callable[[pl.DataFrame, ItemRequest], pl.DataFrame] | None = None
    closing: Mapping[str, str] = field(default_factory=lambda: AS_ASKED)
    file: ItemFile | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    option_files: tuple[str, ...] = ()
    example: Example | None = None
    signature: ItemFileSignature | None = None
    shuffles_options: bool = False


COMMON_OPTIONS: Mapping[str, str] = {
    "personas_per_item": "Ask each item of only this many personas, those with the lowest keyed hashes",
    "max_orders": "Ask each persona and item in only this many of its orders, evenly spaced from a start set by hash",
    "download": "Download the published item files (pinned by SHA-256) if no path is given (default false: the sample)",
    "repeats": "Ask every prompt this many times (repeat agreement)",
}
"""Options of every kind."""
