"""Quality checks of a harmonized wave, as a survey methodologist would make them before using it.

Each check is one function of the wave, and a test injects the defect that makes it fail. A recode that is wrong but
consistent is only found by label assertions (`recode/`) and published marginals (`marginals.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from mpta_pipeline.core.checks import CheckResult
from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.core.tables import RESPONDENTS
from mpta_pipeline.core.vocabulary import MISSING_KINDS
from mpta_pipeline.harmonize import polarity
from mpta_pipeline.harmonize.crosswalk import Crosswalk, Rule
from mpta_pipeline.harmonize.harmonized_columns import trait_columns
from mpta_pipeline.harmonize.marginals import about, compare_marginals, pools_studies, study_of
from mpta_pipeline.harmonize.recode import MISSING_SUFFIX, TOLERANCE, columns_set_aside, label_drift
from mpta_pipeline.surveys import RawWave

if TYPE_CHECKING:
    import pandera.polars as pa

# Sums of weights against respondents, per country: where they are exact, and the largest deviation elsewhere (EVS 2017:
# Ukraine 1,648 for 1,612, Albania 1,454 for 1,435).
STRICT_SUM = 0.005
LOOSE_SUM = 0.05
MAX_WEIGHT = 30.0  # times the mean; GSS 2018 reaches 5.2, the WVS-7 tables 15
COVERAGE_DROP = 0.01
# Shares against the release before. NORC's second release of 2010 removed nobody and changed no harmonized answer.
REMOVED_SHARE = 0.05
CHANGED_SHARE = 0.1
AGAINST_LAST = frozenset({"coverage", "release_changes"})
"""Checks against the release before. A release that they reject may be right, and a person can accept it."""
STRAIGHT_LINE_SHARE = 0.25
STRAIGHT_LINE_ITEMS = 5
BREAK_OFF = 0.5
MIN_CORRELATION_N = 100
# Share of a file's published figures: if more are off, the weight or the release is a different one, not a question.
MARGINALS_OFF = 0.25


@dataclass(frozen=True)
class _Wave:
    """The data that the checks use."""

    frame: pl.DataFrame
    raw: RawWave
    crosswalk: Crosswalk
    previous: pl.DataFrame | None

    @cached_property
    def rules(self) -> dict[str, Rule]:
        """Column → its rule in this codebook."""
        return {r.column: r for r in self.crosswalk.rules.get(str(self.raw.release["codebook"]), ())}

    @cached_property
    def traits(self) -> list[str]:
        """The wave's harmonized columns, except the country."""
        return [c for c in trait_columns(self.frame) if c != "country"]

    @cached_property
    def scores(self) -> pl.DataFrame:
        """Position of each answer of a battery, from 0 to 1; null if missing or off the scale."""
        return self.places.select(
            c
            for c in self.traits
            if (r := self.rules.get(c)) is not None and r.concept.battery is not None and r.scores
        )

    @cached_property
    def places(self) -> pl.DataFrame:
        """Position of each answer on its column's scale, for columns with an order."""
        return polarity.scores(self.frame, [r for c, r in self.rules.items() if c in self.traits])

    @cached_property
    def kinds(self) -> pl.DataFrame:
        """The kind of each missing answer as its number in MISSING_KINDS, by column; null if answered or unknown."""
        kinds = pl.Enum(list(MISSING_KINDS))
        said = {c: pl.col(c + MISSING_SUFFIX).cast(pl.String, strict=False) for c in self.traits}
        return self.frame.select(kind.cast(kinds, strict=False).to_physical().alias(c) for c, kind in said.items())


def check_wave(
    frame: pl.DataFrame,
    raw: RawWave,
    crosswalk: Crosswalk,
    *,
    previous: pl.DataFrame | None = None,
    accepted: str | None = None,
) -> list[CheckResult]:
    """Check a harmonized wave before it replaces the old one.

    Args:
        frame: The harmonized wave.
        raw: The raw wave from which it was made.
        crosswalk: The crosswalk with which it was made.
        previous: The harmonized wave of the release in use so far, if any; compared if it has the same codebook.
        accepted: Why the release may differ much from the one in use so far; differences are then warnings.
    """
    if previous is not None and previous.get_column("codebook")[0] != raw.release["codebook"]:
        previous = None  # the wave now comes from another source, with other ids and columns
    wave = _Wave(frame, raw, crosswalk, previous)
    _ = wave.places, wave.kinds  # made once, for both threads
    with ThreadPoolExecutor(1, thread_name_prefix="mpta-check") as pool:
        polarity_found = pool.submit(_polarity, wave)  # as long as all others together
        found = [check(wave) if check is not _polarity else polarity_found.result() for check in _CHECKS]
    if accepted is None:
        return found
    return [
        replace(c, severity="warn", metadata={**c.metadata, "accepted": accepted}) if c.name in AGAINST_LAST else c
        for c in found
    ]


def _schema(wave: _Wave) -> CheckResult:
    """Types, values and ranges hold; each cell has either a value or a kind of missing answer."""
    problems: list[str] = []
    try:
        RESPONDENTS.validate(wave.frame.select(RESPONDENTS.schema.names()))
    except MptaError as failure:
        problems.append(str(failure))
    if not _holds(wave):
        problems += _what_breaks(wave)
    both = wave.frame.select(
        (pl.col(c).is_null() == pl.col(c + MISSING_SUFFIX).is_null()).sum().alias(c) for c in wave.traits
    )
    problems += [f"{c}: {n} cell(s) with both or neither of value and missing kind" for c, n in _positive(both)]
    return CheckResult(
        "schema",
        not problems,
        "error",
        "Types, domains and ranges hold; each cell has a value or a missing kind",
        {"columns": len(wave.traits), "problems": problems[:20], "n_problems": len(problems)},
    )


def _holds(wave: _Wave) -> bool:
    """Whether the columns have their types and values: all at once, where pandera asks one after the other.

    pandera says what is wrong, if anything is.
    """
    schema, conditions = wave.frame.schema, []
    for name in wave.traits:
        rule = wave.rules.get(name)
        numeric = rule.row.numeric if rule else None
        if schema[name] != (pl.Float64 if numeric else pl.String) or schema[name + MISSING_SUFFIX] != pl.String:
            return False
        if rule is None or rule.row.from_labels:
            continue
        if numeric:
            conditions.append(pl.col(name).is_between(*_bounds(rule)).all())
        else:
            conditions.append(pl.col(name).is_in(_values(rule)).all())
    given = wave.frame.select(pl.col(c + MISSING_SUFFIX).count().alias(c) for c in wave.traits)
    if not given.equals(wave.kinds.select(pl.all().count())):  # a kind that does not exist
        return False
    return all(wave.frame.select(c.alias(str(k)) for k, c in enumerate(conditions)).row(0)) if conditions else True


def _what_breaks(wave: _Wave) -> list[str]:
    """The values of columns that break their rules."""
    # Imported here because it takes half a second to load, which waves that hold can save.
    import pandera.polars as pa
    from pandera.errors import SchemaErrors

    columns = {}
    for name in wave.traits:
        rule = wave.rules.get(name)
        columns[name] = pa.Column(
            pl.Float64 if rule and rule.row.numeric else pl.String, nullable=True, checks=_value_checks(rule)
        )
        columns[name + MISSING_SUFFIX] = pa.Column(
            pl.String, nullable=True, checks=[pa.Check.isin(list(MISSING_KINDS))]
        )
    try:
        pa.DataFrameSchema(columns).validate(wave.frame.select(list(columns)), lazy=True)
    except SchemaErrors as failure:
        cases = failure.failure_cases.select("column", "check", "failure_case")
        return [f"{column}: {check} ({case})" for column, check, case in cases.rows()]
    return []


def _bounds(rule: Rule) -> tuple[float, float]:
    """The lowest and the highest number of a numeric column."""
    assert rule.row.numeric is not None
    low, high = rule.row.numeric.min, rule.row.numeric.max
    stray = TOLERANCE * (high - low)
    return low - stray, high + stray


def _values(rule: Rule) -> list[str]:
    """The values of a column of answers."""
    return sorted({*rule.values, *(o.value for o in rule.options)})


def _value_checks(rule: Rule | None) -> list[pa.Check]:
    import pandera.polars as pa

    if rule is None or rule.row.from_labels:
        return []
    if rule.row.numeric:
        return [pa.Check.in_range(*_bounds(rule))]
    return [pa.Check.isin(_values(rule))]


def _keys(wave: _Wave) -> CheckResult:
    """Native keys are unique, except those that the source's record exempts with a reason.

    In a file without keys, the row's content is the key: equal rows are numbered and are no defect.
    """
    unstable = bool(wave.raw.release.get("unstable_keys"))
    # The raw wave numbers the repeats of a key: 858069901, 858069901#2.
    keys = wave.frame.get_column("native_key")
    exempt = set(wave.raw.source.key.duplicates)
    plain = keys.filter(keys.str.contains(r"#\d+$")).str.replace(r"#\d+$", "")
    unexplained = sorted(set(plain.to_list()) - exempt)
    ids = wave.frame.height - wave.frame.get_column("respondent_id").n_unique()
    reason = wave.raw.source.key.repeats.get(wave.raw.wave.rpartition("-")[2])
    return CheckResult(
        "unique_keys",
        not ids and (unstable or not unexplained),
        "warn" if reason and not ids else "error",
        "Each respondent has one id, and the file's own key repeats only where the producer is known to repeat it",
        {
            "repeated_ids": ids,
            "repeated_keys": len(unexplained),
            "exempt": len(set(plain.to_list()) & exempt),
            "file_has_keys": not unstable,
            "known_of_this_wave": reason,
        },
    )


def _weights(wave: _Wave) -> CheckResult:
    """Each respondent has a weight; no weight is negative or dominates the survey."""
    name = wave.raw.release["weight_name"]
    if name is None:
        return CheckResult("weights", True, "error", "The file has no survey weight; estimates are unweighted", {})
    weight = wave.frame.get_column("weight")
    problems = []
    if weight.null_count():
        without = wave.frame.filter(pl.col("weight").is_null())["row_index"]
        cells = wave.raw.data([str(wave.raw.resolve(name))]).to_series().gather(without)
        found = cells.cast(pl.String).fill_null("empty").unique().sort().head(3)
        problems.append(f"{weight.null_count()} respondent(s) without weight ({name} is {', '.join(found)})")
    if negative := int((weight.fill_null(0) < 0).sum()):
        problems.append(f"{negative} negative weight(s)")
    if infinite := int(weight.is_infinite().sum()):
        problems.append(f"{infinite} infinite weight(s)")
    total = float(weight.sum()) if not infinite else 0.0
    if total <= 0 and not infinite:
        problems.append("weights sum to zero")
    peak = float(pl.select(pl.lit(weight).max()).item() or 0) * wave.frame.height / total if total > 0 else 0.0
    if peak > MAX_WEIGHT:
        problems.append(f"the largest weight is {peak:.1f} times the mean")
    return CheckResult(
        "weights",
        not problems,
        "error",
        f"Weights of {name} are complete, not negative and at most {MAX_WEIGHT:.0f} times their mean",
        {
            "weight": name,
            "sum": total,
            "respondents": wave.frame.height,
            "max_over_mean": round(peak, 3),
            "design_effect": round(wave.frame.height * float((weight**2).sum()) / total**2, 4) if total > 0 else None,
            "problems": problems,
        },
    )


def _weight_sums(wave: _Wave) -> CheckResult:
    """Weights sum to the number of respondents of each country where the source's record says so (`exact_weights`).

    Elsewhere the sums are expected to be close, and deviations are warnings. A cumulative file is scaled over all
    years.
    """
    exact = wave.raw.source.exact_weights
    strict = wave.frame if exact is True else wave.frame.clear()
    if isinstance(exact, tuple) and pools_studies(wave.raw):
        strict = wave.frame.filter(study_of(wave.frame, wave.raw).is_in(list(exact)).fill_null(False))
    off = {"strict": _off_sums(strict, STRICT_SUM), "loose": _off_sums(wave.frame, LOOSE_SUM)}
    return CheckResult(
        "weight_sums",
        not (off["strict"] or off["loose"]),
        "error" if off["strict"] else "warn",
        f"Weights sum to the respondents of a country within {STRICT_SUM:.1%} (where the producer says so) or "
        f"{LOOSE_SUM:.0%}",
        {"off": (off["strict"] or off["loose"])[:20], "n_off": len(off["strict"] or off["loose"])},
    )


def _off_sums(frame: pl.DataFrame, tolerance: float) -> list[str]:
    sums = frame.group_by("country").agg(n=pl.len(), total=pl.col("weight").sum()).sort("country")
    off = sums.filter((pl.col("total") > 0) & (((pl.col("total") / pl.col("n")) - 1).abs() > tolerance))
    return [f"{c}: {t:.1f} for {n} respondents" for c, n, t in off.iter_rows()]


def _coverage(wave: _Wave) -> CheckResult:
    """Share answered per column and country, against the release in use so far."""
    now = coverage(wave.frame)
    if wave.previous is None:
        empty = now.group_by("column").agg(pl.col("answered").sum()).filter(pl.col("answered") == 0)["column"].to_list()
        return CheckResult(
            "coverage",
            True,
            "error",
            "First release: answered shares are recorded, not compared",
            {"cells": now.height, "columns_without_answers": sorted(empty)},
        )
    # A concept that the crosswalk no longer reads from this codebook was taken out of it, and lost nothing.
    before = coverage(wave.previous).filter(pl.col("column").is_in(list(wave.rules)))
    lost = before.join(now, on=["column", "country"], how="left", suffix="_now").with_columns(
        drop=pl.col("share") - pl.col("share_now").fill_null(0.0)
    )
    lost = lost.filter(pl.col("drop") > COVERAGE_DROP).sort("drop", descending=True)
    return CheckResult(
        "coverage",
        lost.is_empty(),
        "error",
        f"No column lost more than {COVERAGE_DROP:.0%} of a country's answers against the last release",
        {
            "lost": [
                f"{c} in {k}: {a:.1%} to {b or 0:.1%}"
                for c, k, a, b in lost.select("column", "country", "share", "share_now").head(20).iter_rows()
            ],
            "n_lost": lost.height,
        },
    )


def _release_changes(wave: _Wave) -> CheckResult:
    """Changes to the respondents of the last release: who was removed, whose answers changed."""
    description = (
        f"A new release keeps {1 - REMOVED_SHARE:.0%} of the respondents and {1 - CHANGED_SHARE:.0%} of each answer"
    )
    before = wave.previous
    if before is None or before.get_column("release_id")[0] == wave.raw.release["release_id"]:
        return CheckResult("release_changes", True, "error", description, {"compared": 0})
    common = [c for c in wave.traits if c in before.columns]
    pairs = before.select("respondent_id", *common).join(
        wave.frame.select("respondent_id", *common), on="respondent_id", how="inner", suffix=" now"
    )
    removed = before.height - pairs.height
    both = [pl.col(c).is_not_null() & pl.col(f"{c} now").is_not_null() for c in common]
    changed = pairs.select(
        (_differs(c, pairs.schema[c]) & known).sum().truediv(known.sum()).fill_nan(0.0).alias(c)
        for c, known in zip(common, both, strict=True)
    )
    shares = changed.row(0, named=True) if common else {}
    mass = {c: round(share, 4) for c, share in shares.items() if (share or 0) > CHANGED_SHARE}
    return CheckResult(
        "release_changes",
        not mass and removed <= REMOVED_SHARE * before.height,
        "error",
        description,
        {"compared": pairs.height, "removed": removed, "columns_changed": mass},
    )


def _differs(column: str, dtype: pl.DataType) -> pl.Expr:
    """Whether an answer differs; numbers with four-byte precision, as in Stata files."""
    cells = [
        pl.col(name).cast(pl.Float32) if dtype == pl.Float64 else pl.col(name) for name in (column, f"{column} now")
    ]
    return cells[0] != cells[1]


def coverage(frame: pl.DataFrame) -> pl.DataFrame:
    """Answered cells per column and country: column, country, respondents, answered, share."""
    traits = [c for c in trait_columns(frame) if c != "country"]
    return (
        frame.group_by("country")
        .agg(pl.len().alias("respondents"), *(pl.col(c).is_not_null().sum().cast(pl.Int64) for c in traits))
        .unpivot(index=["country", "respondents"], variable_name="column", value_name="answered")
        .with_columns(share=pl.col("answered") / pl.col("respondents"))
        .sort("column", "country")
    )


def _gaps(wave: _Wave) -> CheckResult:
    """There are no answers where the producer says that a question was not asked (`gaps.csv`)."""
    gaps = about(read_gaps(), wave.raw).drop("codebook")
    if gaps.is_empty():
        return CheckResult("declared_gaps", True, "warn", "The producer names no gaps for this source", {"gaps": 0})
    pooled = wave.raw.source.part_of
    part = pl.lit(pooled.study) if pooled else study_of(wave.frame, wave.raw)
    gaps = gaps.filter(pl.col("column").is_in(wave.traits))
    counts = (
        wave.frame.with_columns(part.alias("study"))
        .group_by("study", "country")
        .agg(pl.col(c).is_not_null().sum().cast(pl.Int64) for c in gaps.get_column("column").unique().sort())
        .unpivot(index=["study", "country"], variable_name="column", value_name="answers")
    )
    found = gaps.join(counts, on=["column", "study", "country"], how="inner")
    filled = found.filter(pl.col("answers") > 0)
    return CheckResult(
        "declared_gaps",
        filled.is_empty(),
        "warn",
        "Countries where a question was not put have no answers to it",
        {"gaps": found.height, "filled": [f"{c} in {k}: {n} answers" for c, _, k, n in filled.head(20).iter_rows()]},
    )


@lru_cache(maxsize=1)
def read_gaps() -> pl.DataFrame:
    """Where the producer says that a question was not asked: codebook, column, study, country."""
    return pl.read_csv(Path(__file__).with_name("gaps.csv"))


def _labels(wave: _Wave) -> CheckResult:
    """Unexpected labels on codes without respondents. Codes with respondents are set aside before this check."""
    drifted = label_drift(wave.raw, wave.crosswalk)
    return CheckResult(
        "label_drift",
        not drifted,
        "warn",
        "Value labels say what the crosswalk expects, on codes without respondents too",
        {"drifted": [str(p) for p in drifted[:20]], "n_drifted": len(drifted)},
    )


def _set_aside(wave: _Wave) -> CheckResult:
    """Columns, or parts of them, that are set aside because the crosswalk does not understand the file.

    Nothing is guessed: cells are missing, and columns absent, until the concept's row maps the code.
    """
    problems = columns_set_aside(wave.raw, wave.crosswalk)
    by_unit = {unit: sorted({p.column for p in problems if p.unit == unit}) for unit in ("column", "country", "cells")}
    return CheckResult(
        "columns_set_aside",
        not problems,
        "warn",
        "Every column that the file has a variable for is made with all answers",
        {
            "columns": by_unit["column"],
            "columns_in_a_country": by_unit["country"],
            "columns_with_cells": by_unit["cells"],
            "problems": [p.row() for p in problems[:100]],
            "n_problems": len(problems),
            "remedy": "check the codebook of this release, and add the code or wording to the concept's file",
        }
        if problems
        else {},
    )


def _impossible(wave: _Wave) -> CheckResult:
    """Impossible combinations of answers."""
    columns = set(wave.traits)
    first, second = (
        pl.col(f"aims_respondent_{n}").is_in(["say", "speech"]).cast(pl.Int32) for n in ("first", "second")
    )
    index = {0: "materialist", 1: "mixed", 2: "postmaterialist"}
    aims = (first + second).replace_strict(index, return_dtype=pl.String)
    rules: dict[str, tuple[set[str], pl.Expr]] = {
        "age differs from year minus year of birth by more than a year": (
            {"age", "birth_year"},
            # Top and bottom codes stand for ranges and are left out.
            pl.col("age").is_between(1, 81)
            & (pl.col("birth_year") > 1937)
            & ((pl.col("year") - pl.col("birth_year") - pl.col("age")).abs() > 1),
        ),
        "a person of 30 or older who was born in the country is not allowed to vote": (
            {"age", "vote_national", "born_in_country", "citizenship"},
            (pl.col("vote_national") == "not_eligible")
            & (pl.col("age") >= 30)
            & (pl.col("born_in_country") == "yes")
            & (pl.col("citizenship") == "yes"),
        ),
        "more children than people could have had": ({"age", "n_children"}, pl.col("n_children") > pl.col("age") - 12),
        "no religion, but strongly attached to it": (
            {"religion_denomination_gss", "religious_strength_gss"},
            (pl.col("religion_denomination_gss") == "none") & (pl.col("religious_strength_gss") == "strong"),
        ),
        # If an aim was named twice, the EVS keeps the index and the WVS sets it to missing.
        "the index of materialist aims is not that of the two aims chosen": (
            {"postmaterialism_4", "aims_respondent_first", "aims_respondent_second"},
            pl.col("postmaterialism_4") != aims,
        ),
    }
    applicable = {name: rule for name, (needs, rule) in rules.items() if needs <= columns}
    found = wave.frame.select(rule.fill_null(False).sum().alias(name) for name, rule in applicable.items())
    counts = dict(_positive(found)) if applicable else {}
    limit = max(2, round(0.005 * wave.frame.height))
    return CheckResult(
        "impossible_combinations",
        all(n <= limit for n in counts.values()),
        "warn",
        f"Impossible combinations occur in {limit} respondents at most",
        {"checked": len(applicable), **counts},
    )


def _straight_lines(wave: _Wave) -> CheckResult:
    """Respondents who give one answer to a whole battery."""
    shares: dict[str, float] = {}
    for battery, columns in _batteries(wave).items():
        # The same answer to a few yes-or-no questions is an opinion, not a pattern.
        if len(columns) < STRAIGHT_LINE_ITEMS or len(wave.rules[columns[0]].values) < 3:
            continue
        given = wave.scores.select(columns).select(
            low=pl.min_horizontal(columns),
            high=pl.max_horizontal(columns),
            n=pl.sum_horizontal(pl.col(c).is_not_null().cast(pl.Int32) for c in columns),
        )
        answered = given.filter(pl.col("n") >= STRAIGHT_LINE_ITEMS)
        if answered.height >= MIN_CORRELATION_N:
            shares[battery] = float(answered.select((pl.col("low") == pl.col("high")).mean()).item())
    return CheckResult(
        "straight_lining",
        all(share <= STRAIGHT_LINE_SHARE for share in shares.values()),
        "warn",
        f"At most {STRAIGHT_LINE_SHARE:.0%} of respondents give one answer to a whole battery",
        {battery: round(share, 4) for battery, share in shares.items()},
    )


def _break_off(wave: _Wave) -> CheckResult:
    """Respondents who left most questions unanswered, and the share of "don't know"."""
    kinds = ["dont_know", "refused_or_no_answer", "skipped_web", "invalid"]
    numbers = [number for number, kind in enumerate(MISSING_KINDS) if kind in kinds]
    unknown = list(MISSING_KINDS).index("dont_know")
    given = wave.frame.select(given=pl.sum_horizontal(pl.col(c).is_not_null().cast(pl.Int32) for c in wave.traits))
    counts = wave.kinds.select(
        lacking=pl.sum_horizontal(pl.col(c).is_in(numbers).cast(pl.Int32) for c in wave.traits),
        unsure=pl.sum_horizontal((pl.col(c) == unknown).cast(pl.Int32) for c in wave.traits),
    ).with_columns(asked=(given["given"] + pl.col("lacking")).clip(lower_bound=1))
    shares = counts.select(share=pl.col("lacking") / pl.col("asked"), unsure=pl.col("unsure") / pl.col("asked"))
    broken = float(shares.select((pl.col("share") > BREAK_OFF).mean()).item())
    partial = float(shares.select(pl.col("share").is_between(0.2, BREAK_OFF).mean()).item())
    return CheckResult(
        "break_off",
        broken <= 0.05,
        "warn",
        "At most 5 % of respondents left more than half of what they were asked unanswered",
        {
            "broken_off": round(broken, 4),
            "partial": round(partial, 4),
            "dont_know": round(float(shares.select(pl.col("unsure").mean()).item() or 0), 4),
        },
    )


def _signs(wave: _Wave) -> CheckResult:
    """Each item of a battery correlates with the rest as expected; a reversed scale does not.

    A warning only: one doubtful item is no reason to reject the others.
    """
    found: dict[str, float] = {}
    wrong: list[str] = []
    for battery, columns in _batteries(wave, signed=True).items():
        if len(columns) < 2:
            continue
        total = pl.sum_horizontal(pl.col(c).fill_null(0.0) * _sign(wave, c) for c in columns)
        count = pl.sum_horizontal(pl.col(c).is_not_null().cast(pl.Int32) for c in columns)
        for column in columns:
            # The rest of the battery: the mean of its other answers, each with its sign.
            rest = (total - pl.col(column) * _sign(wave, column)) / (count - 1)
            pair = wave.scores.select(own=column, rest=pl.when(count > 1).then(rest)).drop_nulls()
            if pair.height < MIN_CORRELATION_N:
                continue
            r = pair.select(pl.corr("own", "rest")).item()
            if r is None or isnan(r):
                continue
            found[f"{battery}: {column}"] = round(float(r), 3)
            if r * _sign(wave, column) <= 0:
                wrong.append(f"{column} correlates {r:.2f} with the rest of {battery}")
    return CheckResult(
        "battery_signs",
        not wrong,
        "warn",
        "Each item correlates with the rest of its battery in the expected direction",
        {"wrong": wrong, "items": len(found), "lowest": min(found.values(), default=None)},
    )


def _polarity(wave: _Wave) -> CheckResult:
    """Each scale correlates with its partners as it does elsewhere; a reversed one has the opposite sign.

    A warning only: labels are right about the direction of a scale more often than a correlation is. Doubtful scales
    without labels are set aside before this check.
    """
    rules = [r for c, r in wave.rules.items() if c in wave.traits]
    pairs = polarity.known_pairs(rules)
    values, country = wave.places, wave.frame.get_column("country")
    judged, missed = polarity.judge_and_missed(values, country, pairs)
    contrary = [e for e in judged if e.contrary]
    scales = [r.column for r in rules if r.scores and wave.frame.get_column(r.column).n_unique() > 1]
    missed = [c for c in missed if c in set(scales)]
    return CheckResult(
        "polarity",
        not contrary,
        "warn",
        "Each scale correlates with its partners as it does wherever both are asked",
        {
            "contrary": [str(e) for e in contrary],
            "scales": len(scales),
            # For each scale: would this check have found it, had it been reversed?
            "inversions_it_would_find": len(scales) - len(missed),
            "inversions_it_would_miss": missed,
        },
    )


def _marginals(wave: _Wave) -> CheckResult:
    """The wave reproduces published figures."""
    compared = compare_marginals(wave.frame, wave.raw, wave.crosswalk)
    off = compared.filter(~pl.col("agrees"))
    own = off.filter("own_codebook")
    return CheckResult(
        "published_marginals",
        off.is_empty(),
        # Figures of another file with the same people check the lineages, not this file. Single figures that are off
        # concern their question only.
        "error" if own.height > MARGINALS_OFF * compared.filter("own_codebook").height or off.is_empty() else "warn",
        "Published figures are reproduced with their stated weight and denominator",
        {
            "compared": compared.height,
            "agree": compared.height - off.height,
            "off": [
                f"{column} {value}: {found} for {expected}"
                for column, value, found, expected in off.select("column", "value", "found", "expected").head(20).rows()
            ],
        },
    )


def _batteries(wave: _Wave, *, signed: bool = False) -> dict[str, list[str]]:
    """Battery → its columns in this wave that share a scale."""
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for column in wave.traits:
        rule = wave.rules.get(column)
        battery = rule.concept.battery if rule else None
        if rule is None or battery is None or battery.one_choice or not rule.scores:
            continue
        if signed and rule.sign is None:
            continue
        groups.setdefault((battery.name, rule.values), []).append(column)
    return {f"{name} ({len(values)} points)": columns for (name, values), columns in groups.items()}


def _sign(wave: _Wave, column: str) -> int:
    return wave.rules[column].sign or 1


def _positive(counts: pl.DataFrame) -> list[tuple[str, int]]:
    return [(name, int(n)) for name, n in counts.row(0, named=True).items() if n] if counts.width else []


_CHECKS: tuple[Callable[[_Wave], CheckResult], ...] = (
    _schema,
    _keys,
    _weights,
    _weight_sums,
    _coverage,
    _release_changes,
    _gaps,
    _labels,
    _set_aside,
    _impossible,
    _straight_lines,
    _break_off,
    _signs,
    _polarity,
    _marginals,
)
