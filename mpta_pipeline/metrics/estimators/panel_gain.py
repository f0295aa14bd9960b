"""Compare a panel of personas with asking the model once about the group."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import polars as pl

from mpta_pipeline.core.vocabulary import REFERENCE_CONDITION
from mpta_pipeline.metrics.estimators.influence import Influences
from mpta_pipeline.metrics.metric import METRICS
from mpta_pipeline.metrics.samples.answer_distributions import Cells
from mpta_pipeline.metrics.samples.survey_answers import View
from mpta_pipeline.metrics.statistics import distances
from mpta_pipeline.metrics.statistics.arrays import Floats

# Shares that are stated have no sampling error.
_EXACT = 1e9


def panel_gain(
    view: View, cells: Cells, influences: Influences, rows: Callable[..., pl.DataFrame], *, seed: int, draws: int
) -> dict[str, pl.DataFrame]:
    """Total variation between stated shares and people, minus that between the personas' answers and people.

    Both are compared with the same people of the group, question by question, so that what sampling of people does to
    both cancels. What the small number of personas adds to the panel's distance is left out of the interval.

    Args:
        view: Answers under one condition, cut by one dimension.
        cells: Their distributions, and those of people.
        influences: Influence of each person on a mean over items.
        rows: Makes the rows of a mean over items (`_Distances._rows`).
        seed: Seed of the draws.
        draws: Number of draws.
    """
    direct = view.block.direct
    if direct is None or view.condition == REFERENCE_CONDITION:
        return {}
    width = cells.human.shape[1]
    stated = direct.shares(
        view.block.survey, view.cut.dimension, subgroups=view.cut.labels, items=view.block.matched, width=width
    )[cells.owner, cells.item]
    known = np.asarray(np.isfinite(stated).all(axis=1), dtype=bool)
    if not known.any():
        return {}
    stated = np.where(known[:, None], stated, cells.even)
    tv, slope = distances.total_variation, distances.total_variation_slope
    human, model, once = cells.human.T, cells.model.T, stated.T

    def gain(of: Floats) -> Floats:
        return np.where(known, tv(once, human) - of, np.nan)

    errors = influences.variances(
        gain(tv(model, human)), -slope(model, human).T, (slope(human, once) - slope(human, model)).T
    )
    of_both, of_people = influences.noise[cells.owner], influences.noise_of_people[cells.owner]
    biases = []
    for bias_of in (
        distances.sampling_bias,
        partial(distances.bias_among_alike, owner=np.where(known, cells.owner, -1)),
    ):
        of_once, of_panel = (
            bias_of(cells.human, shares, cells.n_human / noise, n, {"tv": tv}, seed=seed, draws=draws)["tv"]
            for shares, n, noise in (
                (stated, np.full(len(stated), _EXACT), of_people),
                (cells.model, cells.n_model / of_both, of_both),
            )
        )
        biases.append(of_once - of_panel)
    floor = distances.sampling_floor(cells.human, cells.n_human, cells.n_model, {"tv": tv}, seed=seed, draws=draws)[
        "tv"
    ]
    made = rows(
        METRICS["panel_gain"],
        gain(tv(model, human)),
        errors=errors,
        bias=biases,
        baselines={
            "people": gain(np.zeros(len(cells.owner))),
            "uniform": gain(tv(cells.even.T, human)),
            "majority": gain(tv(cells.majority.T, human)),
            "second_sample": gain(floor),
        },
        tested=True,
    )
    return {"panel_gain": made}
