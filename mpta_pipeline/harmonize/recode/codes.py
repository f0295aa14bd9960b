"""Decode native codes by their labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite

import polars as pl

from mpta_pipeline.harmonize.concept_schema import Option
from mpta_pipeline.harmonize.crosswalk import Rule
from mpta_pipeline.harmonize.recode.problems import Problem
from mpta_pipeline.harmonize.value_labels import LabelPattern, fitting, language, shown_label
from mpta_pipeline.surveys import Coded

MISSING_SUFFIX = "__missing"
CODE_SUFFIX = "__code"
CONTENT = " content"  # the part of a column that enters the respondent's revision
# A computed index may exceed its bounds by this share of its range: the producer's DISBELIEF reaches 1.014.
TOLERANCE = 0.05
# From this number on, a label without a number means that the code is not a count: 97 "lives in an institution".
_NO_COUNT = 20


@dataclass(frozen=True)
class Recode:
    """A rule bound to one wave: its variable, and what each code becomes.

    Attributes:
        values: Code → canonical value; not used for numbers.
        missing: Code → kind, for codes that only their label marks as missing.
        cells: Name of its cells in the binding: the variable, unless a filter question or problem changed them.
    """

    rule: Rule
    variable: str
    cells: str
    values: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @property
    def column(self) -> str:
        """The harmonized column that it fills."""
        return self.rule.column

    def table(self, found: Coded) -> pl.DataFrame:
        """What each row of the variable's table becomes: the column, its missing kind, its code, and its content."""
        rows = found.table.select("code", "missing").rows()
        kinds = [kind or self.missing.get(code) for code, kind in rows]
        codes = [code for code, _ in rows]
        answers = [code if kind is None else None for code, kind in zip(codes, kinds, strict=True)]
        if self.rule.row.numeric:
            values = pl.Series(answers, dtype=pl.String).cast(pl.Float64, strict=False)
            texts = values.cast(pl.String).to_list()
        else:
            texts = [None if code is None else self.values.get(code) for code in answers]
            values = pl.Series(texts, dtype=pl.String)
        content = [
            text if text is not None or kind is None else f"?{kind}" for text, kind in zip(texts, kinds, strict=True)
        ]
        return pl.DataFrame(
            {
                self.column: values,
                self.column + MISSING_SUFFIX: pl.Series(kinds, dtype=pl.String),
                self.column + CODE_SUFFIX: pl.Series(codes, dtype=pl.String),
                CONTENT: pl.Series(content, dtype=pl.String),
            }
        )


def bind(rule: Rule, variable: str, table: pl.DataFrame, labels: dict[str, str]) -> Recode:
    """Decide what each code that occurs in the wave becomes."""
    values: dict[str, str] = {}
    missing: dict[str, str] = {}
    problems: list[Problem] = []
    absent = {m.code: m for m in rule.row.missing}
    by_label = rule.row.decode == "label" and bool(labels)
    options = {o.code: o for o in rule.options}

    def problem(code: str, expected: str | None, *, whole: bool = False, strange: bool = True) -> None:
        found = Problem(rule.column, variable, code, labels.get(code), expected, whole=whole, strange=strange)
        problems.append(found)

    answered = (code for code, kind in table.select("code", "missing").iter_rows() if kind is None)
    for code in sorted(answered):
        label = labels.get(code)
        if code in absent and fits(absent[code].label, label):
            missing[code] = absent[code].kind
        elif by_label:
            said, completed = ({}, False) if label is None else _read(label, rule)
            # A truncated label may identify an answer, but must not alone decide the direction of a scale.
            sure = not completed or _read_whole(labels.values(), rule)
            if len(said) == 1 and sure and not _begins(label or "", options.get(code), said):
                values[code] = next(iter(said))
            else:
                expected = " or ".join(str(o.label) for o in rule.options if o.label)
                problem(code, None if label is None else expected)
        elif code in options:
            if label is not None and not means(label, options[code], rule):
                # The label of another answer means a reversed scale: then no code is reliable.
                moved = set(_read(label, rule)[0]) - {options[code].value}
                problem(code, str(options[code].label), whole=bool(moved))
            values[code] = options[code].value
        elif rule.row.from_labels:
            name = shown_label(label) if label else code
            name = language(name) if label and rule.row.languages else name
            # A plain number is not an answer in words; it is kept only if it is never shown (occupation codes).
            if _is_number(name) and (rule.row.domain or rule.concept.domain) != "design":
                problem(code, None, strange=False)
            else:
                values[code] = name
        elif not (rule.row.numeric and _in_range(rule, code)) or _no_count(code, label):
            problem(code, None)
    return Recode(rule, variable, variable, values, missing, tuple(problems))


def _read(label: str, rule: Rule) -> tuple[dict[str, None], bool]:
    """The values that a label may mean, and whether a truncated label had to be completed."""
    places, completed = fitting(label, [o.label for o in rule.options])
    return dict.fromkeys(rule.options[place].value for place in places), completed


def _read_whole(labels: Iterable[str], rule: Rule) -> bool:
    """Whether one of the labels is an answer without being completed."""
    return any(o.label is not None and o.label.accepts(label) for label in labels for o in rule.options)


def _begins(label: str, usual: Option | None, said: dict[str, None]) -> bool:
    """Whether a label that matches one answer may be the beginning of the answer that its code usually means.

    'Other' is an answer to the question about religion, and the beginning of 'Other Christian'.
    """
    return usual is not None and usual.value not in said and usual.label is not None and usual.label.completes(label)


def means(label: str, option: Option, rule: Rule) -> bool:
    """Whether a label on an option's code means that option, in full, truncated or misspelt."""
    if option.label is None or option.label.accepts(label):
        return True
    said, completed = _read(label, rule)
    return completed and list(said) == [option.value]


def fits(pattern: LabelPattern | None, label: str | None) -> bool:
    """Whether a label agrees with a pattern. A missing label cannot disagree: CSV files have none."""
    return pattern is None or label is None or pattern.accepts(label)


def _in_range(rule: Rule, code: str) -> bool:
    numeric = rule.row.numeric
    if numeric is None or not _is_number(code):
        return False
    number = float(code)
    # Only computed numbers may exceed their bounds; a count or an age may not.
    stray = 0.0 if number.is_integer() else TOLERANCE * (numeric.max - numeric.min)
    return numeric.min - stray <= number <= numeric.max + stray


def _no_count(code: str, label: str | None) -> bool:
    """Whether a number's label shows that it is not a count: 97 "in an institution"."""
    return label is not None and not any(c.isdigit() for c in label) and _is_number(code) and float(code) >= _NO_COUNT


def _is_number(code: str) -> bool:
    try:
        return isfinite(float(code))
    except ValueError:
        return False
