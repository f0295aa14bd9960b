"""From a raw wave to a harmonized one: every code by its label, every missing answer with its kind, nothing guessed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import polars as pl

from mpta_pipeline.errors import CrosswalkError
from mpta_pipeline.harmonize.crosswalk import Crosswalk, Rule
from mpta_pipeline.harmonize.labels import LabelPattern, normal_label, short, shown_label
from mpta_pipeline.hashing import hash_rows
from mpta_pipeline.surveys import RawWave, cells, respondents
from mpta_pipeline.tables import RESPONDENTS

MISSING_SUFFIX = "__missing"
CODE_SUFFIX = "__code"
COUNTRY = "country"


@dataclass(frozen=True)
class Problem:
    """A code of the wave that the crosswalk does not understand."""

    variable: str
    code: str
    label: str | None
    expected: str | None = None

    def __str__(self) -> str:
        shown = f"{self.variable} {short(self.code)} = {self.label and short(self.label)!r}"
        return f"{shown}, expected {self.expected}" if self.expected else f"{shown} is not mapped"


@dataclass(frozen=True)
class Recode:
    """A rule bound to one wave: the variable that fills it, and what each of its codes becomes.

    Attributes:
        values: Code → canonical value; unused for numbers.
        missing: Code → kind, for codes that are missing by label only.
    """

    rule: Rule
    variable: str
    values: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @property
    def column(self) -> str:
        """The harmonized column that it fills."""
        return self.rule.column

    def columns(self, found: pl.DataFrame) -> list[pl.Series]:
        """The column, its missing kind and its code, from the cells of the variable."""
        code = pl.col("code")
        kind = pl.col("missing")
        if self.missing:
            kind = pl.coalesce(kind, code.replace_strict(self.missing, default=None, return_dtype=pl.String))
        if self.rule.source.numeric:
            value = pl.when(kind.is_null()).then(code.cast(pl.Float64, strict=False))
        else:
            mapped = code.replace_strict(self.values, default=None, return_dtype=pl.String)
            value = pl.when(kind.is_null()).then(mapped)
        return found.select(
            value.alias(self.column),
            kind.alias(self.column + MISSING_SUFFIX),
            code.alias(self.column + CODE_SUFFIX),
        ).get_columns()


def harmonize(raw: RawWave, crosswalk: Crosswalk) -> pl.DataFrame:
    """Turn a raw wave into one row a respondent with one column a concept.

    A concept whose variable the wave's file does not have makes no column.

    Returns:
        A frame that conforms to RESPONDENTS, with `<column>` (String, or Float64 for numbers),
        `<column>__missing` (kind; null: answered) and `<column>__code` (native code) per concept.

    Raises:
        CrosswalkError: A code is not mapped, or its label says something else than the crosswalk expects; with
            variable, code, old and new label.
    """
    recodes, found = _bind_all(raw, crosswalk)
    if problems := [p for r in recodes for p in r.problems]:
        raise _stopped(problems, raw)
    columns = [series for recode in recodes for series in recode.columns(found[recode.variable])]
    frame = pl.DataFrame([*_identity(raw), *columns]).with_columns(*_country_code(raw, crosswalk))
    content = [
        pl.coalesce(pl.col(r.column).cast(pl.String), pl.lit("?") + pl.col(r.column + MISSING_SUFFIX)) for r in recodes
    ]
    frame = frame.with_columns(hash_rows(frame, ["weight", *content], key="revision").alias("revision"))
    return RESPONDENTS.conform(frame)


def column_sources(raw: RawWave, crosswalk: Crosswalk) -> pl.DataFrame:
    """Which native variable fills which column in this wave: column, dialect, variable, concept."""
    recodes, _ = _bind_all(raw, crosswalk)
    rows = [(r.column, r.rule.dialect, r.variable, r.rule.concept.concept) for r in recodes]
    schema = {"column": pl.String, "dialect": pl.String, "variable": pl.String, "concept": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def label_drift(raw: RawWave, crosswalk: Crosswalk) -> list[Problem]:
    """Labels that say something else than expected on codes that nobody has: they stop nothing, but are told."""
    rules = crosswalk.rules.get(raw.release["dialect"], ())
    labels = _value_labels(raw, {v for rule in rules for v in _present(rule, raw)})
    return [
        Problem(variable, option.code, label, str(option.label))
        for rule in rules
        if rule.source.decode == "code"
        for variable in _present(rule, raw)
        if _applies(rule, labels.get(variable, {}))
        for option in rule.options
        if option.label
        and (label := labels.get(variable, {}).get(option.code)) is not None
        and not option.label.accepts(label)
    ]


def _bind_all(raw: RawWave, crosswalk: Crosswalk) -> tuple[list[Recode], dict[str, pl.DataFrame]]:
    """Bind each rule of the wave's dialect to the variable that the file has; cells are made once a variable."""
    rules = crosswalk.rules.get(raw.release["dialect"], ())
    labels = _value_labels(raw, {v for rule in rules for v in _present(rule, raw)})
    used = {v for rule in rules if rule.column != COUNTRY for v in _present(rule, raw) if _applies(rule, labels[v])}
    with ThreadPoolExecutor() as pool:  # many small steps, which polars does not spread over the cores by itself
        found = dict(zip(used, pool.map(lambda variable: cells(raw, variable), used), strict=True))
    recodes = []
    passed_over: dict[str, list[Rule]] = {}
    for rule in rules:
        for variable in () if rule.column == COUNTRY else _present(rule, raw):
            if not _applies(rule, labels.get(variable, {})):
                passed_over.setdefault(variable, []).append(rule)
                continue
            title = raw.label(variable)
            if rule.source.title and title and not rule.source.title.accepts(title):
                raise _retitled(rule, variable, title, raw)
            recodes.append(_bind(rule, variable, found[variable], labels.get(variable, {})))
    if not recodes:
        raise CrosswalkError(
            "The crosswalk has nothing for this wave",
            file=raw.release["file_name"],
            value=raw.release["dialect"],
            remedy="add rows of this dialect to the concept files",
        )
    if unfit := [
        Problem(variable, code, labels[variable].get(code), " or ".join(str(r.source.where[code]) for r in rules))
        for variable, rules in passed_over.items()
        # Without labels nobody can tell which meaning the codes have: the variable makes no column.
        if variable not in used and labels[variable]
        for code in list(rules[0].source.where)[:1]
    ]:
        raise _stopped(unfit, raw)
    return recodes, found


def _present(rule: Rule, raw: RawWave) -> Sequence[str]:
    """The first of the rule's variables that the file has, as the file writes it, if any."""
    return [name for v in rule.variables if (name := raw.resolve(v)) is not None][:1]


def _applies(rule: Rule, labels: dict[str, str]) -> bool:
    return all(pattern.accepts(labels.get(code, "")) for code, pattern in rule.source.where.items())


def _bind(rule: Rule, variable: str, found: pl.DataFrame, labels: dict[str, str]) -> Recode:
    """Decide what each code that stands in the wave becomes."""
    observed = found.filter(pl.col("missing").is_null()).get_column("code").unique().sort().to_list()
    values: dict[str, str] = {}
    missing: dict[str, str] = {}
    problems: list[Problem] = []
    absent = {m.code: m for m in rule.source.missing}
    by_label = rule.source.decode == "label" and bool(labels)
    options = {o.code: o for o in rule.options}
    for code in observed:
        label = labels.get(code)
        if code in absent and _fits(absent[code].label, label):
            missing[code] = absent[code].kind
        elif by_label:
            fitting = [o for o in rule.options if label is not None and o.label and o.label.accepts(label)]
            if len({o.value for o in fitting}) == 1:
                values[code] = fitting[0].value
            else:
                problems.append(Problem(variable, code, label, " or ".join(str(o.label) for o in rule.options)))
        elif code in options:
            if not _fits(options[code].label, label):
                problems.append(Problem(variable, code, label, str(options[code].label)))
            values[code] = options[code].value
        elif rule.source.from_labels:
            values[code] = shown_label(label) if label else code
        elif not (rule.source.numeric and _in_range(rule, code)):
            problems.append(Problem(variable, code, label))
    return Recode(rule, variable, values, missing, tuple(problems))


def _fits(pattern: LabelPattern | None, label: str | None) -> bool:
    """A code without a label in the file cannot contradict; files of the same dialect in CSV have none at all."""
    return pattern is None or label is None or pattern.accepts(label)


def _in_range(rule: Rule, code: str) -> bool:
    numeric = rule.source.numeric
    try:
        return numeric is not None and numeric.min <= float(code) <= numeric.max
    except ValueError:
        return False


def _value_labels(raw: RawWave, variables: Iterable[str]) -> dict[str, dict[str, str]]:
    """Value labels of the variables. A label that only repeats its code, as on the points of a scale, says nothing."""
    return {
        variable: {code: label for code, label in raw.labels(variable).items() if normal_label(label) != code}
        for variable in variables
    }


def _stopped(problems: Iterable[Problem], raw: RawWave) -> CrosswalkError:
    problems = list(problems)
    first = problems[0]
    more = f"; {len(problems) - 1} more: " + "; ".join(map(str, problems[1:6])) if len(problems) > 1 else ""
    what = (
        f"The label of code {short(first.code)} is {first.label and short(first.label)!r} where the crosswalk expects "
        f"{first.expected}"
        if first.expected
        else f"Code {short(first.code)} ({short(first.label or 'no label')}) is not in the crosswalk"
    )
    return CrosswalkError(
        f"Wave {raw.release['wave']} is stopped: {what}{more}",
        file=raw.release["file_name"],
        variable=first.variable,
        value=first.code,
        remedy="look at the codebook of this release, then map the code or the new label in the concept's file",
    )


def _retitled(rule: Rule, variable: str, title: str, raw: RawWave) -> CrosswalkError:
    return CrosswalkError(
        f"Wave {raw.release['wave']} is stopped: the variable is titled {short(title)!r} where the crosswalk expects "
        f"{rule.source.title}",
        file=raw.release["file_name"],
        variable=variable,
        remedy=f"look at the codebook of this release, then mend the concept {rule.concept.concept}",
    )


def _country_code(raw: RawWave, crosswalk: Crosswalk) -> list[pl.Expr | pl.Series]:
    """The country's native code beside RESPONDENTS' country, so that it can be said and traced like any concept."""
    rule = next((r for r in crosswalk.rules[raw.release["dialect"]] if r.column == COUNTRY), None)
    if rule is None:
        return []
    variable = next(iter(_present(rule, raw)), None)
    code = pl.col("country") if variable is None else cells(raw, variable).get_column("code")
    return [pl.lit(None, pl.String).alias(COUNTRY + MISSING_SUFFIX), code.alias(COUNTRY + CODE_SUFFIX)]


def _identity(raw: RawWave) -> list[pl.Series]:
    """Ids, country, year, weight and design of each row, as the raw wave gives them, with its release."""
    frame = respondents(raw)
    return frame.select(
        "respondent_id",
        *(pl.lit(raw.release[name]).alias(name) for name in ("survey", "dialect", "wave", "release_id")),
        *("native_key", "row_index", "country", "year", "weight", "stratum", "psu"),
    ).get_columns()
