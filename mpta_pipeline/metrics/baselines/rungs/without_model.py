"""Rivals that need no model: equal shares, and the most frequent answers of everyone and of the group."""

from __future__ import annotations

import numpy as np

from mpta_pipeline.metrics.baselines.rival import Compared, Rival, Told, everyones, modes
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.samples.survey_answers import group_guesses


def _chance(of: Compared) -> Told:
    return Told(of.away(of.cells.even), of.column("chance"))


def _item_mode(of: Compared) -> Told:
    """The guess about a person leaves the person's own answer out."""
    return Told(of.away(modes(everyones(of.panel)[of.cells.item], of.width)), of.column("item_mode"))


def _group_mode(of: Compared) -> Told:
    if of.dimension == g.ALL:  # on a group of everyone, the group's most frequent answer is everyone's
        return Told(of.away(of.cells.majority), of.column("item_mode"))
    guesses = group_guesses(of.panel, of.dimension).get_column("group_mode").fill_null(np.nan).to_numpy()
    return Told(of.away(of.cells.majority), guesses[of.rows])


RIVALS = (
    Rival(name="chance", title="equal shares of all options", place=0, compare=_chance),
    Rival(name="item_mode", title="everyone's most frequent answer", place=10, compare=_item_mode),
    Rival(name="group_mode", title="the group's most frequent answer", place=20, compare=_group_mode),
)
