"""What is passed from step to step: items that are known, what the user says of a file, and the answers read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from mpta_pipeline.core.tables import GOLD
from mpta_pipeline.external.option_matching import SetAside

TASK = "external"


def some(names: Sequence[str], most: int = 5) -> str:
    """The first few of many names, with how many there are."""
    return ", ".join(names[:most]) + (f" … ({len(names)})" if len(names) > most else "")


def survey_of(frame: pl.DataFrame) -> pl.Expr:
    """Return the survey of each row; `none` where the file names none."""
    return pl.col("survey").cast(pl.String).fill_null("none") if "survey" in frame.columns else pl.lit("none")


@dataclass(frozen=True)
class Known:
    """Items that are known before the file is read.

    Attributes:
        items: ITEMS.
        gold: GOLD; empty where every item has its key.
        groups: Groups of the study's personas, or None.
        own_order: Their canonical order is the item file's, so that letters and numbers may count in it.
    """

    items: pl.DataFrame
    gold: pl.DataFrame = field(default_factory=GOLD.empty)
    groups: pl.DataFrame | None = None
    own_order: bool = True


@dataclass(frozen=True)
class Reading:
    """How a file is to be read: what the user says of it.

    Attributes:
        answers: Columns of answers, one a model.
        columns: Role → column.
        by: Dimensions: columns, or columns crossed with ×.
        questions: Questions that stand in a column each.
        count_from: What numbers count options from; None: by the numbers.
        ordered: The options, in the order given, are steps of a scale.
        replies: Read whole sentences as this project reads its own models' replies.
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
        """The columns that the dimensions are made of."""
        return tuple(dict.fromkeys(base for dimension in self.by for base in dimension.split("×")))


@dataclass(frozen=True)
class Answers:
    """Answers with the items they belong to.

    Attributes:
        frame: `item_id`, `answer`, `model`, `pred_idx` and whatever else `metrics.score_answers` takes.
        items: ITEMS.
        gold: GOLD; empty where every item has its key.
        groups: respondent_id, survey and one column per base dimension, of the personas and of the people.
        numeric: Answers that are numbers: item_id, model, respondent_id, answer, own_answer, weight; None if none are.
        numeric_people: What people answered to these: item_id, respondent_id, own_answer; None if `numeric` holds it.
        notes: What a reader should know of how they were read, a sentence each.
        left_out: What the figures do not rest on.
        roles: Role → column of the file.
        unused: Columns that play no part.
        support: item_id, model, n, answered, readable and what else the look at a file shows.
    """

    frame: pl.DataFrame
    items: pl.DataFrame
    gold: pl.DataFrame = field(default_factory=GOLD.empty)
    groups: pl.DataFrame | None = None
    numeric: pl.DataFrame | None = None
    numeric_people: pl.DataFrame | None = None
    notes: tuple[str, ...] = ()
    left_out: tuple[SetAside, ...] = ()
    roles: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    support: pl.DataFrame | None = None
