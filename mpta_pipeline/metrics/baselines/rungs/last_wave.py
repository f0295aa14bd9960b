"""The wave before: how well the group's last answers but one foretell its last ones."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import polars as pl

from mpta_pipeline.metrics.baselines.rival import Compared, Rival, Told, modes
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.samples.answer_distributions import Cells
from mpta_pipeline.metrics.samples.compact import CompactFrame
from mpta_pipeline.metrics.samples.human_answers import People
from mpta_pipeline.metrics.statistics import distances
from mpta_pipeline.metrics.statistics.arrays import Floats, Ints, ratio, sums


def _last_wave(of: Compared) -> Told:
    waves, least = _Waves(of.panel.people, of.dimension, of.view.cut.labels, of.width), of.block.rules.min_personas
    return Told(
        waves.distance(least)[of.cells.owner, of.cells.item],
        waves.credit(of.frame, of.cells, of.cell, of.gold, least=least),
        waves.note,
    )


class _Waves:
    """People's answers by wave: how well the wave before the last one foretells the last one."""

    def __init__(self, people: People, dimension: str, labels: list[str], width: int) -> None:
        persons = people.persons
        wave = (
            persons.get_column("sample_wave")
            if "sample_wave" in persons.columns
            else pl.Series([None] * persons.height, dtype=pl.String)
        )
        self.names = sorted(wave.drop_nulls().unique().to_list(), key=_in_order)
        self.note: str | None = None
        self.shape = (len(self.names), len(labels), len(people.items), width)
        n_waves, n, n_items, _ = self.shape
        self.counts = self.heads = np.zeros(self.shape)
        if n_waves < 2:
            return
        number: Mapping[str, int] = {name: i for i, name in enumerate(self.names)}
        rows = people.rows()
        codes = wave.replace_strict(number, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy()[rows.person]
        slices = g.cut(persons, dimension, labels).codes[rows.person]
        inside = np.flatnonzero((codes >= 0) & (slices >= 0))
        place = (((codes * n + slices) * n_items + rows.item) * width + rows.option)[inside]
        weight = rows.weight[inside]
        size = int(np.prod(self.shape))
        self.counts = sums(place, weight, size).reshape(self.shape)
        self.heads = sums(place, np.ones(len(place)), size).reshape(self.shape)
        asked = self.heads.sum(axis=(1, 3)) > 0
        self.last = n_waves - 1 - asked[::-1].argmax(axis=0)
        earlier = asked & (np.arange(n_waves)[:, None] < self.last)
        self.before = np.where(earlier.any(axis=0), n_waves - 1 - earlier[::-1].argmax(axis=0), -1)
        pairs = sorted({(self.before[i], self.last[i]) for i in np.flatnonzero(self.before >= 0)})
        if pairs:
            told = [f"{self.names[before]} for {self.names[last]}" for before, last in pairs[:3]]
            more = ["other waves for other questions"] if len(pairs) > 3 else []
            self.note = f"compared with the people of the last wave alone: {', '.join([*told, *more])}"
            if "sample" in persons.columns and _different(persons.get_column("sample"), wave, self.names, pairs):
                self.note += "; the waves have different countries"

    def _pairs(self, least: int) -> tuple[Floats, Floats] | None:
        """(slices × items × options) shares of the wave before the last one, and of the last one; nan where unknown."""
        if self.note is None:
            return None
        at = np.arange(self.shape[2])
        found = []
        for wave in (np.maximum(self.before, 0), self.last):
            counts, heads = self.counts[wave, :, at], self.heads[wave, :, at]
            enough = (heads.sum(axis=2) >= least) & (self.before >= 0)[:, None]
            shares = ratio(counts, np.broadcast_to(counts.sum(axis=2, keepdims=True), counts.shape))
            found.append(np.where(enough[..., None], shares, np.nan).transpose(1, 0, 2))
        return found[0], found[1]

    def distance(self, least: int) -> Floats:
        """(slices × items) total variation between the two waves; nan without an earlier one."""
        pairs = self._pairs(least)
        if pairs is None:
            return np.full(self.shape[1:3], np.nan)
        before, last = (np.moveaxis(p, -1, 0) for p in pairs)
        return distances.total_variation(before, last)

    def credit(self, frame: CompactFrame, cells: Cells, cell: Ints, gold: Ints, *, least: int) -> Floats:
        """Whether the most frequent answer of the earlier wave is that of each row's person, if of the last wave."""
        pairs = self._pairs(least)
        if pairs is None:
            return np.full(len(cell), np.nan)
        before = pairs[0][cells.owner, cells.item]
        known = np.asarray(np.isfinite(before).all(axis=1), dtype=bool)
        most = modes(np.where(known[:, None], before, 1.0), before.shape[1])
        last = np.array(self.names, dtype=object)[self.last[cells.item]]
        of_last = frame.get_column("wave").to_numpy() == last[cell]
        return np.where(known[cell] & of_last, most[cell, gold], np.nan)


def _different(sample: pl.Series, wave: pl.Series, names: list[str], pairs: list[tuple[int, int]]) -> bool:
    """Whether two waves that are compared were held in different countries."""
    of = {name: set(sample.filter(wave == name).unique().to_list()) for name in names}
    return any(of[names[before]] != of[names[last]] for before, last in pairs)


def _in_order(wave: str) -> list[tuple[int, int, str]]:
    """Waves in the order of their numbers: wvs-6 before wvs-7, gss-2016 before gss-2018."""
    return [(int(part.isdigit()), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", wave)]


RIVALS = (Rival(name="last_wave", title="the wave before", place=30, compare=_last_wave, of_polls=False),)
