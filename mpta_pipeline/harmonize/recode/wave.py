"""Turn a raw wave into a harmonized one: decode each code by its label, give each missing answer its kind.

What the crosswalk does not understand is set aside in the smallest unit that cannot be trusted: a cell, the column in a
country, or the column. If too many columns are set aside, the wave is rejected: it follows another codebook.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import polars as pl

from mpta_pipeline.core.errors import CrosswalkError
from mpta_pipeline.core.hashing import hash_rows
from mpta_pipeline.core.tables import RESPONDENTS
from mpta_pipeline.harmonize.concept_schema import Filter
from mpta_pipeline.harmonize.crosswalk import Crosswalk, Rule
from mpta_pipeline.harmonize.recode.codes import CODE_SUFFIX, CONTENT, MISSING_SUFFIX, Recode, bind, fits, means
from mpta_pipeline.harmonize.recode.direction import settle
from mpta_pipeline.harmonize.recode.problems import Problem, stopped
from mpta_pipeline.harmonize.recode.set_aside import set_aside
from mpta_pipeline.harmonize.value_labels import normal_label
from mpta_pipeline.surveys import Coded, RawWave, cells, coded, respondents

COUNTRY = "country"
# A wave of which more than this share of columns (and at least three) is set aside follows another codebook.
MAX_SET_ASIDE = 0.25
MIN_SET_ASIDE = 3
_BOUND = "_bound"  # of a raw wave: the crosswalk that it was bound to last, and the binding


@dataclass(frozen=True)
class _Binding:
    """A crosswalk bound to a wave.

    Attributes:
        recodes: The recodes that fill the wave's columns.
        found: Name → cells.
        problems: What was not understood.
    """

    recodes: tuple[Recode, ...]
    found: dict[str, Coded]
    problems: tuple[Problem, ...]


def harmonize(raw: RawWave, crosswalk: Crosswalk) -> pl.DataFrame:
    """Turn a raw wave into one row per respondent with one column per concept.

    A concept has no column if the file does not have its variable, or if the column is set aside. Cells that are set
    aside, singly or with the column in their country, have the missing kind SET_ASIDE (`columns_set_aside`).

    Returns:
        A frame that conforms to RESPONDENTS, with `<column>` (String, or Float64 for numbers),
        `<column>__missing` (kind; null if answered) and `<column>__code` (native code) per concept.

    Raises:
        CrosswalkError: More than MAX_SET_ASIDE of the columns would be set aside; with variables, codes, labels and
            what the crosswalk expects.
    """
    bound = _bind_all(raw, crosswalk)
    _check(bound, raw)
    tables = [(r, r.table(bound.found[r.cells])) for r in bound.recodes]
    identity = pl.DataFrame(_identity(raw)).with_columns(*_country_code(raw, crosswalk))
    # RESPONDENTS' order, while the cells are still numbers.
    order = identity.select(pl.arg_sort_by("respondent_id", maintain_order=True)).to_series()
    identity = identity[order].with_columns(pl.col("respondent_id").set_sorted())
    # One select for all columns, so that polars uses all cores.
    places = pl.DataFrame([pl.Series(v, c.places) for v, c in bound.found.items()])[order]
    columns = places.select(
        pl.lit(table[name]).gather(pl.col(recode.cells)).alias(name if name != CONTENT else recode.column + CONTENT)
        for recode, table in tables
        for name in table.columns
    )
    contents = [recode.column + CONTENT for recode, _ in tables]
    own = [c for c in identity.columns if c.startswith(COUNTRY + "__")]
    frame = pl.DataFrame([*identity.drop(own), *columns, *identity.select(own)])
    revision = hash_rows(frame, ["weight", *contents], key="revision", long=True)
    frame = frame.with_columns(revision.alias("revision"))
    return RESPONDENTS.conform(frame.drop(contents))


def columns_set_aside(raw: RawWave, crosswalk: Crosswalk) -> list[Problem]:
    """What the crosswalk does not understand in the wave's file, and what is set aside because of it."""
    return list(_bind_all(raw, crosswalk).problems)


def column_sources(raw: RawWave, crosswalk: Crosswalk) -> pl.DataFrame:
    """The native variable of each column in this wave: column, codebook, variable, concept."""
    rows = [(r.column, r.rule.codebook, r.variable, r.rule.concept.concept) for r in _bind_all(raw, crosswalk).recodes]
    schema = {"column": pl.String, "codebook": pl.String, "variable": pl.String, "concept": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def label_drift(raw: RawWave, crosswalk: Crosswalk) -> list[Problem]:
    """Unexpected labels on codes without respondents: nothing is set aside for them, but they are reported."""
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
        and not means(label, option, rule)
    ]


def _bind_all(raw: RawWave, crosswalk: Crosswalk) -> _Binding:
    """Bind each rule of the wave's codebook to a variable of the file.

    The binding stays with the raw wave, which does not change: its columns, checks and sources are asked for in turn.
    """
    last: tuple[Crosswalk, _Binding] | None = vars(raw).get(_BOUND)
    if last is None or last[0] is not crosswalk:
        last = vars(raw)[_BOUND] = crosswalk, _bound(raw, crosswalk)
    return last[1]


def _bound(raw: RawWave, crosswalk: Crosswalk) -> _Binding:
    rules = [r for r in crosswalk.rules.get(raw.release["codebook"], ()) if r.column != COUNTRY]
    present = _fitting(rules, raw)
    labels = _value_labels(raw, {variable for _, variable in present})
    used = list(dict.fromkeys(v for rule, v in present if _applies(rule, labels[v])))
    if not used:
        raise CrosswalkError(
            "The crosswalk has no rows for this wave",
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
        recode = bind(rule, variable, found[variable].table, labels[variable])
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
            recode, own = set_aside(recode, own, countries)
        if own is not found[variable]:
            recode = replace(recode, cells=f"{variable} for {rule.column}")
            found[recode.cells] = own
        problems += recode.problems
        recodes.append(recode)
    for variable, others in passed_over.items():
        # Without labels the meaning of the codes is unknown: the variable is not used.
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
    """Settle the direction of columns without labels, and report those without a clear direction."""
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
            told += [problem] if answered else []  # a pooled file has variables that were not asked in this wave
    return recodes, told


def _check(bound: _Binding, raw: RawWave) -> None:
    """Reject the wave if too many columns are not understood."""
    aside = {p.column: p for p in reversed(bound.problems) if p.whole and p.strange}
    columns = len(aside) + len(bound.recodes)
    if len(aside) > MAX_SET_ASIDE * columns and (len(aside) >= MIN_SET_ASIDE or not bound.recodes):
        raise stopped(list(reversed(aside.values())), raw, f"{len(aside)} of {columns} columns are not understood. ")


def _present(rule: Rule, raw: RawWave) -> list[str]:
    """The rule's variables that the file has, with their names in the file."""
    return [name for v in rule.variables if (name := raw.resolve(v)) is not None]


def _fitting(rules: Iterable[Rule], raw: RawWave) -> list[tuple[Rule, str]]:
    """Each rule for which the file has a variable, with that variable.

    Of several variables, the first with answers in this wave is used: a pooled file has the variables of all its waves.
    """
    present = [(rule, names) for rule in rules if (names := _present(rule, raw))]
    several = dict.fromkeys(v for _, names in present if len(names) > 1 for v in names)
    choice = coded(raw, list(several)) if several else {}
    return [
        (rule, names[0] if len(names) == 1 else next((v for v in names if choice[v].answered), names[0]))
        for rule, names in present
    ]


def _filtered(recode: Recode, asked: Filter, found: Coded, raw: RawWave) -> tuple[Recode, Coded]:
    """The recode and its cells, with the answer for respondents whom a filter question exempted from this one."""
    name = raw.resolve(asked.variable)
    places = [place for place, kind in enumerate(found.table["missing"]) if kind == "not_applicable"]
    label = None if name is None else _value_labels(raw, [name])[name].get(asked.code)
    if name is None or not places:
        return recode, found
    if not fits(asked.label, label):
        problem = Problem(recode.column, name, asked.code, label, str(asked.label))
        return replace(recode, problems=(*recode.problems, problem)), found
    # From here on, the table contains these codes twice: as missing and as that answer.
    values = recode.values | {found.table["code"][place]: asked.value for place in places}
    gave_it = cells(raw, name)["code"] == asked.code
    return replace(recode, values=values), found.moved(dict.fromkeys(places), gave_it)


def _answering(recode: Recode, found: Coded, labels: dict[str, str]) -> tuple[Recode, Coded]:
    """The recode with codes that answer this question although the convention treats them as missing."""
    meant = {o.code: o.value for o in recode.rule.row.answers if fits(o.label, labels.get(o.code))}
    rows = enumerate(found.table.select("code", "missing").iter_rows())
    places = [place for place, (code, kind) in rows if kind is not None and code in meant]
    if not places:
        return recode, found
    everybody = pl.Series([True]).new_from_index(0, len(found.places))
    return replace(recode, values=recode.values | meant), found.moved(dict.fromkeys(places), everybody)


def _applies(rule: Rule, labels: dict[str, str]) -> bool:
    return all(pattern.accepts(labels.get(code, "")) for code, pattern in rule.row.where.items())


def _value_labels(raw: RawWave, variables: Iterable[str]) -> dict[str, dict[str, str]]:
    """Value labels of the variables, without those that only repeat their code, as on the points of a scale."""
    return {
        variable: {code: label for code, label in raw.labels(variable).items() if normal_label(label) != code}
        for variable in variables
    }


def _country_code(raw: RawWave, crosswalk: Crosswalk) -> list[pl.Expr | pl.Series]:
    """The country's native code beside RESPONDENTS' country, so that it can be shown and traced like any concept."""
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
