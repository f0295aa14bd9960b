"""Words and numbers as the report writes them."""

from __future__ import annotations

import math

MINUS = "−"
NOTHING = "–"

CONDITIONS = {
    "persona": "with persona",
    "demographics_only": "demographics only",
    "no_persona": "no persona",
}
"""Conditions in the order of the tables, as a reader calls them."""

BASELINES = {
    "chance": "chance",
    "item_mode": "most frequent answer",
    "group_mode": "most frequent answer in the group",
    "proportional": "guessing in proportion",
    "always_first": "always the first option",
    "always_last": "always the last option",
    "sampling_floor": "sampling alone",
    "ceiling": "best prediction from the traits",
}
"""Baselines as a reader calls them; others go by their name."""

DISTANCES = {"tv": "total variation", "w1n": "Wasserstein, on the scale", "js": "Jensen–Shannon"}
DIRECTIONS = {"higher": "higher", "lower": "lower", "zero": "nearer to 0", "none": "neither way"}
VERDICTS = {"gap": "differs", "no_gap": "no difference of note", "inconclusive": "cannot tell"}


def plain(name: str) -> str:
    """A name of the study as a reader would write it."""
    return name.replace("_", " ").replace("×", " × ")


def baseline(name: str) -> str:
    """A baseline in words."""
    return BASELINES.get(name, plain(name))


def number(value: float | None, *, share: bool, signed: bool = False, unit: bool = True) -> str:
    """A figure: a share in percent with one decimal, anything else with three digits; a true minus sign.

    Args:
        value: The figure; None or not finite gives a dash.
        share: It is a proportion (or a difference of two, in percentage points).
        signed: Write a plus too.
        unit: Write the percent sign (never for signed shares, which are points).
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{abs(value) * 100:.1f}" if share else f"{abs(value):.3f}"
    nought = float(text) == 0
    sign = "" if nought else MINUS if value < 0 else "+" if signed else ""
    return f"{sign}{text}{' %' if share and unit and not signed else ''}"


def interval(low: float | None, high: float | None, *, share: bool, signed: bool = False) -> str:
    """A 95 % interval in brackets; empty where there is none."""
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


def listed(words: list[str]) -> str:
    """Words as a list in a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"


def letter(tie_group: int | None) -> str:
    """A tie group, counted from 1, as a letter; a number beyond z."""
    if tie_group is None:
        return NOTHING
    return chr(ord("a") + tie_group - 1) if 1 <= tie_group <= 26 else str(tie_group)
