"""Format words and numbers for the report."""

from __future__ import annotations

import math
import re

from markupsafe import Markup, escape

from mpta_pipeline.core.labels import plain

MINUS = "−"
NOTHING = "–"

CONDITIONS = {
    "persona": "with persona",
    "demographics_only": "demographics only",
    "no_persona": "no persona",
    "group": "asked about the group",
}
"""Conditions in the order of the tables, with their names for readers."""

BASELINES = {
    "chance": "chance",
    "item_mode": "most frequent answer",
    "group_mode": "most frequent answer in the group",
    "proportional": "guessing in proportion to people's answers",
    "always_first": "always the first option",
    "always_last": "always the last option",
    "sampling_floor": "sampling alone",
    "permutation_null": "random groups of the same sizes",
    "ceiling": "best prediction from the traits",
    "uniform": "equal shares of all options",
    "majority": "always the people's most frequent answer",
    "human": "people's own answers",
    "second_sample": "a second sample of people",
    "mean_wording": "mean of the wordings",
    "people": "people's own shares",
}
"""Baselines with their names for readers; others are shown by their own name."""

DIRECTIONS = {"higher": "higher", "lower": "lower", "zero": "nearer to 0", "none": "neither direction"}
VERDICTS = {"gap": "differs", "no_gap": "alike", "inconclusive": "unclear"}

OUTCOMES = {
    "score": "share of right answers",
    "score_net_of_item_mode": "share of right answers, above that of always giving the most frequent answer",
    "persona_effect": "effect of the persona",
}


def condition(name: str) -> str:
    """A condition in words."""
    return CONDITIONS.get(name, plain(name))


def outcome(name: str) -> str:
    """The outcome in which a pocket is worse, in words."""
    return OUTCOMES.get(name, plain(name))


def opening(text: str) -> str:
    """The text with a capital first letter; `capitalize` would also lower the rest."""
    return text[:1].upper() + text[1:]


def coded(text: str) -> Markup:
    """Text for the page: escaped, with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def baseline(name: str) -> str:
    """A baseline in words."""
    return BASELINES.get(name, plain(name))


def number(value: float | None, *, share: bool, signed: bool = False, unit: bool = True) -> str:
    """An estimate: a share in percent with one decimal, anything else with three digits; a true minus sign.

    Args:
        value: The estimate; None or not finite gives a dash.
        share: It is a proportion (or a difference of two, in percentage points).
        signed: Write the sign of positive numbers, too.
        unit: Write the percent sign (never for signed shares, which are points).
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{abs(value) * 100:.1f}" if share else f"{abs(value):.3f}"
    nought = float(text) == 0
    sign = "" if nought else MINUS if value < 0 else "+" if signed else ""
    return f"{sign}{text}{' %' if share and unit and not signed else ''}"


def interval(low: float | None, high: float | None, *, share: bool, signed: bool = False) -> str:
    """An interval in brackets; empty if there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    ends = [number(end, share=share, signed=signed, unit=False) for end in (low, high)]
    return f"[{', '.join(ends)}]"


def count(value: int | None) -> str:
    """A count with thousands separated by a narrow space."""
    return NOTHING if value is None else f"{value:,}".replace(",", "\u202f")


def q(value: float | None) -> str:
    """A q-value."""
    return NOTHING if value is None else "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def evidence(value: float | None) -> str:
    """An e-value: 1 is no evidence, 20 and more is strong evidence."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return (
        "> 10\u202f000" if value > 10_000 else f"{value:,.0f}".replace(",", "\u202f") if value >= 10 else f"{value:.1f}"
    )


def listed(words: list[str]) -> str:
    """Words as a list in a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"


def letter(tie_group: int | None) -> str:
    """A tie group, counted from 1, as a letter; groups beyond z stay numbers."""
    if tie_group is None:
        return NOTHING
    return chr(ord("a") + tie_group - 1) if 1 <= tie_group <= 26 else str(tie_group)


UNPARSED = {
    "empty": "Empty",
    "cut_off": "Cut off",
    "thought_only": "Reasoning only",
    "no_option": "No option",
    "several_options": "Several options",
    "conflict": "Contradictory",
    "foreign": "Other script",
    "no_distribution": "No shares",
}
"""Why replies cannot be read, as columns of the report."""
