"""What a value label must say for a code to mean what the crosswalk takes it to mean."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBERING = re.compile(r"^\s*\(?-?\d+\)?\s*[.:=)\-]+\s+(?=\S)")
_SPACES = re.compile(r"\s+")
_QUOTES = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "`": "'", "\u2013": "-", "\xa0": " "}
)


def normal_label(label: str) -> str:
    """A label without the accidents of its release: case, spaces, typographic quotes, a leading "1. "."""
    text = _NUMBERING.sub("", label.translate(_QUOTES))
    return _SPACES.sub(" ", text).strip(" .;:").casefold()


@dataclass(frozen=True)
class LabelPattern:
    """Accepted spellings of a label; a spelling between slashes is a regular expression that must be found in it.

    >>> LabelPattern.parse(["very happy", "/^muy feliz/"]).accepts("1. Very  happy")
    True
    """

    spellings: tuple[str, ...]

    @classmethod
    def parse(cls, value: object) -> object:
        """Read a text or a list of texts; anything else is left for the schema to refuse.

        Raises:
            ValueError: A regular expression is not valid.
        """
        if isinstance(value, LabelPattern) or value is None:
            return value
        values = value if isinstance(value, list | tuple) else [value]
        if not values or not all(isinstance(v, str | int) and not isinstance(v, bool) for v in values):
            raise ValueError("a label is a text, a list of texts, or /regular expression/")
        spellings = tuple(str(v) for v in values)
        for spelling in spellings:
            if is_regex(spelling):
                try:
                    re.compile(spelling[1:-1])
                except re.error as failure:
                    raise ValueError(f"{spelling} is not a regular expression: {failure}") from None
        return cls(spellings)

    def accepts(self, label: str) -> bool:
        """Whether a file's label says what is expected."""
        shown = normal_label(label)
        return any(
            re.search(s[1:-1], shown, re.IGNORECASE) is not None if is_regex(s) else normal_label(s) == shown
            for s in self.spellings
        )

    def __str__(self) -> str:
        return " or ".join(self.spellings)


def shown_label(label: str) -> str:
    """A label on one line, without a leading "1. ", as it may be said."""
    return short(_NUMBERING.sub("", label.translate(_QUOTES)), 200)


def short(text: str, limit: int = 80) -> str:
    """A text of a file on one line, without control characters, cut: labels may hold anything."""
    line = "".join(c for c in _SPACES.sub(" ", text[: 4 * limit]) if c.isprintable()).strip()
    return line if len(line) <= limit else line[:limit] + "…"


def is_regex(spelling: str) -> bool:
    """Whether a spelling is written as a regular expression."""
    return len(spelling) > 2 and spelling.startswith("/") and spelling.endswith("/")
