"""Bring tables to one row per answer: long tables, one column per question, or two columns per question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.external import column_roles as c
from mpta_pipeline.external.human_answers import PeopleAnswers
from mpta_pipeline.external.scoring_inputs import TASK, Known, Reading, some
from mpta_pipeline.metrics.samples.external_scores import FILE, ROW

_PEOPLE_AS_MODEL = (
    "human", "humans", "people", "respondent", "respondents", "participant", "participants", "survey", "ground_truth",
    "gss", "anes", "wvs", "evs", "ess",
)  # fmt: skip
# Columns that say whose answer a row is, if no column is named model.
_SOURCES = ("source", "agent", "rater", "respondent_type", "answered_by", "type")
_PAIRS = {
    "own_answer": ("human", "own", "true", "actual", "real", "respondent", "participant", "gt", "observed"),
    "answer": ("model", "llm", "ai", "pred", "predicted", "prediction", "twin", "simulated", "sim", "gpt", "synthetic"),
}


@dataclass(frozen=True)
class AnswerRows:
    """Answers, one per row.

    Attributes:
        rows: Columns named by their roles; groups and further columns under their own names.
        roles: Role → column of the file.
        unused: Columns that were not used.
        notes: What was assumed.
    """

    rows: pl.DataFrame
    roles: Mapping[str, str]
    unused: tuple[str, ...]
    notes: Sequence[str]


def answer_rows(
    frame: pl.DataFrame, file: Path, known: Known | None, reading: Reading, people: PeopleAnswers | None
) -> AnswerRows:
    """Return one row per answer, with columns named by their roles.

    Raises:
        ValidationError: A column that the user names is missing, or the file has no answers.
    """
    _check_named(frame, file, known, reading, people)
    bases = [b for b in reading.bases if b in frame.columns]
    if ROW not in frame.columns:
        frame = frame.with_row_index(ROW, offset=1)
    frame = frame.with_columns(pl.lit(str(file)).alias(FILE))
    named = dict(reading.columns)
    if len(reading.answers) > 1:
        frame = _stacked(frame, reading.answers)
        named |= {"answer": "answer", "model": "model"}
    elif reading.answers:
        named["answer"] = reading.answers[0]
    wide = () if "answer" in named else _wide(frame, known, reading, people)
    if wide:
        return _from_wide(frame, file, wide, named, bases)
    if "answer" not in named and (pairs := _pairs(frame)):
        return _from_pairs(frame, file, pairs, named, bases)
    if "model" not in named and not {c.plain(x) for x in frame.columns} & set(c.ALIASES["model"]):
        named |= _source(frame)
    layout = c.understand(frame, file, named=named, keep=bases)
    if not {"answer", "probabilities", "logprobs"} & set(layout.roles):
        there = ", ".join(x for x in frame.columns if x not in (FILE, ROW))
        raise ValidationError(
            "The file has no column of answers",
            file=file,
            remedy=f"name it `answer`, or name the column with --answer; the columns are {there}",
        )
    texts = [name for name in ("answer", "own_answer", "key", "status") if name in layout.frame.columns]
    made = layout.frame.with_columns(_as_text(layout.frame.get_column(name)).alias(name) for name in texts)
    return AnswerRows(c.without_missing(made), layout.roles, layout.unused, layout.notes)


def _source(frame: pl.DataFrame) -> dict[str, str]:
    """Return the column that says whether people or a model answered, as the role `model`."""
    for column in frame.columns:
        if c.plain(column) in _SOURCES and frame.schema[column] == pl.String:
            values = set(frame[column].drop_nulls().str.to_lowercase().unique())
            if values & set(_PEOPLE_AS_MODEL) and len(values) > 1:
                return {"model": column}
    return {}


def _check_named(
    frame: pl.DataFrame, file: Path, known: Known | None, reading: Reading, people: PeopleAnswers | None
) -> None:
    """Check that the columns that the user names exist.

    Raises:
        ValidationError: One does not; the message lists the columns.
    """
    there = set(frame.columns)
    groups = there | (set(people.frame.columns) if people is not None else set())
    if {c.plain(x) for x in there} & set(c.ALIASES["people_shares"]):
        groups.add("country")  # a mapping of shares is one per country
    if known is not None and known.groups is not None:
        groups |= set(known.groups.columns)
    for what, names, has in (
        ("column to group by", reading.bases, groups),
        ("column of answers", reading.answers, there),
        ("column of a question", reading.questions, groups),
    ):
        if absent := [name for name in names if name not in has]:
            raise ValidationError(
                f"The file has no such {what}",
                file=file,
                variable=absent[0],
                remedy=f"choose one of {', '.join(frame.columns)}",
            )


def _stacked(frame: pl.DataFrame, answers: Sequence[str]) -> pl.DataFrame:
    """Stack several columns of answers, each as a model of its own."""
    index = [x for x in frame.columns if x not in answers and c.plain(x) != "model"]
    return frame.with_columns(pl.col(x).cast(pl.String) for x in answers).unpivot(
        on=list(answers), index=index, variable_name="model", value_name="answer"
    )


def _from_wide(
    frame: pl.DataFrame, file: Path, wide: Sequence[str], named: Mapping[str, str], bases: Sequence[str]
) -> AnswerRows:
    """Read a column per question; a person who was not asked a question has no answer to it."""
    layout = _of_persons(frame.drop(wide), file, named, bases)
    kept = frame.select(wide).hstack(layout.frame)
    long = kept.with_columns(pl.col(q).cast(pl.String) for q in wide).unpivot(
        on=list(wide), index=layout.frame.columns, variable_name="item_id", value_name="answer"
    )
    said = f"{file.name}: {len(wide)} questions have a column each: {some(wide)}; empty cells were not asked"
    shown = {**layout.roles, "item_id": "one column per question", "answer": some(wide)}
    return AnswerRows(long.filter(pl.col("answer").is_not_null()), shown, layout.unused, [said, *layout.notes])


def _as_text(values: pl.Series) -> pl.Series:
    """Return answers as text; a list of one answer, as some tools write it, is that answer."""
    if isinstance(values.dtype, pl.List):
        return values.cast(pl.List(pl.String)).list.join(", ")
    if values.dtype == pl.Boolean:
        return values.cast(pl.String)
    return values.cast(pl.String)


def _wide(frame: pl.DataFrame, known: Known | None, reading: Reading, people: PeopleAnswers | None) -> tuple[str, ...]:
    """Return the columns that are questions: named by the user, found in the people's file, or ids of known items."""
    if reading.questions:
        return tuple(q for q in reading.questions if q in frame.columns)
    names = {c.plain(x) for x in frame.columns}
    if names & set(c.ALIASES["item_id"][:6] + c.ALIASES["question"][:3]):
        return ()
    if people is not None and people.wide:
        return tuple(q for q in people.wide if q in frame.columns)
    if people is not None:
        asked = set(
            people.frame.get_column("item_id" if "item_id" in people.frame.columns else "question").cast(pl.String)
        )
        found = tuple(x for x in frame.columns if x in asked)
        if found:
            return found
    if known is not None:
        ids = set(known.items["item_id"]) | set(known.items["column"].drop_nulls())
        found = tuple(x for x in frame.columns if x in ids)
        if len(found) > 1 or (found and not names & set(c.ALIASES["answer"])):
            return found
    return ()


def _pairs(frame: pl.DataFrame) -> dict[str, tuple[str, str]]:
    """Return question → its columns of the person's and the model's answer, by affixes such as q1_human and q1_llm."""
    found: dict[str, dict[str, str]] = {}
    for column in frame.columns:
        for role, marks in _PAIRS.items():
            name = c.plain(column)
            for mark in marks:
                for stem in (name.removesuffix(f"_{mark}"), name.removeprefix(f"{mark}_")):
                    if stem != name and stem not in ("answer", "response", "resp", "id", ""):
                        found.setdefault(stem, {}).setdefault(role, column)
    return {q: (of["own_answer"], of["answer"]) for q, of in found.items() if len(of) == 2}


def _from_pairs(
    frame: pl.DataFrame, file: Path, pairs: dict[str, tuple[str, str]], named: Mapping[str, str], bases: Sequence[str]
) -> AnswerRows:
    both = [x for pair in pairs.values() for x in pair]
    layout = _of_persons(frame.drop(both), file, named, bases)
    parts = [
        layout.frame.with_columns(
            pl.lit(question).alias("item_id"),
            frame.get_column(own).cast(pl.String).alias("own_answer"),
            frame.get_column(answer).cast(pl.String).alias("answer"),
        )
        for question, (own, answer) in pairs.items()
    ]
    question, (own, answer) = next(iter(pairs.items()))
    said = (
        f"{file.name}: {len(pairs)} questions have two columns each, e.g. {question}: {own} of the person, "
        f"{answer} of the model"
    )
    shown = {**layout.roles, "item_id": "two columns per question", "own_answer": own, "answer": answer}
    rows = pl.concat(parts)
    if "respondent_id" not in rows.columns:
        rows = rows.with_columns(pl.format("row {}", ROW).alias("respondent_id"))
        said += "; each row is taken as one person"
    rows = c.without_missing(rows.filter(pl.col("answer").is_not_null()))
    return AnswerRows(rows, shown, layout.unused, [said, *layout.notes])


def _of_persons(frame: pl.DataFrame, file: Path, named: Mapping[str, str], bases: Sequence[str]) -> c.ColumnRoles:
    """Return the columns of a table with one row per person, without its questions; `id` is then the person's."""
    roles = tuple(r for r in c.ALIASES if r not in ("item_id", "question", "answer", "own_answer", "key", "options"))
    said = {r: x for r, x in named.items() if r in roles}
    own = next((x for x in frame.columns if c.plain(x) == "id" and not frame[x].is_duplicated().any()), None)
    if own is not None and not {c.plain(x) for x in frame.columns} & set(c.ALIASES["respondent_id"]):
        said.setdefault("respondent_id", own)
    return c.understand(frame, file, named=said, keep=bases, roles=roles)


def people_among_models(rows: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Turn the answers of a "model" that is the people themselves into own answers beside the models'."""
    if "model" not in rows.columns or "own_answer" in rows.columns or "respondent_id" not in rows.columns:
        return rows, []
    human = pl.col("model").cast(pl.String).str.to_lowercase().is_in(list(_PEOPLE_AS_MODEL))
    of_people, of_models = rows.filter(human), rows.filter(~human | pl.col("model").is_null())
    if of_people.is_empty() or of_models.is_empty():
        return rows, []
    item = "item_id" if "item_id" in rows.columns else "question"
    own = of_people.select("respondent_id", item, pl.col("answer").alias("own_answer")).unique(
        ["respondent_id", item], keep="first", maintain_order=True
    )
    made = of_models.join(own, on=["respondent_id", item], how="left", maintain_order="left")
    return made, [f"answers of the model {of_people.item(0, 'model')} are taken as people's own answers"]


def question_ids(questions: pl.Series) -> pl.Series:
    """Return an id per question: its text if that is short, else the text's beginning with a hash."""
    unique = {q: (q if len(q) <= 40 else f"{q[:30]}… {digest(q, length=6)}") for q in questions.drop_nulls().unique()}
    return pl.Series("item_id", [unique.get(q) for q in questions.to_list()], dtype=pl.String)


def ids_of(rows: pl.DataFrame) -> pl.Series:
    """Return the item id of each row as text: as the file gives it, else made from the question."""
    if "item_id" in rows.columns:
        return rows.get_column("item_id").cast(pl.String)
    return question_ids(rows.get_column("question"))


def with_model(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with a model: the file's, else an unnamed one."""
    if "model" not in rows.columns:
        return rows.with_columns(pl.lit(TASK).alias("model"))
    return rows.with_columns(pl.col("model").cast(pl.String))
