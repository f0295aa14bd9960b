"""Estimate the sampling error of a mean distance: linearize both distributions and sum by sampling unit."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.samples.answer_distributions import MANY, Cells
from mpta_pipeline.metrics.samples.survey_answers import Distinct, View
from mpta_pipeline.metrics.statistics.arrays import Flags, Floats, Ints, ratio, sums
from mpta_pipeline.metrics.statistics.clustered import Rows
from mpta_pipeline.metrics.statistics.linearization import design_of


class Influences:
    """Influence of each person on a slice's mean distance, through their own answers and the model's answers for them.

    The mean distance is linearized in both distributions. A person who is a persona and a survey respondent is in both:
    their influences on both sides are summed before they are squared.
    """

    def __init__(self, view: View, cells: Cells, used: Flags, item: Ints) -> None:
        block, people = view.block, view.block.people
        self.n, self.cells, n_items = view.n, cells, len(block.matched)
        index = np.full(view.n * n_items, -1)
        index[cells.owner * n_items + cells.item] = np.arange(len(cells.owner))

        def rows_of(slices: Ints, items: Ints, w: Floats) -> tuple[Ints, Ints, Floats]:
            """Select the rows that are in a cell, with their cells and their shares of the cells' weight."""
            cell = np.where((slices >= 0) & (items >= 0) & (w > 0), index[np.maximum(slices, 0) * n_items + items], -1)
            rows = np.flatnonzero(cell >= 0)
            cell = cell[rows]
            return rows, cell, w[rows] / sums(cell, w[rows], len(cells.owner))[cell]

        rows, self._cell_m, self._share_m = rows_of(np.where(used, view.cut.codes, -1), item, block.weight)
        self._answers = block.units.answer[rows]
        if block.polls is not None:
            # The people's side consists of the polls of the personas' own countries.
            self._cell_h, self._share_h = self._cell_m, self._share_m
            self._given = block.polls.shares[block.poll_entry[rows]]
            self.design = design_of(block.frame.select("respondent_id").unique())
            person_h = person_m = block.persona[rows]
            self.words = "people's by spread over items alone"
        else:
            person_m = block.person[rows]
            weight = people.frame.get_column("weight").to_numpy()
            own_slice = g.cut(people.persons, view.cut.dimension, view.cut.labels).codes[people.person]
            rows, self._cell_h, self._share_h = rows_of(own_slice, people.item, weight)
            self._given = people.frame.get_column("gold_idx").to_numpy()[rows]
            person_h = people.person[rows]
            self.design = people.design
            self.words = self.design.words()
        # Personas without an answer in the survey form their own units.
        n_persons = max(len(self.design.unit), int(person_m.max(initial=-1)) + 1)
        further = self.design.n_units + np.arange(n_persons - len(self.design.unit))
        unit = np.concatenate([self.design.unit, further])
        self.unit = np.concatenate([unit[person_h], unit[person_m]])
        cell = np.concatenate([self._cell_h, self._cell_m])
        self.owner = cells.owner[cell]
        self.people = None if block.polls is not None else Distinct(cells.owner[self._cell_h], person_h, view.n)
        self._pairs, self._pair = np.unique(self.unit * view.n + self.owner, return_inverse=True)
        self.crossings = Rows(self.unit * self.n + self.owner, cells.cluster[cell])

    @cached_property
    def noise(self) -> Floats:
        """Error variance of the difference of both distributions over that of independent simple samples, by slice.

        It is above 1 if people of a sampling unit are alike, and below 1 if the model's answers correlate with the
        people's own, because the effects of sampling the same people then cancel.
        """
        cells, width = self.cells, self._answers.shape[1]
        code = np.concatenate([self._cell_h, self._cell_m])
        grouped = Rows(self.unit, code)
        of = np.empty(grouped.n_cell, dtype=np.int64)
        of[grouped.cell] = cells.owner[code]
        seen = np.zeros(self.n)
        for option in range(cells.human.shape[1]):
            at = np.zeros((len(cells.owner), cells.human.shape[1]))
            at[:, option] = 1.0
            human = (self._human(at) - cells.human[self._cell_h, option]) * self._share_h
            answers = self._answers[:, option] if option < width else 0.0
            model = (answers - cells.model[self._cell_m, option]) * self._share_m
            difference = sums(grouped.cell, np.concatenate([-human, model]), grouped.n_cell)
            seen += sums(of, difference**2, self.n)
        simple = ((cells.human * (1 - cells.human)).sum(axis=1) / cells.n_human) + (
            (cells.model * (1 - cells.model)).sum(axis=1) / cells.n_model
        )
        made = ratio(seen, sums(cells.owner, simple, self.n))
        return np.asarray(np.clip(np.where(np.isfinite(made), made, 1.0), 0.1, 10.0))

    def n_people(self, known: Flags) -> Floats:
        """Count the people of each slice whose own answers are in the cells used.

        For polls, this is the largest number of any item; nan if the poll does not report it.
        """
        if self.people is not None:
            return self.people.count(known[self._cell_h]).astype(float)
        most = np.zeros(self.n)
        np.maximum.at(most, self.cells.owner[known], np.rint(self.cells.n_human[known]))
        return np.where(most < MANY, most, np.nan)

    def _human(self, values: Floats) -> Floats:
        """Look up the value of each of the people's rows in the (cells × K) values of their answers."""
        if self._given.ndim == 1:
            return np.asarray(values[self._cell_h, self._given])
        return np.asarray((values[self._cell_h, : self._given.shape[1]] * self._given).sum(axis=1))

    def variances(self, d: Floats, slope_model: Floats, slope_human: Floats) -> tuple[Floats, Floats, Floats]:
        """Variances over persons (or their sampling units) and over their crossings with items, and degrees of freedom.

        Args:
            d: Distance of each cell; nan for excluded cells.
            slope_model: (cells × K) derivative by the model's shares.
            slope_human: (cells × K) derivative by the people's.
        """
        cells = self.cells
        known = np.isfinite(d)
        per_item = np.where(known, 1.0 / np.maximum(sums(cells.owner, known, self.n), 1.0)[cells.owner], 0.0)
        parts = []
        for by_share, shares in ((slope_human, cells.human), (slope_model, cells.model)):
            slope = np.where(known[:, None], by_share, 0.0)
            parts.append((slope - (slope * shares).sum(axis=1, keepdims=True)) * per_item[:, None])
        of_human = self._human(parts[0]) * self._share_h
        of_model = (parts[1][self._cell_m, : self._answers.shape[1]] * self._answers).sum(axis=1) * self._share_m
        z = np.concatenate([of_human, of_model])
        counts = np.concatenate([known[self._cell_h], known[self._cell_m]])
        crossing = sums(self.crossings.cell, z, self.crossings.n_cell)
        of_crossing = self.crossings.persona_of_cell % self.n
        there = sums(self.crossings.cell, counts, self.crossings.n_cell) > 0
        n_cells = sums(of_crossing, there, self.n)
        with np.errstate(divide="ignore", invalid="ignore"):
            v_cell = n_cells / (n_cells - 1) * sums(of_crossing, crossing**2, self.n)
            pairs, code = self._pairs, self._pair
            unit_z, of_pair = sums(code, z, len(pairs)), pairs % self.n
            units = sums(of_pair, sums(code, counts, len(pairs)) > 0, self.n)
            if not self.design.known:
                v_person = units / (units - 1) * sums(of_pair, unit_z**2, self.n)
                return v_person, v_cell, units - 1.0
            grid = np.zeros((self.n, max(self.design.n_units, int(self.unit.max(initial=-1)) + 1)))
            grid[of_pair, pairs // self.n] = unit_z
            inside = grid[:, : self.design.n_units]
            v_person = self.design.variance(inside) + (grid[:, self.design.n_units :] ** 2).sum(axis=1)
        # For a subgroup, only units and strata with members in it count.
        strata = np.unique(
            (pairs % self.n) * (len(self.design.stratum) + 1)
            + np.append(self.design.stratum, len(self.design.stratum))[np.minimum(pairs // self.n, self.design.n_units)]
        )
        return v_person, v_cell, units - sums(strata // (len(self.design.stratum) + 1), np.ones(len(strata)), self.n)
