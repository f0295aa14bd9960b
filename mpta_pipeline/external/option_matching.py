"""Match answers with options, in the order in which the options were shown, and find answers that match none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.external import column_roles as c
from mpta_pipeline.metrics.samples.external_scores import ROW
from mpta_pipeline.metrics.samples.option_names import read_names, tidy
from mpta_pipeline.tasks import read_replies
from mpta_pipeline.tasks.parsing.phrases import BARE_REFUSAL

# Fewer answers to one item may all be unreadable by chance; numbers and letters need fewer.
LEAST_TEXTS, LEAST_CODES = 10, 2
# With this many answers on both sides, it is unlikely that none are equal by chance.
LEAST_APART = 20
MOST_LABELS = 26
_VARIANT = "_variant"


@dataclass(frozen=True)
class Exclusion:
    """What was left out of the estimates.

    Attributes:
        what: What it is: items or answers.
        n: How many.
        why: The reason, a clause.
        examples: Some of them.
        remedy: What to do.
    """

    what: str
    n: int
    why: str
    examples: tuple[str, ...]
    remedy: str

    def text(self) -> str:
        """Return this in a sentence or two."""
        some = ", ".join(self.examples[:5]) + (" …" if len(self.examples) > 5 or self.n > len(self.examples) else "")
        named = f" ({some})" if self.examples else ""
        return f"Left out: {self.n:,} {self.what}{named}: {self.why}. Remedy: {self.remedy}"


@dataclass(frozen=True)
class Matched:
    """Rows with `pred_idx`, `own_idx` and `key_idx` if they have such answers, and `probabilities` in canonical order.

    Attributes:
        frame: The rows that count.
        notes: What was assumed.
        left_out: What was left out.
        support: item_id, n, readable and people, for the preview.
    """

    frame: pl.DataFrame
    notes: tuple[str, ...]
    left_out: tuple[Exclusion, ...]
    support: pl.DataFrame


def match(
    rows: pl.DataFrame,
    file: Path,
    items: pl.DataFrame,
    *,
    count_from: int | None = None,
    own_order: bool = True,
    replies: bool = True,
) -> Matched:
    """Find the option that each answer, and each answer of the person, names.

    Args:
        rows: `item_id`, and `answer`, `own_answer`, `key`, `options`, `probabilities` and `logprobs` if they exist.
        file: For messages.
        items: ITEMS of all the rows' items.
        count_from: Whether numbers count options from 0 or from 1; None to infer it from the numbers.
        own_order: Letters and numbers may refer to the items' canonical order if no order is shown. False for items
            whose canonical order only this project knows.
        replies: Read sentences the way this project reads its own models' responses ("The answer is B.").

    Raises:
        ValidationError: It is unclear what the numbers count from, letters refer to an unknown order, or probabilities
            do not belong to options. The message names file, row and remedy.
    """
    notes: list[str] = []
    left: list[Exclusion] = []
    rows, variants = _variants(rows, file, items)
    rows, said = _probabilities(rows, file, variants, own_order=own_order)
    notes += said.notes
    left += said.left_out
    named: dict[str, pl.DataFrame] = {
        name: read_names(
            rows.select(pl.col(_VARIANT).alias("item_id"), pl.col(name).alias("answer")),
            variants.select(pl.col(_VARIANT).alias("item_id"), "options"),
        )
        for name in ("answer", "own_answer", "key")
        if name in rows.columns
    }
    if not own_order:
        _refuse_unknown_order(rows, file, named)
    base, why = _base(rows, file, named, count_from)
    notes += why
    lettered = named.get("answer")
    if lettered is not None and not rows["options"].is_not_null().all():
        n = lettered.filter(
            pl.col("by_text").is_null() & (pl.col("letter").is_not_null() | pl.col("number").is_not_null())
        )
        if n.height * 2 >= rows.height:
            notes.append(
                "letters and numbers refer to the item's own order of options, because no shown order is given"
            )
    places = rows.select(_VARIANT).join(
        variants.select(_VARIANT, "places"), on=_VARIANT, how="left", maintain_order="left"
    )
    rows, read, said_replies = _replies(rows, variants, named.get("answer"), own_order=own_order, on=replies)
    notes += said_replies
    for name, names in named.items():
        starts = base if isinstance(base, int) else base.get(name, 0)
        index = pl.coalesce("by_text", "letter", pl.col("number") - starts)
        also = (
            read if name == "answer" and read is not None else pl.Series("read", [None] * rows.height, dtype=pl.Int64)
        )
        index = pl.coalesce(index, "read")
        shown = names.with_columns(places["places"], also.alias("read")).select(
            pl.when((index >= 0) & (index < pl.col("k"))).then(index).alias("at"), "places"
        )
        into = {"answer": "pred_idx", "own_answer": "own_idx", "key": "key_idx"}[name]
        rows = rows.with_columns(
            shown.select(
                pl.col("places").list.get(pl.col("at"), null_on_oob=True).cast(pl.Int64).alias(into)
            ).to_series()
        )
    rows, aside, support = _gate(rows, items)
    left += aside
    return Matched(rows.drop(_VARIANT), tuple(notes), tuple(left), support)


def _variants(rows: pl.DataFrame, file: Path, items: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return each row's options as shown, and the place of each in the item's canonical order.

    Returns:
        The rows with the variant's id; and per variant `item_id`, `options` as shown, `places`, `shown` (bool).
    """
    known = items.select("item_id", pl.col("options").alias("canonical"))
    if "options" in rows.columns:
        shown = c.listed(rows.get_column("options"))
        key = shown.list.join("\x1f").fill_null("")
        rows = rows.with_columns(shown.alias("options"), key.alias("_shown"))
    else:
        rows = rows.with_columns(pl.lit(None, pl.List(pl.String)).alias("options"), pl.lit("").alias("_shown"))
    rows = rows.with_columns(pl.concat_str("item_id", "_shown", separator="\x1e").alias(_VARIANT)).drop("_shown")
    variants = rows.select(_VARIANT, "item_id", "options").unique(_VARIANT, keep="first", maintain_order=True)
    variants = variants.join(known, on="item_id", how="left", maintain_order="left").with_columns(
        pl.col("options").is_not_null().alias("shown"), pl.coalesce("options", "canonical").alias("options")
    )
    places, wrong = [], None
    for variant, options, canonical in variants.select(_VARIANT, "options", "canonical").iter_rows():
        at = _places(options, canonical)
        if at is None and wrong is None:
            wrong = variant
        places.append(at)
    if wrong is not None:
        row = rows.filter(pl.col(_VARIANT) == wrong)
        raise ValidationError(
            "The options of an answer differ from those of its item",
            file=file,
            variable="options",
            value=f"{row.item(0, 'item_id')}{_row(row)}: {'; '.join(row.item(0, 'options'))[:120]}",
            remedy="give the options as the item has them, in the order shown, or the item file that was used",
        )
    return rows, variants.with_columns(pl.Series("places", places, dtype=pl.List(pl.Int64)))


def _places(shown: list[str], canonical: list[str]) -> list[int] | None:
    """Return the canonical place of each shown option; None if the options differ."""
    if shown == canonical:
        return list(range(len(canonical)))
    ours = pl.Series("o", canonical).to_frame().select(tidy(pl.col("o"))).to_series().to_list()
    theirs = pl.Series("o", shown).to_frame().select(tidy(pl.col("o"))).to_series().to_list()
    if sorted(ours) != sorted(theirs) or len(set(ours)) != len(ours):
        return None
    return [ours.index(option) for option in theirs]


def _row(rows: pl.DataFrame) -> str:
    return f" (row {rows.item(0, ROW)})" if ROW in rows.columns else ""


def _replies(
    rows: pl.DataFrame, variants: pl.DataFrame, names: pl.DataFrame | None, *, own_order: bool, on: bool
) -> tuple[pl.DataFrame, pl.Series | None, list[str]]:
    """Read whole sentences: the place of the chosen option, and `status` for refusals."""
    if names is None or not on:
        return rows, None, []
    unread = names.select(pl.all_horizontal(pl.col("by_text", "letter", "number").is_null())).to_series()
    text = pl.col("answer").cast(pl.String)
    sentence = rows.select((text.str.count_matches(r"\pL{2,}") >= 1).fill_null(False)).to_series()
    frame = rows.select(_VARIANT, text.alias("text"), pl.col("options").is_not_null().alias("shown")).with_row_index(
        "at"
    )
    frame = frame.filter(unread & sentence)
    if frame.is_empty():
        return rows, None, []
    frame = frame.join(variants.select(_VARIANT, "options"), on=_VARIANT, how="left", maintain_order="left")
    found = _read_once(frame)
    if not own_order:
        # If the order is unknown, only what a sentence says regardless of the order counts.
        turned = _read_once(frame.with_columns(pl.col("options").list.reverse()))["pred_pos"]
        same = pl.col("shown") | (pl.col("pred_pos") == pl.col("options").list.len() - 1 - pl.col("turned"))
        found = found.with_columns(turned.alias("turned"))
        found = found.with_columns(pl.when(same).then("pred_pos").alias("pred_pos"))
    every = (
        rows.with_row_index("at")
        .select("at")
        .join(found.select("at", "status", "pred_pos"), on="at", how="left", maintain_order="left")
    )
    notes = []
    n = every["pred_pos"].is_not_null().sum()
    if n:
        first = found.filter(pl.col("pred_pos").is_not_null()).row(0, named=True)
        notes.append(
            f"{n:,} answers are sentences, read like the responses of this project's own models "
            f"(e.g. {first['text'][:60]!r} as {first['options'][first['pred_pos']]!r})"
        )
    bare = rows.select(text.str.contains(BARE_REFUSAL).fill_null(False)).to_series() & unread
    refused = ((every["status"] == "refused").fill_null(False) | bare) & every["pred_pos"].is_null()
    if refused.any():
        notes.append(f"{refused.sum():,} answers refuse the question (refusal_rate): wrong in accuracy, not unreadable")
        given = pl.col("status") if "status" in rows.columns else pl.lit(None, pl.String)
        said = pl.when(refused).then(pl.lit("refused"))
        rows = rows.with_columns(pl.coalesce(given, said).alias("status"))
    return rows, every["pred_pos"].cast(pl.Int64), notes


def _read_once(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with `status` and `pred_pos` of each text; equal texts and options are read once."""
    read = read_replies(frame.select("text", "options")).select("text", "options", "status", "pred_pos")
    return frame.join(read.unique(["text", "options"]), on=["text", "options"], how="left", maintain_order="left")


@dataclass(frozen=True)
class _Said:
    notes: Sequence[str]
    left_out: Sequence[Exclusion]


def _probabilities(
    rows: pl.DataFrame, file: Path, variants: pl.DataFrame, *, own_order: bool
) -> tuple[pl.DataFrame, _Said]:
    """Bring `probabilities` to canonical order with a sum of 1; null if they are not numbers, which is counted."""
    logs = "logprobs" in rows.columns and "probabilities" not in rows.columns
    name = "logprobs" if logs else "probabilities"
    if name not in rows.columns:
        return rows, _Said((), ())
    values, labels = c.numbers(rows.get_column(name))
    told = rows.select(_VARIANT, "item_id", *([ROW] if ROW in rows.columns else [])).with_columns(
        values.alias("p"), labels.alias("names")
    )
    told = told.join(
        variants.select(_VARIANT, "options", "places", "shown"), on=_VARIANT, how="left", maintain_order="left"
    )
    told = told.with_row_index("at")
    k, n = pl.col("options").list.len(), pl.col("p").list.len()
    if (short := told.filter(pl.col("p").is_not_null() & (n != k))).height:
        raise ValidationError(
            f"{short.height} lists of probabilities do not have one number per option",
            file=file,
            variable=name,
            value=f"{short.item(0, 'item_id')}{_row(short)}: {len(short.item(0, 'p'))} for "
            f"{len(short.item(0, 'options'))} options",
            remedy="give one number per option, in the order of the column options (or of the item)",
        )
    unordered = told.filter(pl.col("p").is_not_null() & ~pl.col("shown") & pl.col("names").is_null())
    if not own_order and unordered.height:
        raise _unknown_order(file, name, unordered)
    long = told.filter(pl.col("p").is_not_null()).select(
        "at", _VARIANT, "p", "names", "places", pl.int_ranges(k).alias("place"), "options"
    )
    long = long.with_columns(pl.coalesce("names", pl.col("options").list.eval(pl.lit(None, pl.String))).alias("names"))
    long = long.explode("p", "names", "place")
    if long.filter(pl.col("names").is_not_null()).height:
        read = read_names(
            long.select(pl.col(_VARIANT).alias("item_id"), pl.col("names").alias("answer")),
            variants.select(pl.col(_VARIANT).alias("item_id"), "options"),
        )
        first = read["number"].min()
        # Numeric keys of a mapping count from the smallest of them.
        read = read.with_columns((pl.col("number") - (first if first in (0, 1) else 0)).alias("number"))
        long = long.with_columns(
            pl.when(pl.col("names").is_not_null())
            .then(read.select(pl.coalesce("by_text", "letter", "number")).to_series())
            .otherwise("place")
            .alias("place")
        )
        if (lost := long.filter(pl.col("place").is_null())).height:
            raise ValidationError(
                "A probability belongs to no option of its item",
                file=file,
                variable=name,
                value=lost.item(0, "names"),
                remedy="name each one by the option's text or letter, or give a list in the options' order",
            )
    long = long.with_columns(pl.col("places").list.get(pl.col("place"), null_on_oob=True).alias("canonical"))
    value = pl.col("p")
    # The logarithm of probability 0 is minus infinity.
    usable = (value.is_not_null() & ~value.is_nan() & (value < float("inf"))).all().over("at")
    if logs:
        if (above := long.filter(usable & (value > 1e-6))).height:
            raise ValidationError(
                "A log-probability is above 0",
                file=file,
                variable=name,
                value=above.item(0, "p"),
                remedy="give natural logarithms of probabilities, or name the column probabilities",
            )
        share = (value - value.max().over("at")).exp()
    else:
        if (below := long.filter(usable & (value < 0))).height:
            raise ValidationError(
                "A probability is below 0",
                file=file,
                variable=name,
                value=below.item(0, "p"),
                remedy="give numbers of at least 0; natural logarithms belong in a column logprobs",
            )
        share = value
    good = long.with_columns(usable.alias("usable"), share.alias("share")).with_columns(
        (pl.col("usable") & (pl.col("share").sum().over("at") > 0)).alias("usable")
    )
    made = (
        good.filter("usable")
        .sort("at", "canonical")
        .group_by("at", maintain_order=True)
        .agg((pl.col("share") / pl.col("share").sum()).alias("probabilities"))
    )
    rows = rows.drop("probabilities", "logprobs", strict=False).with_row_index("at")
    rows = rows.join(made, on="at", how="left", maintain_order="left").drop("at")
    n_bad = told.filter(pl.col("p").is_not_null()).height - made.height
    notes = ["log-probabilities are taken as natural logarithms and made to sum to 1 per answer"] if logs else []
    left = []
    if n_bad:
        left.append(
            Exclusion(
                "lists of probabilities",
                n_bad,
                "they contain an invalid number (NaN, empty), or only zeros",
                (),
                "correct them; a row that also has an answer counts, one without counts as a failed request",
            )
        )
    return rows, _Said(notes, left)


def _unknown_order(file: Path, variable: str, rows: pl.DataFrame) -> ValidationError:
    return ValidationError(
        f"{rows.height} answers name options by letter, number or place, and the order in which they were shown is "
        "unknown",
        file=file,
        variable=variable,
        value=f"{rows.item(0, 'item_id')}{_row(rows)}",
        remedy="give the options' texts as answers, or a column options with the options as they were shown",
    )


def _refuse_unknown_order(rows: pl.DataFrame, file: Path, named: dict[str, pl.DataFrame]) -> None:
    for name, names in named.items():
        by_place = names["by_text"].is_null() & (names["letter"].is_not_null() | names["number"].is_not_null())
        lost = rows.filter(by_place & rows["options"].is_null())
        # If fewer rows are concerned, their answers count as unreadable.
        if lost.height * 2 >= rows.height > 0:
            raise _unknown_order(file, name, lost)


def _base(
    rows: pl.DataFrame, file: Path, named: dict[str, pl.DataFrame], count_from: int | None
) -> tuple[int | dict[str, int], list[str]]:
    """Return whether numbers count options from 0 or from 1: a 0 means 0; the number of options means 1.

    Raises:
        ValidationError: Neither occurs, or both.
    """
    found = {
        n: names.with_columns(rows[_VARIANT]).with_row_index("at").drop_nulls("number") for n, names in named.items()
    }
    numbered = {n: f for n, f in found.items() if f.height and f.height * 2 >= rows.get_column(n).is_not_null().sum()}
    strays = {n: f for n, f in found.items() if f.height and n not in numbered}
    notes = [
        f"{f.height:,} numbers among texts in {n} are not read as options" for n, f in strays.items() if n == "answer"
    ]
    bases = dict.fromkeys(strays, 1_000)  # a stray number is an unreadable answer
    if not numbered:
        return bases or 0, notes
    if count_from is not None:
        return {**bases, **dict.fromkeys(numbered, count_from)}, notes
    every = pl.concat(list(numbered.values()))
    zero, last = every.filter(pl.col("number") == 0).height, every.filter(pl.col("number") == pl.col("k")).height
    names = " and ".join(numbered)
    if zero and not last:
        return {**bases, **dict.fromkeys(numbered, 0)}, [
            *notes,
            f"numbers in {names} count options from 0: {zero:,} are 0",
        ]
    if last and not zero:
        said = f"numbers in {names} count options from 1: there is no 0, and {last:,} equal the number of options"
        return {**bases, **dict.fromkeys(numbered, 1)}, [*notes, said]
    first = next(iter(numbered.values()))
    row = rows[first["at"].to_list()]
    both = "some are 0 and some equal the number of options" if zero else "no number is 0 or the number of options"
    raise ValidationError(
        f"It is unclear whether the numbers in {names} count options from 0 or from 1: {both}",
        file=file,
        variable=next(iter(numbered)),
        value=f"{row.item(0, next(iter(numbered)))}{_row(row)}",
        remedy="specify --count-from 0 or --count-from 1, or give the options' texts",
    )


def _gate(rows: pl.DataFrame, items: pl.DataFrame) -> tuple[pl.DataFrame, list[Exclusion], pl.DataFrame]:
    """Set aside items whose answers never match their options, or never match people's answers."""
    if "answer" not in rows.columns:
        rows = rows.with_columns(pl.lit(None, pl.String).alias("answer"), pl.lit(None, pl.Int64).alias("pred_idx"))
    said = pl.col("answer").cast(pl.String)
    code = tidy(said).str.contains(r"^(?:[+-]?\d+(?:\.\d+)?|[a-z])$")
    own = pl.col("own_idx") if "own_idx" in rows.columns else pl.lit(None, pl.Int64)
    given = pl.col("own_answer").is_not_null().sum() if "own_answer" in rows.columns else pl.lit(0)
    # Failed or refused answers say nothing about the coding.
    fine = said.is_not_null()
    if "status" in rows.columns:
        fine &= pl.col("status").is_null() | ~pl.col("status").is_in(["error", "refused"])
    support = rows.group_by("item_id", "model", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("n"),
        fine.sum().cast(pl.Int64).alias("answered"),
        (fine & pl.col("pred_idx").is_not_null()).sum().cast(pl.Int64).alias("readable"),
        (fine & code.fill_null(False)).sum().cast(pl.Int64).alias("codes"),
        said.filter(fine).n_unique().cast(pl.Int64).alias("distinct"),
        said.filter(fine).drop_nulls().unique(maintain_order=True).head(4).alias("said"),
        given.cast(pl.Int64).alias("own_given"),
        own.is_not_null().sum().cast(pl.Int64).alias("own_readable"),
        pl.col("pred_idx").drop_nulls().unique().alias("picks"),
        own.drop_nulls().unique().alias("owns"),
    )
    labels = (
        (pl.col("answered") >= LEAST_TEXTS)
        & (pl.col("distinct") <= MOST_LABELS)
        & (pl.col("distinct") * 3 <= pl.col("answered"))
    )
    coded = (pl.col("codes") == pl.col("answered")) & (pl.col("answered") >= LEAST_CODES)
    never = (pl.col("answered") > 0) & (pl.col("readable") == 0) & (labels | coded)
    own_never = (pl.col("own_given") >= LEAST_CODES) & (pl.col("own_readable") == 0)
    # Codes may mean different things to the model and to people; texts have the same meaning for both.
    apart = (
        coded
        & (pl.col("answered") >= LEAST_APART)
        & (pl.col("own_readable") >= LEAST_APART)
        & (pl.col("picks").list.set_intersection("owns").list.len() == 0)
        & (pl.col("readable") > 0)
    )
    support = support.with_columns(
        pl.when(never)
        .then(pl.lit("none of its answers matches one of its options"))
        .when(own_never)
        .then(pl.lit("none of the people's answers matches one of its options"))
        .when(apart)
        .then(pl.lit("the model gave no answer that any person gave, so the codes may differ"))
        .alias("why")
    ).join(items.select("item_id", "options"), on="item_id", how="left", maintain_order="left")
    bad = support.filter(pl.col("why").is_not_null())
    left = []
    for (why,), part in bad.group_by(["why"], maintain_order=True):
        first = part.row(0, named=True)
        answers = ", ".join(str(a) for a in first["said"])
        options = ", ".join(first["options"][:6])
        left.append(
            Exclusion(
                "items",
                part["item_id"].n_unique(),
                f"{why} (of {first['item_id']}: answers {answers}; options {options})",
                tuple(dict.fromkeys(part["item_id"].to_list())),
                "recode the answers of these items to their options",
            )
        )
    rows = rows.join(bad.select("item_id", "model"), on=["item_id", "model"], how="anti", maintain_order="left")
    return rows, left, support.drop("picks", "owns")
