"""Read people's answers: respondents' own, with one row per answer or per person, or published shares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.external import column_roles as c
from mpta_pipeline.external.file_formats import parse_nested, read

# Published shares without a number of people count as so many: the error of a poll of this size is about .015.
ASSUMED_PEOPLE = 1_000
MOST_PEOPLE = 5_000
PUBLISHED = "published:"
_SHARES = ("share", "percent", "percentage", "proportion", "pct", "p", "probability", "frequency", "count", "n_answers")
_SIZES = ("n", "n_people", "n_respondents", "base", "sample_size")
_OPTION = ("option", "answer", "response", "value", "category_label", "option_text", "choice")


@dataclass(frozen=True)
class PeopleAnswers:
    """People's answers.

    Attributes:
        frame: `respondent_id`, `item_id` or `question`, `own_answer`; `weight`, `survey`, groups if present.
        published: The rows represent published shares, not respondents.
        wide: Questions that have a column each; empty for one row per answer.
        notes: How the file was understood.
    """

    frame: pl.DataFrame
    published: bool
    wide: tuple[str, ...]
    notes: tuple[str, ...]


def read_people(
    path: Path,
    *,
    by: Sequence[str] = (),
    questions: Sequence[str] = (),
    named: Mapping[str, str] | None = None,
    answered: pl.DataFrame | None = None,
) -> PeopleAnswers:
    """Read respondents' answers or published shares.

    Args:
        path: The file.
        by: Groups, as columns.
        questions: Questions that have a column each, if the user names them.
        named: Role → column, as far as the file has it.
        answered: The file of answers as read, whose columns or item ids identify questions.

    Raises:
        ValidationError: The file is neither.
    """
    frame = read(path)
    share = next((x for x in frame.columns if c.plain(x) in _SHARES), None)
    listed = next((x for x in frame.columns if c.plain(x) in ("shares", "distribution", "selections")), None)
    bases = [b for column in by for b in column.split("×")]
    names = {c.plain(x) for x in frame.columns}
    # A file of respondents may have a question named "count"; published shares have no respondents.
    if (share is not None or listed is not None) and not names & set(c.ALIASES["respondent_id"]):
        return _published(frame, path, share, listed, bases)
    own = {r: x for r, x in (named or {}).items() if x in frame.columns and r in c.ALIASES}
    roles = (
        "item_id",
        "question",
        "own_answer",
        "respondent_id",
        "survey",
        "wave",
        "weight",
        "stratum",
        "psu",
        "options",
    )
    layout = c.understand(frame, path, named=own, keep=bases, roles=roles)
    made = layout.frame
    if "respondent_id" not in layout.roles:
        raise ValidationError(
            "The file of people has no column of respondents",
            file=path,
            variable="respondent_id",
            remedy="name the column of people respondent_id (as in the answers), or give published shares: item_id, "
            "option, share",
        )
    item = next((r for r in ("item_id", "question") if r in layout.roles), None)
    if "own_answer" not in layout.roles and item is not None:
        # In a file of people, an answer is a person's own.
        again = next((x for a in c.ALIASES["answer"] for x in frame.columns if c.plain(x) == a), None)
        if again is not None:
            layout = c.understand(frame, path, named={**own, "own_answer": again}, keep=bases, roles=roles)
            made = layout.frame
    if item is not None and "own_answer" in layout.roles:
        made = c.without_missing(made.with_columns(pl.col("own_answer").cast(pl.String)))
        return PeopleAnswers(made, False, (), layout.notes)
    chosen = [q for q in questions if q in made.columns]
    if not chosen:
        told_by = set() if answered is None else set(answered.columns)
        items = next((x for a in c.ALIASES["item_id"] for x in (told_by) if c.plain(x) == a), None)
        if items is not None and answered is not None:
            told_by |= set(answered[items].cast(pl.String).unique().to_list())
        chosen = [x for x in layout.unused if x in told_by]
    if not chosen:
        raise ValidationError(
            "The file of people has neither one row per answer nor a column per question of the answers",
            file=path,
            variable="own_answer",
            remedy="give respondent_id, item_id and own_answer, or one column per question, named as in the answers",
        )
    index = [x for x in made.columns if x not in chosen]
    long = made.with_columns(pl.col(q).cast(pl.String) for q in chosen).unpivot(
        on=chosen, index=index, variable_name="item_id", value_name="own_answer"
    )
    return PeopleAnswers(c.without_missing(long).drop_nulls("own_answer"), False, tuple(chosen), layout.notes)


def people_of_shares(frame: pl.DataFrame, path: Path, bases: Sequence[str]) -> PeopleAnswers:
    """Return people that represent shares: `item_id`, `option`, `share` and groups, one row per option."""
    return _published(frame, path, "share", None, bases)


def _published(
    frame: pl.DataFrame, path: Path, share: str | None, listed: str | None, bases: Sequence[str]
) -> PeopleAnswers:
    roles = ("item_id", "question", "options", "survey")
    layout = c.understand(frame, path, keep=bases, roles=roles)
    item = next((r for r in ("item_id", "question") if r in layout.roles), None)
    if item is None:
        raise ValidationError(
            "The published shares do not name their question",
            file=path,
            variable="item_id",
            remedy="give item_id or question, option and share (and n, the number of people, if it is known)",
        )
    groups = [b for b in bases if b in frame.columns]
    rows = frame.with_columns(frame[layout.roles[item]].cast(pl.String).alias(item))
    if listed is not None and share is None:
        rows = _unlisted(rows, path, listed, layout, item)
        share, option = "share", "option"
    else:
        option = next((x for x in frame.columns if c.plain(x) in _OPTION and x != share), "")
        if not option:
            raise ValidationError(
                "The published shares do not name their option",
                file=path,
                variable="option",
                remedy="give a column option with the option's text",
            )
    assert share is not None
    value = (
        pl.col(share)
        .cast(pl.String)
        .str.strip_chars(" %")
        .str.replace(",", ".", literal=True)
        .cast(pl.Float64, strict=False)
    )
    size = next((x for x in rows.columns if c.plain(x) in _SIZES and x != share), None)
    n = pl.lit(None, pl.Float64) if size is None else pl.col(size).cast(pl.Float64, strict=False)
    rows = rows.select(
        item,
        pl.col(option).cast(pl.String).alias("own_answer"),
        *groups,
        value.alias("value"),
        n.alias("n"),
        *(["survey"] if "survey" in rows.columns else []),
    )
    key = [item, *groups, *(["survey"] if "survey" in rows.columns else [])]
    if (bad := rows.filter(pl.col("value").is_null() | ~pl.col("value").is_finite() | (pl.col("value") < 0))).height:
        raise ValidationError(
            "A published share is not a valid number",
            file=path,
            variable=share,
            value=f"{bad.item(0, item)}: {bad.item(0, 'own_answer')}",
            remedy="give shares from 0 to 1, percentages or counts",
        )
    if (twice := rows.filter(pl.struct(*key, "own_answer").is_duplicated())).height:
        raise ValidationError(
            "An option has two shares",
            file=path,
            variable=share,
            value=f"{twice.item(0, item)}: {twice.item(0, 'own_answer')}",
            remedy="give each option of a question (and group) one row; name further columns that "
            "distinguish rows with --by",
        )
    sums = rows.group_by(key, maintain_order=True).agg(pl.col("value").sum().alias("sum"), pl.col("n").max().alias("n"))
    totals = sums["sum"].to_numpy()
    counts = c.plain(share) in ("count", "frequency", "n_answers") and bool(
        (rows["value"] == rows["value"].floor()).all()
    )
    unit = None
    for name, whole in (("shares", 1.0), ("percentages", 100.0)):
        if bool(((totals > 0.95 * whole) & (totals < 1.05 * whole)).all()):
            unit = name
    if unit is None and not counts:
        off = sums.row(int(abs(totals - round(float(totals.mean()))).argmax()), named=True)
        raise ValidationError(
            "The published shares of a question add up neither to 1 nor to 100",
            file=path,
            variable=share,
            value=f"{off[item]}: {off['sum']:.4g}",
            remedy="give all options of each question; name a column of counts `count`",
        )
    people = (pl.col("sum") if counts and unit is None else pl.col("n").fill_null(ASSUMED_PEOPLE)).clip(1, MOST_PEOPLE)
    rows = rows.drop("n").join(
        sums.with_columns(people.alias("people")), on=key, how="left", maintain_order="left", nulls_equal=True
    )
    expected = pl.col("value") / pl.col("sum") * pl.col("people")
    # Largest remainders, so that a question's people sum up exactly.
    rows = rows.with_columns(expected.floor().alias("whole"), (expected - expected.floor()).alias("rest"))
    left = (pl.col("people").round() - pl.col("whole").sum()).over(key)
    rows = rows.with_columns(
        (pl.col("whole") + (pl.col("rest").rank("ordinal", descending=True).over(key) <= left))
        .cast(pl.Int64)
        .alias("copies")
    )
    rows = rows.filter(pl.col("copies") > 0).with_columns(pl.int_ranges(pl.col("copies")).alias("copy")).explode("copy")
    group = (
        pl.concat_str([pl.col(g).cast(pl.String).fill_null("") for g in groups], separator="|")
        if groups
        else pl.lit("")
    )
    rows = rows.with_columns(
        pl.concat_str(
            pl.lit(PUBLISHED),
            pl.col(item),
            pl.lit("|"),
            group,
            pl.lit("|"),
            pl.int_range(pl.len()).over(key).cast(pl.String),
        ).alias("respondent_id")
    )
    known = "counts" if counts and unit is None else unit
    assumed = counts and unit is None
    size_note = (
        ""
        if assumed
        else f", of {size} people"
        if size is not None and sums["n"].null_count() == 0
        else f", taken as those of {ASSUMED_PEOPLE:,} people where no n is given"
    )
    note = f"{path.name}: published {known} of {sums.height:,} questions{' and groups' if groups else ''}{size_note}"
    return PeopleAnswers(
        rows.select(item, "own_answer", "respondent_id", *groups, *(["survey"] if "survey" in rows.columns else [])),
        True,
        (),
        (note,),
    )


def _unlisted(rows: pl.DataFrame, path: Path, listed: str, layout: c.ColumnRoles, item: str) -> pl.DataFrame:
    """Return one row per option, from lists of shares beside lists of options."""
    if "options" not in layout.roles:
        raise ValidationError(
            "Lists of shares need the options beside them",
            file=path,
            variable="options",
            remedy="give a column options with the options' texts in the same order",
        )
    options = c.listed(rows.get_column(layout.roles["options"]))
    out = []
    for row, texts, shares in zip(rows.rows(named=True), options.to_list(), rows[listed].to_list(), strict=True):
        value = parse_nested(shares)
        value = list(value.values()) if isinstance(value, dict) else value
        if not isinstance(value, list) or texts is None or len(value) != len(texts):
            raise ValidationError(
                "A list of shares does not have one number per option",
                file=path,
                variable=listed,
                value=str(row[item])[:80],
                remedy="give as many shares as options",
            )
        out += [
            {**row, "option": t, "share": float(v)}
            for t, v in zip(texts, value, strict=True)
            if not math.isnan(float(v))
        ]
    return pl.DataFrame(out, infer_schema_length=None)
