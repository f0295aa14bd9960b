"""Report codes, labels and titles of a wave that the crosswalk does not understand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mpta_pipeline.core.errors import CrosswalkError
from mpta_pipeline.harmonize.value_labels import short
from mpta_pipeline.surveys import RawWave


@dataclass(frozen=True)
class Problem:
    """A code, label or title that the crosswalk does not understand, and what is set aside because of it.

    Attributes:
        column: The harmonized column concerned.
        code: Native code; null if it is about the variable's title.
        label: The file's label of the code or variable.
        expected: What the crosswalk expects; null if it does not have the code.
        whole: The whole column is set aside.
        countries: The countries in which the column is set aside, if not in all.
        answers: Number of answers set aside; null if no respondent has the code.
        strange: It is evidence that the wave follows another codebook. A code without a label, in a list that is
            defined by labels, is no such evidence.
        why: Why the column's codes cannot be used, if it is not about a code or title.
    """

    column: str
    variable: str
    code: str | None
    label: str | None
    expected: str | None = None
    whole: bool = True
    countries: tuple[str, ...] = ()
    answers: int | None = None
    strange: bool = True
    why: str | None = None

    def __str__(self) -> str:
        if self.why:
            return f"{self.variable} {self.why}"
        said = short(self.label) if self.label else None
        if self.code is None:
            return f"{self.variable} is titled {said!r}, expected {self.expected}"
        shown = f"{self.variable} {short(self.code)} = {said!r}"
        return f"{shown}, expected {self.expected}" if self.expected else f"{shown} is not mapped"

    @property
    def unit(self) -> str:
        """What is set aside: `column`, `country` (the column in some countries) or `cells`."""
        return "column" if self.whole else "country" if self.countries else "cells"

    def row(self) -> dict[str, str | int | None]:
        """As plain values: column, variable, code, found, expected; unit, countries and answers set aside."""
        return {
            "column": self.column,
            "variable": self.variable,
            "code": None if self.code is None else short(self.code),
            "found": self.why or (short(self.label) if self.label else None),
            "expected": self.expected,
            "unit": self.unit,
            "countries": ", ".join(self.countries) or None,
            "answers": self.answers,
        }


def describe_set_aside(problems: Iterable[Problem]) -> list[str]:
    """One line per column: what is set aside, how many answers, and what the file has."""
    by_column: dict[str, list[Problem]] = {}
    for problem in problems:
        by_column.setdefault(problem.column, []).append(problem)
    return [_line(column, found) for column, found in by_column.items()]


def _line(column: str, problems: Sequence[Problem]) -> str:
    whole = any(p.whole for p in problems)
    countries = [] if whole else sorted({c for p in problems for c in p.countries})
    answers = max((p.answers or 0 for p in problems), default=0) if countries else sum(p.answers or 0 for p in problems)
    place = f" in {', '.join(countries)}" if countries else ""
    count = "" if whole else f" ({answers:,} answer{'s' * (answers != 1)})"
    bare = [p for p in problems if p.code is not None and not p.label and not p.expected]
    said = [str(p) for p in problems if p not in bare]
    if len(bare) > 3:
        codes = ", ".join(short(p.code or "") for p in bare[:3])
        said.append(f"{bare[0].variable} has {len(bare)} codes without a label ({codes}, …)")
    else:
        said += [str(p) for p in bare]
    more = f" and {len(said) - 3} more" if len(said) > 3 else ""
    return f"{column}{place}{count}: {', '.join(said[:3])}{more}"


def stopped(problems: Sequence[Problem], raw: RawWave, why: str) -> CrosswalkError:
    """The error that rejects a wave, with the first problem in full."""
    first = problems[0]
    more = f"; {len(problems) - 1} more: " + "; ".join(map(str, problems[1:])) if len(problems) > 1 else ""
    said = short(first.label) if first.label else None
    if first.why:
        what = f"The variable {first.why}"
    elif first.code is None:
        what = f"The variable is titled {said!r} where the crosswalk expects {first.expected}"
    elif first.expected:
        what = f"The label of code {short(first.code)} is {said!r} where the crosswalk expects {first.expected}"
    else:
        what = f"Code {short(first.code)} ({said or 'no label'}) is not in the crosswalk"
    return CrosswalkError(
        f"Wave {raw.release['wave']} was rejected: {why}{what}{more}",
        file=raw.release["file_name"],
        variable=first.variable,
        value=first.code,
        remedy="check the codebook of this release, then map the code or the new label in the concept's file",
    )
