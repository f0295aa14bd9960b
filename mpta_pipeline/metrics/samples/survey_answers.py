"""Hold the answers of one survey, weighted or unweighted, with all data that its estimates need."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mpta_pipeline.core import row_dimensions
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.vocabulary import REFERENCE_CONDITION
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.samples import human_answers as h
from mpta_pipeline.metrics.samples.balancing import Units
from mpta_pipeline.metrics.samples.compact import CompactFrame
from mpta_pipeline.metrics.samples.direct_estimates import DirectEstimates
from mpta_pipeline.metrics.samples.published_polls import ENTRY, Polls
from mpta_pipeline.metrics.statistics.arrays import MANY_ROWS, Flags, Floats, Ints, numbered, ratio
from mpta_pipeline.metrics.statistics.bootstrap import Hashes, Replicates, hash_ids, mix
from mpta_pipeline.metrics.statistics.clustered import Rows, Slices

REFERENCE = REFERENCE_CONDITION
NO_WEIGHTS = "no survey weights"
# Rows whose key is guessed at a time: their counts take about 30 MB.
GUESSED = 200_000
# The bootstrap's weights must not change with the study, so that estimates of two studies can be compared.
SEED = 0


@dataclass(frozen=True)
class Block:
    """Balanced answers of one survey.

    Attributes:
        survey: Survey.
        weighted: Survey weights are used.
        note: Text about weights in `method`.
        units: The answers; `frame` has groups, item features, the person's own answer and guesses.
        people: The own answers of the survey's people.
        rules: Dimensions, levels and margins of the estimates.
        polls: Published shares that replace the people's own answers in comparisons.
        direct: Shares that the model states for described groups; None if it was not asked.
    """

    survey: str
    weighted: bool
    note: str
    units: Units
    people: h.People
    rules: EstimateRules
    polls: Polls | None = None
    direct: DirectEstimates | None = None

    @cached_property
    def frame(self) -> CompactFrame:
        """One row per answer."""
        return CompactFrame.of(self.units.frame)

    @cached_property
    def weight(self) -> Floats:
        """Weight of each row."""
        return self.frame.get_column("weight").to_numpy() if self.weighted else np.ones(self.frame.height)

    @cached_property
    def persona(self) -> Ints:
        """Persona code of each row."""
        return self.frame.codes("respondent_id")

    @cached_property
    def unit(self) -> Ints | None:
        """Primary sampling unit of each row's persona; None if sampled individually or unknown."""
        return self.frame.codes(g.UNIT) if g.UNIT in self.frame.columns else None

    @cached_property
    def person(self) -> Ints:
        """Index of each row's person among the people's persons; persons who are not among them come last."""
        known, ids = self.people.persons.get_column("respondent_id"), self.frame.distinct("respondent_id")
        others = ids.filter(~ids.is_in(known.implode()))
        names = pl.concat([known, others])
        return ids.cast(pl.Enum(names)).to_physical().cast(pl.Int64).to_numpy()[self.persona]

    @cached_property
    def cluster(self) -> Ints:
        """Item-cluster code of each row."""
        return self.frame.codes("cluster_id")

    @cached_property
    def item(self) -> Ints:
        """Item code of each row."""
        return self.frame.codes("item_id")

    @cached_property
    def pair(self) -> Ints:
        """Code of each row's persona and item."""
        width = int(self.item.max(initial=0)) + 1
        return numbered(self.persona * width + self.item, (int(self.persona.max(initial=-1)) + 1) * width)[0]

    @cached_property
    def orders(self) -> Floats:
        """Number of answers behind each row."""
        return self.frame.get_column("n_orders").to_numpy()

    @cached_property
    def replicates(self) -> Replicates:
        """Bootstrap weights."""
        sampled = g.UNIT if g.UNIT in self.frame.columns else "respondent_id"
        of_person = hash_ids(self.frame.distinct(sampled), key=f"persona|{SEED}")
        of_cluster = hash_ids(self.frame.distinct("cluster_id"), key=f"cluster|{SEED}")
        return Replicates.of_hashes(
            of_person[self.persona if self.unit is None else self.unit],
            of_cluster[self.cluster],
            replicates=self.rules.bootstrap,
        )

    @cached_property
    def person_hashes(self) -> tuple[Hashes, Hashes]:
        """Hash of the sampling unit, or person, of each row and of each of the survey's persons."""
        persons = self.people.persons
        asked = self.frame.distinct("respondent_id")
        everyone = pl.concat([asked, persons.get_column("respondent_id")])
        made = hash_ids(g.sampled(persons, everyone), key=f"person|{SEED}")
        return made[: len(asked)][self.persona], made[len(asked) :]

    @cached_property
    def cluster_hashes(self) -> Hashes:
        """Hash of the item cluster of each of the people's items."""
        return hash_ids(self.matched_items.get_column("cluster_id").fill_null(""), key=f"cluster|{SEED}")

    @cached_property
    def _groups(self) -> dict[tuple[str, int], tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        return {}

    def random_groups(self, kind: str, n: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Random groups for a jackknife, by sampled `person` or by their crossing (`cell`) with item clusters.

        Returns:
            The group of each row whose item is in `matched` (0 for others), and the groups of the survey's persons, or
            of items and persons.
        """
        if (kind, n) not in self._groups:
            of_row, of_person = self.person_hashes
            if kind == "person":
                made = group_of(of_row, n), group_of(of_person, n)
            else:
                cluster = mix(self.cluster_hashes)
                key = (f"{kind} {n}", hashlib.sha256(cluster.tobytes()).digest())
                if key not in self.people.drawn:
                    known = np.empty((len(cluster), len(of_person)), dtype=np.uint8)
                    for i, hashed in enumerate(cluster):
                        known[i] = group_of(of_person ^ hashed, n)
                    self.people.drawn[key] = known
                item = self.people_item
                of_cell = (
                    group_of(of_row ^ cluster[np.maximum(item, 0)], n) if len(cluster) else of_row.astype(np.uint8)
                )
                made = np.where(item >= 0, of_cell, 0).astype(np.uint8), self.people.drawn[key]
            self._groups[kind, n] = made
        return self._groups[kind, n]

    @cached_property
    def rows(self) -> Rows:
        """Personas, their sampling units and item clusters of the rows."""
        return Rows(self.persona, self.cluster, self.unit)

    @cached_property
    def people_item(self) -> Ints:
        """Item of each row, as coded in `people`; −1 if none of them answered it."""
        return self.people.item_codes(self.frame.distinct("item_id"))[self.item]

    @property
    def matched(self) -> list[str]:
        """Items with a known distribution of people's answers: the survey's own, or the poll's."""
        return self.people.items if self.polls is None else self.polls.items

    @cached_property
    def poll_entry(self) -> Ints:
        """Entry in the poll of each row, −1 for none."""
        return self.frame.get_column(ENTRY).to_numpy()

    @cached_property
    def matched_item(self) -> Ints:
        """Index of each row's item in `matched`; −1 if it is not there."""
        if self.polls is None:
            return self.people_item
        return np.where(self.poll_entry >= 0, self.polls.item[np.maximum(self.poll_entry, 0)], -1)

    @cached_property
    def compared(self) -> Flags:
        """Rows with a readable answer and weight, to items that people answered."""
        answered = np.asarray(self.units.answer.any(axis=1), dtype=bool)
        return np.asarray((self.matched_item >= 0) & (self.weight > 0) & answered)

    @cached_property
    def matched_items(self) -> pl.DataFrame:
        """One row per item of `matched`, in that order: k_options, ordinal, cluster_id, places, category."""
        facts = self.frame.select("item_id", "k_options", "ordinal", "cluster_id", "places", "category")
        asked = facts.group_by("item_id").agg(
            pl.col("k_options").max(),
            pl.col("ordinal").all(),
            pl.col("cluster_id").min(),
            pl.col("places").first(),
            pl.col("category").first(),
        )
        return pl.DataFrame({"item_id": self.matched}).join(asked, on="item_id", how="left", maintain_order="left")

    def option_places(self, width: int) -> Floats:
        """(items of `matched` × width) position of each option; nan beyond the options and without a scale."""
        facts = self.matched_items
        options = np.arange(width)
        k = facts.get_column("k_options").fill_null(2).to_numpy()
        places = np.where(
            facts.get_column("ordinal").fill_null(False).to_numpy()[:, None] & (options < k[:, None]), options, np.nan
        )
        for i, own in enumerate(facts.get_column("places").to_list()):
            if own is not None:
                places[i, : len(own)] = [np.nan if p is None else p for p in own]
        return places

    def condition(self, name: str) -> Flags:
        """Rows asked under a condition."""
        names = self.conditions()
        return np.asarray(self.frame.codes("condition") == (names.index(name) if name in names else -1))

    def of(self, condition: str) -> Block:
        """The answers under one condition."""
        return replace(self, units=self.units.take(self.condition(condition)))

    def conditions(self) -> list[str]:
        """Conditions of the answers, sorted."""
        return [str(name) for name in self.frame.distinct("condition")]


def group_of(hashes: Hashes, n: int) -> NDArray[np.uint8]:
    """Draw one of at most 256 groups for each hash."""
    return np.asarray(mix(hashes) % np.uint64(n), dtype=np.uint8)


@dataclass(frozen=True)
class View:
    """Answers under one condition, cut by one dimension.

    Attributes:
        block: The block, of one condition alone.
        cut: The dimension, with the slice of each row.
        condition: The condition.
    """

    block: Block
    cut: g.Cut
    condition: str

    @property
    def n(self) -> int:
        """Number of slices."""
        return len(self.cut.labels)

    @cached_property
    def slices(self) -> Slices:
        """The rows by slice."""
        return Slices(self.cut.codes, self.n, rows=self.block.rows)

    @cached_property
    def _items(self) -> Distinct:
        return Distinct(self.cut, self.block.item)

    @cached_property
    def _personas(self) -> Distinct:
        return Distinct(self.cut, self.block.persona)

    @cached_property
    def _units(self) -> Distinct:
        unit = self.block.unit
        return self._personas if unit is None else Distinct(self.cut, unit)

    @cached_property
    def _clusters(self) -> Distinct:
        return Distinct(self.cut, self.block.cluster)

    @cached_property
    def _known_sizes(self) -> dict[bytes, dict[str, Ints | Floats]]:
        """Sizes by rows used, cached because most metrics use the same rows."""
        return {}

    def sizes(self, used: Flags) -> dict[str, Ints | Floats]:
        """Count n_answers, n_personas and n_items of each slice over the rows used, and `even_personas`.

        `even_personas` is Kish's effective number of personas, by the personas' own weights, regardless of how many
        answers each gave.
        """
        if (rows := np.packbits(used).tobytes()) not in self._known_sizes:
            self._known_sizes[rows] = {
                "n_answers": np.rint(self.slices.sum(np.where(used, self.block.orders, 0.0))).astype(np.int64),
                "n_personas": self._personas.count(used),
                "n_items": self._items.count(used),
                "even_personas": self._even_personas(used),
            }
        return self._known_sizes[rows]

    def units(self, used: Flags) -> Ints:
        """Count the sampling units of each slice over the rows used; personas if the survey has no units."""
        return self._units.count(used)

    def _even_personas(self, used: Flags) -> Floats:
        size = self.block.rows.n_persona
        place = np.where(self.cut.codes >= 0, self.cut.codes, self.n) * size + self.block.persona
        weight = np.zeros((self.n + 1) * size)
        weight[place[used]] = self.block.weight[used]
        weight = weight.reshape(self.n + 1, -1)[: self.n]
        # With equal weights, Kish's number is their count except for rounding.
        return np.round(ratio(weight.sum(axis=1) ** 2, (weight**2).sum(axis=1)), 6)

    def clusters(self, used: Flags) -> Ints:
        """Count the item clusters of each slice over the rows used."""
        return self._clusters.count(used)


def stacked(base: Mapping[str, Any], parts: Mapping[str, Mapping[str, Floats | list[str | None]]]) -> pl.DataFrame:
    """Make the rows of one metric: each slice once per baseline.

    It makes one frame for all, because making many small frames takes longer than computing the estimates in them.

    Args:
        base: Column → value of each slice, the same on all baselines' rows.
        parts: Baseline (empty for none) → its own columns. A column that only other baselines have is null.
    """
    n = len(base["slice"])
    own = dict.fromkeys(column for part in parts.values() for column in part)
    nothing, unsaid = np.full(n, np.nan), [None] * n
    texts = {c for part in parts.values() for c, values in part.items() if isinstance(values, list)}
    return pl.DataFrame(
        {
            **{c: v * len(parts) if isinstance(v, list) else np.tile(v, len(parts)) for c, v in base.items()},
            "baseline": [name for name in parts for _ in range(n)],
            **{
                c: [said for part in parts.values() for said in part.get(c, unsaid)]
                if c in texts
                else np.concatenate([part.get(c, nothing) for part in parts.values()])
                for c in own
            },
        },
        schema_overrides={"note": pl.String, **dict.fromkeys(texts, pl.String)},
    )


class Distinct:
    """Counts distinct codes by slice."""

    def __init__(self, cut: g.Cut, codes: Ints) -> None:
        self._cut, self._codes, self._n = cut, codes, len(cut.labels)
        self._width = int(codes.max(initial=0)) + 1
        self._kept: NDArray[np.signedinteger[Any]] | None = None

    @property
    def _place(self) -> NDArray[np.signedinteger[Any]]:
        if self._kept is not None:
            return self._kept
        slices = self._cut.codes
        # One of these exists per view and kind of code, and half the width is enough.
        narrow = np.int32 if (self._n + 1) * self._width < 2**31 else np.int64
        made: NDArray[np.signedinteger[Any]] = (
            np.where(slices >= 0, slices, self._n) * self._width + self._codes
        ).astype(narrow)
        if len(made) <= MANY_ROWS:
            self._kept = made
        return made

    def count(self, used: Flags) -> Ints:
        """Count the distinct codes of each slice among the rows used."""
        present = np.zeros((self._n + 1) * self._width, dtype=bool)
        present[self._place[used]] = True
        return np.asarray(present.reshape(self._n + 1, -1)[: self._n].sum(axis=1), dtype=np.int64)


def blocks(
    units: Units,
    groups: pl.DataFrame,
    gold: pl.DataFrame | Iterable[pl.DataFrame],
    *,
    rules: EstimateRules,
    polls: Polls | None = None,
) -> Iterator[Block]:
    """Make one unweighted block per survey, and a weighted one if all answers of the survey have weights."""
    groups = g.apart(groups)
    left = units.on(CompactFrame.of(units.frame))
    del units  # what has been taken is not kept beside its block
    assert isinstance(left.frame, CompactFrame)
    names, code = left.frame.distinct("survey").to_list(), left.frame.codes("survey")
    for i, survey in enumerate(names):
        here = code == i
        taken, left, code = [left.take(here)], left.take(~here), code[~here]
        yield from make_blocks(taken.pop(), groups, gold, survey, rules=rules, polls=polls)


def make_blocks(
    units: Units,
    groups: pl.DataFrame,
    gold: pl.DataFrame | Iterable[pl.DataFrame],
    survey: str,
    *,
    rules: EstimateRules,
    polls: Polls | None = None,
) -> Iterator[Block]:
    """Gather one survey's answers, groups and people: unweighted, and also weighted if all answers have weights.

    Args:
        units: Answers of this survey alone.
        groups: GROUPS, with renamed traits (`groups.apart`).
        gold: GOLD.
        survey: The survey.
        rules: Dimensions, levels and margins of the estimates.
        polls: Published shares, for items that have them.
    """
    frame = CompactFrame.of(units.frame)
    has_weights = frame.get_column("weight").null_count() == 0
    everyone = h.people(gold, groups, survey, frame.distinct("item_id"))
    # Each row has all traits of its person: they are kept once per person. As rows, categories are shorter than texts.
    traits = groups.drop("survey", *g.DESIGN, strict=False).with_columns(
        pl.col(c).cast(pl.Categorical) for c in groups.columns if c.startswith(g.TRAIT) and groups[c].dtype == pl.String
    )
    frame = frame.looked_up("respondent_id", traits)
    country = g.column("country")
    own_country = pl.col(country).cast(pl.String) if country in frame.columns else pl.lit(None, pl.String)
    facts = frame.select("story_country", own_country.alias(row_dimensions.OWN_COUNTRY))
    frame = frame.with_columns(*facts.select(row_dimensions.values("items and country")))
    persons = frame.distinct("respondent_id")
    drawn = g.sampled(groups.filter(pl.col("survey") == survey), persons)
    if drawn.name == g.UNIT:
        frame = frame.looked_up("respondent_id", pl.DataFrame([persons.alias("respondent_id"), drawn]))
    if polls is not None:
        samples = [c for c in ("sample", g.column("country")) if c in groups.columns][:1]
        of = groups.select("respondent_id", *(pl.col(c).alias("sample") for c in samples))
        asked = frame.select("item_id", "respondent_id")
        frame = frame.with_columns(polls.entries(asked.join(of, on="respondent_id", how="left", maintain_order="left")))
    item = everyone.item_codes(frame.distinct("item_id"))[frame.codes("item_id")]
    person = everyone.person_codes(persons)[frame.codes("respondent_id")]
    units = units.on(frame)
    for weighted in (False, True) if has_weights else (False,):
        people = everyone.weighted() if weighted else everyone
        own = frame.with_columns(*people.own(person, item))
        guess = _guess(own, item, people, None)
        made = own.with_columns(
            _series("item_mode", guess.credit),
            _series("item_mode_steps", guess.steps),
            _series("proportional", guess.proportional),
        )
        note = "weighted" if weighted else ("unweighted" if has_weights else NO_WEIGHTS)
        yield Block(survey, weighted, note, units.on(made), people, rules, polls)


def group_guesses(block: Block, dimension: str) -> pl.DataFrame:
    """Score the most frequent answer of the other people in each row's group, as credit (`group_mode`) and in steps.

    If nobody else in the group answered, the most frequent answer of all other people is used. Null for `all`, for
    dimensions of the question and for items whose key does not depend on the person.
    """
    frame = block.frame
    nothing = np.full(frame.height, np.nan)
    guess = h.Guess(nothing, nothing, nothing)
    if g.bases(dimension) and g.of_people(dimension) and not block.people.empty:
        guess = _guess(frame, block.people_item, block.people, dimension)
        known = cut_rows(frame, dimension).codes >= 0
        everyone = (
            np.where(known, frame.get_column(c).fill_null(np.nan).to_numpy(), np.nan)
            for c in ("item_mode", "item_mode_steps", "proportional")
        )
        guess = guess.otherwise(h.Guess(*everyone))
    return pl.DataFrame([_series("group_mode", guess.credit), _series("group_mode_steps", guess.steps)])


def cut_rows(frame: CompactFrame, dimension: str, names: list[str] | None = None) -> g.Cut:
    """Cut rows by a dimension. Dimensions of people are cut per person, because there are fewer persons than rows."""
    columns = [g.column(base) for base in g.bases(dimension)]
    each = frame.of_each("respondent_id", columns) if columns and g.of_people(dimension) else None
    if each is None:
        return g.cut(frame.select(*dict.fromkeys(columns)) if columns else _rows_of(frame), dimension, names)
    number, persons = each
    # The dictionary of persons may have some whose rows are elsewhere.
    present = persons.get_column("there")
    of_persons = g.cut(persons.filter(present), dimension, names)
    of_number = np.full(persons.height, -1)
    of_number[present.to_numpy()] = of_persons.codes
    return g.Cut(dimension, of_number[number], of_persons.labels)


def _rows_of(frame: CompactFrame) -> pl.DataFrame:
    return pl.DataFrame({"": np.zeros(frame.height, dtype=bool)})


def _series(name: str, values: Floats) -> pl.Series:
    return pl.Series(name, values).fill_nan(None)


def _guess(frame: CompactFrame, item: Ints, people: h.People, dimension: str | None) -> h.Guess:
    """Guess each row's key from everyone else's answers, among all respondents or in the row's group."""
    n = frame.height
    credit, steps, proportional = (np.full(n, np.nan) for _ in range(3))
    if people.empty:
        return h.Guess(credit, steps, proportional)
    counts = np.ascontiguousarray(np.moveaxis(people.counts(dimension or g.ALL), -1, 0))
    code = cut_rows(frame, dimension or g.ALL, people.cut_persons(dimension or g.ALL).labels).codes
    own = frame.get_column("own_idx").fill_null(-1).to_numpy()
    own_weight = frame.get_column("own_weight").fill_null(0.0).to_numpy()
    key, k = (frame.get_column(c).to_numpy() for c in ("gold_idx", "k_options"))
    known = np.flatnonzero((item >= 0) & (code >= 0))
    for first in range(0, len(known), GUESSED):
        rows = known[first : first + GUESSED]
        made = h.guess(
            counts[:, code[rows], item[rows]], own=own[rows], own_weight=own_weight[rows], key=key[rows], k=k[rows]
        )
        credit[rows], steps[rows], proportional[rows] = made.credit, made.steps, made.proportional
    return h.Guess(credit, steps, proportional)
