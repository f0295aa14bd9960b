"""Load the phrases by which replies are read, from `replies.yaml`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml


@cache
def _phrases() -> dict[str, list[str]]:
    text = Path(__file__).parents[1].joinpath("replies.yaml").read_text(encoding="utf-8")
    phrases: dict[str, list[str]] = yaml.safe_load(text)
    return phrases


def any_phrase(name: str) -> str:
    """One regular expression that matches any phrase of a group, in upper or lower case."""
    return "(?i:" + "|".join(_phrases()[name]) + ")"


NO_ANSWER = rf"^\W*{any_phrase('no_answer')}\b"
"""An option of a published poll that means no answer."""
BARE_REFUSAL = rf"^\W*{any_phrase('bare_refusal')}\W*$"
"""A refusal in one or two words, as in tables of answers."""
