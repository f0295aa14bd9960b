"""From concept files to the crosswalk: two tables and the rules by which a wave's variables become columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import CrosswalkError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.tables import CONCEPTS, OPTIONS
from mpta_pipeline.harmonize.concept_schema import Concept, Option, Partner, Source, parse_concept
from mpta_pipeline.harmonize.countries import country_options

CONCEPT_FOLDER = Path(__file__).with_name("concepts")


@dataclass(frozen=True)
class Rule:
    """How one codebook fills one column: a source row of a concept, with what the concept adds."""

    concept: Concept
    source: Source
    codebook: str
    variables: tuple[str, ...]
    column: str

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """Options of the row; of a number its top and bottom codes, of a country all countries."""
        row = self.source
        if row.country:
            return (*country_options(row.country), *row.options)
        if row.numeric:
            bounds = (b for b in (row.numeric.bottom, row.numeric.top) if b)
            return tuple(Option(code=b.code, label=b.label, value=b.code, text=b.text) for b in bounds)
        return row.all_options

    @property
    def sign(self) -> int | None:
        """Direction against the rest of the battery; null: none is expected."""
        battery = self.concept.battery
        return self.source.sign or (battery.sign if battery else None)

    @cached_property
    def partners(self) -> tuple[Partner, ...]:
        """Concepts whose correlation with the column has a known sign."""
        return self.concept.partners(self.source)

    @property
    def scale(self) -> str:
        """Scale type of the column."""
        return self.source.scale or self.concept.scale

    @cached_property
    def values(self) -> tuple[str, ...]:
        """On-scale values in canonical order; empty for numbers and open lists."""
        return () if self.source.numeric or self.source.country else self.concept.values(self.source)

    @cached_property
    def scores(self) -> dict[str, float]:
        """Place of each on-scale value between 0 (first) and 1 (last); empty unless ordinal."""
        if self.scale != "ordinal":
            return {}
        last = max(len(self.values) - 1, 1)
        return {value: place / last for place, value in enumerate(self.values)}


@dataclass(frozen=True)
class Crosswalk:
    """All concepts and what is compiled from them.

    Attributes:
        items: The concepts, by name.
        concepts: CONCEPTS.
        options: OPTIONS.
        rules: Codebook → its rules, in the concepts' order.
    """

    items: dict[str, Concept]
    concepts: pl.DataFrame
    options: pl.DataFrame
    rules: dict[str, tuple[Rule, ...]]

    def digest(self, codebook: str) -> str:
        """Hash of all rows that touch a codebook: what a wave of it must be harmonized again for."""
        return digest(codebook, *(_fingerprint(rule) for rule in self.rules.get(codebook, ())))

    @cached_property
    def batteries(self) -> pl.DataFrame:
        """Column, codebook, battery, one_choice, sign of the columns that belong to a battery."""
        rows = [
            (r.column, r.codebook, b.name, b.one_choice, r.sign)
            for rules in self.rules.values()
            for r in rules
            if (b := r.concept.battery)
        ]
        schema = {
            "column": pl.String,
            "codebook": pl.String,
            "battery": pl.String,
            "one_choice": pl.Boolean,
            "sign": pl.Int64,
        }
        return pl.DataFrame(rows, schema=schema, orient="row")


def load_crosswalk(folder: Path | None = None) -> Crosswalk:
    """Read all concept files of a folder (by default those of the package) and compile them.

    Raises:
        CrosswalkError: A file breaks the format, or two files disagree; with file and key.
    """
    folder = folder or CONCEPT_FOLDER
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise CrosswalkError("There are no concept files", file=folder, remedy="give a folder with *.yaml files")
    return _compile(tuple((str(f), f.read_text(encoding="utf-8")) for f in files))


@lru_cache(maxsize=4)
def _compile(texts: tuple[tuple[str, str], ...]) -> Crosswalk:
    concepts = {Path(name).stem: parse_concept(text, Path(name)) for name, text in texts}
    rules = [rule for concept in concepts.values() for rule in _rules(concept)]
    _check_columns(rules)
    _check_partners(concepts)
    by_codebook = {d: tuple(r for r in rules if r.codebook == d) for d in dict.fromkeys(r.codebook for r in rules)}
    rows = [row for concept in concepts.values() for row in _concept_rows(concept)]
    options = [row for rule in rules for row in _option_rows(rule)]
    return Crosswalk(
        items=concepts,
        concepts=CONCEPTS.conform(pl.DataFrame(rows, schema=CONCEPTS.schema, orient="row")),
        options=OPTIONS.conform(pl.DataFrame(options, schema=OPTIONS.schema, orient="row")),
        rules=by_codebook,
    )


def _rules(concept: Concept) -> list[Rule]:
    found = []
    for source in concept.rows:
        column = concept.column(source)
        if column is None:
            continue
        found.append(Rule(concept, source, source.codebook, source.variables, column))
        found += [Rule(concept, source, d, (variable,), column) for d, variable in source.waves.items()]
    return found


def _check_columns(rules: Sequence[Rule]) -> None:
    """Refuse columns that mean two things: two concepts, or unlike orders of values."""
    first: dict[str, Rule] = {}
    for rule in rules:
        other = first.setdefault(rule.column, rule)
        file = f"{rule.concept.concept}.yaml"
        if other.concept is not rule.concept:
            raise CrosswalkError(
                f"Column {rule.column} belongs to two concepts, {other.concept.concept} and {rule.concept.concept}",
                file=file,
                variable="column",
                remedy="give one of them another column",
            )
        if set(other.values) != set(rule.values) or other.scores != rule.scores:
            raise CrosswalkError(
                f"Rows {other.codebook} and {rule.codebook} share column {rule.column} with unlike values",
                file=file,
                variable="categories",
                value=f"{list(other.values)} and {list(rule.values)}",
                remedy="give both the same categories, or one of them another column",
            )


def _check_partners(concepts: dict[str, Concept]) -> None:
    """Refuse partners that are no concepts, and those whose answers stand in no order."""
    for concept in concepts.values():
        for partner in {*concept.polarity, *(p for s in concept.sources for p in s.polarity or ())}:
            other = concepts.get(partner.concept)
            if other is not None and (other.scale != "nominal" or len(other.categories or ()) == 2):
                continue
            raise CrosswalkError(
                f"Partner {partner.concept} of {concept.concept} "
                + ("is no concept" if other is None else "is nominal and has more than two categories"),
                file=f"{concept.concept}.yaml",
                variable="polarity",
                value=partner.concept,
                remedy="name a concept whose answers have an order, or two",
            )


def _concept_rows(concept: Concept) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for row in concept.rows:
        places = [(row.codebook, v) for v in row.variables or ("",)] + list(row.waves.items())
        status = row.status or ("impossible" if row.equivalence == "absent" else "assumed")
        evidence = "; ".join(filter(None, (row.evidence, row.notes))) or None
        for codebook, variable in places:
            rows.append(
                (
                    concept.concept,
                    codebook,
                    variable,
                    concept.column(row),
                    row.domain or concept.domain,
                    row.scale or concept.scale,
                    row.label or concept.label,
                    row.question or concept.question,
                    row.statement or concept.statement,
                    row.equivalence,
                    row.pool,
                    list(concept.reveals),
                    evidence,
                    # Single-wave files share the row; what was seen of the pooled file says nothing of their labels.
                    status if codebook == row.codebook or status == "impossible" else "assumed",
                )
            )
    return rows


def _option_rows(rule: Rule) -> list[tuple[object, ...]]:
    # Codes that a person would say alike (a collapsed category) stand at one position.
    places: dict[str, int] = {}
    return [
        (
            rule.column,
            rule.codebook,
            option.code,
            places.setdefault(option.text, len(places)),
            option.value,
            option.text,
            None if option.off_scale else rule.scores.get(option.value),
        )
        for option in rule.options
    ]


def _fingerprint(rule: Rule) -> str:
    shared = rule.concept.model_dump_json(exclude={"sources", "absent"}, fallback=str)
    return digest(shared, rule.source.model_dump_json(fallback=str), rule.codebook, *rule.variables)
