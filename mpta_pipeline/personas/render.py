"""Render a persona's visible traits as text, by table operations.

The text is a pure function of traits, style, framing, condition and mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from mpta_pipeline.core.vocabulary import REFERENCE_CONDITION
from mpta_pipeline.personas import wording
from mpta_pipeline.personas.controls import PLACEBO, domains_shown, placebo

STYLES = ("prose", "bullets", "json", "oneliner", "biography")
FRAMINGS = ("you_are", "user_is", "third_person", "forecast")

_ABOUT_SOMEBODY = (
    ("Consider this person.", "Consider this person:"),
    ("Here is a description of a person.", "Here is a description of a person:"),
    ("Think of the following person.", "Think of the following person:"),
    ("A person is described here.", "A person is described here:"),
    ("Read about this person.", "Read about this person:"),
)
# The introduction per framing: before sentences, and before a list. The first is used unless a paraphrase is requested;
# all have the same meaning.
_HEADS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "you_are": (
        ("", "You are this person:"),
        ("Imagine that you are the following person.", "Imagine that you are the following person:"),
        ("Take the role of the person described here.", "Take the role of the person described here:"),
        ("From now on you are this person.", "From now on you are this person:"),
        ("Put yourself in the place of this person.", "Put yourself in the place of this person:"),
    ),
    "user_is": (
        (
            "You are talking with a user. This is known about them.",
            "This is known about the user you are talking with:",
        ),
        ("About the person you are talking with:", "About the person you are talking with:"),
        ("The user who writes to you is described here.", "The user who writes to you is described here:"),
        ("Keep in mind who the user is.", "Keep in mind who the user is:"),
        ("Here is what the user has told about themselves.", "Here is what the user has told about themselves:"),
    ),
    "third_person": _ABOUT_SOMEBODY,
    # Described alike, so that what differs from `third_person` is the question asked about the person.
    "forecast": _ABOUT_SOMEBODY,
}
PARAPHRASES = min(len(heads) for heads in _HEADS.values())

# Headings of the biography's paragraphs, by domain.
_CHAPTERS = {"demographic": "Background:", "belief": "Beliefs:", "value": "Values:", "attitude": "Attitudes:"}
_SEPARATOR = {"prose": " ", "bullets": "\n", "json": ", ", "oneliner": " | ", "biography": " "}
_SENTENCES = ("prose", "biography")


def render(
    personas: pl.DataFrame,
    *,
    style: str = "prose",
    framing: str = "you_are",
    masked: pl.Series | Sequence[str] | None = None,
    condition: str = "persona",
    paraphrase: int = 0,
) -> pl.Series:
    """Write each persona's visible traits in a style and framing; all styles have the same traits in the same order.

    Args:
        personas: PERSONAS rows (only `traits` is read).
        style: prose, bullets, json (a valid JSON object after the first line), oneliner or biography.
        framing: you_are (the model is the person), user_is (its user is), third_person, forecast (somebody else whose
            answer is to be predicted; described as under third_person).
        masked: Columns to hide: a list for all rows, or a Series with a list per row.
        condition: no_persona has no text, placebo neutral text of the persona's length; demographics_only and
            without_<domain> show some domains; all others show the traits of the row.
        paraphrase: Wording of the framing, from 0, below `PARAPHRASES`.

    Returns:
        One text per row, in the rows' order; null if no trait is left to show.
    """
    if style not in STYLES or framing not in FRAMINGS:
        raise ValueError(f"unknown style {style!r} or framing {framing!r}")
    if condition == REFERENCE_CONDITION:
        return pl.Series("text", [None] * personas.height, dtype=pl.String)
    frame = personas.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"), "traits")
    if masked is not None and not isinstance(masked, pl.Series):
        masked = pl.Series([list(masked)], dtype=pl.List(pl.String)).new_from_index(0, personas.height)
    if masked is not None:
        frame = frame.with_columns(masked.list.sort().list.join("\x1f").alias("mask"))
    long = frame.explode("traits").filter(pl.col("traits").is_not_null()).unnest("traits")
    if (domains := domains_shown(condition)) is not None:
        long = long.filter(pl.col("domain").is_in(list(domains)))
    if masked is not None:
        hidden = (
            frame.select("mask")
            .unique()
            .with_columns(pl.col("mask").str.split("\x1f").alias("column"))
            .explode("column")
        )
        long = long.join(hidden, on=["mask", "column"], how="anti", maintain_order="left")
    texts = _texts(long, style, framing, paraphrase)
    shown = frame.select("row").join(texts, on="row", how="left", maintain_order="left")["text"]
    return placebo(shown) if condition == PLACEBO else shown


def _texts(long: pl.DataFrame, style: str, framing: str, paraphrase: int) -> pl.DataFrame:
    """The text per row, from one row per visible trait."""
    line = _line(long, style, framing)
    by = pl.col("row")
    if style == "biography":
        chapters = (
            long.select(by, "domain", line.alias("line"))
            .group_by("row", "domain", maintain_order=True)
            .agg(pl.col("line").str.join(" "))
        )
        chapter = pl.col("domain").replace_strict(_CHAPTERS, return_dtype=pl.String)
        body = chapters.select(by, pl.format("{} {}", chapter, "line").alias("line"))
        separator = "\n"
    else:
        body = long.select(by, line.alias("line"))
        separator = _SEPARATOR[style]
    text = pl.col("line").str.join(separator)
    head, list_head = _HEADS[framing][paraphrase]
    if style == "json":
        text = pl.format("{}\n{{{}}}", pl.lit(list_head), text)
    elif style == "oneliner":
        text = pl.format("{} {}", pl.lit(list_head), text)
    elif style == "bullets":
        text = pl.format("{}\n{}", pl.lit(list_head), text)
    elif head:
        text = pl.format("{}{}{}", pl.lit(head), pl.lit("\n" if style == "biography" else " "), text)
    return body.group_by("row", maintain_order=True).agg(text.alias("text"))


def _line(long: pl.DataFrame, style: str, framing: str) -> pl.Expr:
    """The expression that words one trait; two framings speak about the person instead of to "you"."""

    def said(column: str) -> pl.Expr:
        if framing == "you_are":
            return pl.col(column)
        texts = {text: wording.third_person(text) for text in long[column].unique()}
        return pl.col(column).replace_strict(texts, return_dtype=pl.String)

    if style in _SENTENCES:
        return said("statement")
    label, answer = said("label"), said("answer")
    if style == "json":
        return pl.format('"{}": "{}"', _escaped(label), _escaped(answer))
    capital = pl.concat_str(label.str.slice(0, 1).str.to_uppercase(), label.str.slice(1))
    return pl.format("- {}: {}" if style == "bullets" else "{}: {}", capital, answer)


def _escaped(text: pl.Expr) -> pl.Expr:
    return text.str.replace_all("\\", "\\\\", literal=True).str.replace_all('"', '\\"', literal=True)
