"""From a raw wave to a harmonized one: every code by its label, every missing answer with its kind, nothing guessed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite

import polars as pl

from mpta_pipeline.errors import CrosswalkError
from mpta_pipeline.harmonize.crosswalk import Crosswalk, Rule
from mpta_pipeline.harmonize.labels import LabelPattern, normal_label, short, shown_label
from mpta_pipeline.harmonize.polarity import settle
from mpta_pipeline.harmonize.schema import Filter, Option
from mpta_pipeline.hashing import hash_rows
from mpta_pipeline.surveys import Coded, RawWave, cells, coded, respondents
from mpta_pipeline.tables import RESPONDENTS

MISSING_SUFFIX = "__missing"
CODE_SUFFIX = "__code"
COUNTRY = "country"
# A wave whose labels are strange in more than this share of its columns is another codebook, not a new wording.
MAX_SET_ASIDE = 0.25


@dataclass(frozen=True)
class Problem:
    """A code, label or title of the wave that the crosswalk does not understand.

    Attributes:
        column: The harmonized column that it keeps from being made.
        code: Native code; null: it is about the variable's title.
        label: What the file says of the code or variable.
        expected: What the crosswalk expects; null: it does not have the code at all.
        stops: It stops the wave. Else the column is set aside: its row of the crosswalk was never seen in a file, so
            that the file is as likely right.
        why: Why the column's codes cannot be believed, where it is not about a code or title.
    """

    column: str
    variable: str
    code: str | None
    label: str | None
    expected: str | None = None
    stops: bool = True
    why: str | None = None

    def __str__(self) -> str:
        if self.why:
            return f"{self.variable} {self.why}"
        said = short(self.label) if self.label else None
        if self.code is None:
            return f"{self.variable} is titled {said!r}, expected {self.expected}"
        shown = f"{self.variable} {short(self.code)} = {said!r}"
        return f"{shown}, expected {self.expected}" if self.expected else f"{shown} is not mapped"

    def row(self) -> dict[str, str | None]:
        """It as plain texts: column, variable, code, found, expected."""
        return {
            "column": self.column,
            "variable": self.variable,
            "code": None if self.code is None else short(self.code),
            "found": self.why or (short(self.label) if self.label else None),
            "expected": self.expected,
        }


@dataclass(frozen=True)
class Recode:
    """A rule bound to one wave: the variable that fills it, and what each code in its table becomes.

    Attributes:
        values: Code → canonical value; unused for numbers.
        missing: Code → kind, for codes that are missing by label only.
        cells: Name of its cells in the binding: the variable, but where a filter question had a say in them.
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
        """What each place of the variable's table becomes: the column, its missing kind, its code, and `content`."""
        rows = found.table.select("code", "missing").rows()
        kinds = [kind or self.missing.get(code) for code, kind in rows]
        if self.rule.source.numeric:
            numbers = pl.Series(
                [code if kind is None else None for (code, _), kind in zip(rows, kinds, strict=True)], dtype=pl.String
            )
            values = numbers.cast(pl.Float64, strict=False)
        else:
            mapped = [
                self.values.get(code) if kind is None else None for (code, _), kind in zip(rows, kinds, strict=True)
            ]
            values = pl.Series(mapped, dtype=pl.String)
        name, kind = self.column, pl.Series(kinds, dtype=pl.String)
        return pl.DataFrame(
            {name: values, name + MISSING_SUFFIX: kind, name + CODE_SUFFIX: found.table["code"]}
        ).with_columns(
            pl.coalesce(pl.col(name).cast(pl.String), pl.lit("?") + pl.col(name + MISSING_SUFFIX)).alias(_CONTENT)
        )


_CONTENT = " content"  # what a change of the column's cell changes the respondent's revision by


@dataclass(frozen=True)
class _Binding:
    """A crosswalk bound to a wave.

    Attributes:
        recodes: What fills the wave's columns.
        found: Name → cells.
        problems: All that was not understood.
    """

    recodes: tuple[Recode, ...]
    found: dict[str, Coded]
    problems: tuple[Problem, ...]


def harmonize(raw: RawWave, crosswalk: Crosswalk) -> pl.DataFrame:
    """Turn a raw wave into one row a respondent with one column a concept.

    A concept whose variable the wave's file does not have makes no column, nor does one that is set aside
    (`columns_set_aside`).

    Returns:
        A frame that conforms to RESPONDENTS, with `<column>` (String, or Float64 for numbers),
        `<column>__missing` (kind; null: answered) and `<column>__code` (native code) per concept.

    Raises:
        CrosswalkError: A code is not mapped, or its label says something else than the crosswalk expects, in a row that
            was verified in a file; or a label stands on another code than expected, in any row; or too many columns
            would have to be set aside; with variable, code, old and new label.
    """
    bound = _bind_all(raw, crosswalk)
    _check(bound, raw)
    tables = [(r, r.table(bound.found[r.cells])) for r in bound.recodes]
    # One select for all columns, which polars spreads over the cores.
    places = pl.DataFrame([pl.Series(v, c.places) for v, c in bound.found.items()])
    columns = places.select(
        pl.lit(table[name]).gather(pl.col(recode.cells)).alias(name if name != _CONTENT else recode.column + _CONTENT)
        for recode, table in tables
        for name in table.columns
    )
    contents = [recode.column + _CONTENT for recode, _ in tables]
    frame = pl.DataFrame([*_identity(raw), *columns]).with_columns(*_country_code(raw, crosswalk))
    frame = frame.with_columns(hash_rows(frame, ["weight", *contents], key="revision").alias("revision"))
    return RESPONDENTS.conform(frame.drop(contents))


def columns_set_aside(raw: RawWave, crosswalk: Crosswalk) -> list[Problem]:
    """Why columns of a wave are not made: what its file says in rows of the crosswalk never seen in a file."""
    return [p for p in _bind_all(raw, crosswalk).problems if not p.stops]


def column_sources(raw: RawWave, crosswalk: Crosswalk) -> pl.DataFrame:
    """Which native variable fills which column in this wave: column, dialect, variable, concept."""
    rows = [(r.column, r.rule.dialect, r.variable, r.rule.concept.concept) for r in _bind_all(raw, crosswalk).recodes]
    schema = {"column": pl.String, "dialect": pl.String, "variable": pl.String, "concept": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def label_drift(raw: RawWave, crosswalk: Crosswalk) -> list[Problem]:
    """Labels that say something else than expected on codes that nobody has: they stop nothing, but are told."""
    rules = crosswalk.rules.get(raw.release["dialect"], ())
    fitting = _fitting(rules, raw)
    labels = _value_labels(raw, {variable for _, variable in fitting})
    return [
        Problem(rule.column, variable, option.code, label, str(option.label), stops=False)
        for rule, variable in fitting
        if rule.source.decode == "code"
        if _applies(rule, labels.get(variable, {}))
        for option in rule.options
        if option.label
        and (label := labels.get(variable, {}).get(option.code)) is not None
        and not option.label.accepts(label)
    ]


def _bind_all(raw: RawWave, crosswalk: Crosswalk) -> _Binding:
    """Bind each rule of the wave's dialect to the variable that the file has."""
    rules = [r for r in crosswalk.rules.get(raw.release["dialect"], ()) if r.column != COUNTRY]
    fitting = _fitting(rules, raw)
    labels = _value_labels(raw, {variable for _, variable in fitting})
    used = list(dict.fromkeys(v for rule, v in fitting if _applies(rule, labels[v])))
    if not used:
        raise CrosswalkError(
            "The crosswalk has nothing for this wave",
            file=raw.release["file_name"],
            value=raw.release["dialect"],
            remedy="add rows of this dialect to the concept files",
        )
    found = coded(raw, used)
    recodes: list[Recode] = []
    problems: list[Problem] = []
    passed_over: dict[str, list[Rule]] = {}
    for rule, variable in fitting:
        if not _applies(rule, labels[variable]):
            passed_over.setdefault(variable, []).append(rule)
            continue
        recode = _bind(rule, variable, found[variable].table, labels[variable])
        title, expected = raw.label(variable), rule.source.title
        if expected and title and not expected.accepts(title):
            problems.append(Problem(rule.column, variable, None, title, str(expected), stops=rule.verified))
        if rule.source.filter is not None:
            recode, found[recode.cells] = _filtered(recode, rule.source.filter, found[variable], raw)
        problems += recode.problems
        recodes.append(recode)
    for variable, others in passed_over.items():
        # Without labels nobody can tell which meaning the codes have: the variable makes no column.
        if variable in found or not labels[variable]:
            continue
        code = next(iter(others[0].source.where))
        expected_labels = " or ".join(str(r.source.where[code]) for r in others if code in r.source.where)
        problems.append(
            Problem(
                others[0].column,
                variable,
                code,
                labels[variable].get(code),
                expected_labels,
                stops=any(r.verified for r in others),
            )
        )
    bare = {recode.variable for recode in recodes if not labels[recode.variable]}
    recodes, doubts = settle(recodes, found, bare, respondents(raw).get_column("country")) if bare else (recodes, {})
    problems += [
        Problem(r.column, r.variable, None, None, stops=False, why=why) for r in recodes if (why := doubts.get(r.column))
    ]
    aside = {p.column for p in problems}
    return _Binding(tuple(r for r in recodes if r.column not in aside), found, tuple(problems))


def _check(bound: _Binding, raw: RawWave) -> None:
    """Stop the wave where something is certainly wrong, or too much is strange."""
    if any(p.stops for p in bound.problems):
        raise _stopped([*(p for p in bound.problems if p.stops), *(p for p in bound.problems if not p.stops)], raw)
    aside = {p.column: p for p in reversed(bound.problems)}
    columns = len(aside) + len(bound.recodes)
    if len(aside) > MAX_SET_ASIDE * columns:
        first = list(reversed(aside.values()))
        raise _stopped(first, raw, f"{len(aside)} of {columns} columns are not understood. ", most=len(first))


def _present(rule: Rule, raw: RawWave) -> list[str]:
    """The rule's variables that the file has, as the file writes them."""
    return [name for v in rule.variables if (name := raw.resolve(v)) is not None]


def _fitting(rules: Iterable[Rule], raw: RawWave) -> list[tuple[Rule, str]]:
    """Each rule that the file has a variable for, with that variable.

    Of several variables it is the first with answers in this wave: a pooled file has the variables of all its waves.
    """
    present = [(rule, names) for rule in rules if (names := _present(rule, raw))]
    several = dict.fromkeys(v for _, names in present if len(names) > 1 for v in names)
    choice = coded(raw, list(several)) if several else {}
    return [
        (rule, names[0] if len(names) == 1 else next((v for v in names if choice[v].answered), names[0]))
        for rule, names in present
    ]


def _filtered(recode: Recode, asked: Filter, found: Coded, raw: RawWave) -> tuple[Recode, Coded]:
    """The recode with what the question put before says of those who were not put this one, and its cells."""
    name = raw.resolve(asked.variable)
    places = [place for place, kind in enumerate(found.table["missing"]) if kind == "not_applicable"]
    label = None if name is None else _value_labels(raw, [name])[name].get(asked.code)
    recode = replace(recode, cells=f"{recode.variable} for {recode.column}")
    if name is None or not places:
        return recode, found
    if not _fits(asked.label, label):
        problem = Problem(recode.column, name, asked.code, label, str(asked.label), stops=recode.rule.verified)
        return replace(recode, problems=(*recode.problems, problem)), found
    # The codes stand twice in the table from here on: missing, and as that answer.
    values = recode.values | {found.table["code"][place]: asked.value for place in places}
    gave_it = cells(raw, name)["code"] == asked.code
    return replace(recode, values=values), found.moved(dict.fromkeys(places), gave_it)


def _applies(rule: Rule, labels: dict[str, str]) -> bool:
    return all(pattern.accepts(labels.get(code, "")) for code, pattern in rule.source.where.items())


def _bind(rule: Rule, variable: str, table: pl.DataFrame, labels: dict[str, str]) -> Recode:
    """Decide what each code that stands in the wave becomes."""
    values: dict[str, str] = {}
    missing: dict[str, str] = {}
    problems: list[Problem] = []
    absent = {m.code: m for m in rule.source.missing}
    by_label = rule.source.decode == "label" and bool(labels)
    options = {o.code: o for o in rule.options}

    def problem(code: str, expected: str | None, *, stops: bool = False) -> None:
        found = Problem(rule.column, variable, code, labels.get(code), expected, stops=stops or rule.verified)
        problems.append(found)

    for code in table.filter(pl.col("missing").is_null()).get_column("code").sort().to_list():
        label = labels.get(code)
        if code in absent and _fits(absent[code].label, label):
            missing[code] = absent[code].kind
        elif by_label:
            fitting = [o for o in rule.options if label is not None and o.label and o.label.accepts(label)]
            if len({o.value for o in fitting}) == 1:
                values[code] = fitting[0].value
            else:
                problem(code, " or ".join(str(o.label) for o in rule.options if o.label))
        elif code in options:
            if not _fits(options[code].label, label):
                problem(code, str(options[code].label), stops=_moved(rule, options[code], label))
            values[code] = options[code].value
        elif rule.source.from_labels:
            values[code] = shown_label(label) if label else code
        elif not (rule.source.numeric and _in_range(rule, code)):
            # A word or a date among numbers is no code that a row might have forgotten; nor is a number that neither
            # the codebook nor the file's own labels know.
            problem(code, None, stops=not _is_number(code) or (label is None and rule.documented))
    return Recode(rule, variable, variable, values, missing, tuple(problems))


def _moved(rule: Rule, expected: Option, label: str | None) -> bool:
    """Whether a label stands on a code where another answer is expected: then the scale is another one."""
    return label is not None and any(
        o.label is not None and o.value != expected.value and o.label.accepts(label) for o in rule.options
    )


def _fits(pattern: LabelPattern | None, label: str | None) -> bool:
    """A code without a label in the file cannot contradict; files of the same dialect in CSV have none at all."""
    return pattern is None or label is None or pattern.accepts(label)


def _in_range(rule: Rule, code: str) -> bool:
    numeric = rule.source.numeric
    return numeric is not None and _is_number(code) and numeric.min <= float(code) <= numeric.max


def _is_number(code: str) -> bool:
    try:
        return isfinite(float(code))
    except ValueError:
        return False


def _value_labels(raw: RawWave, variables: Iterable[str]) -> dict[str, dict[str, str]]:
    """Value labels of the variables. A label that only repeats its code, as on the points of a scale, says nothing."""
    return {
        variable: {code: label for code, label in raw.labels(variable).items() if normal_label(label) != code}
        for variable in variables
    }


def _stopped(problems: Sequence[Problem], raw: RawWave, why: str = "", *, most: int = 6) -> CrosswalkError:
    first = problems[0]
    more = f"; {len(problems) - 1} more: " + "; ".join(map(str, problems[1:most])) if len(problems) > 1 else ""
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
        f"Wave {raw.release['wave']} is stopped: {why}{what}{more}",
        file=raw.release["file_name"],
        variable=first.variable,
        value=first.code,
        remedy="look at the codebook of this release, then map the code or the new label in the concept's file",
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
