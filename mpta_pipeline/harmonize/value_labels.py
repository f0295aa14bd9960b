"""Compare value labels with what the crosswalk expects.

Producers shorten and misspell labels: they are cut at 8 characters in Stata files of wave 2 and at 60 in some .sav
files, and 'Satisfy-' means dissatisfied. `wordings.yaml` holds known spellings, and complete labels by which truncated
or misspelt ones are completed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

WORDINGS = Path(__file__).with_name("wordings.yaml")
# A shorter beginning would be the beginning of too many labels.
MIN_CUT = 6
MIN_MISSPELT = 6

_NUMBERING = re.compile(r"^\s*\(?-?\d+\)?\s*[.:=)\-]+\s+(?=\S)")
_SPACES = re.compile(r"\s+")
_QUOTES = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u00b4": "'", "\u201c": '"', "\u201d": '"', "`": "'", "\u2013": "-", "\xa0": " "}
)
_SHORT_FORM = re.compile(r"(?<=\S)\s*\{[^{}]*\}?$")  # "Incomes more equal{1}"; a truncated label lacks the second brace
_NO_LETTER = re.compile(r"[^\w+<>-]+|_|-(?=\w)")  # the signs in 'agree+', 'satisfy-' and '<2000' count as letters
_ARTICLES = re.compile(r"\b(a|an|the)\b")
# Parts of a regular expression: a lookbehind, a class, an escape, or a space outside of these.
_REGEX_PARTS = re.compile(r"\(\?<[=!][^()]*\)|\[[^\]]*\]|\\.| ")


@lru_cache(maxsize=65536)
def normal_label(label: str) -> str:
    """A label without case, accents, extra spaces, a leading "1. " or a trailing "{1}", and with plain quotes."""
    text = _SHORT_FORM.sub("", _NUMBERING.sub("", label.translate(_QUOTES)))
    folded = text
    if not text.isascii():
        folded = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return _SPACES.sub(" ", folded).strip(" .;:").casefold()


@dataclass(frozen=True)
class LabelPattern:
    """Accepted spellings of a label. A spelling between slashes is a regular expression that must match part of it.

    >>> LabelPattern.parse(["very happy", "/^muy feliz/"]).accepts("1. Very  happy")
    True
    """

    spellings: tuple[str, ...]

    @classmethod
    def parse(cls, value: object) -> object:
        """Read a text or a list of texts. The schema refuses anything else.

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
        """Whether a file's label is what is expected, as it is or as a known spelling of it."""
        return any(_matches(s, said) for said in _known(label) for s in self.spellings)

    def completes(self, label: str) -> bool:
        """Whether a label is what is expected if it is read as truncated or misspelt (`completions`)."""
        return any(_matches(s, said) for said in completions(label) for s in self.spellings)

    def __str__(self) -> str:
        return " or ".join(self.spellings)


def fitting(label: str, patterns: Sequence[LabelPattern | None]) -> tuple[list[int], bool]:
    """The indexes of the patterns that a label matches, and whether it had to be completed.

    A label that matches as it is, is never completed. A completed label that matches several patterns is ambiguous.
    """
    whole = [place for place, pattern in enumerate(patterns) if pattern is not None and pattern.accepts(label)]
    if whole:
        return whole, False
    return [place for place, pattern in enumerate(patterns) if pattern is not None and pattern.completes(label)], True


@lru_cache(maxsize=4096)
def completions(label: str) -> tuple[str, ...]:
    """The complete labels that a label may stand for.

    Tried in this order until one finds any: the same letters, without articles and punctuation; the same letters with
    one left out, added, exchanged or transposed; a beginning of the label.
    """
    shown = normal_label(label)
    same, letters = _letters(shown), _squeezed(shown)
    known = _wordings()
    if found := tuple(w for w, (articleless, _) in known.items() if articleless == same):
        return found
    if len(letters) >= MIN_MISSPELT and (
        found := tuple(w for w, (_, squeezed) in known.items() if _one_off(letters, squeezed))
    ):
        return found
    if len(letters) < MIN_CUT:
        return ()
    return tuple(w for w, (_, squeezed) in known.items() if squeezed.startswith(letters) and squeezed != letters)


def _one_off(one: str, two: str) -> bool:
    """Whether two texts differ in one letter that is left out, added, exchanged or transposed; digits do not count."""
    if abs(len(one) - len(two)) > 1 or one == two:
        return False
    start = next((n for n, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    if any(text[start : start + 1].isdigit() for text in (one, two)):
        return False
    left, right = one[start:], two[start:]
    return (
        left[1:] == right[1:]
        or left[1:] == right
        or left == right[1:]
        or (left[1::-1] == right[:2] and left[2:] == right[2:])
    )


@lru_cache(maxsize=1)
def _book() -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """The content of `wordings.yaml`: spelling → wordings that it stands for, and the complete wordings."""
    # BaseLoader: `no` and `yes` are labels.
    raw = yaml.load(WORDINGS.read_text(encoding="utf-8"), Loader=yaml.CBaseLoader)
    spellings = {
        normal_label(spelling): tuple(normal_label(w) for w in ([said] if isinstance(said, str) else said))
        for spelling, said in raw["spellings"].items()
    }
    return spellings, tuple(dict.fromkeys(normal_label(w) for w in raw["wordings"]))


@lru_cache(maxsize=1)
def _wordings() -> dict[str, tuple[str, str]]:
    """Each wording → its letters without articles, and its letters."""
    return {w: (_letters(w), _squeezed(w)) for w in _book()[1]}


@lru_cache(maxsize=65536)
def _known(label: str) -> tuple[str, ...]:
    """The wordings that a label stands for: the label itself, unless its spelling is known to stand for others."""
    shown = normal_label(label)
    return _book()[0].get(shown, (shown,))


@lru_cache(maxsize=65536)
def _matches(spelling: str, said: str) -> bool:
    if is_regex(spelling):
        return _compiled(spelling).search(said) is not None
    return _squeezed(normal_label(spelling)) == _squeezed(said) if _letters(said) else normal_label(spelling) == said


@lru_cache(maxsize=8192)
def _compiled(spelling: str) -> re.Pattern[str]:
    """A regular expression whose spaces may be absent from the label: 'Havedone', 'Notatall'."""
    loose = _REGEX_PARTS.sub(lambda part: " ?" if part[0] == " " else part[0], spelling[1:-1])
    return re.compile(loose, re.IGNORECASE)


def _letters(text: str) -> str:
    return _NO_LETTER.sub("", _ARTICLES.sub(" ", text))


def _squeezed(text: str) -> str:
    """A text without spaces. Punctuation stays: it distinguishes 'agree+' from 'agree'."""
    return text.replace(" ", "")


def shown_label(label: str) -> str:
    """A label on one line, without a leading "1. ", as it is shown to people."""
    return short(_NUMBERING.sub("", label.translate(_QUOTES)), 200)


def short(text: str, limit: int = 80) -> str:
    """A text of a file on one line, without control characters, cut to a limit: labels may hold anything."""
    line = "".join(c for c in _SPACES.sub(" ", text[: 4 * limit]) if c.isprintable()).strip()
    return line if len(line) <= limit else line[:limit] + "…"


def is_regex(spelling: str) -> bool:
    """Whether a spelling is written as a regular expression."""
    return len(spelling) > 2 and spelling.startswith("/") and spelling.endswith("/")


def language(label: str) -> str:
    """A language in a person's words: "Spanish; Castilian" is Spanish, "Other European" another European language."""
    first = re.split(r"\s*[;/]\s*", label)[0].strip()
    other = re.fullmatch(r"others?\b[\s:,]*(.*)", first, re.IGNORECASE)
    if other is None:
        return first
    kind = re.sub(r"\blanguages?\b|[,(:].*|\bspecify\b.*", "", other.group(1), flags=re.IGNORECASE).strip()
    return f"another {kind} language" if kind else "another language"
