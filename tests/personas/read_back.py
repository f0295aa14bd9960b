"""Reads a rendered persona back into pairs or sentences: the proof that all styles carry the same traits."""

from __future__ import annotations

import json
import re


def pairs(text: str, style: str) -> list[tuple[str, str]]:
    """(label, answer) pairs of a list style, labels in lower case at the first letter."""
    if style == "json":
        return list(json.loads(text.split("\n", 1)[1]).items())
    if style == "bullets":
        lines = [line.removeprefix("- ") for line in text.split("\n")[1:]]
    else:
        lines = text.split(": ", 1)[1].split(" | ")
    found = [line.split(": ", 1) for line in lines]
    return [(label[0].lower() + label[1:], answer) for label, answer in found]


def answers_of(text: str, templates: dict[str, str]) -> dict[str, str]:
    """column → answer that each sentence template finds in a prose or biography text; every character must be used."""
    for chapter in ("Background:", "Beliefs:", "Values:", "Attitudes:"):
        text = text.replace(chapter, "")
    text = " ".join(text.split())
    found = {}
    # Longest first, so that no template eats what belongs to a more specific one.
    for column, template in sorted(templates.items(), key=lambda kv: -len(kv[1])):
        before, after = template.split("{answer}")
        hit = re.search(rf"(?:^| ){re.escape(before)}([^.\"]+?){re.escape(after)}(?= |$)", text)
        if hit:
            found[column] = hit.group(1)
            text = (text[: hit.start()] + " " + text[hit.end() :]).strip()
            text = " ".join(text.split())
    assert text == "", f"left over: {text!r}"
    return found
