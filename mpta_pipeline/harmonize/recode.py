"""From a raw wave to a harmonized one: every code by its label, every missing answer with its kind, nothing guessed.

What the crosswalk does not understand is set aside in the smallest unit that cannot be trusted: a cell, else the column
in a country, else the column. Only where too many columns are, the wave is stopped: it follows another codebook.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite

import polars as pl

from mpta_pipeline.core.errors import CrosswalkError
from mpta_pipeline.core.hashing import hash_rows
from mpta_pipeline.core.tables import RESPONDENTS
from mpta_pipeline.harmonize.concept_schema import Filter, Option
from mpta_pipeline.harmonize.crosswalk import Crosswalk, Rule
from mpta_pipeline.harmonize.labels import LabelPattern, fitting, language, normal_label, short, shown_label
from mpta_pipeline.harmonize.polarity import settle
from mpta_pipeline.surveys import Coded, RawWave, cells, coded, respondents

MISSING_SUFFIX = "__missing"
CODE_SUFFIX = "__code"
COUNTRY = "country"
# A wave of which more than this share of columns (and more than two) is set aside follows another codebook.
MAX_SET_ASIDE = 0.25
MIN_SET_ASIDE = 3
# Of a country's answers in a column: where more have a code that is not understood, the others mean something else, too
# (New Zealand's education in four groups, whose first three are not those of the others). A number out of its bounds
# says less about its neighbours.
MAX_CELLS = 0.01
MAX_NUMBERS = 0.05
# A column is set aside as a whole where it would be for the countries with more than this share of its answers.
MAX_COUNTRIES = 0.5
SET_ASIDE = "invalid"
"""The kind of missing answer of a cell that is set aside; its native code stays beside it."""
# A computed index may leave its bounds by this share of its range: the producer's own DISBELIEF reaches 1.014.
TOLERANCE = 0.05
# From here on a number's label that holds no number says that it is none: 97 "lives in an institution".
_NO_COUNT = 20


@dataclass(frozen=True)
class Problem:
    """A code, label or title of the wave that the crosswalk does not understand, and what is set aside for it.

    Attributes:
        column: The harmonized column that it is about.
        code: Native code; null: it is about the variable's title.
        label: What the file says of the code or variable.
        expected: What the crosswalk expects; null: it does not have the code at all.
        whole: The column is set aside.
        countries: Where the column is set aside, if only there.
        answers: Answers set aside for it; null: nobody has the code.
        strange: It says something against the wave's codebook. A code that no label explains, in a list that has only
            labels, does not.
        why: Why the column's codes cannot be believed, where it is not about a code or title.
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
        """What is set aside: `column`, `country` (the column there) or `cells`."""
        return "column" if self.whole else "country" if self.countries else "cells"

    def row(self) -> dict[str, str | int | None]:
        """It as plain texts: column, variable, code, found, expected; unit, countries and answers set aside."""
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
    """One line a column: what of it is set aside, how many answers, and what the file says."""
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
        said.append(f"{bare[0].variable} has {len(bare)} codes that no label explains ({codes}, …)")
    else:
        said += [str(p) for p in bare]
    more = f" and {len(said) - 3} more" if len(said) > 3 else ""
    return f"{column}{place}{count}: {', '.join(said[:3])}{more}"


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
        if self.rule.row.numeric:
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

    A concept whose variable the wave's file does not have makes no column, nor does one that is set aside. A cell that
    is set aside, by itself or with its country's column, is missing of kind SET_ASIDE (`columns_set_aside`).

    Returns:
        A frame that conforms to RESPONDENTS, with `<column>` (String, or Float64 for numbers),
        `<column>__missing` (kind; null: answered) and `<column>__code` (native code) per concept.

    Raises:
        CrosswalkError: More than MAX_SET_ASIDE of the columns would be set aside; with variables, codes, labels and
            what the crosswalk expects.
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
    """What the wave's file says that the crosswalk does not understand, and what is set aside for it."""
    return list(_bind_all(raw, crosswalk).problems)


def column_sources(raw: RawWave, crosswalk: Crosswalk) -> pl.DataFrame:
    """Which native variable fills which column in this wave: column, codebook, variable, concept."""
    rows = [(r.column, r.rule.codebook, r.variable, r.rule.concept.concept) for r in _bind_all(raw, crosswalk).recodes]
    schema = {"column": pl.String, "codebook": pl.String, "variable": pl.String, "concept": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def label_drift(raw: RawWave, crosswalk: Crosswalk) -> list[Problem]:
    """Labels that say something else than expected on codes that nobody has: they set nothing aside, but are told."""
    rules = crosswalk.rules.get(raw.release["codebook"], ())
    present = _fitting(rules, raw)
    labels = _value_labels(raw, {variable for _, variable in present})
    return [
        Problem(rule.column, variable, option.code, label, str(option.label), whole=False)
        for rule, variable in present
        if rule.row.decode == "code"
        if _applies(rule, labels.get(variable, {}))
        for option in rule.options
        if option.label
        and (label := labels.get(variable, {}).get(option.code)) is not None
        and not _means(label, option, rule)
    ]


def _bind_all(raw: RawWave, crosswalk: Crosswalk) -> _Binding:
    """Bind each rule of the wave's codebook to the variable that the file has."""
    rules = [r for r in crosswalk.rules.get(raw.release["codebook"], ()) if r.column != COUNTRY]
    present = _fitting(rules, raw)
    labels = _value_labels(raw, {variable for _, variable in present})
    used = list(dict.fromkeys(v for rule, v in present if _applies(rule, labels[v])))
    if not used:
        raise CrosswalkError(
            "The crosswalk has nothing for this wave",
            file=raw.release["file_name"],
            value=raw.release["codebook"],
            remedy="add rows of this codebook to the concept files",
        )
    found = coded(raw, used)
    countries: pl.Series | None = None
    recodes: list[Recode] = []
    problems: list[Problem] = []
    passed_over: dict[str, list[Rule]] = {}
    for rule, variable in present:
        if not _applies(rule, labels[variable]):
            passed_over.setdefault(variable, []).append(rule)
            continue
        recode = _bind(rule, variable, found[variable].table, labels[variable])
        title, expected = raw.label(variable), rule.row.title
        if expected and title and not expected.accepts(title):
            problem = Problem(rule.column, variable, None, title, str(expected))
            recode = replace(recode, problems=(*recode.problems, problem))
        own = found[variable]
        if rule.row.filter is not None:
            recode, own = _filtered(recode, rule.row.filter, own, raw)
        if rule.row.answers:
            recode, own = _answering(recode, own, labels[variable])
        if recode.problems:
            countries = respondents(raw)["country"] if countries is None else countries
            recode, own = _set_aside(recode, own, countries)
        if own is not found[variable]:
            recode = replace(recode, cells=f"{variable} for {rule.column}")
            found[recode.cells] = own
        problems += recode.problems
        recodes.append(recode)
    for variable, others in passed_over.items():
        # Without labels nobody can tell which meaning the codes have: the variable makes no column.
        if variable in found or not labels[variable]:
            continue
        code = next(iter(others[0].row.where))
        expected_labels = " or ".join(str(r.row.where[code]) for r in others if code in r.row.where)
        problems.append(Problem(others[0].column, variable, code, labels[variable].get(code), expected_labels))
    recodes, doubts = _settled([r for r in recodes if not any(p.whole for p in r.problems)], found, labels, raw)
    problems += doubts
    whole = {p.column for p in problems if p.whole}
    return _Binding(tuple(r for r in recodes if r.column not in whole), found, tuple(problems))


def _settled(
    recodes: list[Recode], found: dict[str, Coded], labels: dict[str, dict[str, str]], raw: RawWave
) -> tuple[list[Recode], list[Problem]]:
    """The recodes with columns that have no labels turned the way their answers say, and those that nothing settles."""
    bare = {recode.variable for recode in recodes if not labels[recode.variable]}
    if not bare:
        return recodes, []
    recodes, doubts = settle(recodes, found, bare, respondents(raw)["country"])
    told = []
    for recode in recodes:
        if why := doubts.get(recode.column):
            own = found[recode.cells]
            answered = int(own.table["missing"].is_null().gather(own.places).sum())
            problem = Problem(recode.column, recode.variable, None, None, answers=answered, strange=False, why=why)
            told += [problem] if answered else []  # a pooled file has the variables of waves that were not asked
    return recodes, told


def _set_aside(recode: Recode, found: Coded, countries: pl.Series) -> tuple[Recode, Coded]:
    """What a recode's problems set aside: the cells with those codes, the column in some countries, or the column."""
    table = found.table
    doubted = {p.code: p for p in recode.problems if not p.whole}
    counts = (
        pl.DataFrame({"place": found.places, "country": countries})
        .group_by("place", "country")
        .len()
        .join(
            table.select(
                pl.int_range(pl.len(), dtype=pl.UInt32).alias("place"),
                "code",
                (pl.col("missing").is_null() & ~pl.col("code").is_in(list(recode.missing))).alias("answered"),
            ),
            on="place",
        )
        .filter("answered")
        .with_columns(
            pl.col("code").is_in(list(doubted)).alias("doubted"),
            pl.col("code").is_in([c for c, p in doubted.items() if p.expected is not None]).alias("relabelled"),
        )
    )
    by_code = dict(counts.group_by("code").agg(pl.col("len").sum()).iter_rows())
    whole = any(p.whole for p in recode.problems)
    n, bad, relabelled = pl.col("len"), pl.col("len").filter("doubted"), pl.col("len").filter("relabelled")
    by_country = counts.group_by("country").agg(
        n.sum().alias("n"), bad.sum().alias("bad"), relabelled.sum().alias("re")
    )
    # One strange cell of a country is a slip of one keyboard, unless it bears a label that says something else.
    spared = pl.when(pl.col("re") == 0).then(1).otherwise(0)
    lost = by_country.filter(
        (pl.col("bad") == pl.col("n"))
        | (pl.col("bad") > pl.max_horizontal(spared, _tolerated(recode.rule) * pl.col("n")))
    )
    whole |= int(lost["n"].sum()) > MAX_COUNTRIES * int(by_country["n"].sum())
    if whole:
        everything = int(by_country["n"].sum())
        answers = {c: by_code.get(c, 0) for c in doubted}
        told = [replace(p, whole=True, answers=answers.get(p.code, everything)) for p in recode.problems]
        return replace(recode, problems=tuple(told)), found
    names = sorted(lost["country"].to_list()) if not recode.rule.row.from_labels else []
    told = []
    for problem in recode.problems:
        mine = counts.filter(pl.col("code") == problem.code)
        there = sorted(set(names) & set(mine["country"].to_list()))
        cells_elsewhere = int(mine.filter(~pl.col("country").is_in(there))["len"].sum())
        with_country = int(counts.filter(pl.col("country").is_in(there))["len"].sum())
        told.append(replace(problem, countries=tuple(there), answers=cells_elsewhere + with_country))
    cells_of = enumerate(table.select("code", "missing").iter_rows())
    strange = {place: SET_ASIDE for place, (code, kind) in cells_of if kind is None and code in doubted}
    found = found.moved(strange, pl.Series([True]).new_from_index(0, len(countries)))
    if names:
        answered = {
            place: SET_ASIDE
            for place, (code, kind) in enumerate(found.table.select("code", "missing").iter_rows())
            if kind is None and code not in recode.missing
        }
        found = found.moved(answered, countries.is_in(names))
    return replace(recode, problems=tuple(told)), found


def _tolerated(rule: Rule) -> float:
    """The share of a country's answers that may have a code that is not understood."""
    if rule.row.from_labels:
        return MAX_COUNTRIES  # each label speaks for itself
    return MAX_NUMBERS if rule.row.numeric else MAX_CELLS


def _check(bound: _Binding, raw: RawWave) -> None:
    """Stop the wave where too much of it is strange."""
    aside = {p.column: p for p in reversed(bound.problems) if p.whole and p.strange}
    columns = len(aside) + len(bound.recodes)
    if len(aside) > MAX_SET_ASIDE * columns and (len(aside) >= MIN_SET_ASIDE or not bound.recodes):
        raise _stopped(list(reversed(aside.values())), raw, f"{len(aside)} of {columns} columns are not understood. ")


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
    if name is None or not places:
        return recode, found
    if not _fits(asked.label, label):
        problem = Problem(recode.column, name, asked.code, label, str(asked.label))
        return replace(recode, problems=(*recode.problems, problem)), found
    # The codes stand twice in the table from here on: missing, and as that answer.
    values = recode.values | {found.table["code"][place]: asked.value for place in places}
    gave_it = cells(raw, name)["code"] == asked.code
    return replace(recode, values=values), found.moved(dict.fromkeys(places), gave_it)


def _answering(recode: Recode, found: Coded, labels: dict[str, str]) -> tuple[Recode, Coded]:
    """The recode with the codes that are answers to this question though the convention calls them missing."""
    meant = {o.code: o.value for o in recode.rule.row.answers if _fits(o.label, labels.get(o.code))}
    rows = enumerate(found.table.select("code", "missing").iter_rows())
    places = [place for place, (code, kind) in rows if kind is not None and code in meant]
    if not places:
        return recode, found
    everybody = pl.Series([True]).new_from_index(0, len(found.places))
    return replace(recode, values=recode.values | meant), found.moved(dict.fromkeys(places), everybody)


def _applies(rule: Rule, labels: dict[str, str]) -> bool:
    return all(pattern.accepts(labels.get(code, "")) for code, pattern in rule.row.where.items())


def _bind(rule: Rule, variable: str, table: pl.DataFrame, labels: dict[str, str]) -> Recode:
    """Decide what each code that stands in the wave becomes."""
    values: dict[str, str] = {}
    missing: dict[str, str] = {}
    problems: list[Problem] = []
    absent = {m.code: m for m in rule.row.missing}
    by_label = rule.row.decode == "label" and bool(labels)
    options = {o.code: o for o in rule.options}

    def problem(code: str, expected: str | None, *, whole: bool = False, strange: bool = True) -> None:
        found = Problem(rule.column, variable, code, labels.get(code), expected, whole=whole, strange=strange)
        problems.append(found)

    for code in table.filter(pl.col("missing").is_null()).get_column("code").sort().to_list():
        label = labels.get(code)
        if code in absent and _fits(absent[code].label, label):
            missing[code] = absent[code].kind
        elif by_label:
            said, completed = ({}, False) if label is None else _read(label, rule)
            # A cut label may stand for an answer, never tell by itself which end of the scale is which.
            sure = not completed or _read_whole(labels.values(), rule)
            if len(said) == 1 and sure and not _begins(label or "", options.get(code), said):
                values[code] = next(iter(said))
            else:
                expected = " or ".join(str(o.label) for o in rule.options if o.label)
                problem(code, None if label is None else expected)
        elif code in options:
            if label is not None and not _means(label, options[code], rule):
                # A label of another answer turns the scale round: none of its codes is sure then.
                moved = set(_read(label, rule)[0]) - {options[code].value}
                problem(code, str(options[code].label), whole=bool(moved))
            values[code] = options[code].value
        elif rule.row.from_labels:
            name = shown_label(label) if label else code
            name = language(name) if label and rule.row.languages else name
            # A bare number is no answer in words; where nobody is told it (occupation codes), it tells groups apart.
            if _is_number(name) and (rule.row.domain or rule.concept.domain) != "design":
                problem(code, None, strange=False)
            else:
                values[code] = name
        elif not (rule.row.numeric and _in_range(rule, code)) or _no_count(code, label):
            problem(code, None)
    return Recode(rule, variable, variable, values, missing, tuple(problems))


def _read(label: str, rule: Rule) -> tuple[dict[str, None], bool]:
    """The values that a label may say, and whether it had to be completed for that."""
    places, completed = fitting(label, [o.label for o in rule.options])
    return dict.fromkeys(rule.options[place].value for place in places), completed


def _read_whole(labels: Iterable[str], rule: Rule) -> bool:
    """Whether one of the labels says an answer without being completed."""
    return any(o.label is not None and o.label.accepts(label) for label in labels for o in rule.options)


def _begins(label: str, usual: Option | None, said: dict[str, None]) -> bool:
    """Whether a label that says one answer may be the beginning of the one that its code usually stands for.

    'Other' is an answer to the question of religion, and the beginning of 'Other Christian'.
    """
    return usual is not None and usual.value not in said and usual.label is not None and usual.label.completes(label)


def _means(label: str, option: Option, rule: Rule) -> bool:
    """Whether a label on an option's code says that option, in full or as one that was cut or misspelt."""
    if option.label is None or option.label.accepts(label):
        return True
    said, completed = _read(label, rule)
    return completed and list(said) == [option.value]


def _fits(pattern: LabelPattern | None, label: str | None) -> bool:
    """A code without a label in the file cannot contradict; files of the same codebook in CSV have none at all."""
    return pattern is None or label is None or pattern.accepts(label)


def _in_range(rule: Rule, code: str) -> bool:
    numeric = rule.row.numeric
    if numeric is None or not _is_number(code):
        return False
    number = float(code)
    # Only a computed number strays; a count or an age beyond its bound is none.
    stray = 0.0 if number.is_integer() else TOLERANCE * (numeric.max - numeric.min)
    return numeric.min - stray <= number <= numeric.max + stray


def _no_count(code: str, label: str | None) -> bool:
    """Whether a number's label says that it is no number: 97 "in an institution"."""
    return label is not None and not any(c.isdigit() for c in label) and _is_number(code) and float(code) >= _NO_COUNT


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


def _stopped(problems: Sequence[Problem], raw: RawWave, why: str) -> CrosswalkError:
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
        f"Wave {raw.release['wave']} is stopped: {why}{what}{more}",
        file=raw.release["file_name"],
        variable=first.variable,
        value=first.code,
        remedy="look at the codebook of this release, then map the code or the new label in the concept's file",
    )


def _country_code(raw: RawWave, crosswalk: Crosswalk) -> list[pl.Expr | pl.Series]:
    """The country's native code beside RESPONDENTS' country, so that it can be said and traced like any concept."""
    rule = next((r for r in crosswalk.rules[raw.release["codebook"]] if r.column == COUNTRY), None)
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
        *(pl.lit(raw.release[name]).alias(name) for name in ("survey", "codebook", "wave", "release_id")),
        *("native_key", "row_index", "country", "year", "weight", "stratum", "psu"),
    ).get_columns()
