"""Rows of the distances between the model's answers and the people's own distribution of the same group."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from mpta_pipeline.hashing import digest
from mpta_pipeline.metrics import distances, flattening
from mpta_pipeline.metrics import groups as g
from mpta_pipeline.metrics.arrays import Flags, Floats, Ints, distinct, ratio, sums
from mpta_pipeline.metrics.block import Distinct, View, stacked
from mpta_pipeline.metrics.bootstrap import combine
from mpta_pipeline.metrics.clustered import Rows, Slices
from mpta_pipeline.metrics.design import design_of
from mpta_pipeline.metrics.fidelity import fidelity_figures
from mpta_pipeline.metrics.intervals import interval
from mpta_pipeline.metrics.polls import covers
from mpta_pipeline.metrics.registry import METRICS, Metric

# Items × draws behind each figure of the sampling floor, which is a mean over items: its own error stays near .001.
FLOOR_DRAWS = 8_000
# How a persona is put into words.
WORDING = ("style", "framing", "paraphrase_id")
# People behind a poll that does not tell how many it asked.
MANY = 1e9


@dataclass(frozen=True)
class Cells:
    """Slice × item cells with answers of both model and people: distributions and effective sizes.

    Attributes:
        owner: Slice of each cell.
        item: Item of each cell.
        cluster: Item cluster of each cell.
        model: (cells × K) distribution of the model's answers.
        human: (cells × K) distribution of the people's.
        even: (cells × K) equal use of the options.
        majority: (cells × K) the people's most frequent answer alone, shared on ties.
        places: (cells × K) place of each option; nan beyond the options and for items without a scale.
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


def distance_figures(view: View) -> dict[str, pl.DataFrame]:
    """Distances between the model's answers and the people's, and what is made of them.

    tv, w1n, js and their excess over the sampling floor, for tasks whose answers people gave too: those of the survey,
    or a poll's published ones. The mean over the items that both answered, items equally weighted. Errors: sampling of
    the people asked about and of those who answered, linearized and by the survey's design (`design`); items by their
    spread, combined as in two-way clustering. A poll's own error is taken to be within the spread over items.
    """
    block = view.block
    if not block.matched or not g.of_people(view.cut.dimension):
        return {}
    if block.polls is not None and not covers(view.cut.dimension):
        return {}
    used = block.compared & (view.cut.codes >= 0)
    if not used.any():
        return {}
    item = np.where(used, block.matched_item, 0)
    cells = _cells(view, item, np.where(used, block.weight, 0.0))
    if not len(cells.owner):
        return {}
    return _Distances(view, cells, used, item).figures()


class _Distances:
    """What is computed of the cells of one view."""

    def __init__(self, view: View, cells: Cells, used: Flags, item: Ints) -> None:
        self.view, self.cells, self.used, self.item = view, cells, used, item
        self.influences = _Influences(view, cells, used, item)
        self.rows = Rows(cells.cluster, cells.cluster)
        places = cells.places.T
        self.measures: dict[str, distances.Distance] = {
            "tv": distances.total_variation,
            "w1n": lambda a, b: distances.wasserstein(a, b, places),
            "js": distances.jensen_shannon,
        }
        self.slopes: dict[str, distances.Distance] = {
            "tv": distances.total_variation_slope,
            "w1n": lambda a, b: distances.wasserstein_slope(a, b, places),
            "js": distances.jensen_shannon_slope,
        }

    def _seed(self, what: str) -> int:
        view = self.view
        return int(digest(what, view.block.survey, view.cut.dimension, view.condition, length=12), 16)

    def figures(self) -> dict[str, pl.DataFrame]:
        """Rows by metric."""
        view, cells = self.view, self.cells
        pooled = (cells.n_model[:, None] * cells.model + cells.n_human[:, None] * cells.human) / (
            cells.n_model + cells.n_human
        )[:, None]
        draws = int(np.clip(FLOOR_DRAWS * view.n // len(cells.owner), 10, 100))
        floors = distances.sampling_floor(
            pooled, cells.n_human, cells.n_model, self.measures, seed=self._seed("floor"), draws=draws
        )
        noise = self.influences.noise[cells.owner]
        biases = distances.sampling_bias(
            cells.human,
            cells.model,
            cells.n_human / noise,
            cells.n_model / noise,
            self.measures,
            seed=self._seed("bias"),
            draws=draws,
        )
        out = {}
        for name, measure in self.measures.items():
            d = measure(cells.model.T, cells.human.T)
            if not np.isfinite(d).any():
                continue
            floor = floors[name]
            expected = {
                "chance": measure(cells.even.T, cells.human.T),
                "majority": _of_majority(cells, measure),
            }
            slopes = self._slopes(name)
            out[name] = self._rows(
                METRICS[name],
                d,
                slopes=slopes,
                bias=biases[name],
                baselines=expected | {"sampling_floor": floor},
            )
            excess = METRICS[f"{name}_excess"]
            out[excess.name] = self._rows(
                excess, d - floor, slopes=slopes, baselines={n: b - floor for n, b in expected.items()}
            )
        for name, of in (("representativeness", "w1n"), ("js_similarity", "js")):
            if of in out:
                out[name] = _mirrored(out[of])
        out["simbench"] = self._simbench()
        out |= self._steerability() | self._consistency()
        return out | _spread_figures(view, cells, self.influences) | fidelity_figures(view, cells)

    def _steerability(self) -> dict[str, pl.DataFrame]:
        """Nearness of the nearest wording question by question, beside the mean of the wordings."""
        view, block = self.view, self.view.block
        wording = g.dense(block.frame.select(pl.concat_str(WORDING, separator="\x1f")).to_series())
        size = view.n * len(block.matched)
        near = np.full((int(wording.max(initial=0)) + 1, size), np.nan)
        for i in range(len(near)) if len(near) > 1 else ():
            cells = _cells(view, self.item, np.where(self.used & (wording == i), block.weight, 0.0))
            distance = distances.wasserstein(cells.model.T, cells.human.T, cells.places.T)
            near[i, cells.owner * len(block.matched) + cells.item] = 1 - distance
        known = np.flatnonzero(np.isfinite(near).sum(axis=0) > 1)
        if not len(known):
            return {}
        owner = known // len(block.matched)
        n = sums(owner, np.ones(len(known)), view.n)
        best = ratio(sums(owner, np.nanmax(near[:, known], axis=0), view.n), n)
        mean = ratio(sums(owner, np.nanmean(near[:, known], axis=0), view.n), n)
        asked = np.zeros(size, dtype=bool)
        asked[known] = True
        used = self.used & asked[np.maximum(view.cut.codes, 0) * len(block.matched) + self.item]
        base = {
            "slice": np.arange(view.n),
            "estimate": best,
            "method": [f"point estimate over {len(near)} wordings; {block.note}"] * view.n,
            **view.sizes(used),
            "n_people": self.influences.n_people(np.ones(len(self.cells.owner), dtype=bool)),
        }
        rows = stacked(base, {"": {}, "mean_wording": {"baseline_estimate": mean}})
        return {"steerability": rows.filter(pl.col("estimate").is_finite())}

    def _consistency(self) -> dict[str, pl.DataFrame]:
        """Share of topics in which the group that is best represented over all is best; all groups in all topics."""
        view, cells, block = self.view, self.cells, self.view.block
        topics = block.matched_items.get_column("category").fill_null("")
        topic = g.dense(topics)
        n_topics = int(topic.max(initial=-1)) + 1
        near = 1 - self.measures["w1n"](cells.model.T, cells.human.T)
        known = np.isfinite(near)
        if view.n < 2 or n_topics < 2 or not known.any():
            return {}
        place = topic[cells.item[known]] * view.n + cells.owner[known]
        size = n_topics * view.n
        by_topic = ratio(sums(place, near[known], size), sums(place, np.ones(int(known.sum())), size))
        by_topic = by_topic.reshape(n_topics, view.n)
        by_topic = by_topic[np.isfinite(by_topic).any(axis=1)]
        kept = np.flatnonzero(np.isfinite(by_topic).all(axis=0))
        if len(kept) < 2 or len(by_topic) < 2:
            return {}
        of_all = ratio(sums(cells.owner[known], near[known], view.n), sums(cells.owner[known], known[known], view.n))
        best = int(kept[of_all[kept].argmax()])
        share = float((by_topic[:, kept].argmax(axis=1) == np.flatnonzero(kept == best)[0]).mean())
        rows = self.used & np.isin(view.cut.codes, kept)
        base = {
            "slice": [-1, -1],
            "baseline": ["", "chance"],
            "estimate": [share] * 2,
            "baseline_estimate": [None, 1 / len(kept)],
            "n_answers": [round(float(block.orders[rows].sum()))] * 2,
            "n_personas": [distinct(block.persona[rows])] * 2,
            "n_items": [distinct(self.item[rows])] * 2,
            "method": [
                f"point estimate over {len(by_topic)} topics and {len(kept)} groups; best represented: "
                f"{view.cut.labels[best]}; {block.note}"
            ]
            * 2,
        }
        return {"consistency": pl.DataFrame(base)}

    def _slopes(self, name: str) -> tuple[Floats, Floats]:
        """(cells × K) derivatives of a distance by the model's shares and by the people's."""
        m, h, slope = self.cells.model.T, self.cells.human.T, self.slopes[name]
        return slope(m, h).T, slope(h, m).T

    def _simbench(self) -> pl.DataFrame:
        """100 (1 − Σ TV / Σ TV of even use), a ratio of means, linearized."""
        cells, n = self.cells, self.view.n
        tv, even = self.measures["tv"], cells.even.T
        d, u = tv(cells.model.T, cells.human.T), tv(even, cells.human.T)
        by_item = Slices(cells.owner, n, rows=self.rows)
        ones = np.ones(len(d))
        mean_u = by_item.mean(u, ones)
        mean_u = np.where(mean_u > 1e-9, mean_u, np.nan)
        score = by_item.mean(d, ones) / mean_u
        of_cell, scale = score[cells.owner], -100 / mean_u[cells.owner]
        by_model, by_human = self._slopes("tv")
        of_even = distances.total_variation_slope(cells.human.T, even).T
        floor = distances.sampling_floor(
            cells.human, cells.n_human, cells.n_model, {"tv": tv}, seed=self._seed("simbench"), draws=20
        )["tv"]
        made = self._rows(
            METRICS["simbench"],
            (d - of_cell * u) * scale,
            slopes=(by_model * scale[:, None], (by_human - of_cell[:, None] * of_even) * scale[:, None]),
            baselines={"chance": 0 * d, "sampling_floor": 100 + floor * scale},
            shift=100 * (1 - score),
        )
        return made.filter(pl.col("estimate").is_finite())

    def _rows(
        self,
        metric: Metric,
        d: Floats,
        *,
        slopes: tuple[Floats, Floats],
        baselines: dict[str, Floats],
        bias: Floats | None = None,
        shift: Floats | None = None,
    ) -> pl.DataFrame:
        """Rows of a mean over items.

        Args:
            metric: The metric.
            d: Value of each cell; nan for those that do not count.
            slopes: Its derivatives by the model's shares and the people's.
            baselines: Baseline → value of each cell.
            bias: What sampling adds to the values; None: nothing that is known.
            shift: Added to each slice's mean.
        """
        view, cells = self.view, self.cells
        known, ones = np.isfinite(d), np.ones(len(d))
        in_use = np.zeros((view.n, len(view.block.matched)), dtype=bool)
        in_use[cells.owner[known], cells.item[known]] = True
        used = self.used & in_use[np.maximum(view.cut.codes, 0), self.item]
        sizes = view.sizes(used) | {"n_people": self.influences.n_people(known)}
        by_item = Slices(np.where(known, cells.owner, -1), view.n, rows=self.rows)
        away = np.zeros(len(d)) if bias is None else np.where(known, np.nan_to_num(bias), 0.0)
        further = np.zeros(view.n) if shift is None else shift
        estimate = by_item.mean(d, ones) + further
        # The spread of what is left without the bias: taking it out adds error of its own.
        means = by_item.means(d - away, ones)
        person, cell, df_people = self.influences.variances(d, *slopes)
        # With one item there is no spread over items to see: no error.
        combined = combine(np.nan_to_num(person), means.se**2, np.nan_to_num(cell))
        se = np.where(np.isfinite(means.se), combined, np.nan)
        df = np.minimum(np.minimum(means.df, np.maximum(sizes["n_personas"] - 1.0, 0.0)), df_people)
        df, se = np.where(df >= 1, df, np.nan), np.where(df >= 1, se, np.nan)
        centre = means.estimate + further
        low, high, _ = interval(metric, centre, se, df, level=view.block.rules.level)
        if metric.low is not None and metric.high is not None and metric.direction == "lower":
            high = np.minimum(high + _upper(centre - metric.low, high - centre), metric.high)
        low, high = np.minimum(low, estimate), np.maximum(high, estimate)
        words = np.select(
            [~np.isfinite(se), se == 0],
            ["no error: too few items or people", "all clusters alike: Wilson on the smaller number of clusters"],
            default=f"items by spread, model's and {self.influences.words} linearized, combined, t"
            + ("" if bias is None else "; interval without what sampling adds to a distance"),
        )
        base = {
            "slice": np.arange(view.n),
            "estimate": estimate,
            "se": se,
            "ci_low": low,
            "ci_high": high,
            "method": [f"{word}; {view.block.note}" for word in words],
            **sizes,
        }
        of_baselines = {name: by_item.mean(np.where(known, v, np.nan), ones) for name, v in baselines.items()}
        return stacked(base, {"": {}, **{name: {"baseline_estimate": figure} for name, figure in of_baselines.items()}})


def _of_majority(cells: Cells, measure: distances.Distance) -> Floats:
    """Distance of each cell when everybody gives the people's most frequent answer; the mean over ties."""
    out = np.zeros(len(cells.owner))
    for option in np.flatnonzero(cells.majority.any(axis=0)):
        alone = np.zeros_like(cells.human)
        alone[:, option] = 1.0
        share = cells.majority[:, option]
        # An option that has no place on the scale leaves nothing to compare.
        out += np.where(share > 0, share * measure(alone.T, cells.human.T), 0.0)
    return out


def _upper(centre: Floats, arm: Floats) -> Floats:
    """What the upper arm of a mean distance's interval is longer by: distances are skewed.

    The second-order term of an interval on the logarithm, arm²/(2 centre), and no more than half of the arm near 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(arm**2 / (2 * np.maximum(centre, arm)))


def _mirrored(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of 1 less a distance: nearness."""
    return rows.with_columns(
        (1 - pl.col("estimate")).alias("estimate"),
        (1 - pl.col("baseline_estimate")).alias("baseline_estimate"),
        (1 - pl.col("ci_high")).alias("ci_low"),
        (1 - pl.col("ci_low")).alias("ci_high"),
    )


def _spread_figures(view: View, cells: Cells, influences: _Influences) -> dict[str, pl.DataFrame]:
    """Ratios of the model's spread to people's within each slice, and between the slices of the dimension."""
    k = np.isfinite(cells.places).sum(axis=1)
    top = np.where(k > 1, np.nanmax(np.where(k[:, None] > 1, cells.places, 0.0), axis=1), np.nan)
    scaled = cells.places / top[:, None]
    spread = {
        "variance_ratio": tuple(
            flattening.variance(p, scaled, n) + 0 * top
            for p, n in ((cells.model, cells.n_model), (cells.human, cells.n_human))
        ),
        "entropy_ratio": (
            flattening.entropy(cells.model, cells.n_model),
            flattening.entropy(cells.human, cells.n_human),
        ),
    }
    out = {}
    for name, (model, human) in spread.items():
        known = np.isfinite(model) & np.isfinite(human)
        over = sums(cells.owner[known], human[known], view.n)
        figure = ratio(sums(cells.owner[known], model[known], view.n), over)
        out[name] = _point_rows(view, cells, influences, known, np.arange(view.n), figure)
    ordinal = np.isfinite(top)
    if view.n > 1 and ordinal.any():
        parts = np.zeros((2, 2))
        sides = ((cells.model, cells.n_model), (cells.human, cells.n_human))
        both = np.flatnonzero(ordinal & (cells.n_model > 1) & (cells.n_human > 1))
        grid = (len(view.block.matched), view.n)
        place = cells.item[both] * view.n + cells.owner[both]
        for side, (p, n) in enumerate(sides):
            columns = (
                (p[both] * np.nan_to_num(scaled[both])).sum(axis=1),
                flattening.variance(p[both], scaled[both], n[both]),
                n[both],
            )
            means, variances, sizes = (sums(place, c, grid[0] * grid[1]).reshape(grid) for c in columns)
            parts[side] = flattening.epsilon_squared(means, variances, sizes)
        model, human = (ratio(parts[side, 0:1], parts[side, 1:2]) for side in (0, 1))
        out["eta2_ratio"] = _point_rows(view, cells, influences, ordinal, np.array([-1]), ratio(model, human))
    return out


def _point_rows(
    view: View, cells: Cells, influences: _Influences, used: Flags, slices: Ints, figure: Floats
) -> pl.DataFrame:
    """Rows of a figure without an error; slice −1 is the dimension as a whole."""
    block = view.block
    asked = np.zeros((view.n, len(block.matched)), dtype=bool)
    asked[cells.owner[used], cells.item[used]] = True
    item = block.matched_item
    rows = (view.cut.codes >= 0) & (item >= 0) & asked[np.maximum(view.cut.codes, 0), np.maximum(item, 0)]
    if slices[0] < 0:
        sizes = {
            "n_answers": np.array([round(float(block.orders[rows].sum()))]),
            "n_personas": np.array([distinct(block.persona[rows])]),
            "n_items": np.array([distinct(item[rows])]),
            "n_people": influences.n_people(used).sum(keepdims=True),
        }
    else:
        sizes = view.sizes(rows) | {"n_people": influences.n_people(used)}
    return pl.DataFrame(
        {
            "slice": slices,
            "baseline": [""] * len(slices),
            "estimate": figure,
            **sizes,
            "method": [f"point estimate; {block.note}"] * len(slices),
        }
    ).filter((pl.col("n_answers") > 0) & pl.col("estimate").is_not_nan())


def _cells(view: View, item: Ints, w: Floats) -> Cells:
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
        # The mixture of the samples that the personas come from: the model answered for these.
        entry = np.maximum(block.poll_entry, 0)
        for option in range(block.polls.shares.shape[1]):
            human[:, option] = sums(place, w * block.polls.shares[entry, option], size)
        human_w = human.sum(axis=1)
        # Of polls that do not tell how many they asked, the shares are taken as exact.
        asked = np.where(np.isfinite(block.polls.n), block.polls.n, MANY)[entry]
        human_w2 = human_w**2 / np.maximum(np.nan_to_num(ratio(sums(place, w * asked, size), human_w)), 1.0)
    keep = np.flatnonzero((model_w > 0) & (human_w > 0))
    facts = block.matched_items
    options = np.arange(width)
    k = facts.get_column("k_options").fill_null(2).to_numpy()
    places = np.where(
        facts.get_column("ordinal").fill_null(False).to_numpy()[:, None] & (options < k[:, None]), options, np.nan
    )
    for i, own in enumerate(facts.get_column("places").to_list()):
        if own is not None:
            places[i, : len(own)] = [np.nan if p is None else p for p in own]
    cluster = g.dense(facts.get_column("cluster_id").fill_null(""))
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


class _Influences:
    """What each person's answers, their own and the model's for them, do to a slice's mean distance.

    The mean distance is linearized in both distributions. A person who is asked about and answered the survey too is in
    both: what sampling them does to one side and to the other is summed up before it is squared.
    """

    def __init__(self, view: View, cells: Cells, used: Flags, item: Ints) -> None:
        block, people = view.block, view.block.people
        self.n, self.cells, n_items = view.n, cells, len(block.matched)
        index = np.full(view.n * n_items, -1)
        index[cells.owner * n_items + cells.item] = np.arange(len(cells.owner))

        def rows_of(slices: Ints, items: Ints, w: Floats) -> tuple[Ints, Ints, Floats]:
            """Rows in a cell, their cells, and their shares of the cells' weight."""
            cell = np.where((slices >= 0) & (items >= 0) & (w > 0), index[np.maximum(slices, 0) * n_items + items], -1)
            rows = np.flatnonzero(cell >= 0)
            cell = cell[rows]
            return rows, cell, w[rows] / sums(cell, w[rows], len(cells.owner))[cell]

        rows, self._cell_m, self._share_m = rows_of(np.where(used, view.cut.codes, -1), item, block.weight)
        self._answers = block.units.answer[rows]
        if block.polls is not None:
            # The people's side is made of the polls of the personas' own countries.
            self._cell_h, self._share_h = self._cell_m, self._share_m
            self._given = block.polls.shares[block.poll_entry[rows]]
            self.design = design_of(block.frame.select("persona_id").unique())
            person_h = person_m = block.persona[rows]
            self.words = "people's by spread over items alone"
        else:
            person_m = self._person_codes(view)[rows]
            weight = people.frame.get_column("weight").to_numpy()
            own_slice = g.cut(people.persons, view.cut.dimension, view.cut.labels).codes[people.person]
            rows, self._cell_h, self._share_h = rows_of(own_slice, people.item, weight)
            self._given = people.frame.get_column("gold_idx").to_numpy()[rows]
            person_h = people.person[rows]
            self.design = people.design
            self.words = self.design.words()
        # Personas of whom the survey has no answer are units of their own.
        n_persons = max(len(self.design.unit), int(person_m.max(initial=-1)) + 1)
        further = self.design.n_units + np.arange(n_persons - len(self.design.unit))
        unit = np.concatenate([self.design.unit, further])
        self.unit = np.concatenate([unit[person_h], unit[person_m]])
        cell = np.concatenate([self._cell_h, self._cell_m])
        self.owner = cells.owner[cell]
        self.people = None if block.polls is not None else Distinct(cells.owner[self._cell_h], person_h, view.n)
        self.crossings = Rows(self.unit * self.n + self.owner, cells.cluster[cell])

    def _person_codes(self, view: View) -> Ints:
        """Person of each of the model's rows among the people's; those who are not there come behind."""
        known = view.block.people.persons.get_column("persona_id")
        ids = view.block.frame.get_column("persona_id")
        others = ids.filter(~ids.is_in(known.implode())).unique().sort()
        place = pl.concat([known, others]).alias("persona_id").to_frame().with_row_index("place")
        return (
            ids.alias("persona_id")
            .to_frame()
            .join(place, on="persona_id", how="left", maintain_order="left")
            .get_column("place")
            .cast(pl.Int64)
            .to_numpy()
        )

    @cached_property
    def noise(self) -> Floats:
        """Error variance of the difference of both distributions over that of independent simple samples, by slice.

        Above 1 where people of a sampling unit are alike, below 1 where the model's answers go with the people's own:
        what sampling the same people does to both sides cancels.
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
        return np.clip(np.where(np.isfinite(made), made, 1.0), 0.1, 10.0)

    def n_people(self, known: Flags) -> Floats:
        """People of each slice whose own answers are in the cells that count.

        Of polls the most that an item has; nan where the poll does not tell.
        """
        if self.people is not None:
            return self.people.count(known[self._cell_h]).astype(float)
        most = np.zeros(self.n)
        np.maximum.at(most, self.cells.owner[known], np.rint(self.cells.n_human[known]))
        return np.where(most < MANY, most, np.nan)

    def _human(self, values: Floats) -> Floats:
        """Value of each of the people's rows from the (cells × K) values of their answers."""
        if self._given.ndim == 1:
            return np.asarray(values[self._cell_h, self._given])
        return np.asarray((values[self._cell_h, : self._given.shape[1]] * self._given).sum(axis=1))

    def variances(self, d: Floats, slope_model: Floats, slope_human: Floats) -> tuple[Floats, Floats, Floats]:
        """Variances over persons (or their sampling units) and over their crossings with items, and degrees of freedom.

        Args:
            d: Distance of each cell; nan for those that do not count.
            slope_model: (cells × K) derivative by the model's shares.
            slope_human: (cells × K) derivative by the people's.
        """
        cells = self.cells
        known = np.isfinite(d)
        per_item = np.where(known, 1.0 / np.maximum(sums(cells.owner, known, self.n), 1.0)[cells.owner], 0.0)
        parts = []
        for slope, shares in ((slope_human, cells.human), (slope_model, cells.model)):
            slope = np.where(known[:, None], slope, 0.0)
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
            place = self.unit * self.n + self.owner
            pairs, code = np.unique(place, return_inverse=True)
            unit_z, of_pair = sums(code, z, len(pairs)), pairs % self.n
            units = sums(of_pair, sums(code, counts, len(pairs)) > 0, self.n)
            if not self.design.known:
                v_person = units / (units - 1) * sums(of_pair, unit_z**2, self.n)
                return v_person, v_cell, units - 1.0
            grid = np.zeros((self.n, max(self.design.n_units, int(self.unit.max(initial=-1)) + 1)))
            grid[of_pair, pairs // self.n] = unit_z
            inside = grid[:, : self.design.n_units]
            v_person = self.design.variance(inside) + (grid[:, self.design.n_units :] ** 2).sum(axis=1)
        # Of a subgroup those units and strata count that have anybody in it.
        strata = np.unique(
            (pairs % self.n) * (len(self.design.stratum) + 1)
            + np.append(self.design.stratum, len(self.design.stratum))[np.minimum(pairs // self.n, self.design.n_units)]
        )
        return v_person, v_cell, units - sums(strata // (len(self.design.stratum) + 1), np.ones(len(strata)), self.n)
