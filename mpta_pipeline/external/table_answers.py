"""Turn a table into answers that can be scored: rows, items, people's answers, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.core.tables import STATUSES
from mpta_pipeline.external.answer_keys import joined_own, keys_of, numbers_apart, own_of_people
from mpta_pipeline.external.human_answers import PeopleAnswers
from mpta_pipeline.external.item_lookup import items_of_rows, with_item_id
from mpta_pipeline.external.option_matching import match
from mpta_pipeline.external.persona_groups import groups_of
from mpta_pipeline.external.poll_tables import beside
from mpta_pipeline.external.scoring_inputs import Answers, Known, Reading
from mpta_pipeline.external.table_shapes import answer_rows, ids_of, people_among_models, with_model
from mpta_pipeline.metrics.samples.external_scores import ROW


def from_table(
    frame: pl.DataFrame,
    file: Path,
    known: Known | None = None,
    reading: Reading | None = None,
    people: PeopleAnswers | None = None,
) -> Answers:
    """Return the answers of a table, to known items or to items that the table contains.

    Args:
        frame: Rows as read, one per answer or one per person.
        file: For messages.
        known: Items; None takes them from the table.
        reading: What the user says about the file.
        people: People's answers from a file of their own.

    Raises:
        ValidationError: The meaning of the rows is unclear. The message names the column and what to specify.
    """
    reading = reading or Reading()
    notes: list[str] = list(people.notes) if people else []
    read = answer_rows(frame, file, known, reading, people)
    rows, said = people_among_models(read.rows)
    notes += [*read.notes, *said]
    if people is None:
        rows, people, said = beside(rows, file, reading)
        notes += [*said, *(people.notes if people else ())]
    numeric_ids: tuple[str, ...] = ()
    own_order = known is None or known.own_order
    if known is None:
        made = items_of_rows(rows, file, people, ordered=reading.ordered)
        items, numeric_ids, said, own_order = made.items, made.numeric, list(made.notes), made.own_order
        if made.no_answer.height:
            rows = _without(rows, made.no_answer)
            if people is not None:
                people = replace(people, frame=_without(people.frame, made.no_answer).drop_nulls("own_answer"))
    else:
        items = known.items
        rows, said = with_item_id(rows, file, items)
    notes += said
    if "item_id" not in rows.columns:
        rows = rows.with_columns(ids_of(rows).alias("item_id"))
    own = own_of_people(people, items, known, file)
    rows, numeric = numbers_apart(rows, own, numeric_ids)
    groups = groups_of(
        rows if numeric is None else pl.concat([rows, numeric], how="diagonal_relaxed"), own, reading, file, known
    )
    rows = _to_items(with_model(rows), items, known, file)
    if rows.is_empty():
        return Answers(
            rows,
            items.clear(),
            groups=groups,
            numeric=numeric,
            numeric_people=own,
            notes=tuple(notes),
            roles=read.roles,
            unused=read.unused,
        )
    rows = joined_own(rows, own)
    matched = match(
        rows,
        file,
        items,
        count_from=reading.count_from,
        own_order=own_order,
        replies=reading.replies,
    )
    keyed = keys_of(matched.frame, items, own, known=known, reading=reading, file=file)
    notes += [*matched.notes, *keyed.notes, *_coverage(keyed.rows, items, known)]
    if known is None:
        items = keyed.items.join(keyed.rows.select("item_id").unique(), on="item_id", how="semi", maintain_order="left")
    return Answers(
        keyed.rows,
        items if known is None else keyed.items,
        keyed.gold,
        groups,
        numeric,
        own if numeric is not None else None,
        tuple(dict.fromkeys(notes)),
        (*matched.left_out, *keyed.left_out),
        read.roles,
        read.unused,
        matched.support,
    )


def _without(rows: pl.DataFrame, codes: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with people's codes for "no answer" emptied."""
    if "own_answer" not in rows.columns:
        return rows
    number = pl.col("own_answer").cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
    named = rows.select(ids_of(rows).alias("item_id"), number.alias("code"))
    empty = named.join(
        codes.with_columns(pl.lit(True).alias("empty")), on=["item_id", "code"], how="left", maintain_order="left"
    )["empty"]
    return rows.with_columns(pl.when(empty.is_null()).then("own_answer").alias("own_answer"))


def _to_items(rows: pl.DataFrame, items: pl.DataFrame, known: Known | None, file: Path) -> pl.DataFrame:
    """Return the rows that belong to the items.

    Raises:
        ValidationError: A row belongs to an item that is not among the known ones.
    """
    lost = rows.join(items, on="item_id", how="anti", maintain_order="left")
    if lost.height and known is not None:
        raise ValidationError(
            f"{lost.height} answers belong to items that the task does not have",
            file=file,
            variable="item_id",
            value=f"{lost.item(0, 'item_id')} (row {lost.item(0, ROW)})",
            remedy="use the ids of the items, or give the questions' texts in a column question",
        )
    return rows.join(items, on="item_id", how="semi", maintain_order="left")


def _coverage(rows: pl.DataFrame, items: pl.DataFrame, known: Known | None) -> list[str]:
    """Return notes about items and answers that the estimates do not include."""
    notes = []
    asked = rows["item_id"].n_unique()
    if known is not None and asked < items.height:
        notes.append(f"{asked:,} of {items.height:,} items are answered; the others are ignored")
    told = [pl.col(x).is_null() for x in ("probabilities", "status") if x in rows.columns]
    if empty := rows.filter(pl.col("answer").is_null(), *told).height:
        notes.append(f"{empty:,} of {rows.height:,} answers are empty: failed requests (error_rate), not wrong answers")
    unread = pl.col("answer").is_not_null() & pl.col("pred_idx").is_null()
    fine = (
        [pl.col("status").is_null() | ~pl.col("status").is_in([s for s in STATUSES if s != "ok"])]
        if "status" in rows.columns
        else []
    )
    lost = rows.filter(unread, *fine)
    if lost.height:
        first = lost.row(0, named=True)
        notes.append(
            f"{lost.height:,} of {rows.height:,} answers name no option of their item: unreadable, wrong in accuracy "
            f"(e.g. row {first[ROW]}, {first['item_id']}: {str(first['answer'])[:60]!r})"
        )
    if "weight" in rows.columns and "respondent_id" in rows.columns:
        weight = pl.col("weight").cast(pl.Float64, strict=False)
        without = rows.filter(weight.is_null() & pl.col("respondent_id").is_not_null())
        if 0 < without.height < rows.height:
            notes.append(
                f"{without.height:,} answers of {without['respondent_id'].n_unique():,} people have no weight: they "
                f"count in unweighted estimates only (e.g. {without.item(0, 'respondent_id')})"
            )
    return notes
