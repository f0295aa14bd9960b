"""Define a rival of panels of personas, and what it is given to be compared with them.

The rivals are in `rungs/`, one file each or a few that belong together. To add a rival, add a file there and a test.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import polars as pl

from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.samples.answer_distributions import Cells, make_cells
from mpta_pipeline.metrics.samples.compact import CompactFrame
from mpta_pipeline.metrics.samples.survey_answers import Block, View, cut_rows
from mpta_pipeline.metrics.statistics import distances
from mpta_pipeline.metrics.statistics.arrays import Floats, Ints


class Told(NamedTuple):
    """What a rival foretells.

    Attributes:
        distance: Of each cell, the total variation from people; nan where it states no shares; None if it never does.
        accuracy: Of each row, how right it is about that person's own answer, from 0 to 1; nan where it cannot be said.
        note: Caveat for the reader.
    """

    distance: Floats | None = None
    accuracy: Floats | None = None
    note: str | None = None


@dataclass(frozen=True)
class Rival:
    """One rung of the ladder.

    Attributes:
        name: Value of `rivals.rival`.
        title: Name for readers.
        place: Rungs are in the order of their places.
        compare: What it foretells of the groups of one dimension.
        of_polls: It can be compared with published shares, too, of whose people nothing else is known.
    """

    name: str
    title: str
    place: int
    compare: Callable[[Compared], Told]
    of_polls: bool = True


@dataclass(frozen=True)
class Compared:
    """The groups of one dimension: cells of group and question, and the personas' rows in them.

    Attributes:
        block: Answers of one survey under all conditions.
        view: The panel's answers, cut by the dimension.
        cells: Shares of people and of the panel, for each cell.
        stated: (cells × options) the shares that the model states.
        cell: Cell of each row.
        rows: Rows of the panel (`view.block`) whose person was asked and replied, also if the reply cannot be read.
    """

    block: Block
    view: View
    cells: Cells
    stated: Floats
    cell: Ints
    rows: Ints

    @property
    def panel(self) -> Block:
        """The panel's answers."""
        return self.view.block

    @property
    def dimension(self) -> str:
        """The dimension."""
        return self.view.cut.dimension

    @property
    def width(self) -> int:
        """Largest number of options."""
        return int(self.cells.human.shape[1])

    @cached_property
    def frame(self) -> CompactFrame:
        """The rows, with the persons' own answers, guesses and credit."""
        return self.panel.frame[self.rows]

    @cached_property
    def gold(self) -> Ints:
        """The person's own answer of each row."""
        return self.frame.get_column("gold_idx").to_numpy()

    def column(self, name: str) -> Floats:
        """A column of the rows; nan where it is null."""
        return self.frame.get_column(name).cast(pl.Float64).fill_null(np.nan).to_numpy()

    def away(self, shares: Floats) -> Floats:
        """Total variation of (cells × options) shares from people's."""
        return distances.total_variation(shares.T, self.cells.human.T)

    def picked(self, shares: Floats) -> Floats:
        """How right the most frequent option of (cells × options) shares is about the person of each row."""
        return modes(shares, self.width)[self.cell, self.gold]

    def of_condition(self, condition: str) -> Told:
        """Another condition on the same cells and rows; nan where it was not asked."""
        return Told(_distance_of(self, condition), _credit_of(self, condition))


def modes(shares: Floats, width: int) -> Floats:
    """(rows × width) all mass on the largest share, split among ties."""
    shares = shares[:, :width] if shares.shape[1] >= width else np.pad(shares, ((0, 0), (0, width - shares.shape[1])))
    top = shares >= shares.max(axis=1, keepdims=True) - 1e-12
    return np.asarray(top / top.sum(axis=1, keepdims=True))


def everyones(panel: Block) -> Floats:
    """(items × options) how often everyone gave each answer, in any unit."""
    if panel.polls is None:
        counts: Floats = panel.people.counts(g.ALL)[0]
        return counts
    cut, used = cut_rows(panel.frame, g.ALL), panel.compared
    cells = make_cells(
        View(panel, cut, g.ALL), np.where(used, panel.matched_item, 0), np.where(used, panel.weight, 0.0)
    )
    shares = np.zeros((len(panel.matched), cells.human.shape[1]))
    shares[cells.item] = cells.human
    return shares


def _distance_of(of: Compared, condition: str) -> Floats:
    far = np.full(len(of.cells.owner), np.nan)
    if condition not in of.block.conditions():
        return far
    other, n_items = of.block.of(condition), len(of.panel.matched)
    cut = cut_rows(other.frame, of.dimension, of.view.cut.labels)
    used = other.compared & (cut.codes >= 0)
    made = make_cells(
        View(other, cut, condition), np.where(used, other.matched_item, 0), np.where(used, other.weight, 0.0)
    )
    known = np.full(len(of.view.cut.labels) * n_items, np.nan)
    known[made.owner * n_items + made.item] = distances.total_variation(made.model.T, made.human.T)
    return np.asarray(known[of.cells.owner * n_items + of.cells.item])


def _credit_of(of: Compared, condition: str) -> Floats:
    frame = of.block.frame
    other = frame.select("condition", "respondent_id", "item_id", "credit", "n_orders", "n_error")
    other = other.filter(pl.col("condition") == condition, pl.col("n_orders") > pl.col("n_error"))
    mean = other.group_by("respondent_id", "item_id").agg(pl.col("credit").mean().alias("other"))
    joined = of.frame.select("respondent_id", "item_id").join(
        mean, on=["respondent_id", "item_id"], how="left", maintain_order="left"
    )
    return joined.get_column("other").fill_null(np.nan).to_numpy()


def load() -> Mapping[str, Rival]:
    """Read the rivals of all files in `rungs/`, in the order of the ladder."""
    from mpta_pipeline.metrics.baselines import rungs

    found: dict[str, Rival] = {}
    for module in sorted(pkgutil.iter_modules(rungs.__path__), key=lambda m: m.name):
        for rival in importlib.import_module(f"{rungs.__name__}.{module.name}").RIVALS:
            if rival.name in found:
                raise ValueError(f"rival {rival.name} is declared twice")
            found[rival.name] = rival
    return MappingProxyType({r.name: r for r in sorted(found.values(), key=lambda r: (r.place, r.name))})
