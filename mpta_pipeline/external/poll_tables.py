"""Read people's distributions beside the model's, as files of polls have them (OpinionQA, GlobalOpinionQA)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.external import column_roles as c
from mpta_pipeline.external.file_formats import parse_nested
from mpta_pipeline.external.human_answers import PeopleAnswers, people_of_shares
from mpta_pipeline.external.scoring_inputs import Reading
from mpta_pipeline.external.table_shapes import ids_of
from mpta_pipeline.tasks.parsing.phrases import NO_ANSWER

GROUP = "country"
# A distribution represents so many answers; fewer if there are many distributions.
COPIES, LEAST_COPIES, MOST_COPIES = 100, 20, 1_000_000
# As Python prints the mapping of GlobalOpinionQA.
_MAPPING = re.compile(r"^defaultdict\(<class '[^']*'>,\s*(.*)\)$", re.DOTALL)


def beside(rows: pl.DataFrame, file: Path, reading: Reading) -> tuple[pl.DataFrame, PeopleAnswers | None, list[str]]:
    """Move people's shares out of the rows and turn them into answers of people.

    A list of shares is in the order of the options. A mapping of such lists has one per group (`country`): the model's
    answer is then compared with each of them.

    Raises:
        ValidationError: The shares have no options beside them, or not one per option.
    """
    rows = _without_refused(rows)
    if "people_shares" not in rows.columns:
        return rows, None, []
    if "options" not in rows.columns:
        _, names = c.numbers(rows.get_column("people_shares"))
        if len(names) and not names.null_count():
            rows = rows.with_columns(names.alias("options"))
    if "options" not in rows.columns:
        raise ValidationError(
            "Shares of people need the options beside them",
            file=file,
            variable="people_shares",
            remedy="give a column options with the options' texts in the same order",
        )
    notes: list[str] = []
    parsed = [
        parse_nested(_MAPPING.sub(r"\1", v)) if isinstance(v, str) else v for v in rows["people_shares"].to_list()
    ]
    if any(isinstance(v, dict) and v and isinstance(next(iter(v.values())), list) for v in parsed):
        rows, parsed = _by_group(rows, parsed)
        notes.append(f"people's shares are given by {GROUP}: the model's answer to a question is compared with each")
    else:
        shares = _in_order(rows, "people_shares", file)
        parsed = shares.to_list()
    bases = [
        b for b in dict.fromkeys((*reading.bases, *([GROUP] if GROUP in rows.columns else []))) if b in rows.columns
    ]
    if bases and "respondent_id" not in rows.columns:
        joined = pl.concat_str([pl.col(b).cast(pl.String).fill_null("") for b in bases], separator=" × ")
        rows = rows.with_columns(joined.alias("respondent_id"))
        notes.append(f"each {' × '.join(bases)} is taken as one persona")
    people = people_of_shares(_long(rows, ids_of(rows), parsed, bases, file), file, bases)
    rows, said = _as_answers(rows.drop("people_shares"), file)
    return rows, people, [*notes, *said]


def _in_order(rows: pl.DataFrame, column: str, file: Path) -> pl.Series:
    """Return lists of shares in the order of the options; mappings are read by the options' texts or letters.

    Raises:
        ValidationError: A mapping has a name that is not an option.
    """
    shares, names = c.numbers(rows.get_column(column))
    if names.null_count() == len(names):
        return shares
    made: list[list[float | None] | None] = []
    options = c.listed(rows.get_column("options")).to_list()
    for texts, values, named in zip(options, shares.to_list(), names.to_list(), strict=True):
        if named is None or values is None or texts is None:
            made.append(values)
            continue
        of = {str(name).strip().lower(): value for name, value in zip(named, values, strict=True)}
        for marks in ([t.strip().lower() for t in texts], [chr(ord("a") + i) for i in range(len(texts))]):
            if set(of) <= set(marks):
                made.append([of.get(mark, 0.0) for mark in marks])
                break
        else:
            raise ValidationError(
                "A share belongs to no option of its question",
                file=file,
                variable=column,
                value=", ".join(named)[:80],
                remedy="name each share by the option's text or letter, or give a list in the options' order",
            )
    return pl.Series(column, made, dtype=pl.List(pl.Float64), strict=False)


def _as_answers(rows: pl.DataFrame, file: Path) -> tuple[pl.DataFrame, list[str]]:
    """Turn a model's distributions into answers with these shares, by largest remainders.

    Elsewhere a list of probabilities is the certainty of one answer, and the most likely option is the answer. Beside
    people's distribution it is a distribution of answers.
    """
    if "probabilities" not in rows.columns or rows.is_empty():
        return rows, []
    shares = _in_order(rows, "probabilities", file)
    copies = int(np.clip(MOST_COPIES // rows.height, LEAST_COPIES, COPIES))
    options = c.listed(rows.get_column("options")).to_list()
    at: list[int] = []
    answers: list[str] = []
    number: list[int] = []
    for row, (texts, p) in enumerate(zip(options, shares.to_list(), strict=True)):
        values = np.array([np.nan if x is None else x for x in p or []], dtype=float)
        if texts is None or len(values) != len(texts) or not np.isfinite(values).all() or (values < 0).any():
            return rows, []  # refused, or counted, where lists of probabilities are
        if values.sum() <= 0:
            return rows, []
        expected = values / values.sum() * copies
        counts = np.floor(expected + 1e-9).astype(int)
        rest = np.argsort(-(expected - counts), kind="stable")[: copies - counts.sum()]
        counts[rest] += 1
        at += [row] * copies
        number += range(copies)
        answers += [text for text, n in zip(texts, counts, strict=True) for _ in range(n)]
    made = rows.drop("probabilities", "answer", "repeat_id", strict=False)[at].with_columns(
        pl.Series("answer", answers, dtype=pl.String), pl.Series("repeat_id", number, dtype=pl.Int64)
    )
    return made, [f"each distribution of the model counts as {copies} answers with its shares"]


def _by_group(rows: pl.DataFrame, parsed: list[Any]) -> tuple[pl.DataFrame, list[Any]]:
    at, names, shares = [], [], []
    for row, value in enumerate(parsed):
        for name, of in (value or {}).items():
            at.append(row)
            names.append(str(name))
            shares.append(of)
    return rows[at].with_columns(pl.Series(GROUP, names, dtype=pl.String)), shares


def _long(rows: pl.DataFrame, ids: pl.Series, parsed: Sequence[Any], bases: Sequence[str], file: Path) -> pl.DataFrame:
    """Return one row per item, group and option."""
    options = c.listed(rows.get_column("options")).to_list()
    groups = rows.select(pl.col(b).cast(pl.String) for b in bases).rows() if bases else [()] * rows.height
    out: dict[tuple[Any, ...], float] = {}
    for item, texts, shares, group in zip(ids.to_list(), options, parsed, groups, strict=True):
        if shares is None or texts is None:
            continue
        if len(shares) != len(texts):
            raise ValidationError(
                "Shares of people are not one per option",
                file=file,
                variable="people_shares",
                value=f"{item}: {len(shares)} for {len(texts)} options",
                remedy="give one share per option, in the order of the options",
            )
        for text, share in zip(texts, shares, strict=True):
            if share is not None and np.isfinite(share):
                key = (item, str(text), *group)
                if abs(out.setdefault(key, float(share)) - float(share)) > 1e-9:
                    raise ValidationError(
                        "A question has different shares of people in different rows",
                        file=file,
                        variable="people_shares",
                        value=f"{item}: {text}",
                        remedy="name the columns that distinguish the groups of people with --by",
                    )
    return pl.DataFrame(
        [(*key, value) for key, value in out.items()],
        schema={"item_id": pl.String, "option": pl.String, **dict.fromkeys(bases, pl.String), "share": pl.Float64},
        orient="row",
    )


def _without_refused(rows: pl.DataFrame) -> pl.DataFrame:
    """Drop the last option, for refusals, if the distributions have one number fewer."""
    beside = [x for x in ("probabilities", "people_shares", "logprobs", "places") if x in rows.columns]
    if "options" not in rows.columns or not beside:
        return rows
    options = c.listed(rows.get_column("options"))
    shares, _ = c.numbers(rows.get_column(beside[0]))
    k, n = options.list.len(), shares.list.len()
    last = options.list.last().str.contains(NO_ANSWER).fill_null(False)
    cut = (n == k - 1).fill_null(False) & last
    shorter = pl.DataFrame({"o": options, "cut": cut}).select(
        pl.when("cut").then(pl.col("o").list.head(pl.col("o").list.len() - 1)).otherwise("o")
    )
    return rows.with_columns(shorter.to_series().alias("options"))
