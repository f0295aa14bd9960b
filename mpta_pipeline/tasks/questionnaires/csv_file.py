"""Read a questionnaire from CSV: one row per question or statement."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.storage import UNREADABLE
from mpta_pipeline.tasks.questionnaires.instrument import (
    MOST_OPTIONS,
    Condition,
    Instrument,
    Notes,
    Question,
    with_fields,
)

COLUMNS: Mapping[str, str] = {
    "id": "unique in the questionnaire",
    "question": "the question, or the statement of a battery",
    "options": 'texts of the options: separated by |, or a JSON list ["yes", "no"]',
    "block": "name of the block",
    "battery": "id of the battery",
    "stem": "what its statements share",
    "introduction": "text before the question",
    "ordinal": "true if the options are points of a scale",
    "column": "concept or harmonized column with people's own answers",
    "values": "harmonized value of each option, as options",
    "hides": "concepts or harmonized columns that a persona must not show, as options",
    "show_if": "when it is asked: NAME=value or NAME=value1|value2, several separated by ;",
}
"""Columns of the file; id, question and options are needed."""
_NEEDED = ("id", "question", "options")
_TRUE = ("true", "yes", "1", "x")
_FALSE = ("false", "no", "0", "")


def read_csv_file(path: Path, fields: Mapping[str, str | None]) -> Instrument:
    """Read a questionnaire from CSV or TSV.

    Args:
        path: The file.
        fields: Texts of piped fields.

    Raises:
        TaskError: A column is absent or unknown, or a row has no sound options.
    """
    try:
        frame = pl.read_csv(path, separator=_separator(path), infer_schema=False)
    except (*UNREADABLE, UnicodeDecodeError) as failure:
        problem = str(failure).splitlines()[0]
        raise TaskError(
            f"The questionnaire cannot be read: {problem}",
            file=path,
            remedy="save it as CSV in UTF-8, with quotes around texts that hold the separator",
        ) from None
    # Spreadsheets leave empty columns to the right of the others, and empty rows below.
    unnamed = [name for name in frame.columns if not name.strip() or name.startswith("_duplicated_")]
    frame = frame.drop(name for name in unnamed if frame[name].fill_null("").str.strip_chars().eq("").all())
    frame = frame.rename({name: name.strip().removeprefix("\ufeff").lower() for name in frame.columns})
    if wrong := [*(c for c in _NEEDED if c not in frame.columns), *(c for c in frame.columns if c not in COLUMNS)]:
        raise TaskError(
            "The questionnaire lacks a column" if wrong[0] in _NEEDED else "The questionnaire has an unknown column",
            file=path,
            variable=wrong[0],
            remedy=f"its columns are {', '.join(COLUMNS)}",
        )
    notes = Notes()
    rows = enumerate(frame.iter_rows(named=True), start=2)
    questions = [
        _question(row, number, path) for number, row in rows if any((text or "").strip() for text in row.values())
    ]
    return Instrument(path.stem, with_fields(questions, fields, notes), notes.all())


def _separator(path: Path) -> str:
    """A tab in .tsv, otherwise a comma, or the semicolon that spreadsheets write where the comma is a decimal sign."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    with path.open(encoding="utf-8-sig") as file:
        head = file.readline()
    return ";" if "," not in head and ";" in head else ","


def _question(row: Mapping[str, str | None], number: int, path: Path) -> Question:
    told = {name: (row.get(name) or "").strip() for name in COLUMNS}
    options = _list(told["options"])
    values = _list(told["values"]) or None
    if not told["id"] or not told["question"] or not 2 <= len(options) <= MOST_OPTIONS:
        raise TaskError(
            f"A question needs id, question and 2 to {MOST_OPTIONS} options",
            file=path,
            variable=f"row {number}",
            value=told["id"],
            remedy="complete the row, or remove it",
        )
    if values is not None and len(values) != len(options):
        raise TaskError(
            f"values names {len(values)} values for {len(options)} options",
            file=path,
            variable=f"row {number}",
            value=told["id"],
            remedy="give one value per option",
        )
    if told["ordinal"].lower() not in (*_TRUE, *_FALSE):
        raise TaskError(
            "ordinal is neither true nor false",
            file=path,
            variable=f"row {number}, ordinal",
            value=told["ordinal"],
            remedy="write true if the options are points of a scale, else false",
        )
    return Question(
        told["id"],
        told["question"],
        options,
        stem=told["stem"] or None,
        battery=told["battery"] or None,
        block=told["block"] or None,
        introduction=told["introduction"] or None,
        values=values,
        ordinal=told["ordinal"].lower() in _TRUE,
        column=told["column"] or None,
        hides=_list(told["hides"]),
        conditions=_conditions(told["show_if"], number, path),
    )


def _list(text: str) -> tuple[str, ...]:
    if text.startswith("["):
        try:
            return tuple(str(one).strip() for one in json.loads(text))
        except (ValueError, TypeError):
            return ()
    return tuple(one.strip() for one in text.split("|") if one.strip())


def _conditions(text: str, number: int, path: Path) -> tuple[Condition, ...]:
    found = []
    for part in (part for part in text.split(";") if part.strip()):
        name, equals, values = part.partition("=")
        if not equals or not values.strip():
            raise TaskError(
                "A condition is not of the form NAME=value",
                file=path,
                variable=f"row {number}, show_if",
                value=part.strip(),
                remedy="write NAME=value or NAME=value1|value2, several separated by ;",
            )
        found.append(Condition(name.strip(), _list(values.strip())))
    return tuple(found)
