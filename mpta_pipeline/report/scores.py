"""Read the scores behind the report in parts, because together they would not fit into memory.

What the report says about all of them is counted in one pass. What it says about a model and task reads the parts of
these again, with the columns that are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from mpta_pipeline.core.arms import of_control
from mpta_pipeline.core.described_groups import of_groups, of_people
from mpta_pipeline.core.tables import SCORES
from mpta_pipeline.core.vocabulary import STATUSES
from mpta_pipeline.report.phrases import UNPARSED

_TELLS_APART = ("condition", "treated")
_CELL = ["model", "task", "survey"]
_COUNTED = (*_CELL, "respondent_id", "item_id", "status", "unparsed_reason")
_CONVERSED = [*_CELL, "condition"]


@dataclass(frozen=True)
class Part:
    """The scores of a model and task.

    Attributes:
        model: The model; None if the rows are of several.
        task: The task; None if the rows are of several.
        read: Given names of columns, reads the rows of some persons after those of others, with those of the columns
            that are stored. All rows of a person and model come together.
    """

    model: str | None
    task: str | None
    read: Callable[[Sequence[str]], Iterator[pl.DataFrame]]


@dataclass(frozen=True)
class Counts:
    """What the report says about all scores.

    Attributes:
        answers: Number of answers about persons, outside treatments.
        by_model: Per model: replies, how many are unread, and how many for each reason.
        coverage: Per task and survey: people, questions and models, and their answers.
        about_groups: Per model, task and survey whose groups were asked about: groups, questions, replies, shares of
            their statuses, and reasons with counts.
        conversations: Per model, task, survey and condition that was asked in conversations: their number, how many
            were stopped, questions that were answered in each (mean) and in those that were stopped (median).
    """

    answers: int
    by_model: pl.DataFrame
    coverage: pl.DataFrame
    about_groups: pl.DataFrame
    conversations: pl.DataFrame


class Scores:
    """The scores of a study.

    Args:
        parts: The scores of its models and tasks.
        about_groups: Answers about described groups, if they are not among the parts: `_COUNTED`.
    """

    def __init__(self, parts: Sequence[Part], about_groups: pl.DataFrame | None = None) -> None:
        self._parts = parts
        self._about_groups = about_groups

    @classmethod
    def of(cls, frame: pl.DataFrame, about_groups: pl.DataFrame | None = None) -> Scores:
        """Scores that are in memory."""

        def read(columns: Sequence[str]) -> Iterator[pl.DataFrame]:
            yield frame.select(name for name in columns if name in frame.columns)

        return cls([Part(None, None, read)] if frame.height else [], about_groups)

    def rows(
        self, columns: Sequence[str], *, model: str | None = None, task: str | None = None
    ) -> Iterator[pl.DataFrame]:
        """Answers about persons, outside treatments, of one model or task or of all.

        Args:
            columns: Columns to read; one that was not stored is null.
            model: The model; None for all.
            task: The task; None for all.

        Yields:
            The rows of some persons, with all answers of each of them by the same model to the same task.
        """
        for part in self._parts:
            if (model and part.model and part.model != model) or (task and part.task and part.task != task):
                continue
            for frame in _read(part, dict.fromkeys([*columns, *_CELL[:2], *_TELLS_APART])):
                wanted = [pl.col(name) == value for name, value in (("model", model), ("task", task)) if value]
                yield of_people(of_control(frame)).filter(*wanted).select(columns)

    @cached_property
    def counts(self) -> Counts:
        """What the report says about all scores, counted in one pass."""
        answers, by_model, held = 0, [_by_model(SCORES.empty())], [_conversations(SCORES.empty())]
        asked: dict[str | None, list[pl.DataFrame]] = {}
        groups = [_Groups.of(SCORES.empty() if self._about_groups is None else self._about_groups)]
        for part in self._parts:
            of_part = []
            known = asked.setdefault(part.task, [])
            for frame in _read(part, dict.fromkeys([*_COUNTED, *_TELLS_APART, "conversation"])):
                people = of_people(of_control(frame))
                answers += people.height
                by_model.append(_by_model(people))
                known.append(_asked(people))
                held.append(_conversations(people))
                if self._about_groups is None:
                    of_part.append(_Groups.of(of_groups(frame)))
            asked[part.task] = [_asked_by_all(known)] if known else []
            groups += [_Groups.together(of_part)] if of_part else []
        return Counts(
            answers,
            pl.concat(by_model).group_by("model").sum(),
            _coverage(_asked_by_all([_asked(SCORES.empty()), *(one for some in asked.values() for one in some)])),
            _Groups.together(groups).counted(),
            _conversations_counted(pl.concat(held)),
        )


def _read(part: Part, columns: dict[str, None]) -> Iterator[pl.DataFrame]:
    for frame in part.read(list(columns)):
        yield SCORES.completed(frame, columns)


def _by_model(people: pl.DataFrame) -> pl.DataFrame:
    """Per model: replies, how many are unread, and how many for each reason."""
    counts = people.filter(pl.col("status") != "error").group_by("model").agg(
        pl.len().alias("replies"),
        (pl.col("status") == "unparsed").sum().alias("unread"),
        *((pl.col("unparsed_reason") == name).sum().alias(name) for name in UNPARSED),
    )  # fmt: skip
    return counts.with_columns(pl.exclude("model").cast(pl.Int64))


def _conversations(people: pl.DataFrame) -> pl.DataFrame:
    """Conversations by whether a failed request stopped them and by the questions that were answered.

    A conversation is held with one person, whose answers come together.
    """
    failed = pl.col("status") == "error"
    held = people.drop_nulls("conversation").group_by(*_CONVERSED, "conversation")
    told = held.agg(failed.any().alias("stopped"), (~failed).sum().cast(pl.Int64).alias("questions"))
    return told.group_by(*_CONVERSED, "stopped", "questions").agg(pl.len().cast(pl.Int64).alias("count"))


def _conversations_counted(held: pl.DataFrame) -> pl.DataFrame:
    n, questions = pl.col("count"), pl.col("questions")
    return held.group_by(_CONVERSED).agg(
        n.sum().alias("conversations"),
        n.filter("stopped").sum().alias("stopped"),
        ((questions * n).sum() / n.sum()).alias("questions"),
        questions.repeat_by(n).filter("stopped").explode(empty_as_null=False).median().alias("after"),
    )


_ASKED = ["task", "survey"]


def _asked(people: pl.DataFrame) -> pl.DataFrame:
    """Who was asked what in which task and survey: each person, question and model once, and the answers."""
    return people.group_by(_ASKED).agg(
        pl.col("respondent_id", "item_id", "model").unique(), pl.len().cast(pl.Int64).alias("answers")
    )


def _asked_by_all(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    once = [pl.col(name).explode(empty_as_null=False).unique() for name in ("respondent_id", "item_id", "model")]
    return pl.concat(parts).group_by(_ASKED).agg(*once, pl.col("answers").sum())


def _coverage(asked: pl.DataFrame) -> pl.DataFrame:
    count = {"respondent_id": "people", "item_id": "questions", "model": "models"}
    return asked.select(*_ASKED, *(pl.col(old).list.len().alias(new) for old, new in count.items()), "answers")


@dataclass(frozen=True)
class _Groups:
    """Answers about described groups: each group, each question, and the replies by status and reason."""

    groups: pl.DataFrame
    questions: pl.DataFrame
    replies: pl.DataFrame

    @classmethod
    def of(cls, answers: pl.DataFrame) -> _Groups:
        return cls(
            answers.select(*_CELL, "respondent_id").unique(),
            answers.select(*_CELL, "item_id").unique(),
            answers.group_by(*_CELL, "status", "unparsed_reason").agg(pl.len().cast(pl.Int64).alias("count")),
        )

    @classmethod
    def together(cls, parts: Sequence[_Groups]) -> _Groups:
        return cls(
            pl.concat([part.groups for part in parts]).unique(),
            pl.concat([part.questions for part in parts]).unique(),
            pl.concat([part.replies for part in parts])
            .group_by(*_CELL, "status", "unparsed_reason")
            .agg(pl.col("count").sum()),
        )

    def counted(self) -> pl.DataFrame:
        """Per model, task and survey; reasons in the order of their frequency."""
        n, status = pl.col("count"), pl.col("status")
        replies = self.replies.sort("count", "unparsed_reason", descending=[True, False]).group_by(_CELL).agg(
            n.sum().alias("replies"),
            *((n.filter(status == name).sum() / n.sum()).alias(name) for name in STATUSES),
            pl.struct("unparsed_reason", "count").filter(status == "unparsed").alias("reasons"),
        )  # fmt: skip
        groups = self.groups.group_by(_CELL).agg(pl.len().alias("groups"))
        questions = self.questions.group_by(_CELL).agg(pl.len().alias("questions"))
        return replies.join(groups, on=_CELL, nulls_equal=True).join(questions, on=_CELL, nulls_equal=True)
