"""Rows of the distances between the model's answers and the survey's own distribution of the same group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from mpta_pipeline.hashing import digest
from mpta_pipeline.metrics import distances
from mpta_pipeline.metrics import groups as g
from mpta_pipeline.metrics.arrays import Flags, Floats, Ints, sums
from mpta_pipeline.metrics.block import View, stacked
from mpta_pipeline.metrics.bootstrap import Levels, combine, reweighted
from mpta_pipeline.metrics.clustered import Rows, Slices
from mpta_pipeline.metrics.intervals import interval
from mpta_pipeline.metrics.registry import METRICS, Metric

_NAMES = ("tv", "w1n", "js")
# Items × replicates of the bootstrap of personas: its variance is already an average over the items.
BOOTSTRAP_CELLS = 40_000
LEAST_REPLICATES = 60
# Items × draws behind each figure of the sampling floor, which is a mean over items: its own error stays near .001.
FLOOR_DRAWS = 8_000


@dataclass(frozen=True)
class _Cells:
    """Slice × item cells with answers of both model and people: distributions and effective sizes.

    Attributes:
        owner: Slice of each cell.
        item: Item of each cell.
        cluster: Item cluster of each cell.
        model: (cells × K) distribution of the model's answers.
        human: (cells × K) distribution of the people's.
        even: (cells × K) equal use of the options.
        places: (cells × K) place of each option; nan beyond the options and for nominal items.
        n_model: Effective number of answers of the model.
        n_human: Effective number of people.
    """

    owner: Ints
    item: Ints
    cluster: Ints
    model: Floats
    human: Floats
    even: Floats
    places: Floats
    n_model: Floats
    n_human: Floats


def distance_figures(view: View) -> dict[str, pl.DataFrame]:
    """tv, w1n, js and their excess over the sampling floor, for tasks whose answers people gave too.

    The mean over the items that both answered, items equally weighted. Errors: personas and crossings by bootstrap,
    items by their spread, combined as in two-way clustering; the people's distribution is taken as it stands. Both
    baselines have as few answers as the model. A distance grows as answers become fewer, and the excess over the floor
    is right only where nothing differs: neither is to be compared between groups of different size.
    """
    block = view.block
    if block.people.empty or not g.of_people(view.cut.dimension):
        return {}
    used = block.compared & (view.cut.codes >= 0)
    if not used.any():
        return {}
    item = np.where(used, block.people_item, 0)
    cells = _cells(view, item, np.where(used, block.weight, 0.0))
    if not len(cells.owner):
        return {}
    pooled = (cells.n_model[:, None] * cells.model + cells.n_human[:, None] * cells.human) / (
        cells.n_model + cells.n_human
    )[:, None]
    measures: dict[str, distances.Distance] = {
        "tv": distances.total_variation,
        "w1n": lambda a, b: distances.wasserstein(a, b, cells.places.T),
        "js": distances.jensen_shannon,
    }
    floors = distances.sampling_floor(
        pooled,
        cells.n_human,
        cells.n_model,
        measures,
        seed=int(digest("floor", block.survey, view.cut.dimension, view.condition, length=12), 16),
        draws=int(np.clip(FLOOR_DRAWS * view.n // len(cells.owner), 10, 100)),
    )
    chances = distances.sampled_distance(
        cells.even,
        cells.human,
        cells.n_model,
        measures,
        seed=int(digest("even", block.survey, view.cut.dimension, view.condition, length=12), 16),
        draws=int(np.clip(FLOOR_DRAWS * view.n // len(cells.owner), 10, 100)),
    )
    noise = _persona_noise(view, cells, used)
    rows = Rows(cells.cluster, cells.cluster)
    out = {}
    for name, measure in measures.items():
        d = measure(cells.model.T, cells.human.T)
        if not np.isfinite(d).any():
            continue
        chance = chances[name]
        in_use = np.zeros((view.n, len(block.people.items)), dtype=bool)
        in_use[cells.owner[np.isfinite(d)], cells.item[np.isfinite(d)]] = True
        sizes = view.sizes(used & in_use[np.maximum(view.cut.codes, 0), item])
        floor = floors[name]
        by_item = Slices(np.where(np.isfinite(d), cells.owner, -1), view.n, rows=rows)
        out[name] = _rows(
            view,
            METRICS[name],
            by_item,
            d=d,
            noise=noise[name],
            sizes=sizes,
            baselines={"chance": chance, "sampling_floor": floor},
        )
        excess = METRICS[f"{name}_excess"]
        out[excess.name] = _rows(
            view, excess, by_item, d=d - floor, noise=noise[name], sizes=sizes, baselines={"chance": chance - floor}
        )
    return out


def _cells(view: View, item: Ints, w: Floats) -> _Cells:
    block, people = view.block, view.block.people
    n_items, width = len(people.items), max(people.width, block.units.answer.shape[1])
    size = view.n * n_items
    place = np.where(w > 0, view.cut.codes, 0) * n_items + item
    model = np.zeros((size, width))
    for option in range(block.units.answer.shape[1]):
        model[:, option] = sums(place, w * block.units.answer[:, option], size)
    model_w, model_w2 = sums(place, w, size), sums(place, w**2, size)
    dimension, names = view.cut.dimension, view.cut.labels
    human = np.zeros((size, width))
    human[:, : people.width] = people.counts(dimension, names).reshape(size, people.width)
    human_w = human.sum(axis=1)
    human_w2 = people.counts(dimension, names, squared=True).sum(axis=2).reshape(size)
    keep = np.flatnonzero((model_w > 0) & (human_w > 0))
    facts = block.people_items
    options = np.arange(width)
    k = facts.get_column("k_options").fill_null(2).to_numpy()
    places = block.option_places(width)
    cluster = g.dense(facts.get_column("cluster_id").fill_null(""))
    of = keep % n_items
    return _Cells(
        owner=keep // n_items,
        item=of,
        cluster=cluster[of],
        model=model[keep] / model_w[keep, None],
        human=human[keep] / human_w[keep, None],
        even=(options < k[of, None]) / k[of, None],
        places=places[of],
        n_model=model_w[keep] ** 2 / model_w2[keep],
        n_human=human_w[keep] ** 2 / human_w2[keep],
    )


def _persona_noise(view: View, cells: _Cells, used: Flags) -> dict[str, tuple[Floats, Floats]]:
    """Variance of each distance's mean over items when personas, and when single crossings, are reweighted."""
    block = view.block
    n_items, width = len(block.people.items), block.units.answer.shape[1]
    replicates = int(np.clip(BOOTSTRAP_CELLS // n_items, LEAST_REPLICATES, block.rules.bootstrap))
    of_slice = [np.flatnonzero(cells.owner == s) for s in range(view.n)]
    codes = np.where(used, view.cut.codes, -1)

    def mean_distances(totals: Floats, s: int) -> Floats:
        """(replicates × 3) means over the slice's items."""
        here = of_slice[s]
        if not len(here):
            return np.full((len(totals), len(_NAMES)), np.nan)
        # Options first, so that sums over them run along whole items.
        mass = np.zeros((cells.human.shape[1], len(totals), len(here)))
        mass[:width] = np.moveaxis(totals.reshape(len(totals), width, n_items)[:, :, cells.item[here]], 1, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            # Shares in single precision: rounding is far below the replicates' spread, and it takes half the time.
            shares = (mass / mass.sum(axis=0), cells.human[here].T[:, None], cells.places[here].T[:, None])
            model, human, places = (values.astype(np.float32) for values in shares)
            ordinal = np.isfinite(places).any(axis=(0, 1))
            each = (
                distances.total_variation(model, human),
                distances.wasserstein(model[..., ordinal], human[..., ordinal], places[..., ordinal]),
                distances.jensen_shannon(model, human),
            )
            return np.stack([np.nansum(d, axis=1, dtype=np.float64) / np.isfinite(d).sum(axis=1) for d in each], axis=1)

    persona, cell = (
        reweighted(
            Levels(levels.code, levels.weights[:replicates]),
            codes,
            view.n,
            block.answers_given,
            mean_distances,
            k=len(_NAMES),
        )
        for levels in (block.replicates.persona, block.replicates.cell)
    )
    return {name: (persona[:, i], cell[:, i]) for i, name in enumerate(_NAMES)}


def _rows(
    view: View,
    metric: Metric,
    by_item: Slices,
    *,
    d: Floats,
    noise: tuple[Floats, Floats],
    sizes: dict[str, Ints | Floats],
    baselines: dict[str, Floats],
) -> pl.DataFrame:
    ones = np.ones(len(d))
    means = by_item.means(d, ones)
    persona, cell = (np.nan_to_num(v, nan=0.0) for v in noise)
    # With one item there is no spread over items to see: no error.
    se = np.where(np.isfinite(means.se), combine(persona, means.se**2, cell), np.nan)
    df = np.minimum(means.df, np.maximum(sizes["n_personas"] - 1.0, 0.0))
    df, se = np.where(df >= 1, df, np.nan), np.where(df >= 1, se, np.nan)
    low, high, _ = interval(metric, means.estimate, se, df, level=view.block.rules.level)
    words = np.select(
        [~np.isfinite(se), se == 0],
        ["no error: too few items or personas", "all clusters alike: Wilson on the smaller number of clusters"],
        default="items by spread, personas by bootstrap, combined, t",
    )
    base = {
        "slice": np.arange(view.n),
        "estimate": means.estimate,
        "se": se,
        "ci_low": low,
        "ci_high": high,
        "method": [f"{word}; {view.block.note}" for word in words],
        **sizes,
    }
    of_baselines = {
        name: by_item.mean(np.where(np.isfinite(d), values, np.nan), ones) for name, values in baselines.items()
    }
    return stacked(base, {"": {}, **{name: {"baseline_estimate": figure} for name, figure in of_baselines.items()}})
