"""What the steps of `mpta score` pass on: known items, what the user says about a file, and the answers read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from mpta_pipeline.core.tables import GOLD
from mpta_pipeline.external.option_matching import Exclusion

TASK = "external"


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first few of many names, and their number."""
    return ", ".join(names[:most]) + (f" … ({len(names)})" if len(names) > most else "")


def survey_of(frame: pl.DataFrame) -> pl.Expr:
    """Return the survey of each row; `none` where the file names none."""
    return pl.col("survey").cast(pl.String).fill_null("none") if "survey" in frame.columns else pl.lit("none")


@dataclass(frozen=True)
class Known:
    """Items that are known before a file is read.

    Attributes:
        items: ITEMS.
        gold: GOLD; empty if every item has its key.
        groups: Groups of the study's personas, or None.
        own_order: Their canonical order is the item file's, so letters and numbers may refer to it.
    """

    items: pl.DataFrame
    gold: pl.DataFrame = field(default_factory=GOLD.empty)
    groups: pl.DataFrame | None = None
    own_order: bool = True


@dataclass(frozen=True)
class Reading:
    """What the user says about a file.

    Attributes:
        answers: Columns of answers, one per model.
        columns: Role → column.
        by: Dimensions: columns, or columns crossed with ×.
        questions: Questions that have a column each.
        count_from: Whether numbers count options from 0 or 1; None: the numbers themselves tell.
        ordered: The options, in the order given, are steps of a scale.
        replies: Read whole sentences the way this project reads its own models' responses.
    """

    answers: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    by: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    count_from: int | None = None
    ordered: bool = False
    replies: bool = True

    @property
    def bases(self) -> tuple[str, ...]:
        """The columns of the dimensions."""
        return tuple(dict.fromkeys(base for dimension in self.by for base in dimension.split("×")))


@dataclass(frozen=True)
class Answers:
    """Answers and their items.

    Attributes:
        frame: `item_id`, `answer`, `model`, `pred_idx` and the other columns that `metrics.score_answers` takes.
        items: ITEMS.
        gold: GOLD; empty if every item has its key.
        groups: respondent_id, survey and one column per base dimension, of personas and people.
        numeric: Numeric answers: item_id, model, respondent_id, answer, own_answer, weight; None if there are none.
        numeric_people: People's answers to these questions: item_id, respondent_id, own_answer; None if in `numeric`.
        notes: What a reader should know about how they were read, one sentence each.
        left_out: What the estimates do not include.
        roles: Role → column of the file.
        unused: Columns that were not used.
        support: item_id, model, n, answered, readable and further columns that the preview shows.
    """

    frame: pl.DataFrame
    items: pl.DataFrame
    gold: pl.DataFrame = field(default_factory=GOLD.empty)
    groups: pl.DataFrame | None = None
    numeric: pl.DataFrame | None = None
    numeric_people: pl.DataFrame | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[Exclusion, ...] = ()
    roles: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    support: pl.DataFrame | None = None
