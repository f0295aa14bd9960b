"""Compute the answer distributions of model and people in each slice × item cell that both answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpta_pipeline.metrics.samples.survey_answers import View
from mpta_pipeline.metrics.statistics.arrays import Floats, Ints, dense, ratio, sums

# Number of people assumed for a poll that does not report it.
MANY = 1e9


@dataclass(frozen=True)
class Cells:
    """Slice × item cells with answers of both model and people: distributions and effective sizes.

    Attributes:
        owner: Slice of each cell.
        item: Item of each cell.
        cluster: Item cluster of each cell.
        model: (cells × K) distribution of the model's answers.
        human: (cells × K) distribution of the people's answers.
        even: (cells × K) equal shares of the options.
        majority: (cells × K) all mass on the people's most frequent answer, split among ties.
        places: (cells × K) position of each option; nan beyond the options and for items without a scale.
        n_model: Effective number of answers of the model.
        n_human: Effective number of people.
    """

    owner: Ints
    item: Ints
    cluster: Ints
    model: Floats
    human: Floats
    even: Floats
    majority: Floats
    places: Floats
    n_model: Floats
    n_human: Floats


def make_cells(view: View, item: Ints, w: Floats) -> Cells:
    """Gather the cells of a view.

    Args:
        view: The view.
        item: Item of each row among `block.matched`.
        w: Weight of each row; 0 excludes it.
    """
    block, people = view.block, view.block.people
    n_items = len(block.matched)
    width = max(people.width if block.polls is None else block.polls.shares.shape[1], block.units.answer.shape[1])
    size = view.n * n_items
    place = np.where(w > 0, view.cut.codes, 0) * n_items + item
    model = np.zeros((size, width))
    for option in range(block.units.answer.shape[1]):
        model[:, option] = sums(place, w * block.units.answer[:, option], size)
    model_w, model_w2 = sums(place, w, size), sums(place, w**2, size)
    dimension, names = view.cut.dimension, view.cut.labels
    human = np.zeros((size, width))
    if block.polls is None:
        human[:, : people.width] = people.counts(dimension, names).reshape(size, people.width)
        human_w = human.sum(axis=1)
        human_w2 = people.counts(dimension, names, squared=True).sum(axis=2).reshape(size)
    else:
        # Mix the poll's samples as the personas do, because the model answered for these personas.
        entry = np.maximum(block.poll_entry, 0)
        for option in range(block.polls.shares.shape[1]):
            human[:, option] = sums(place, w * block.polls.shares[entry, option], size)
        human_w = human.sum(axis=1)
        # Shares of polls that do not report their number of people count as exact.
        asked = np.where(np.isfinite(block.polls.n), block.polls.n, MANY)[entry]
        human_w2 = human_w**2 / np.maximum(np.nan_to_num(ratio(sums(place, w * asked, size), human_w)), 1.0)
    keep = np.flatnonzero((model_w > 0) & (human_w > 0))
    facts = block.matched_items
    options = np.arange(width)
    k = facts.get_column("k_options").fill_null(2).to_numpy()
    places = block.option_places(width)
    cluster = dense(facts.get_column("cluster_id").fill_null(""))
    of = keep % n_items
    shares = human[keep] / human_w[keep, None]
    top = shares >= shares.max(axis=1, keepdims=True) - 1e-12
    return Cells(
        owner=keep // n_items,
        item=of,
        cluster=cluster[of],
        model=model[keep] / model_w[keep, None],
        human=shares,
        even=(options < k[of, None]) / k[of, None],
        majority=top / top.sum(axis=1, keepdims=True),
        places=places[of],
        n_model=model_w[keep] ** 2 / model_w2[keep],
        n_human=human_w[keep] ** 2 / human_w2[keep],
    )
