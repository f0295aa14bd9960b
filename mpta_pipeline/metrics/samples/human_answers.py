"""Summarize the answers of the survey's people: distributions by group, and guesses from other people's answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl

from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.statistics.arrays import Floats, Ints, dense, sums
from mpta_pipeline.metrics.statistics.linearization import Design, design_of


@dataclass(frozen=True)
class People:
    """Answers of all respondents of one survey to the study's items.

    Attributes:
        frame: Sorted rows with respondent_id, item_id, gold_idx, weight (1 if not weighted) and own_weight.
        persons: One row per person, sorted, with the base dimensions, and stratum and psu if GROUPS has them.
        person: Row in `persons` of each row.
        items: Item ids, sorted; item codes are positions in it.
        item: Item code of each row.
        width: Largest number of options of any item.
        place: Item and answer of each row as one number.
        counted_once: Every answer has weight 1.
    """

    frame: pl.DataFrame
    persons: pl.DataFrame
    person: Ints
    items: list[str]
    item: Ints
    width: int
    place: Ints
    counted_once: bool = True
    _counts: dict[tuple[str, bool], Floats] = field(default_factory=dict, repr=False)

    @cached_property
    def design(self) -> Design:
        """Sampling design of these people."""
        return design_of(self.persons)

    def weighted(self) -> People:
        """Apply the survey's weights to the same answers. People without a weight are excluded."""
        own = pl.col("own_weight").fill_null(0.0).clip(lower_bound=0.0).alias("weight")
        return replace(self, frame=self.frame.with_columns(own), counted_once=False, _counts={})

    @property
    def empty(self) -> bool:
        """Whether no item of the survey has people's own answers."""
        return self.frame.is_empty()

    def cut_persons(self, dimension: str) -> g.Cut:
        """Cut the persons by a dimension of people."""
        return g.cut(self.persons, dimension)

    def _count(self, dimension: str) -> None:
        cut = self.cut_persons(dimension)
        n, size = len(cut.labels), len(self.items) * self.width
        place = (np.where(cut.codes >= 0, cut.codes, n) * size)[self.person]
        place += self.place
        w = self.frame.get_column("weight").to_numpy()
        for squared in (False, True):
            if squared and self.counted_once:
                self._counts[dimension, True] = self._counts[dimension, False]
                continue
            counted = sums(place, w**2 if squared else w, (n + 1) * size)
            self._counts[dimension, squared] = counted.reshape(n + 1, len(self.items), self.width)[:n]

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


def people(gold: pl.DataFrame, groups: pl.DataFrame, survey: str, item_ids: pl.Series) -> People:
    """Gather a survey's own answers to the items, each with weight 1. Traits are renamed (`groups.apart`)."""
    items = item_ids.unique().sort().to_list()
    frame = (
        gold.filter((pl.col("survey") == survey) & pl.col("item_id").is_in(items))
        .with_columns(pl.col("item_id").cast(pl.Enum(items)))
        .select(
            "respondent_id", "item_id", "gold_idx", pl.lit(1.0).alias("weight"), pl.col("weight").alias("own_weight")
        )
    )
    ids = frame.get_column("respondent_id").unique().sort()
    person = dense(frame.get_column("respondent_id"))
    item = frame.get_column("item_id").to_physical().cast(pl.Int64).to_numpy()
    # Sorted by item and then person, because sums run in this order.
    order = np.argsort(item * (len(ids) + 1) + person, kind="stable")
    frame = frame[order].with_columns(pl.col("item_id").cast(pl.String))
    persons = (
        ids.alias("respondent_id")
        .to_frame()
        .join(groups.drop("survey"), on="respondent_id", how="left", maintain_order="left")
    )
    asked = np.unique(item)
    code = np.searchsorted(asked, item[order])
    width = int(frame.get_column("gold_idx").max() or 1) + 1 if len(asked) else 2  # type: ignore[operator, arg-type]
    return People(
        frame=frame,
        persons=persons,
        person=person[order],
        items=[items[i] for i in asked],
        item=code,
        width=width,
        place=code * width + frame.get_column("gold_idx").to_numpy(),
    )


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
