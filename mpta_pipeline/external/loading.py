"""Read any file of answers, recognized by its content: an evaluation log, BBQ's own layout, or a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.external import evaluation_logs as logs
from mpta_pipeline.external.bbq_layout import from_bbq, is_bbq
from mpta_pipeline.external.file_formats import read
from mpta_pipeline.external.human_answers import read_people
from mpta_pipeline.external.scoring_inputs import TASK, Answers, Known, Reading
from mpta_pipeline.external.table_answers import from_table
from mpta_pipeline.metrics.samples.external_scores import FILE


def load(
    path: Path,
    *,
    known: Known | None = None,
    find: Callable[[pl.DataFrame], Known | None] | None = None,
    reading: Reading | None = None,
    people: Path | None = None,
    metadata: Path | None = None,
) -> Answers:
    """Read a file of answers.

    Args:
        path: The file.
        known: Items of the answers; None if the file contains them.
        find: Looks for the items of a table that does not contain them, e.g. in a study.
        reading: What the user says about the file.
        people: A file of people's answers.
        metadata: BBQ's additional_metadata.csv.

    Raises:
        ValidationError: The file cannot be understood. The message names file, column, value and remedy.
    """
    reading = reading or Reading()
    notes: tuple[str, ...] = ()
    if logs.is_inspect(path) or logs.is_lm_eval(path):
        log = logs.read_inspect(path) if logs.is_inspect(path) else logs.read_lm_eval(path)
        frame, notes = log.frame, log.notes
    else:
        frame = read(path)
        if known is None and is_bbq(frame):
            return from_bbq(frame, path, reading, metadata=metadata)
        if known is None and find is not None and "item_id" in frame.columns:
            known = find(frame)
    theirs = None
    if people is not None:
        theirs = read_people(people, by=reading.by, questions=reading.questions, named=reading.columns, answered=frame)
    made = from_table(frame, path, known, reading, theirs)
    return replace(made, notes=(*notes, *made.notes))


def together(parts: Sequence[Answers]) -> Answers:
    """Return the answers of several files as one.

    Raises:
        ValidationError: Two files have an item with different texts, or a person with two own answers or groups.
    """
    if len(parts) == 1:
        return parts[0]
    parts = [_named_by_file(part) for part in parts]
    items = pl.concat([part.items for part in parts]).unique(maintain_order=True)
    if (twice := items.filter(pl.struct("task", "item_id").is_duplicated())).height:
        raise ValidationError(
            "Two files have the same item with different contents",
            variable="item_id",
            value=twice.item(0, "item_id"),
            remedy="score the files one by one",
        )
    frame = pl.concat([part.frame for part in parts], how="diagonal_relaxed")
    gold = pl.concat([part.gold for part in parts]).unique(maintain_order=True)
    if (own := gold.filter(pl.struct("task", "item_id", "respondent_id").is_duplicated())).height:
        raise ValidationError(
            "Two files have different own answers of the same person to the same item",
            variable="own_answer",
            value=f"{own.item(0, 'respondent_id')}: {own.item(0, 'item_id')}",
            remedy="score the files one by one, or give the people's answers once with --people",
        )
    groups = [part.groups for part in parts if part.groups is not None and part.groups.height]
    numeric = [part.numeric for part in parts if part.numeric is not None]
    numeric_people = [part.numeric_people for part in parts if part.numeric_people is not None]
    support = [part.support for part in parts if part.support is not None]
    return Answers(
        frame,
        items,
        gold,
        pl.concat(groups, how="diagonal_relaxed").unique("respondent_id", keep="first", maintain_order=True)
        if groups
        else None,
        pl.concat(numeric, how="diagonal_relaxed") if numeric else None,
        pl.concat(numeric_people, how="diagonal_relaxed").unique(maintain_order=True) if numeric_people else None,
        tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        tuple(dict.fromkeys(aside for part in parts for aside in part.left_out)),
        parts[0].roles,
        parts[0].unused,
        pl.concat(support, how="diagonal_relaxed") if support else None,
    )


def _named_by_file(part: Answers) -> Answers:
    """Name the model after the file, for a file among several that names no model."""

    def named(frame: pl.DataFrame | None) -> pl.DataFrame | None:
        if frame is None or FILE not in frame.columns or frame.is_empty():
            return frame
        stem = Path(str(frame.item(0, FILE))).stem
        return frame.with_columns(pl.when(pl.col("model") == TASK).then(pl.lit(stem)).otherwise("model").alias("model"))

    frame = named(part.frame)
    assert frame is not None
    return replace(part, frame=frame, numeric=named(part.numeric))
