"""Estimate the sampling error of a mean distance: linearize both distributions and sum by sampling unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.samples.answer_distributions import MANY, Cells
from mpta_pipeline.metrics.samples.human_answers import MOST_ROWS
from mpta_pipeline.metrics.samples.survey_answers import Block, View
from mpta_pipeline.metrics.statistics import distances
from mpta_pipeline.metrics.statistics.arrays import Flags, Floats, Ints, numbered, ratio, sums
from mpta_pipeline.metrics.statistics.clustered import Rows
from mpta_pipeline.metrics.statistics.linearization import Design

Variances = tuple[Floats, Floats, Floats]
# Cells known, influences of people's answers (cells × options), and of the model's answers (rows).
Part = tuple[Flags, Floats, Floats]


class Influences:
    """Influence of each person on a slice's mean distance, through their own answers and the model's answers for them.

    The mean distance is linearized in both distributions. A person who is a persona and a survey respondent is in both:
    their influences on both sides are summed before they are squared.
    """

    def __init__(self, view: View, cells: Cells, used: Flags, item: Ints) -> None:
        block = view.block
        self.n, self.cells, n_items = view.n, cells, len(block.matched)
        index = np.full(view.n * n_items, -1)
        index[cells.owner * n_items + cells.item] = np.arange(len(cells.owner))
        slices = np.where(used, view.cut.codes, -1)
        inside = (slices >= 0) & (item >= 0) & (block.weight > 0)
        cell = np.where(inside, index[np.maximum(slices, 0) * n_items + item], -1)
        compared = np.flatnonzero(cell >= 0)
        rows = slice(None) if len(compared) == len(cell) else compared
        cell, w = cell[rows], block.weight[rows]
        self._cell = cell
        self._share = w / sums(cell, w, len(cells.owner))[cell]
        self._answers = block.units.answer[rows]
        self._sides: _WithPeople | _WithPolls
        if block.polls is not None:
            self._sides = _WithPolls(self, block, rows)
        else:
            self._sides = _WithPeople(self, view, rows)
        self.words = self._sides.words

    @cached_property
    def noise(self) -> Floats:
        """Error variance of the difference of both distributions over that of independent simple samples, by slice.

        It is above 1 if people of a sampling unit are alike, and below 1 if the model's answers correlate with the
        people's own, because the effects of sampling the same people then cancel.
        """
        cells, width = self.cells, self._answers.shape[1]
        model = []
        for option in range(cells.human.shape[1]):
            answers = self._answers[:, option] if option < width else 0.0
            model.append((answers - cells.model[self._cell, option]) * self._share)
        simple = (cells.model * (1 - cells.model)).sum(axis=1) / cells.n_model
        return self._over_simple(model, simple)

    @cached_property
    def noise_of_people(self) -> Floats:
        """As `noise`, of people's distribution alone, for shares that have no sampling error."""
        nothing = np.zeros(len(self._cell))
        return self._over_simple([nothing] * self.cells.human.shape[1], np.zeros(len(self.cells.owner)))

    def _over_simple(self, model: list[Floats], simple: Floats) -> Floats:
        cells, human = self.cells, []
        for option in range(cells.human.shape[1]):
            at = np.zeros((len(cells.owner), cells.human.shape[1]))
            at[:, option] = 1.0
            human.append(cells.human[:, option, None] - at)
        simple = simple + (cells.human * (1 - cells.human)).sum(axis=1) / cells.n_human
        expected = sums(cells.owner, simple, self.n)
        for squares in (self._sides.squares_of_counts, self._sides.squares):
            if (seen := squares(human, model)) is None:
                continue
            made = ratio(seen, expected)
            noise = np.asarray(np.clip(np.where(np.isfinite(made), made, 1.0), 0.1, 10.0))
            if not self._at_a_half(noise):
                break
        return noise

    def _at_a_half(self, noise: Floats) -> bool:
        """Whether a number of people or answers over the noise is so near to a half that its last digit matters.

        These numbers, and half of them, are rounded (`distances.sampling_bias`). A half occurs if the model gives
        everyone the same answer.
        """
        numbers = np.stack([n / noise[self.cells.owner] for n in (self.cells.n_human, self.cells.n_model)])
        tolerance = 1e-11 * np.maximum(numbers, 1.0)
        near = np.abs(numbers.min(axis=0) - distances.LEAST_HALVED) < tolerance.max(axis=0)
        return bool(near.any()) or any(
            bool((np.abs(n - np.floor(n) - 0.5) < tolerance).any()) for n in (numbers, numbers / 2)
        )

    def n_people(self, known: Flags) -> Floats:
        """Count the people of each slice whose own answers are in the cells used.

        For polls, this is the largest number of any item; nan if the poll does not report it.
        """
        return np.asarray(self._sides.n_people(known))

    def variances(self, d: Floats, slope_model: Floats, slope_human: Floats) -> Variances:
        """Variances over persons (or their sampling units) and over their crossings with items, and degrees of freedom.

        Args:
            d: Distance of each cell; nan for excluded cells.
            slope_model: (cells × K) derivative by the model's shares.
            slope_human: (cells × K) derivative by the people's.
        """
        return self.variances_of([(d, slope_model, slope_human)])[0]

    def variances_of(self, means: Sequence[tuple[Floats, Floats, Floats]]) -> list[Variances]:
        """As `variances`, of several means."""
        return self._sides.variances([self._parts(*mean) for mean in means])

    def _parts(self, d: Floats, slope_model: Floats, slope_human: Floats) -> Part:
        cells = self.cells
        known = np.isfinite(d)
        per_item = np.where(known, 1.0 / np.maximum(sums(cells.owner, known, self.n), 1.0)[cells.owner], 0.0)
        parts = []
        for by_share, shares in ((slope_human, cells.human), (slope_model, cells.model)):
            slope = np.where(known[:, None], by_share, 0.0)
            parts.append((slope - (slope * shares).sum(axis=1, keepdims=True)) * per_item[:, None])
        of_model = np.zeros(len(self._cell))
        for option in range(self._answers.shape[1]):
            of_model += parts[1][self._cell, option] * self._answers[:, option]
        of_model *= self._share
        return known, parts[0], of_model


class _WithPolls:
    """The people's side consists of the polls of the personas' own countries."""

    words = "people's by spread over items alone"

    def __init__(self, of: Influences, block: Block, rows: Ints | slice) -> None:
        assert block.polls is not None
        self._n, self._cells, self._cell, self._share = of.n, of.cells, of._cell, of._share
        self._given = block.polls.shares[block.poll_entry[rows]]
        self._unit = block.persona[rows]
        self._pairs, self._pair = np.unique(self._unit * self._n + self._cells.owner[self._cell], return_inverse=True)
        self._crossings = Rows(self._unit * self._n + self._cells.owner[self._cell], self._cells.cluster[self._cell])

    def _both(self, human: Floats, model: Floats) -> Floats:
        of_polls = (human[self._cell, : self._given.shape[1]] * self._given).sum(axis=1) * self._share
        return np.asarray(of_polls + model)

    def squares(self, human: list[Floats], model: list[Floats]) -> Floats:
        """Σ over options of the squared influences of units on cells, by slice."""
        seen = np.zeros(self._n)
        grouped = Rows(self._unit, self._cell)
        of = np.empty(grouped.n_cell, dtype=np.int64)
        of[grouped.cell] = self._cells.owner[self._cell]
        for by_people, by_model in zip(human, model, strict=True):
            both = sums(grouped.cell, self._both(by_people, by_model), grouped.n_cell)
            seen += sums(of, both**2, self._n)
        return seen

    def n_people(self, known: Flags) -> Floats:
        most = np.zeros(self._n)
        np.maximum.at(most, self._cells.owner[known], np.rint(self._cells.n_human[known]))
        return np.where(most < MANY, most, np.nan)

    def squares_of_counts(self, human: list[Floats], model: list[Floats]) -> None:
        """There is no faster way than `squares`."""

    def variances(self, parts: Sequence[Part]) -> list[Variances]:
        return [self._variances(*part) for part in parts]

    def _variances(self, known: Flags, human: Floats, model: Floats) -> Variances:
        z, counts, n = self._both(human, model), known[self._cell], self._n
        rows = self._crossings
        of_crossing = rows.persona_of_cell % n
        n_cells = sums(of_crossing, sums(rows.cell, counts, rows.n_cell) > 0, n)
        of_pair, code, n_pairs = self._pairs % n, self._pair, len(self._pairs)
        units = sums(of_pair, sums(code, counts, n_pairs) > 0, n)
        with np.errstate(divide="ignore", invalid="ignore"):
            v_cell = n_cells / (n_cells - 1) * sums(of_crossing, sums(rows.cell, z, rows.n_cell) ** 2, n)
            v_person = units / (units - 1) * sums(of_pair, sums(code, z, n_pairs) ** 2, n)
        return v_person, v_cell, units - 1.0


@dataclass(frozen=True)
class _Sums:
    """Influences summed by crossing of unit and item (or item cluster), by pair of unit and slice.

    Attributes:
        squares: Σ of the squares over crossings.
        total: Σ over crossings.
    """

    squares: Floats
    total: Floats


class _Crossings:
    """The model's answers, summed by person and item or item cluster, in the order of the clusters.

    Args:
        person: Person of each row.
        item: Item of each row.
        group: Item cluster of each item, or the item itself.
        n_persons: Number of persons.
    """

    def __init__(self, person: Ints, item: Ints, group: Ints, n_persons: int) -> None:
        size = (int(group.max(initial=-1)) + 1) * n_persons
        self.code, key = numbered(group[item] * n_persons + person, size)
        self.n, self.person, self.group = len(key), key % n_persons, key // n_persons
        # Items in the order of their groups.
        self.items = np.argsort(group, kind="stable")
        self._group = group[self.items]

    def parts(self, persons: int) -> Iterator[tuple[Ints, Ints, Ints, Ints]]:
        """Items of whole groups, where each group begins among them, and the crossings with one of these `persons`.

        The last is their place in a (groups × persons) array.
        """
        starts = np.flatnonzero(np.diff(self._group, prepend=-1))
        ends = np.append(starts[1:], len(self._group))
        step = max(1, MOST_ROWS // max(persons, 1))
        first = 0
        while first < len(starts):
            last = max(int(np.searchsorted(ends, starts[first] + step, side="right")), first + 1)
            low, high = self._group[starts[first]], self._group[starts[last - 1]]
            inside = np.arange(*np.searchsorted(self.group, [low, high + 1]))
            inside = inside[self.person[inside] < persons]
            place = (self.group[inside] - low) * persons + self.person[inside]
            yield self.items[starts[first] : ends[last - 1]], starts[first:last] - starts[first], inside, place
            first = last


class _WithPeople:
    """The people's side consists of the survey's own answers, which are looked at item by item."""

    def __init__(self, of: Influences, view: View, rows: Ints | slice) -> None:
        block, people = view.block, view.block.people
        self._n, self._cells, self._people, self._cell = of.n, of.cells, people, of._cell
        n, cells = of.n, of.cells
        self._persons = len(people.persons)
        slot = g.cut(people.persons, view.cut.dimension, view.cut.labels).codes
        by_item = people.weight.ndim > 1
        slot = np.where((slot >= 0) & (by_item | (people.weight_of_persons > 0)), slot, n)
        person = block.person[rows]
        self._design: Design = people.design
        self.words = self._design.words()
        # Personas without an answer in the survey form their own units.
        n_persons = max(self._persons, int(person.max(initial=-1)) + 1)
        further = self._design.n_units + np.arange(n_persons - self._persons)
        unit = np.concatenate([self._design.unit, further])
        owner = np.concatenate([slot, np.full(len(further), n)])
        owner[person] = cells.owner[self._cell]
        key = unit * (n + 1) + owner
        self._pair_of: Ints = np.arange(n_persons)
        self._units, self._owners = unit, owner
        if self._design.known:
            pairs, self._pair_of = np.unique(key, return_inverse=True)
            self._units, self._owners = pairs // (n + 1), pairs % (n + 1)
        # Where each person's options begin in the table of an item (`_table`).
        self._width = cells.human.shape[1] + 1
        self._begin = slot * self._width + 1
        clusters = np.full(len(people.items), -1)
        clusters[cells.item] = cells.cluster
        # Items without a cell come last; nobody's influence on them counts.
        clusters = np.where(clusters >= 0, clusters, clusters.max(initial=-1) + 1 + np.arange(len(clusters)))
        clusters = np.unique(clusters, return_inverse=True)[1]
        self._by_cluster = _Crossings(person, cells.item[self._cell], clusters, n_persons)
        alone = len(clusters) == int(clusters.max(initial=-1)) + 1
        self._by_item = (
            self._by_cluster
            if alone
            else _Crossings(person, cells.item[self._cell], np.arange(len(clusters)), n_persons)
        )
        weight = people.counts(view.cut.dimension, view.cut.labels).sum(axis=2)
        self._weight = weight[cells.owner, cells.item]
        self._person = person
        # Each person is a unit, each item a cluster, and each person has one weight.
        self._single = alone and not self._design.known and not by_item
        self._squared: Floats | None = None
        if self._single:
            squared = people.counts(view.cut.dimension, view.cut.labels, squared=True)
            self._squared = squared[cells.owner, cells.item]
        self._there: dict[bytes, tuple[Floats, Flags]] = {}

    @cached_property
    def _own(self) -> tuple[Ints, Ints]:
        """Cell and option of the person's own answer in each crossing of `_by_item`; −1 and 0 if there is none."""
        by, people, cells = self._by_item, self._people, self._cells
        known = by.person < self._persons
        person = np.where(known, by.person, 0)
        # Clusters of single items may be in another order than the items.
        item = by.items[by.group]
        option = np.where(known, people.answers[item, person], -1).astype(np.int64)
        cell_of = np.full((self._n + 1, len(people.items)), -1)
        cell_of[cells.owner, cells.item] = np.arange(len(cells.owner))
        slot = (self._begin - 1) // self._width
        return np.where(option >= 0, cell_of[slot[person], item], -1), np.maximum(option, 0)

    @cached_property
    def _own_weight(self) -> Floats:
        """Weight of the person's own answer in each crossing over that of the cell; 0 if there is none."""
        cell, _ = self._own
        weight = self._people.weight[np.where(self._by_item.person < self._persons, self._by_item.person, 0)]
        return np.where(cell >= 0, weight / self._weight[np.maximum(cell, 0)], 0.0)

    def _outside(self, values: Floats) -> Floats:
        """Sum the squares of (cells × options) values of people's answers by slice, without those in a crossing."""
        assert self._squared is not None
        cell, option = self._own
        own = np.flatnonzero(cell >= 0)
        everyone = (values[:, : self._people.width] ** 2 * self._squared).sum(axis=1) / self._weight**2
        inside = (self._own_weight[own] * values[cell[own], option[own]]) ** 2
        of = self._cells.owner
        rest = sums(of, everyone, self._n) - sums(of[cell[own]], inside, self._n)
        return np.where(self._all_inside, 0.0, np.maximum(rest, 0.0))

    @cached_property
    def _all_inside(self) -> Flags:
        """Slices in which the model answered for everyone whose own answers are compared."""
        assert self._squared is not None
        cell, of = self._own[0], self._cells.owner
        own = np.flatnonzero(cell >= 0)
        everyone = sums(of, (self._squared > 0).sum(axis=1), self._n)
        counted = self._squared.sum(axis=1) / self._weight**2
        left = sums(of, counted, self._n) - sums(of[cell[own]], self._own_weight[own] ** 2, self._n)
        return (left <= 1e-12 * sums(of, counted, self._n)) & (everyone > 0)

    def squares_of_counts(self, human: list[Floats], model: list[Floats]) -> Floats | None:
        """As `squares`, from counts of people's answers: sums run in another order. None if units need sums of rows."""
        if not self._single:
            return None
        by, (cell, option), n = self._by_item, self._own, self._n
        seen = np.zeros(n)
        of_crossing = self._owners[by.person]
        for by_people, by_model in zip(human, model, strict=True):
            z = self._own_weight * by_people[np.maximum(cell, 0), option] + sums(by.code, by_model, by.n)
            seen += sums(of_crossing, z**2, n + 1)[:n] + self._outside(by_people)
        return seen

    def _variances_of_counts(self, parts: Sequence[Part]) -> list[Variances]:
        """As `_variances`, in one pass over people's answers."""
        people, cells, by, n = self._people, self._cells, self._by_item, self._n
        (cell, option), width = self._own, self._people.width
        masks = list({known.tobytes(): known for known, _, _ in parts if known.tobytes() not in self._there}.values())
        values = np.zeros((n + 1, len(people.items), width, len(parts) + len(masks)))
        for i, (_, by_people, _) in enumerate(parts):
            values[cells.owner, cells.item, :, i] = by_people[:, :width] / self._weight[:, None]
        for i, known in enumerate(masks):
            values[cells.owner, cells.item, :, len(parts) + i] = known[:, None]
        of_persons = people.products((self._begin - 1) // self._width, values)
        for i, known in enumerate(masks):
            answers = np.zeros(len(self._units))
            answers[: self._persons] = np.rint(of_persons[:, len(parts) + i])
            alone = (sums(by.code, known[self._cell], by.n) > 0) & ~((cell >= 0) & known[np.maximum(cell, 0)])
            n_crossings = answers + sums(by.person, alone, len(self._units))
            self._there[known.tobytes()] = n_crossings, answers[: self._persons] > 0
        made = []
        for i, (known, by_people, by_model) in enumerate(parts):
            of_model = sums(by.code, by_model, by.n)
            z = self._own_weight * by_people[np.maximum(cell, 0), option] + of_model
            squares = sums(self._owners[by.person], z**2, n + 1)[:n] + self._outside(by_people)
            total = sums(by.person, of_model, len(self._units))
            total[: self._persons] += of_persons[:, i] * people.weight
            there, _ = self._present(known)
            n_cells, units = self._by_slice(there), self._by_slice(there > 0)
            with np.errstate(divide="ignore", invalid="ignore"):
                v_cell = n_cells / (n_cells - 1) * squares
                made.append((units / (units - 1) * self._by_slice(total**2), v_cell, units - 1.0))
        return made

    def _table(self, values: Floats) -> Floats:
        """(items × slices × options) table of the (cells × options) values; the first option stands for no answer."""
        table = np.zeros((len(self._people.items), self._n + 1, self._width), dtype=values.dtype)
        table[self._cells.item, self._cells.owner, 1:] = values
        return table

    def _looked_up(self, table: Floats, items: Ints) -> Floats:
        """(items × persons) value of each person's answer."""
        size = (self._n + 1) * self._width
        place = self._people.answers[items] + self._begin
        place += np.arange(len(items))[:, None] * size
        return np.asarray(np.take(table[items], place))

    def _sum(self, by: _Crossings, human: Floats, model: Floats) -> _Sums:
        """Sum the influences of people's answers, (cells × options), and of the model's, one per row."""
        people, persons = self._people, self._persons
        table = self._table(human / self._weight[:, None])
        of_model = sums(by.code, model, by.n)
        squares, total = np.zeros(len(self._units)), np.zeros(len(self._units))
        for items, starts, inside, place in by.parts(persons):
            z = self._looked_up(table, items)
            z *= people.weight if people.weight.ndim == 1 else people.weight[items]
            if len(starts) < len(items):
                z = np.add.reduceat(z, starts, axis=0)
            z.ravel()[place] += of_model[inside]
            if self._design.known:
                z = self._summed_units(z)
                squares += np.einsum("ij,ij->j", z, z)
                total += z.sum(axis=0)
            else:
                squares[:persons] += np.einsum("ij,ij->j", z, z)
                total[:persons] += z.sum(axis=0)
        further = np.flatnonzero(by.person >= persons)
        pair = self._pair_of[by.person[further]]
        squares += sums(pair, of_model[further] ** 2, len(squares))
        total += sums(pair, of_model[further], len(squares))
        return _Sums(squares, total)

    def _summed_units(self, z: Floats) -> Floats:
        """(groups × pairs) sums over the persons of each pair of unit and slice."""
        order = np.argsort(self._pair_of[: self._persons], kind="stable")
        pair = self._pair_of[order]
        starts = np.flatnonzero(np.diff(pair, prepend=-1))
        out = np.zeros((len(z), len(self._units)))
        out[:, pair[starts]] = np.add.reduceat(z[:, order], starts, axis=1)
        return out

    def _present(self, known: Flags) -> tuple[Floats, Flags]:
        """Number of crossings with item clusters of each pair, and whether each person answered, in the cells known."""
        if (key := known.tobytes()) in self._there:
            return self._there[key]
        people, persons, by = self._people, self._persons, self._by_cluster
        table = self._table(np.repeat(known[:, None], self._width - 1, axis=1))
        of_model = sums(by.code, known[self._cell], by.n) > 0
        n, answered = np.zeros(len(self._units)), np.zeros(persons, dtype=bool)
        for items, starts, inside, place in by.parts(persons):
            there: Flags = self._looked_up(table, items) > 0
            if people.weight.ndim > 1:
                there = there & (people.weight[items] > 0)
            if len(starts) < len(items):
                there = np.logical_or.reduceat(there, starts, axis=0)
            answered |= there.any(axis=0)
            flat = there.ravel()
            flat[place] = flat[place] | of_model[inside]
            if self._design.known:
                n += (self._summed_units(there.astype(np.float64)) > 0).sum(axis=0)
            else:
                n[:persons] += there.sum(axis=0)
        further = np.flatnonzero((by.person >= persons) & of_model)
        # Each of these persons is a unit of their own.
        n += sums(self._pair_of[by.person[further]], np.ones(len(further)), len(n))
        self._there[key] = n, answered
        return n, answered

    def _by_slice(self, values: Floats | Flags) -> Floats:
        return sums(self._owners, values, self._n + 1)[: self._n]

    def squares(self, human: list[Floats], model: list[Floats]) -> Floats:
        """Σ over options of the squared influences of units on cells, by slice."""
        if not self._design.known:
            return self._squares_of_persons(human, model)
        seen = np.zeros(self._n)
        for by_people, by_model in zip(human, model, strict=True):
            seen += self._by_slice(self._sum(self._by_item, by_people, by_model).squares)
        return seen

    def _squares_of_persons(self, human: list[Floats], model: list[Floats]) -> Floats:
        """As `squares`, if people were sampled individually.

        Numbers of people divided by the result are rounded where half of an odd number occurs, if the model gives
        everyone the same answer. The last digit then matters, so that all sums run person by person and item by item.
        """
        people, persons, n = self._people, self._persons, self._n
        n_items, rows = len(people.items), self._cells.item[self._cell]
        size = (n + 1) * self._width
        tables = [self._table(values) for values in human]
        weight = np.ones((n_items, n + 1))
        weight[self._cells.item, self._cells.owner] = self._weight
        known = np.flatnonzero(self._person < persons)
        known = known[np.argsort(self._person[known], kind="stable")]
        person, rows = self._person[known], rows[known]
        made = np.zeros((len(human), n + 1))
        item = np.arange(n_items)
        step = max(1, MOST_ROWS // max(n_items, 1))
        for first in range(0, persons, step):
            these = slice(first, min(first + step, persons))
            begin = self._begin[these, None]
            place = people.answers[:, these].T + begin + item * size
            w = people.weight[these, None] if people.weight.ndim == 1 else people.weight[:, these].T
            share = w / np.take(weight, (begin - 1) // self._width + item * (n + 1))
            low, high = np.searchsorted(person, [these.start, these.stop])
            own = (person[low:high] - first) * n_items + rows[low:high]
            codes = np.concatenate([np.arange(n + 1), np.repeat(self._owners[these], n_items)])
            for i, (table, of_model) in enumerate(zip(tables, model, strict=True)):
                z = (np.take(table, place) * share).ravel()
                np.add.at(z, own, of_model[known[low:high]])
                made[i] = sums(codes, np.concatenate([made[i], z**2]), n + 1)
        further = np.flatnonzero(self._person >= persons)
        grouped = Rows(self._person[further], self._cell[further])
        codes = np.concatenate([np.arange(n + 1), self._owners[grouped.persona_of_cell]])
        seen = np.zeros(n)
        for i, of_model in enumerate(model):
            z = sums(grouped.cell, of_model[further], grouped.n_cell)
            seen += sums(codes, np.concatenate([made[i], z**2]), n + 1)[:n]
        return seen

    def n_people(self, known: Flags) -> Floats:
        slot = (self._begin - 1) // self._width
        return sums(slot, self._present(known)[1], self._n + 1)[: self._n]

    def variances(self, parts: Sequence[Part]) -> list[Variances]:
        if self._single:
            return self._variances_of_counts(parts)
        return [self._variances(*part) for part in parts]

    def _variances(self, known: Flags, human: Floats, model: Floats) -> Variances:
        made, n, design = self._sum(self._by_cluster, human, model), self._n, self._design
        there, _ = self._present(known)
        n_cells, units = self._by_slice(there), self._by_slice(there > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            v_cell = n_cells / (n_cells - 1) * self._by_slice(made.squares)
            if not design.known:
                return units / (units - 1) * self._by_slice(made.total**2), v_cell, units - 1.0
            inside = self._owners < n
            grid = np.zeros((n, max(design.n_units, int(self._units.max(initial=-1)) + 1)))
            grid[self._owners[inside], self._units[inside]] = made.total[inside]
            v_person = design.variance(grid[:, : design.n_units]) + (grid[:, design.n_units :] ** 2).sum(axis=1)
        # For a subgroup, only units and strata with members in it count.
        present = np.flatnonzero(inside & (self._present(np.ones(len(known), dtype=bool))[0] > 0))
        stratum = np.append(design.stratum, len(design.stratum))[np.minimum(self._units[present], design.n_units)]
        strata = np.unique(self._owners[present] * (len(design.stratum) + 1) + stratum)
        return v_person, v_cell, units - sums(strata // (len(design.stratum) + 1), np.ones(len(strata)), n)
