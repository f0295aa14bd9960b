"""Compile concept files into the crosswalk: two tables, and the rules that turn a wave's variables into columns."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property, lru_cache
from pathlib import Path

import polars as pl

from mpta_pipeline.core.configuration import validated
from mpta_pipeline.core.errors import CrosswalkError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.own_records import OwnRecord, SetAside, read_own
from mpta_pipeline.core.tables import CONCEPTS, OPTIONS
from mpta_pipeline.harmonize.concept_schema import CodebookRow, Concept, Option, Partner, parse_concept
from mpta_pipeline.harmonize.countries import country_options
from mpta_pipeline.surveys import Source, SourceRegistry, packaged_sources

CONCEPT_FOLDER = Path(__file__).with_name("concepts")


@dataclass(frozen=True)
class Rule:
    """How one codebook fills one column: a row of a concept, with what the concept adds."""

    concept: Concept
    row: CodebookRow
    codebook: str
    variables: tuple[str, ...]
    column: str

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """Options of the row; for a number its top and bottom codes, for a country all countries."""
        row = self.row
        if row.country:
            return (*country_options(row.country), *row.options)
        if row.numeric:
            bounds = (b for b in (row.numeric.bottom, row.numeric.top) if b)
            return tuple(Option(code=b.code, label=b.label, value=b.code, text=b.text) for b in bounds)
        return row.all_options

    @property
    def sign(self) -> int | None:
        """Sign against the rest of the battery; null if none is expected."""
        battery = self.concept.battery
        return self.row.sign or (battery.sign if battery else None)

    @cached_property
    def partners(self) -> tuple[Partner, ...]:
        """Concepts whose correlation with the column has a known sign."""
        return self.concept.partners(self.row)

    @property
    def scale(self) -> str:
        """Scale type of the column."""
        return self.row.scale or self.concept.scale

    @cached_property
    def values(self) -> tuple[str, ...]:
        """On-scale values in canonical order; empty for numbers and open lists."""
        return () if self.row.numeric or self.row.country else self.concept.values(self.row)

    @cached_property
    def scores(self) -> dict[str, float]:
        """Position of each on-scale value, from 0 (first) to 1 (last); empty unless ordinal."""
        if self.scale != "ordinal":
            return {}
        last = max(len(self.values) - 1, 1)
        return {value: place / last for place, value in enumerate(self.values)}


@dataclass(frozen=True)
class Crosswalk:
    """All concepts, and what is compiled from them.

    Attributes:
        items: The concepts, by name.
        concepts: CONCEPTS.
        options: OPTIONS.
        rules: Codebook → its rules, in the concepts' order.
        own: The deployment's own concepts that are in use, by name.
        replaced: Those of them that replace a packaged concept.
        set_aside: Records of the deployment that are not used as they stand.
    """

    items: dict[str, Concept]
    concepts: pl.DataFrame
    options: pl.DataFrame
    rules: dict[str, tuple[Rule, ...]]
    own: Mapping[str, OwnRecord[Concept]] = field(default_factory=dict)
    replaced: frozenset[str] = frozenset()
    set_aside: tuple[SetAside, ...] = ()

    def digest(self, codebook: str) -> str:
        """Hash of all rows of a codebook: if it changes, the codebook's waves are harmonized again."""
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


@dataclass(frozen=True)
class _Codebook:
    """What a source's record says about concepts.

    Attributes:
        name: The codebook.
        suffix: Suffix of its columns that are not pooled.
        dictionary_of: Codebook whose pooled rows apply to this one as well.
        reference: Every packaged concept has a row for it.
        rows: Concept → its row, as JSON.
        file: The record, for messages.
        own: Whether the record is the deployment's own.
    """

    name: str
    suffix: str
    dictionary_of: str | None
    reference: bool
    rows: tuple[tuple[str, str], ...]
    file: str
    own: bool


def load_crosswalk(
    folder: Path | None = None,
    *,
    sources: SourceRegistry | None = None,
    own: Path | None = None,
    kept: Path | None = None,
) -> Crosswalk:
    """Read all concept files and compile them.

    Args:
        folder: Folder of concepts to use instead of the packaged ones.
        sources: Survey sources, whose records may hold rows of concepts; null for the packaged ones.
        own: Folder of a deployment's own concepts. A concept replaces the packaged one of the same name; an invalid one
            is set aside.
        kept: Folder of a deployment's own concepts as they were last read.

    Raises:
        CrosswalkError: A packaged file breaks the format, or two of them contradict each other; with file and key.
    """
    folder = folder or CONCEPT_FOLDER
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise CrosswalkError("There are no concept files", file=folder, remedy="give a folder with *.yaml files")
    sources = packaged_sources() if sources is None else sources
    records, unread = read_own(own, _concept, kept=kept)
    compiled = _compile(
        tuple((str(f), f.read_text(encoding="utf-8")) for f in files),
        tuple(_codebook(source, sources) for source in sources),
        tuple((str(record.file), record.text) for record in records.values()),
    )
    refused = {one.file for one in compiled.set_aside}
    in_use = {name: record for name, record in records.items() if record.file not in refused}
    return replace(
        compiled,
        own=in_use,
        replaced=frozenset(in_use.keys() & {file.stem for file in files}),
        set_aside=(*unread, *compiled.set_aside),
    )


def _codebook(source: Source, sources: SourceRegistry) -> _Codebook:
    record = sources.own.get(source.codebook)
    return _Codebook(
        source.codebook,
        source.column_suffix or source.family,
        source.dictionary_of,
        source.reference,
        tuple((concept, json.dumps(row, sort_keys=True, default=str)) for concept, row in source.concepts.items()),
        f"{source.codebook}.yaml" if record is None else str(record.file),
        record is not None,
    )


@lru_cache(maxsize=1024)
def _concept(text: str, file: Path) -> Concept:
    return parse_concept(text, file)


@lru_cache(maxsize=4)
def _compile(
    texts: tuple[tuple[str, str], ...], books: tuple[_Codebook, ...], own: tuple[tuple[str, str], ...]
) -> Crosswalk:
    packaged = {Path(name).stem: _concept(text, Path(name)) for name, text in texts}
    added = {Path(name).stem: (Path(name), _concept(text, Path(name))) for name, text in own}
    rows, aside = _rows_of_sources(books, packaged.keys() | added.keys())
    while True:
        written = {**packaged, **{name: concept for name, (_, concept) in added.items()}}
        concepts = {name: _completed(written[name], books, rows.get(name, {})) for name in sorted(written)}
        rules = [rule for concept in concepts.values() for rule in _rules(concept)]
        strict = packaged.keys() - added.keys()
        failure = next(_disagreements(concepts, rules, books, strict), None)
        if failure is None:
            break
        guilty = next((name for name in failure.concepts if name in added), None)
        culprit = next((book for book in books if book.own and book.name in failure.codebooks), None)
        if guilty is not None:
            aside.append(SetAside(added.pop(guilty)[0], str(failure.error)))
        elif culprit is not None and any(rows.get(name, {}).pop(culprit.name, None) for name in failure.concepts):
            aside.append(SetAside(Path(culprit.file), str(failure.error)))
        else:
            raise failure.error
    by_codebook = {d: tuple(r for r in rules if r.codebook == d) for d in dict.fromkeys(r.codebook for r in rules)}
    concept_rows = [row for concept in concepts.values() for row in _concept_rows(concept)]
    options = [row for rule in rules for row in _option_rows(rule)]
    return Crosswalk(
        items=concepts,
        concepts=CONCEPTS.conform(pl.DataFrame(concept_rows, schema=CONCEPTS.schema, orient="row")),
        options=OPTIONS.conform(pl.DataFrame(options, schema=OPTIONS.schema, orient="row")),
        rules=by_codebook,
        set_aside=tuple(aside),
    )


def _rows_of_sources(
    books: Sequence[_Codebook], concepts: Collection[str]
) -> tuple[dict[str, dict[str, CodebookRow]], list[SetAside]]:
    """Concept → codebook → row in the source's record; and what is set aside in the deployment's records."""
    found: dict[str, dict[str, CodebookRow]] = {}
    aside: list[SetAside] = []
    for book in books:
        for concept, text in book.rows:
            key = f"concepts.{concept}"
            try:
                if concept not in concepts:
                    raise CrosswalkError(
                        "A source gives a row of a concept that does not exist",
                        file=book.file,
                        variable=key,
                        remedy=f"add the concept's file, or use one of {_nearest(concept, concepts)}",
                    )
                found.setdefault(concept, {})[book.name] = validated(
                    CodebookRow,
                    json.loads(text) | {"codebook": book.name},
                    "A concept's row in a source's record breaks the format",
                    file=book.file,
                    key=key,
                    error=CrosswalkError,
                )
            except CrosswalkError as failure:
                if not book.own:
                    raise
                aside.append(SetAside(Path(book.file), str(failure)))
    return found, aside


def _nearest(name: str, known: Collection[str]) -> str:
    return ", ".join(get_close_matches(name, sorted(known), 3, 0.4) or sorted(known)[:3])


def _completed(concept: Concept, books: Sequence[_Codebook], rows: Mapping[str, CodebookRow]) -> Concept:
    """The concept with the rows that sources add, and the column of each row that makes one.

    A row in a source's record replaces the concept's own rows for that codebook. A source with another's dictionary
    shares the pooled rows of the other; a variable that its file lacks makes no column.
    """
    suffix = {book.name: book.suffix for book in books}
    kept = [row for row in concept.sources if row.codebook not in rows]
    named = {row.codebook for row in kept} | concept.absent.keys() | rows.keys()
    sharing = [book for book in books if book.dictionary_of is not None and book.name not in named]
    kept += [
        row.model_copy(update={"codebook": book.name, "waves": {}, "status": "assumed"})
        for row in tuple(kept)
        for book in sharing
        if row.codebook == book.dictionary_of and (row.pool or row.country)
    ]
    kept += rows.values()
    return concept.model_copy(
        update={
            "sources": tuple(
                row.model_copy(update={"column": f"{concept.concept}_{suffix.get(row.codebook, row.codebook)}"})
                if row.carries and not row.pool and row.column is None
                else row
                for row in kept
            ),
            "absent": {name: why for name, why in concept.absent.items() if name not in rows},
        }
    )


def _rules(concept: Concept) -> list[Rule]:
    found = []
    for row in concept.rows:
        column = concept.column(row)
        if column is None:
            continue
        found.append(Rule(concept, row, row.codebook, row.variables, column))
        found += [Rule(concept, row, d, (variable,), column) for d, variable in row.waves.items()]
    return found


@dataclass(frozen=True)
class _Disagreement:
    """Records that contradict each other: the error, and the concepts and codebooks concerned."""

    error: CrosswalkError
    concepts: tuple[str, ...]
    codebooks: tuple[str, ...] = ()


def _disagreements(
    concepts: Mapping[str, Concept], rules: Sequence[Rule], books: Sequence[_Codebook], strict: Collection[str]
) -> Iterator[_Disagreement]:
    """Contradictions between concepts that are each valid."""
    yield from _wrong_rows(concepts, books, strict)
    yield from _wrong_groups(concepts)
    yield from _wrong_columns(rules)
    yield from _wrong_partners(concepts)


def _wrong_rows(
    concepts: Mapping[str, Concept], books: Sequence[_Codebook], strict: Collection[str]
) -> Iterator[_Disagreement]:
    """Rows that contradict their concept or fill a column twice, and reference codebooks without a row."""
    reference = [book.name for book in books if book.reference]
    for name, concept in concepts.items():
        seen: set[tuple[str, str]] = set()
        for row in concept.rows:
            column = concept.column(row)
            try:
                concept.check_row(row)
                if column and (column, row.codebook) in seen:
                    raise ValueError(
                        f"codebook {row.codebook} fills column {column} twice; give one row another column"
                    )
            except ValueError as failure:
                yield _Disagreement(_breaks(name, str(failure)), (name,), (row.codebook,))
            seen.add((column or row.codebook, row.codebook))
        named = {row.codebook for row in concept.rows}
        lacking = [book for book in reference if book not in named]
        if lacking and name in strict:
            why = f"no row for {', '.join(lacking)}: give one, or name it under absent with the reason"
            yield _Disagreement(_breaks(name, why), (name,))


def _breaks(concept: str, why: str) -> CrosswalkError:
    return CrosswalkError(f"A concept file breaks the format: {why}", file=f"{concept}.yaml", remedy="correct that key")


def _wrong_groups(concepts: Mapping[str, Concept]) -> Iterator[_Disagreement]:
    """Groups that only one concept names and does not open: a misspelt group would hide nothing from a prompt."""
    named = Counter(group for concept in concepts.values() for group in dict.fromkeys(concept.reveals))
    opened = {group for concept in concepts.values() for group in concept.opens}
    for name, concept in concepts.items():
        for group in concept.reveals:
            if named[group] == 1 and group not in opened:
                error = CrosswalkError(
                    f"A concept file breaks the format: unknown group {group!r}, which no other concept names",
                    file=f"{name}.yaml",
                    variable="reveals",
                    value=group,
                    remedy=f"use one of {_nearest(group, named.keys() - {group})}, or list it under `opens`, too",
                )
                yield _Disagreement(error, (name,))


def _wrong_columns(rules: Sequence[Rule]) -> Iterator[_Disagreement]:
    """Columns with two meanings: two concepts, or different values or orders of values."""
    first: dict[str, Rule] = {}
    for rule in rules:
        other = first.setdefault(rule.column, rule)
        file = f"{rule.concept.concept}.yaml"
        both = (rule.concept.concept, other.concept.concept)
        if other.concept is not rule.concept:
            error = CrosswalkError(
                f"Column {rule.column} belongs to two concepts, {other.concept.concept} and {rule.concept.concept}",
                file=file,
                variable="column",
                remedy="give one of them another column",
            )
            yield _Disagreement(error, both, (rule.codebook, other.codebook))
        elif set(other.values) != set(rule.values) or other.scores != rule.scores:
            error = CrosswalkError(
                f"Rows {other.codebook} and {rule.codebook} share column {rule.column} with different values",
                file=file,
                variable="categories",
                value=f"{list(other.values)} and {list(rule.values)}",
                remedy="give both the same categories, or one of them another column",
            )
            yield _Disagreement(error, both, (rule.codebook, other.codebook))


def _wrong_partners(concepts: Mapping[str, Concept]) -> Iterator[_Disagreement]:
    """Partners that are not concepts, and those whose answers have no order."""
    for concept in concepts.values():
        for partner in {*concept.polarity, *(p for row in concept.sources for p in row.polarity or ())}:
            other = concepts.get(partner.concept)
            if other is not None and (other.scale != "nominal" or len(other.categories or ()) == 2):
                continue
            error = CrosswalkError(
                f"Partner {partner.concept} of {concept.concept} "
                + ("is not a concept" if other is None else "is nominal and has more than two categories"),
                file=f"{concept.concept}.yaml",
                variable="polarity",
                value=partner.concept,
                remedy="name a concept whose answers have an order, or two",
            )
            yield _Disagreement(error, (concept.concept, partner.concept))


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
                    # Single-wave files share the row, but its status is about the labels of the pooled file.
                    status if codebook == row.codebook or status == "impossible" else "assumed",
                )
            )
    return rows


def _option_rows(rule: Rule) -> list[tuple[object, ...]]:
    # Codes with the same words (a collapsed category) share a position.
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
    return digest(shared, rule.row.model_dump_json(fallback=str), rule.codebook, *rule.variables)
