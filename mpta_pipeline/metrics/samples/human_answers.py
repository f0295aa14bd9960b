"""Summarize the answers of the survey's people: distributions by group, and guesses from other people's answers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.statistics.arrays import Flags, Floats, Ints
from mpta_pipeline.metrics.statistics.linearization import Design, design_of

# Answers that are looked at together: their arrays take about 100 MB.
MOST_ROWS = 1_000_000
# Counts of people's answers by random group that are kept, in bytes.
MOST_REMEMBERED = 256_000_000
_NOT_ASKED = -1


@dataclass(frozen=True)
class PeopleRows:
    """Answers of people as rows, sorted by item and then person: item, person, option and weight."""

    item: Ints
    person: Ints
    option: Ints
    weight: Floats


@dataclass(frozen=True)
class People:
    """Answers of all respondents of one survey to the study's items, one byte each.

    Attributes:
        answers: (items × persons) option that each person gave, −1 if none.
        weight: Weight of each person's answers, 1 if not weighted; (items × persons) if it depends on the item.
        own_weight: The survey's weights in the same shape; nan if unknown.
        persons: One row per person, sorted, with the base dimensions, and stratum and psu if GROUPS has them.
        items: Item ids, sorted; item codes are positions in it.
        width: Largest number of options of any item.
        counted_once: Every answer has weight 1.
        structures: Statistics of the correlations of persons' own answers, by a digest of what they come from.
        drawn: Random groups of the answers (`Block.random_groups`), by a name of what they were drawn from.
    """

    answers: NDArray[np.signedinteger[Any]]
    weight: Floats
    own_weight: Floats
    persons: pl.DataFrame
    items: list[str]
    width: int
    counted_once: bool = True
    _counts: dict[tuple[str, bool], Floats] = field(default_factory=dict, repr=False)
    _in_groups: dict[tuple[str, bytes], tuple[Floats, Floats]] = field(default_factory=dict, repr=False)
    structures: dict[bytes, Any] = field(default_factory=dict, repr=False)
    drawn: dict[tuple[str, bytes], NDArray[np.uint8]] = field(default_factory=dict, repr=False)
    _by_person: list[tuple[slice, NDArray[np.int32], Ints]] = field(default_factory=list, repr=False)

    @cached_property
    def design(self) -> Design:
        """Sampling design of these people."""
        return design_of(self.persons)

    def weighted(self) -> People:
        """Apply the survey's weights to the same answers. People without a weight are excluded."""
        own = np.maximum(np.nan_to_num(self.own_weight, nan=0.0), 0.0)
        return replace(self, weight=own, counted_once=False, _counts={}, _in_groups={})

    @property
    def empty(self) -> bool:
        """Whether no item of the survey has people's own answers."""
        return not self.items

    def cut_persons(self, dimension: str) -> g.Cut:
        """Cut the persons by a dimension of people."""
        return g.cut(self.persons, dimension)

    def parts(self) -> Iterator[slice]:
        """Items whose answers are looked at together."""
        step = max(1, MOST_ROWS // max(self.persons.height, 1))
        for first in range(0, len(self.items), step):
            yield slice(first, min(first + step, len(self.items)))

    def rows(self, items: slice = slice(None)) -> PeopleRows:
        """The answers to some items as rows; those to all items take much memory."""
        chosen = self.answers[items]
        item, person = np.nonzero(chosen >= 0)
        item += items.start or 0
        return PeopleRows(item, person, chosen[chosen >= 0].astype(np.int64), self.weights_of(item, person))

    def weights_of(self, item: Ints, person: Ints) -> Floats:
        """Weight of the answers of persons to items."""
        return np.asarray(self.weight[person] if self.weight.ndim == 1 else self.weight[item, person])

    def products(self, slot: Ints, values: Floats) -> Floats:
        """Sum values of each person's answers.

        Args:
            slot: Slice of each person.
            values: (slices × items × options × m) values of an answer.

        Returns:
            (persons × m) sums.
        """
        if not self._by_person:
            made = []
            step = max(1, MOST_ROWS // max(len(self.items), 1))
            for first in range(0, self.persons.height, step):
                answers = self.answers[:, first : first + step].T
                there = answers >= 0
                place = np.arange(len(self.items), dtype=np.int32) * np.int32(self.width) + answers
                ends = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
                made.append((slice(first, first + len(answers)), place[there], ends))
            self._by_person.extend(made)
        out = np.zeros((self.persons.height, values.shape[3]))
        flat = values.reshape(-1, values.shape[3])
        index = np.int32 if len(flat) < 2**31 else np.int64
        begin = (slot * (len(self.items) * self.width)).astype(index)
        ones = np.ones(max((len(place) for _, place, _ in self._by_person), default=0))
        for persons, place, ends in self._by_person:
            row = place + np.repeat(begin[persons], np.diff(ends))
            answers = sparse.csr_matrix((ones[: len(row)], row, ends), shape=(len(ends) - 1, len(flat)))
            out[persons] = answers @ flat
        return out

    @cached_property
    def weight_of_persons(self) -> Floats:
        """Weight of each person; that of the last answer if it depends on the item."""
        if self.weight.ndim == 1:
            return self.weight
        last = len(self.items) - 1 - (self.answers[::-1] >= 0).argmax(axis=0)
        return np.asarray(self.weight[last, np.arange(self.persons.height)])

    def table(self, names: list[str], persons: Flags) -> Floats:
        """(persons × items) answers of some persons to some items; nan if there is none."""
        out = np.full((int(persons.sum()), len(names)), np.nan)
        place = {name: i for i, name in enumerate(self.items)}
        for column, name in enumerate(names):
            if name in place:
                given = self.answers[place[name], persons]
                out[:, column] = np.where(given >= 0, given, np.nan)
        return out

    def person_codes(self, respondent_ids: pl.Series) -> Ints:
        """Return the codes of persons, −1 for those who are not among them."""
        ids = self.persons.get_column("respondent_id").to_list()
        if not ids:
            return np.full(len(respondent_ids), -1, dtype=np.int64)
        return respondent_ids.cast(pl.Enum(ids), strict=False).to_physical().cast(pl.Int64).fill_null(-1).to_numpy()

    def own(self, codes: Ints, item: Ints) -> list[pl.Series]:
        """Own answer of each row's person (`person_codes`) to its item (`item_codes`), and its weight; null if none."""
        if self.empty:
            nothing = pl.Series([None]).new_from_index(0, len(item))
            return [nothing.cast(pl.Int64).alias("own_idx"), nothing.cast(pl.Float64).alias("own_weight")]
        known = np.flatnonzero((codes >= 0) & (item >= 0))
        given = np.full(len(item), _NOT_ASKED)
        weight = np.full(len(item), np.nan)
        given[known] = self.answers[item[known], codes[known]]
        there = known[given[known] >= 0]
        weight[there] = self.weights_of(item[there], codes[there])
        asked = pl.Series(given >= 0)
        return [
            pl.Series("own_idx", given, pl.Int64).set(~asked, None),
            pl.Series("own_weight", weight).fill_nan(None),
        ]

    def _count(self, dimension: str) -> None:
        cut = self.cut_persons(dimension)
        n, width = len(cut.labels), self.width + 1
        # The last slice holds persons without one, and the first option stands for no answer.
        slot = np.where(cut.codes >= 0, cut.codes, n) * width + 1
        made = [np.zeros((n, len(self.items), self.width)) for _ in range(1 if self.counted_once else 2)]
        for items in self.parts():
            shape = (items.stop - items.start, n + 1, width)
            place = np.arange(shape[0])[:, None] * (shape[1] * width) + slot
            place += self.answers[items]
            weight = self.weight if self.weight.ndim == 1 else self.weight[items]
            for counts, power in zip(made, (1, 2), strict=False):
                of_row = None if self.counted_once else np.broadcast_to(weight**power, place.shape).ravel()
                counted = np.bincount(place.ravel(), of_row, minlength=int(np.prod(shape))).reshape(shape)
                counts[:, items] = np.moveaxis(counted[:, :n, 1:], 0, 1)
        self._counts[dimension, False], self._counts[dimension, True] = made[0], made[-1]

    def counts_by_group(
        self, dimension: str, names: list[str], group: NDArray[np.uint8], n_groups: int
    ) -> tuple[Floats, Floats]:
        """Sum the weights of answers as `counts`, within random groups of persons or of single answers.

        Args:
            dimension: A dimension of people.
            names: Its slices in order.
            group: Group of each person, or of each item and person.
            n_groups: Number of groups.

        Returns:
            (groups × slices × items × options) weights, and (groups × slices × items) squared weights.
        """
        labels = self.cut_persons(dimension).labels
        key = (f"{dimension} {group.ndim} {n_groups}", hashlib.sha256(group.tobytes()).digest())
        made = self._in_groups.get(key)
        if made is None:
            made = self._counted_by_group(dimension, group, n_groups)
            # The same people are compared with the model's answers under each condition.
            if sum(c.nbytes + s.nbytes for c, s in [*self._in_groups.values(), made]) <= MOST_REMEMBERED:
                self._in_groups[key] = made
        if names == labels:
            return made
        places = {name: i for i, name in enumerate(labels)}
        known = [i for i, name in enumerate(names) if name in places]
        out = tuple(np.zeros((n_groups, len(names), *values.shape[2:])) for values in made)
        for values, of in zip(out, made, strict=True):
            values[:, known] = of[:, [places[names[i]] for i in known]]
        return out[0], out[1]

    def _counted_by_group(self, dimension: str, group: NDArray[np.uint8], n_groups: int) -> tuple[Floats, Floats]:
        cut = self.cut_persons(dimension)
        n, n_items, width = len(cut.labels), len(self.items), self.width + 1
        # The last slice holds persons without one, and the first option stands for no answer.
        slot = np.where(cut.codes >= 0, cut.codes, n) * width + 1
        of_person = slot + group.astype(np.int64) * ((n + 1) * width) if group.ndim == 1 else slot
        counted, squared = np.zeros((n_groups, n, n_items, self.width)), np.zeros((n_groups, n, n_items))
        size = n_groups * (n + 1) * width
        for items in self.parts():
            place = np.arange(items.stop - items.start)[:, None] * size + of_person
            if group.ndim > 1:
                place += group[items].astype(np.int64) * ((n + 1) * width)
            place += self.answers[items]
            shape = (items.stop - items.start, n_groups, n + 1, width)
            weight = self.weight if self.weight.ndim == 1 else self.weight[items]
            for power in (1, 2) if not self.counted_once else (1,):
                of_row = None if self.counted_once else np.broadcast_to(weight**power, place.shape).ravel()
                made = np.bincount(place.ravel(), of_row, minlength=int(np.prod(shape))).reshape(shape)[:, :, :n, 1:]
                if power == 1:
                    counted[:, :, items] = np.moveaxis(made, 0, 2)
                if power == 2 or self.counted_once:
                    squared[:, :, items] = np.moveaxis(made.sum(axis=3), 0, 2)
        return counted, squared

    def item_codes(self, item_ids: pl.Series) -> Ints:
        """Return the codes of items, −1 for items that nobody answered."""
        if not self.items:
            return np.full(len(item_ids), -1, dtype=np.int64)
        return item_ids.cast(pl.Enum(self.items), strict=False).to_physical().cast(pl.Int64).fill_null(-1).to_numpy()

    def counts(self, dimension: str, names: list[str] | None = None, *, squared: bool = False) -> Floats:
        """Sum the weights of answers by (slices × items × options), for a dimension of people.

        Args:
            dimension: The dimension.
            names: Its slices in order; None for all.
            squared: Sum the squared weights instead.
        """
        labels = self.cut_persons(dimension).labels
        if (key := (dimension, squared)) not in self._counts:
            self._count(dimension)
        counts = self._counts[key]
        if names is None or names == labels:
            return counts
        out = np.zeros((len(names), *counts.shape[1:]))
        places = {name: i for i, name in enumerate(labels)}
        for i, name in enumerate(names):
            if name in places:
                out[i] = counts[places[name]]
        return out


def people(
    gold: pl.DataFrame | Iterable[pl.DataFrame], groups: pl.DataFrame, survey: str, item_ids: pl.Series
) -> People:
    """Gather a survey's own answers to the items, each with weight 1. Traits are renamed (`groups.apart`).

    Args:
        gold: GOLD, or parts of it that can be iterated over more than once.
        groups: GROUPS.
        survey: The survey.
        item_ids: Items of the study.
    """
    wanted = item_ids.unique().sort().to_list()
    found = [
        part.select(
            pl.col("respondent_id").unique().implode(), pl.col("item_id").unique().implode(), pl.col("gold_idx").max()
        )
        for part in _of_survey(gold, survey, wanted)
    ]
    ids, asked = (
        pl.concat([part.get_column(c) for part in found]).explode().unique().drop_nulls().sort()
        if found
        else pl.Series([], dtype=pl.String)
        for c in ("respondent_id", "item_id")
    )
    items = asked.to_list()
    top = max((part.item(0, "gold_idx") or 0 for part in found), default=0)
    persons = (
        ids.alias("respondent_id")
        .to_frame()
        .join(groups.drop("survey"), on="respondent_id", how="left", maintain_order="left")
    )
    answers = np.full((len(items), len(ids)), _NOT_ASKED, dtype=np.int8 if top < 128 else np.int32)
    coded = [(pl.col("item_id"), pl.Enum(items)), (pl.col("respondent_id"), pl.Enum(ids.to_list()))] if items else []
    weight: Floats = np.full(len(ids), np.nan)
    by_item = False  # whether a person's answers have different weights
    for every_item in (False, True):
        seen = np.zeros(len(ids), dtype=bool)
        by_item = every_item
        for part in _of_survey(gold, survey, wanted) if items else ():
            item, person = (
                part.select(e.cast(t)).to_series().to_physical().cast(pl.Int64).to_numpy() for e, t in coded
            )
            answers[item, person] = part.get_column("gold_idx").to_numpy()
            own = part.get_column("weight").cast(pl.Float64).fill_null(np.nan).to_numpy()
            if every_item:
                weight[item, person] = own
                continue
            new = ~seen[person]
            weight[person[new]] = own[new]
            seen[person] = True
            if not np.array_equal(weight[person], own, equal_nan=True):
                by_item = True
                break
        if not by_item or every_item:
            break
        weight = np.full(answers.shape, np.nan)
    return People(
        answers=answers,
        weight=np.ones(weight.shape),
        own_weight=weight,
        persons=persons,
        items=items,
        width=(top or 1) + 1,
    )


def _of_survey(gold: pl.DataFrame | Iterable[pl.DataFrame], survey: str, items: list[str]) -> Iterator[pl.DataFrame]:
    """The answers to items of a survey, part by part."""
    for frame in [gold] if isinstance(gold, pl.DataFrame) else gold:
        for part in frame.iter_slices(MOST_ROWS):
            of_survey = part.filter((pl.col("survey") == survey) & pl.col("item_id").is_in(items))
            if not of_survey.is_empty():
                yield of_survey


@dataclass(frozen=True)
class Guess:
    """Guesses per row from everyone else's answers; nan if nobody else answered.

    Attributes:
        credit: 1 if the most frequent answer is the row's key; split among ties.
        steps: |most frequent answer − key| / (k − 1).
        proportional: Share of the others who gave the row's key.
    """

    credit: Floats
    steps: Floats
    proportional: Floats

    def otherwise(self, other: Guess) -> Guess:
        """Use this guess, or the other one if this is nan."""
        return Guess(
            *(
                np.where(np.isfinite(a), a, b)
                for a, b in zip(
                    (self.credit, self.steps, self.proportional),
                    (other.credit, other.steps, other.proportional),
                    strict=True,
                )
            )
        )


def guess(counts: Floats, *, own: Ints, own_weight: Floats, key: Ints, k: Ints) -> Guess:
    """Guess each row's key from the other people's answers.

    Args:
        counts: (options × rows) weight of all answers to the row's item in the row's group.
        own: The person's own answer if `counts` includes it, to be subtracted; −1 otherwise.
        own_weight: Its weight.
        key: The answer key.
        k: Number of options of the item.
    """
    rows = np.arange(len(key))
    option = np.arange(len(counts))[:, None]
    others = counts.copy()
    inside = np.flatnonzero(own >= 0)
    others[own[inside], inside] -= own_weight[inside]
    total = others.sum(axis=0)
    top = others.max(axis=0)
    # Subtracting weights leaves rounding errors. A weight below this is 0, and two weights closer than this are tied.
    slack = 1e-9 * np.maximum(counts.sum(axis=0), 1e-300)
    any_left = total > slack
    tied = (others >= top - slack) & any_left & (option < k)
    n_tied = np.maximum(tied.sum(axis=0), 1)
    key_inside = np.minimum(key, len(counts) - 1)
    at_key = key < len(counts)
    steps = (tied * np.abs(option - key)).sum(axis=0) / n_tied / (k - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Guess(
            np.where(any_left, tied[key_inside, rows] / n_tied * at_key, np.nan),
            np.where(any_left, steps, np.nan),
            np.where(any_left, np.maximum(others[key_inside, rows], 0.0) * at_key / total, np.nan),
        )
