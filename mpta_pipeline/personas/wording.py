"""Word answers and sentences; their content comes from the crosswalk."""

from __future__ import annotations

import re
from functools import cache

import polars as pl

# "you" is an object after these words and a subject elsewhere; "they" takes the verb forms of "you".
_BEFORE_OBJECT = (
    "about|against|around|as|asked|before|behind|beside|between|by|describe|describes|for|from|give|gives|gave|given|"
    "help|helps|into|let|lets|like|make|makes|made|near|of|on|onto|over|tell|tells|than|to|told|toward|towards|"
    "treat|treats|under|upon|with|without"
)
_VERB = "(?:are|were|have|had|do|did|would|can|could|will|should|must|may|might)"
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), new)
    for pattern, new in (
        (r"\bYourself\b", "Themselves"),
        (r"\byourself\b", "themselves"),
        (r"\bYours\b", "Theirs"),
        (r"\byours\b", "theirs"),
        (r"\bYour\b", "Their"),
        (r"\byour\b", "their"),
        (r"\bYou\b", "They"),
        (r"\blike you\b", "like them"),
        (
            rf"\b((?i:{_BEFORE_OBJECT})) you\b(?! {_VERB}\b)",
            r"\1 them",
        ),
        (r"\byou(?=\s*[.,;:!?)]|$)", "them"),
        (r"\byou\b", "they"),
    )
)


@cache
def third_person(sentence: str) -> str:
    """Turn a sentence said to "you" into one about "them".

    Singular "they" takes the verb forms of "you", so that only pronouns change.

    >>> third_person("You say that your neighbours trust you.")
    'They say that their neighbours trust them.'
    """
    for pattern, new in _RULES:
        sentence = pattern.sub(new, sentence)
    return sentence


def number(value: pl.Expr) -> pl.Expr:
    """A number as text: whole numbers without a decimal point, others with at most two decimals."""
    rounded = value.round(2)
    whole = rounded == rounded.round(0)
    return pl.when(whole).then(rounded.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(rounded.cast(pl.String))


def as_option(text: pl.Expr) -> pl.Expr:
    """The text of an answer among the other options, which show the scale.

    "7 on a scale from 1 (never) to 10 (always)" becomes "7"; the ends keep their words: "1 (never)", "10 (always)".
    """
    parts = text.str.extract_groups(
        r"^(?<point>-?[\d.]+) on a scale from (?<min>-?[\d.]+) \((?<low>.*)\) to (?<max>-?[\d.]+) \((?<high>.*)\)$"
    )
    point, low, high = parts.struct.field("point"), parts.struct.field("min"), parts.struct.field("max")
    return (
        pl.when(point.is_null())
        .then(text)
        .when(point == low)
        .then(pl.format("{} ({})", point, parts.struct.field("low")))
        .when(point == high)
        .then(pl.format("{} ({})", point, parts.struct.field("high")))
        .otherwise(point)
    )
