"""The format of a concept file (`concepts/<concept>.yaml`): one concept, its question, and one row a source.

What belongs here: keys, types and the rules that a file must keep by itself. What does not: how rows become tables
(`crosswalk.py`) or columns (`recode.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, field_validator, model_validator

from mpta_pipeline.core.configuration import StrictModel, validated
from mpta_pipeline.core.errors import CrosswalkError
from mpta_pipeline.core.vocabulary import Domain, MissingKind
from mpta_pipeline.harmonize.labels import LabelPattern

# The five sources of the reference crosswalk: every concept says of each what it has, if only that it has nothing.
CORE_CODEBOOKS = ("wvs7", "wvs_ts", "joint", "evs2017", "gss")
# Columns of sources that are not pooled end in the family of the source.
FAMILIES = {"gss_extract": "gss", "wvs_usa_extract": "wvs", "evs2017": "evs", "evs_trend": "evs"}
# The EVS trend file is coded by the dictionary of the WVS time series (the two are merged as IVS): where a concept says
# nothing else, its pooled rows hold for both. A variable that the file does not have makes no column.
TWINS = {"wvs_ts": "evs_trend"}
# What gives what away: concepts that share a group are hidden together.
REVEALS = frozenset(
    {
        "abortion",
        "age",
        "children_qualities",
        "work_ethic",
        "politics",
        "civic_honesty",
        "democracy",
        "economy",
        "education",
        "environment",
        "family",
        "gender",
        "gender_roles",
        "geography",
        "health",
        "immigration",
        "income",
        "indices",
        "life_satisfaction",
        "media",
        "national_identity",
        "neighbours",
        "origin",
        "party_ideology",
        "political_action",
        "political_confidence",
        "postmaterialism",
        "punishment",
        "race_relations",
        "religion",
        "schwartz",
        "science",
        "security",
        "sexuality",
        "surveillance",
        "trust",
        "violence",
        "welfare",
        "work",
        "citizenship",
        "crime",
        "worries",
        "knowledge",
        "membership",
        "hardship",
        "elections",
        "corruption",
        "drugs",
        "family_duties",
        "freedom",
        "infrastructure",
        "international",
        "law_enforcement",
        "military",
        "schools",
    }
)

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
    """One native code: what its label must say, what it is on the canonical scale, and what a person would say.

    Attributes:
        code: Native code as text.
        label: What the file's value label must say: a text, several texts, or `/regular expression/`.
        value: Canonical value.
        text: The answer as a person would say it; fits into the concept's statement.
        off_scale: The answer has no place on an ordinal scale (volunteered "depends", "other").
    """

    code: Code
    label: Label | None = None
    value: Value
    text: Text
    off_scale: bool = False


class Range(StrictModel):
    """Points from `min` to `max` of which only the poles are labelled.

    Attributes:
        low: What the point `min` means, as said to a person.
        high: What the point `max` means.
        low_label: What the file's label of `min` must say, where it has one.
        high_label: What the file's label of `max` must say, where it has one.
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
    """A number: the range of its valid codes, and the codes that stand for a range."""

    min: float
    max: float
    top: Bound | None = None
    bottom: Bound | None = None
    unit: str | None = None


class MissingCode(StrictModel):
    """A code that the file does not declare missing but that is no answer to this question, with its label."""

    code: Code
    label: Label | None = None
    kind: MissingKind


class Filter(StrictModel):
    """A question put before this one: who gave this answer to it was not put this one, which says what they are.

    Attributes:
        variable: Native variable of that question.
        code: Its code.
        label: What the file's label of the code must say.
        filtered: Native code of this question for those who were not put it.
        value: Canonical value here of those who gave that answer.
        text: What a person would say here.
    """

    variable: str
    code: Code
    label: Label | None = None
    filtered: Code
    value: Value
    text: Text

    def option(self) -> Option:
        """Its answer as one to this question, on the code that such a respondent has here."""
        return Option(code=self.filtered, value=self.value, text=self.text)


class Battery(StrictModel):
    """A group of questions asked in one go.

    Attributes:
        one_choice: The battery is one choice among its members, so that they give each other away.
        sign: -1 when agreement runs against the rest of the battery; null: no sign is expected.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    one_choice: bool = False
    sign: Literal[1, -1] | None = None


class Partner(StrictModel):
    """A concept that goes with this one wherever both are asked, or against it.

    Attributes:
        concept: Name of the other concept. Its scale is ordinal, numeric, or has two answers.
        sign: 1: who is higher on one is higher on the other, both in the order of their categories; -1: lower.
    """

    concept: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    sign: Literal[1, -1]


class Unlabelled(StrictModel):
    """What must hold before the codes of a row are believed in a file without labels, where releases differ in them.

    Attributes:
        needs: Codes that must occur in the wave; without them it may be another release's numbering.
        direction: Some releases run the other way round. The answers decide which way, by the concept's partners
            outside its battery, for all such rows of a battery at once; where they do not tell, the column is set
            aside.
        refuse: Nothing could tell: the column is set aside.
    """

    needs: tuple[Code, ...] = ()
    direction: bool = False
    refuse: bool = False


class Source(StrictModel):
    """How one codebook carries the concept.

    Attributes:
        codebook: Codebook that the file follows.
        variable: Native variable, or several in order of preference, of which the first with answers in the wave
            counts; null where there is none.
        title: What the variable's own label must say, where its value labels do not tell what is asked.
        waves: Codebook of a single-wave file → its native variable; codes and labels as in this row.
        pool: Shares the concept's own column with other sources.
        column: Column when it is neither the concept's nor `<concept>_<family>`.
        categories: Values in order where they differ from the concept's (only for rows that are not pooled).
        decode: `code`: the code decides and its label must agree. `label`: the file's label decides; codes hold only
            for files without labels (mentions are 0/1 in one release and 1/2 in the next).
        unlabelled: What must hold before codes are believed in a file without labels.
        options: The codes in the order in which they are offered.
        range: Points between two labelled poles.
        numeric: A number.
        from_labels: The file's own labels are the values (parties, regions, languages).
        languages: The labels name languages: the first of several names is said, and "Other" as another language.
        country: The code is a country, ISO 3166-1 numeric or alpha, or this constant.
        missing: Codes that are missing by label only.
        answers: Codes that the source's convention calls missing but that answer this question ("my mother does not
            live here" to whether she is an immigrant).
        filter: A question put before, of which one answer is an answer to this one, too.
        where: Code → what its label must say for the row to apply at all, where a release changed the meaning of a
            variable's codes. In a wave whose file fits no row of the variable the column is set aside.
        label, question, statement, domain, scale: Where they differ from the concept's.
        status: `verified`: codes and labels were seen in a file of the codebook. `documented`: they were compared with
            its producer's codebook or with what others printed from the file. `assumed` is the default. What a file
            says otherwise is set aside in every case.
        sign: The battery's sign where this source words the question the other way round.
        polarity: Partners of this row's column where they differ from the concept's.
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
    def family(self) -> str:
        """Family of the codebook: gss, wvs, evs, joint."""
        return FAMILIES.get(self.codebook, "wvs" if self.codebook.startswith("wvs") else self.codebook)

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
    def _is_whole(self) -> Source:
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
    """One concept: what it is, how it is asked and said, and what each source has of it.

    Attributes:
        label: A short noun phrase.
        question: The question as put to a person, in our words.
        statement: A sentence in the second person with {answer} in it.
        reveals: Groups of concepts that give each other away.
        categories: Canonical values; for ordinal scales from least to most of what `label` names.
        polarity: Concepts whose correlation with this one has a known sign, by which an inverted scale is found.
        no_partner: Why there is none.
        absent: Codebook → why it has nothing; short for a row each with equivalence absent.
    """

    concept: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    domain: ConceptDomain
    scale: Scale
    label: Text
    question: Text | None = None
    statement: Text | None = None
    reveals: tuple[str, ...] = ()
    battery: Battery | None = None
    categories: tuple[Value, ...] | None = None
    polarity: tuple[Partner, ...] = ()
    no_partner: Text | None = None
    sources: tuple[Source, ...] = ()
    absent: dict[str, str] = Field(default_factory=dict)

    @field_validator("reveals")
    @classmethod
    def _known_groups(cls, groups: tuple[str, ...]) -> tuple[str, ...]:
        for group in groups:
            if group not in REVEALS:
                raise ValueError(f"unknown group {group!r}; known: {', '.join(sorted(REVEALS))}")
        return groups

    @cached_property
    def rows(self) -> tuple[Source, ...]:
        """All rows: those written, those of a codebook that shares another's dictionary, and the absent ones."""
        written = {s.codebook for s in self.sources} | self.absent.keys()
        twins = (
            s.model_copy(update={"codebook": TWINS[s.codebook], "waves": {}, "status": "assumed"})
            for s in self.sources
            if s.codebook in TWINS and TWINS[s.codebook] not in written and (s.pool or s.country)
        )
        gaps = (
            Source(codebook=d, equivalence="absent", status="impossible", notes=why) for d, why in self.absent.items()
        )
        return (*self.sources, *twins, *gaps)

    def column(self, source: Source) -> str | None:
        """The harmonized column of a row; null for rows that make none."""
        if not source.carries:
            return None
        return source.column or (self.concept if source.pool else f"{self.concept}_{source.family}")

    def values(self, source: Source) -> tuple[str, ...]:
        """The on-scale values of a row in canonical order."""
        if source.categories or self.categories:
            return source.categories or self.categories or ()
        found = dict.fromkeys(o.value for o in source.all_options if not o.off_scale)
        return tuple(sorted(found, key=float) if source.range else found)

    def partners(self, source: Source) -> tuple[Partner, ...]:
        """Partners of a row's column, with the sign that they have there.

        Where the source words the question the other way round, so that its sign in the battery is the opposite, the
        concept's partners have the opposite sign, too.
        """
        if source.polarity is not None:
            return source.polarity
        if not (self.battery and self.battery.sign and source.sign == -self.battery.sign):
            return self.polarity
        return tuple(Partner(concept=p.concept, sign=1 if p.sign == -1 else -1) for p in self.polarity)

    @model_validator(mode="after")
    def _is_whole(self) -> Concept:
        if self.polarity and self.no_partner:
            raise ValueError("a concept has polarity or no_partner, not both")
        named = [row.codebook for row in self.rows]
        if lacking := [d for d in CORE_CODEBOOKS if d not in named]:
            raise ValueError(f"no row for {', '.join(lacking)}: give one, or name it under absent with the reason")
        if twice := [d for d in self.absent if any(s.codebook == d for s in self.sources)]:
            raise ValueError(f"{twice[0]} stands under sources and under absent")
        seen: set[tuple[str, str]] = set()
        for row in self.rows:
            self._check_row(row)
            column = self.column(row)
            if column and (column, row.codebook) in seen:
                raise ValueError(f"codebook {row.codebook} fills column {column} twice; give one row another column")
            seen.add((column or row.codebook, row.codebook))
        return self

    def _check_row(self, row: Source) -> None:
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


class _Loader(yaml.CSafeLoader):
    """YAML without its surprises: `no`, `yes`, `on` and dates stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in found if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
    ]
    for first, found in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


def parse_concept(text: str, file: Path) -> Concept:
    """Read one concept file.

    Raises:
        CrosswalkError: The text is not YAML, or breaks the format; with file, key and value.
    """
    try:
        raw: Any = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as failure:
        raise CrosswalkError(
            f"A concept file is not YAML: {' '.join(str(failure).split())}", file=file, remedy="mend its syntax"
        ) from None
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
