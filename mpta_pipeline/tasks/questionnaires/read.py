"""Read a questionnaire from a file of any format that the pipeline knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.tasks.questionnaires.csv_file import read_csv_file
from mpta_pipeline.tasks.questionnaires.instrument import Instrument
from mpta_pipeline.tasks.questionnaires.qsf import read_qsf
from mpta_pipeline.tasks.questionnaires.yaml_file import read_yaml_file

READERS: Mapping[str, Callable[[Path, Mapping[str, str | None]], Instrument]] = {
    ".yaml": read_yaml_file,
    ".yml": read_yaml_file,
    ".csv": read_csv_file,
    ".tsv": read_csv_file,
    ".qsf": read_qsf,
}
"""Ending of a file → its reader: (file, texts of piped fields) → questionnaire."""


def read_instrument(path: Path, fields: Mapping[str, str | None]) -> Instrument:
    """Read a questionnaire.

    Args:
        path: The file.
        fields: Texts of piped fields.

    Raises:
        TaskError: The format is unknown or broken, two questions have one id, or no question can be asked.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise TaskError("The questionnaire has an unknown ending", file=path, remedy=f"use one of {', '.join(READERS)}")
    try:
        made = reader(path, fields)
    except UnicodeDecodeError as failure:
        raise TaskError(f"The questionnaire is not UTF-8: {failure}", file=path, remedy="save it in UTF-8") from None
    if again := [name for name, n in Counter(question.id for question in made.questions).items() if n > 1]:
        raise TaskError(
            "Two questions of the questionnaire have the same id",
            file=path,
            variable="id",
            value=again[0],
            remedy="give each question an id of its own",
        )
    _check_batteries(made, path)
    if not made.questions:
        listed = "; ".join(note.text() for note in made.notes) or "it is empty"
        raise TaskError(
            f"No question of the questionnaire can be asked: {listed}",
            file=path,
            remedy="questions need one answer out of 2 to 26 options",
        )
    return made


def _check_batteries(made: Instrument, path: Path) -> None:
    """Check that a battery's name is nothing else's.

    Raises:
        TaskError: Two batteries have one name, or a question has the name of a battery.
    """
    stems: dict[str, str | None] = {}
    names = {question.id for question in made.questions}
    for question in made.questions:
        if question.battery is None:
            continue
        shared = stems.setdefault(question.battery, question.stem) == question.stem
        if not shared or question.battery in names:
            raise TaskError(
                "A question of the questionnaire has the id of a battery"
                if shared
                else "Two batteries of the questionnaire have the same id: their stems differ",
                file=path,
                variable="battery",
                value=question.battery,
                remedy="give each battery and question an id of its own",
            )
