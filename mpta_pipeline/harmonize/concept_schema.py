"""The format of a concept file (`concepts/<concept>.yaml`): one concept, its question, and one row per codebook.

This module holds the keys, types and rules of one file. `crosswalk.py` compiles the files into tables, `recode/` turns
raw waves into columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from mpta_pipeline.core.configuration import StrictModel, parse_record, validated
from mpta_pipeline.core.errors import CrosswalkError
from mpta_pipeline.core.vocabulary import Domain, MissingKind
from mpta_pipeline.harmonize.value_labels import LabelPattern

ConceptDomain = Literal[Domain, "design"]
Scale = Literal["nominal", "ordinal", "numeric"]
Equivalence = Literal[
    "identical",
    "relabel",
    "reverse",
    "collapse",
    "approximate",
    "not_equivalent",
    "absent",
    "country_specific",
    "source_specific",
    "n/a",
]


def _code(value: object) -> object:
    """Write a native code as text: 1 and 1.0 as "1"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Code = Annotated[str, BeforeValidator(_code), Field(min_length=1)]
Text = Annotated[str, BeforeValidator(_code), Field(min_length=1, max_length=400, pattern=r"^\S(.*\S)?$")]
Value = Annotated[str, BeforeValidator(_code), Field(pattern=r"^-?[a-z0-9][a-z0-9_.]*$")]
Label = Annotated[LabelPattern, BeforeValidator(LabelPattern.parse)]


class Option(StrictModel):
    """One native code: its expected label, its canonical value, and the answer in a person's words.

    Attributes:
        code: Native code as text.
        label: Expected value label: a text, several texts, or `/regular expression/`.
        value: Canonical value.
        text: The answer in a person's words, as it fits into the concept's statement.
        off_scale: The answer has no position on an ordinal scale (volunteered "depends", "other").
    """

    code: Code
    label: Label | None = None
    value: Value
    text: Text
    off_scale: bool = False


class Range(StrictModel):
    """A scale of points from `min` to `max` with labels only at the poles.

    Attributes:
        low: Meaning of the point `min`, in words for a person.
        high: Meaning of the point `max`.
        low_label: Expected label of `min`, if the file has one.
        high_label: Expected label of `max`, if the file has one.
        reverse: The canonical value of x is min + max - x.
    """

    min: int
    max: int
    low: Text
    high: Text
    low_label: Label | None = None
    high_label: Label | None = None
    reverse: bool = False

    @model_validator(mode="after")
    def _has_points(self) -> Range:
        if not 1 <= self.max - self.min <= 100:
            raise ValueError(f"min {self.min} must be below max {self.max}, by 100 at most")
        return self

    def options(self) -> Iterator[Option]:
        """The points as options."""
        for point in range(self.min, self.max + 1):
            yield Option(
                code=str(point),
                label={self.min: self.low_label, self.max: self.high_label}.get(point),
                value=str(self.min + self.max - point if self.reverse else point),
                text=f"{point} on a scale from {self.min} ({self.low}) to {self.max} ({self.high})",
            )


class Bound(StrictModel):
    """A top or bottom code of a number, such as "89 or older"."""

    code: Code
    label: Label | None = None
    text: Text


class Numeric(StrictModel):
    """A number: the range of valid codes, and codes that stand for a range."""

    min: float
    max: float
    top: Bound | None = None
    bottom: Bound | None = None
    unit: str | None = None


class MissingCode(StrictModel):
    """A code that the file does not declare as missing but that is not an answer to this question, with its label."""

    code: Code
    label: Label | None = None
    kind: MissingKind


class Filter(StrictModel):
    """A filter question: respondents who gave one answer to it were not asked this question; that answer applies here.

    Attributes:
        variable: Native variable of the filter question.
        code: Code of that answer.
        label: Expected label of the code.
        filtered: Native code of this question for those who were not asked it.
        value: Their canonical value for this concept.
        text: The answer in a person's words.
    """

    variable: str
    code: Code
    label: Label | None = None
    filtered: Code
    value: Value
    text: Text

    def option(self) -> Option:
        """The answer as an option of this question, with the code that such respondents have here."""
        return Option(code=self.filtered, value=self.value, text=self.text)


class Battery(StrictModel):
    """A group of questions that are asked together.

    Attributes:
        one_choice: The battery is one choice among its members, so that they reveal each other.
        sign: -1 if agreement runs against the rest of the battery; null if no sign is expected.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    one_choice: bool = False
    sign: Literal[1, -1] | None = None


class Partner(StrictModel):
    """A concept that correlates with this one, with a known sign, wherever both are asked.

    Attributes:
        concept: Name of the other concept. Its scale is ordinal or numeric, or has two answers.
        sign: 1 if higher on one goes with higher on the other, in the order of their categories; -1 if with lower.
    """

    concept: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    sign: Literal[1, -1]


class Unlabelled(StrictModel):
    """Conditions for using the codes of a row in a file without labels, if releases differ in their codes.

    Attributes:
        needs: Codes that must occur in the wave; without them, the numbering may be another release's.
        direction: Some releases reverse the scale. The answers decide the direction, by the concept's partners outside
            its battery, for all such rows of a battery at once. If they are inconclusive, the column is set aside.
        refuse: The meaning cannot be determined: the column is set aside.
    """

    needs: tuple[Code, ...] = ()
    direction: bool = False
    refuse: bool = False


class CodebookRow(StrictModel):
    """How one codebook asks the concept.

    Attributes:
        codebook: Codebook that the file follows.
        variable: Native variable, or several in order of preference: the first with answers in the wave is used. Null
            if there is none.
        title: Expected label of the variable, if its value labels do not show what is asked.
        waves: Codebook of a single-wave file → its native variable, with the codes and labels of this row.
        pool: Shares the concept's own column with other sources.
        column: Column, if it is neither the concept's nor `<concept>_<suffix>`, with the source's `column_suffix`.
        categories: Values in order, if they differ from the concept's (only for rows that are not pooled).
        decode: `code`: the code decides, and its label must agree. `label`: the file's label decides; codes are used
            only for files without labels (mentions are 0/1 in one release and 1/2 in the next).
        unlabelled: Conditions for using the codes in a file without labels.
        options: The codes, in the order in which they are offered.
        range: Points between two labelled poles.
        numeric: A number.
        from_labels: The file's own labels are the values (parties, regions, languages).
        languages: The labels name languages: of several names the first is used, and "Other" becomes another language.
        country: The code is a country, ISO 3166-1 numeric or alpha, or this constant.
        missing: Codes that are missing by their label only.
        answers: Codes that the source's convention treats as missing but that answer this question ("my mother does not
            live here", asked whether she is an immigrant).
        filter: A filter question, one answer of which is also an answer to this question.
        where: Code → expected label for the row to apply, if a release changed the meaning of a variable's codes. If a
            file matches no row of the variable, the column is set aside.
        label, question, statement, domain, scale: Given if they differ from the concept's.
        status: `verified`: codes and labels were seen in a file of the codebook. `documented`: they were compared with
            the producer's codebook, or with printed output of the file. `assumed` is the default. Whatever the status,
            what contradicts the file is set aside.
        sign: Sign in the battery, if this source words the question the other way round.
        polarity: Partners of this row's column, if they differ from the concept's.
    """

    codebook: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    equivalence: Equivalence
    title: Label | None = None
    variable: str | tuple[str, ...] | None = None
    waves: dict[str, str] = Field(default_factory=dict)
    pool: bool = False
    column: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] | None = None
    categories: tuple[Value, ...] | None = None
    decode: Literal["code", "label"] = "code"
    unlabelled: Unlabelled | None = None
    options: tuple[Option, ...] = ()
    range: Range | None = None
    numeric: Numeric | None = None
    from_labels: bool = False
    languages: bool = False
    country: bool | Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = False
    missing: tuple[MissingCode, ...] = ()
    answers: tuple[Option, ...] = ()
    filter: Filter | None = None
    where: dict[Code, Label] = Field(default_factory=dict)
    sign: Literal[1, -1] | None = None
    polarity: tuple[Partner, ...] | None = None
    label: Text | None = None
    question: Text | None = None
    statement: Text | None = None
    domain: ConceptDomain | None = None
    scale: Literal["nominal", "ordinal"] | None = None
    evidence: str | None = None
    status: Literal["verified", "documented", "assumed", "impossible"] | None = None
    notes: str | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        """Native variables in order of preference."""
        if self.variable is None:
            return ()
        return (self.variable,) if isinstance(self.variable, str) else self.variable

    @property
    def carries(self) -> bool:
        """Whether the row makes a column."""
        return bool(self.options or self.range or self.numeric or self.from_labels or self.country)

    @cached_property
    def all_options(self) -> tuple[Option, ...]:
        """Points of the range, options, answers, and the answer to the filter question, in order."""
        return (
            *(self.range.options() if self.range else ()),
            *self.options,
            *self.answers,
            *([self.filter.option()] if self.filter else ()),
        )

    @model_validator(mode="after")
    def _is_whole(self) -> CodebookRow:
        if self.equivalence == "absent":
            if self.variable or self.carries or self.pool:
                raise ValueError("an absent row has codebook, equivalence and notes only")
            return self
        if self.equivalence != "n/a" and not self.carries:
            raise ValueError("give options, range, numeric, from_labels or country, or make it absent")
        if self.carries and not self.variable and not isinstance(self.country, str):
            raise ValueError("variable is needed")
        if self.pool and self.equivalence == "not_equivalent":
            raise ValueError("a not_equivalent row cannot be pooled")
        if self.pool and self.categories:
            raise ValueError("a pooled row has the concept's categories")
        if self.pool and self.column:
            raise ValueError("a pooled row has the concept's own column")
        codes = [o.code for o in self.all_options] + [m.code for m in self.missing]
        if repeated := {c for c in codes if codes.count(c) > 1}:
            raise ValueError(f"code {sorted(repeated)[0]!r} stands twice")
        if self.decode == "label" and any(o.label is None for o in self.options):
            raise ValueError("decode: label needs a label in each option")
        return self


class Concept(StrictModel):
    """One concept: its name, its question and statement, and one row per codebook.

    Attributes:
        label: Short name, a noun phrase.
        question: The question as a person would be asked it, in our own words.
        statement: A sentence in the second person with {answer} in it.
        reveals: Groups of concepts that reveal each other's answers; they are hidden together.
        opens: Those of the groups that no other concept names.
        categories: Canonical values; of an ordinal scale from least to most of what `label` names.
        polarity: Concepts whose correlation with this one has a known sign, to detect reversed scales.
        no_partner: Why there are none.
        absent: Codebook → why it has nothing; short for one row each with equivalence absent.
    """

    concept: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    domain: ConceptDomain
    scale: Scale
    label: Text
    question: Text | None = None
    statement: Text | None = None
    reveals: tuple[str, ...] = ()
    opens: tuple[str, ...] = ()
    battery: Battery | None = None
    categories: tuple[Value, ...] | None = None
    polarity: tuple[Partner, ...] = ()
    no_partner: Text | None = None
    sources: tuple[CodebookRow, ...] = ()
    absent: dict[str, str] = Field(default_factory=dict)

    @property
    def rows(self) -> tuple[CodebookRow, ...]:
        """All rows: those under `sources` and those under `absent`."""
        gaps = (
            CodebookRow(codebook=name, equivalence="absent", status="impossible", notes=why)
            for name, why in self.absent.items()
        )
        return (*self.sources, *gaps)

    def column(self, row: CodebookRow) -> str | None:
        """The harmonized column of a row; null for rows that make none, and until the crosswalk names it."""
        return (row.column or (self.concept if row.pool else None)) if row.carries else None

    def values(self, row: CodebookRow) -> tuple[str, ...]:
        """The on-scale values of a row, in canonical order."""
        if row.categories or self.categories:
            return row.categories or self.categories or ()
        found = dict.fromkeys(o.value for o in row.all_options if not o.off_scale)
        return tuple(sorted(found, key=float) if row.range else found)

    def partners(self, row: CodebookRow) -> tuple[Partner, ...]:
        """Partners of a row's column, with their signs.

        If the source words the question the other way round, so that its sign in the battery is the opposite, the
        concept's partners have opposite signs as well.
        """
        if row.polarity is not None:
            return row.polarity
        if not (self.battery and self.battery.sign and row.sign == -self.battery.sign):
            return self.polarity
        return tuple(Partner(concept=p.concept, sign=1 if p.sign == -1 else -1) for p in self.polarity)

    @model_validator(mode="after")
    def _is_whole(self) -> Concept:
        if self.polarity and self.no_partner:
            raise ValueError("a concept has polarity or no_partner, not both")
        if twice := [name for name in self.absent if any(row.codebook == name for row in self.sources)]:
            raise ValueError(f"{twice[0]} stands under sources and under absent")
        if stray := [group for group in self.opens if group not in self.reveals]:
            raise ValueError(f"opens names {stray[0]!r}, which reveals does not")
        for row in self.rows:
            self.check_row(row)
        return self

    def check_row(self, row: CodebookRow) -> None:
        """Check a row against the concept.

        Raises:
            ValueError: They do not fit together.
        """
        if self.scale == "numeric" and (row.options or row.range) and not row.numeric:
            raise ValueError(f"{row.codebook}: a numeric concept needs numeric")
        if row.numeric and self.scale != "numeric":
            raise ValueError(f"{row.codebook}: numeric stands in a concept whose scale is {self.scale}")
        allowed = self.values(row)
        for option in row.all_options:
            if not option.off_scale and option.value not in allowed:
                raise ValueError(f"{row.codebook}: value {option.value!r} is not among the categories {list(allowed)}")
        if self.domain != "design" and (row.domain or self.domain) != "design" and row.carries:
            statement = row.statement or self.statement
            if not (row.question or self.question):
                raise ValueError(f"{row.codebook}: question is needed")
            if not statement or statement.count("{answer}") != 1:
                raise ValueError(f"{row.codebook}: statement must hold {{answer}} once")


def parse_concept(text: str, file: Path) -> Concept:
    """Read one concept file.

    Raises:
        CrosswalkError: The text is not YAML, or breaks the format; with file, key and value.
    """
    raw = parse_record(text, file, "A concept file", CrosswalkError)
    concept = validated(Concept, raw, "A concept file breaks the format", file=file, error=CrosswalkError)
    if concept.concept != file.stem:
        raise CrosswalkError(
            "A concept file must be named after its concept",
            file=file,
            variable="concept",
            value=concept.concept,
            remedy=f"name the file {concept.concept}.yaml",
        )
    return concept
