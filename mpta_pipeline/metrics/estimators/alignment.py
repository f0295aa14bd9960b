"""Estimate distances between the model's and the people's distributions of answers in the same group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from mpta_pipeline.core.described_groups import covers
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.metrics.estimators.fidelity import fidelity_estimates
from mpta_pipeline.metrics.estimators.influence import Influences
from mpta_pipeline.metrics.estimators.panel_gain import panel_gain
from mpta_pipeline.metrics.metric import METRICS, Metric
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.samples.answer_distributions import Cells, make_cells
from mpta_pipeline.metrics.samples.survey_answers import View, stacked
from mpta_pipeline.metrics.statistics import distances
from mpta_pipeline.metrics.statistics.arrays import Flags, Floats, Ints, dense, distinct, ratio, sums
from mpta_pipeline.metrics.statistics.bootstrap import combine
from mpta_pipeline.metrics.statistics.clustered import Rows, Slices, p_value
from mpta_pipeline.metrics.statistics.intervals import interval

# Items × draws behind each sampling floor, which is a mean over items. Its own error then stays near .001.
FLOOR_DRAWS = 8_000
# Columns that define the wording of a persona.
WORDING = ("style", "framing", "paraphrase_id")


def distance_estimates(view: View) -> dict[str, pl.DataFrame]:
    """Compute the distances between the model's answers and the people's, and the metrics derived from them.

    tv, w1n, js and their excess over the sampling floor, for tasks with people's answers: the survey's own, or a poll's
    published shares. Each estimate is the unweighted mean over the items that both answered. Errors combine, as in
    two-way clustering, the sampling of personas and of people (linearized, by the survey's design) with the variance
    over items. A poll's own error is assumed to be part of the variance over items. The baselines have as few answers
    as the model. A distance grows as the number of answers falls, and the excess over the floor is right only if
    nothing differs: compare neither between groups of different size.
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
    cells = make_cells(view, item, np.where(used, block.weight, 0.0))
    if not len(cells.owner):
        return {}
    return _Distances(view, cells, used, item).estimates()


class _Distances:
    """Distance estimates of the cells of one view."""

    def __init__(self, view: View, cells: Cells, used: Flags, item: Ints) -> None:
        self.view, self.cells, self.used, self.item = view, cells, used, item
        self.influences = Influences(view, cells, used, item)
        self.rows = Rows(cells.cluster, cells.cluster)
        places = cells.places.T
        self.measures: dict[str, distances.Distance] = {
            "tv": distances.total_variation,
            "w1n": distances.WassersteinOver(places),
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

    def estimates(self) -> dict[str, pl.DataFrame]:
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
        chances = distances.sampled_distance(
            cells.even, cells.human, cells.n_model, self.measures, seed=self._seed("even"), draws=draws
        )
        out = {}
        found = {name: measure(cells.model.T, cells.human.T) for name, measure in self.measures.items()}
        found = {name: d for name, d in found.items() if np.isfinite(d).any()}
        variances = self.influences.variances_of([(d, *self._slopes(name)) for name, d in found.items()])
        for (name, d), errors in zip(found.items(), variances, strict=True):
            measure = self.measures[name]
            floor = floors[name]
            expected = {
                "chance": chances[name],
                "uniform": measure(cells.even.T, cells.human.T),
                "majority": _of_majority(cells, measure),
            }
            out[name] = self._rows(
                METRICS[name],
                d,
                errors=errors,
                bias=[biases[name]],
                baselines=expected | {"sampling_floor": floor},
            )
            excess = METRICS[f"{name}_excess"]
            out[excess.name] = self._rows(
                excess, d - floor, errors=errors, baselines={n: b - floor for n, b in expected.items()}
            )
        for name, of in (("representativeness", "w1n"), ("js_similarity", "js")):
            if of in out:
                out[name] = _mirrored(out[of])
        out["simbench"] = self._simbench()
        out |= self._steerability() | self._consistency()
        out |= panel_gain(view, cells, self.influences, self._rows, seed=self._seed("panel gain"), draws=draws)
        return out | fidelity_estimates(view, cells)

    def _steerability(self) -> dict[str, pl.DataFrame]:
        """Similarity of the nearest wording per question, beside the mean over wordings."""
        view, block = self.view, self.view.block
        wording = dense(block.frame.select(pl.concat_str(WORDING, separator="\x1f")).to_series())
        size = view.n * len(block.matched)
        near = np.full((int(wording.max(initial=0)) + 1, size), np.nan)
        for i in range(len(near)) if len(near) > 1 else ():
            cells = make_cells(view, self.item, np.where(self.used & (wording == i), block.weight, 0.0))
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
        """Share of topics in which the best represented group overall is best, among groups present in all topics."""
        view, cells, block = self.view, self.cells, self.view.block
        topics = block.matched_items.get_column("category").fill_null("")
        topic = dense(topics)
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
        """100 (1 − Σ TV / Σ TV of a uniform distribution), a ratio of means, linearized."""
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
            errors=self.influences.variances(
                d, by_model * scale[:, None], (by_human - of_cell[:, None] * of_even) * scale[:, None]
            ),
            baselines={"chance": 0 * d, "sampling_floor": 100 + floor * scale},
            shift=100 * (1 - score),
        )
        return made.filter(pl.col("estimate").is_finite())

    def _rows(
        self,
        metric: Metric,
        d: Floats,
        *,
        errors: tuple[Floats, Floats, Floats],
        baselines: dict[str, Floats],
        bias: Sequence[Floats] | None = None,
        shift: Floats | None = None,
        tested: bool = False,
    ) -> pl.DataFrame:
        """Make the rows of a mean over items.

        Args:
            metric: The metric.
            d: Value of each cell; nan for excluded cells.
            errors: Variances over persons and over crossings with items, and degrees of freedom (`Influences`).
            baselines: Baseline → value of each cell.
            bias: Sampling bias of the values, by one or several corrections; None if unknown. The interval spans those
                of all corrections.
            shift: Amount to add to each slice's mean.
            tested: Test that the mean is 0.
        """
        view, cells = self.view, self.cells
        known, ones = np.isfinite(d), np.ones(len(d))
        in_use = np.zeros((view.n, len(view.block.matched)), dtype=bool)
        in_use[cells.owner[known], cells.item[known]] = True
        used = self.used & in_use[np.maximum(view.cut.codes, 0), self.item]
        sizes = view.sizes(used) | {"n_people": self.influences.n_people(known)}
        by_item = Slices(np.where(known, cells.owner, -1), view.n, rows=self.rows)
        further = np.zeros(view.n) if shift is None else shift
        raw = by_item.means(d, ones)
        estimate = raw.estimate + further
        person, cell, df_people = np.nan_to_num(errors[0]), np.nan_to_num(errors[1]), errors[2]
        low, high, p = estimate, estimate, np.zeros(view.n)
        # The interval uses the bias-corrected values and their variance, because the correction adds error.
        for away in [np.zeros(len(d))] if bias is None else bias:
            means = by_item.means(d - np.where(known, np.nan_to_num(away), 0.0), ones)
            centre = means.estimate + further
            df = np.minimum(np.minimum(means.df, np.maximum(sizes["n_personas"] - 1.0, 0.0)), df_people)
            df = np.where(df >= 1, df, np.nan)
            # With one item, the variance over items is unknown, and so is the error.
            se, reach = (
                np.where(np.isfinite(m.se) & np.isfinite(df), combine(person, m.se**2, cell), np.nan)
                for m in (raw, means)
            )
            ends = interval(metric, centre, reach, df, level=view.block.rules.level)
            low, high = np.minimum(low, ends[0]), np.maximum(high, ends[1])
            p = np.maximum(p, p_value(centre, reach, df))
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
        if tested:
            base["p_value"] = p
        of_baselines = {name: by_item.mean(np.where(known, v, np.nan), ones) for name, v in baselines.items()}
        return stacked(
            base, {"": {}, **{name: {"baseline_estimate": estimate} for name, estimate in of_baselines.items()}}
        )


def _of_majority(cells: Cells, measure: distances.Distance) -> Floats:
    """Compute each cell's distance if everyone gives the people's most frequent answer; the mean over ties."""
    out = np.zeros(len(cells.owner))
    for option in np.flatnonzero(cells.majority.any(axis=0)):
        alone = np.zeros_like(cells.human)
        alone[:, option] = 1.0
        share = cells.majority[:, option]
        # An option without a position on the scale cannot be compared.
        out += np.where(share > 0, share * measure(alone.T, cells.human.T), 0.0)
    return out


def _mirrored(rows: pl.DataFrame) -> pl.DataFrame:
    """Turn rows of a distance into rows of the similarity 1 − distance."""
    return rows.with_columns(
        (1 - pl.col("estimate")).alias("estimate"),
        (1 - pl.col("baseline_estimate")).alias("baseline_estimate"),
        (1 - pl.col("ci_high")).alias("ci_low"),
        (1 - pl.col("ci_low")).alias("ci_high"),
    )
