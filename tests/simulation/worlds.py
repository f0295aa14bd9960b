"""Simulated studies, and the share of them in which the estimates are right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import stats

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.metrics import METRICS, compare_models, find_pockets
from mpta_pipeline.metrics.estimators import disparity
from mpta_pipeline.metrics.pockets.search import power
from mpta_pipeline.metrics.statistics.clustered import Slices, t_quantile
from mpta_pipeline.metrics.statistics.intervals import interval
from tests.factories.scores import world

RULES = EstimateRules(dimensions=("sex", "age_band"), min_personas=20)
TRAITS = (("sex", 2), ("age_band", 4), ("education_3", 3), ("race", 3))


@dataclass(frozen=True)
class Design:
    """Crossed persona and item effects on a score in [0, 1]."""

    personas: int
    items: int
    per_persona: int
    persona_sd: float
    item_sd: float
    weights: bool
    groups: tuple[float, ...] = (0.7, 0.3)


DESIGNS = {
    "200 personas × 40 items, all crossed": Design(200, 40, 40, 0.15, 0.15, weights=False),
    "200 × 40, 10 items a persona, weights": Design(200, 40, 10, 0.15, 0.15, weights=True),
    "500 × 100, 10 items a persona, strong items": Design(500, 100, 10, 0.1, 0.25, weights=True),
    "96 × 12, 3 items a persona (the demo's size)": Design(96, 12, 3, 0.1, 0.15, weights=False),
    "300 × 25, no effects at all": Design(300, 25, 8, 0.0, 0.0, weights=False),
}


@dataclass(frozen=True)
class Binary:
    """Right or wrong answers with crossed persona and item effects on the probit scale."""

    personas: int
    items: int
    per_persona: int
    persona_sd: float
    item_sd: float
    accuracy: float


BINARY = {
    "accuracy .95": Binary(200, 40, 10, 0.5, 0.5, 0.95),
    "accuracy .95, 20 items": Binary(300, 20, 10, 0.4, 0.4, 0.95),
    "accuracy .95, strong items, all crossed": Binary(200, 40, 40, 0.5, 0.5, 0.95),
    "accuracy .95, the demo's size": Binary(96, 12, 3, 0.3, 0.5, 0.95),
    "accuracy .99": Binary(500, 46, 20, 0.3, 0.3, 0.99),
    "deff 3.9, items alike": Binary(200, 40, 40, 0.4, 0.0, 0.7),
    "deff 3.9, items alike, accuracy .95": Binary(200, 40, 40, 0.6, 0.0, 0.95),
}


def binary_coverage(design: Binary, *, runs: int, seed: int) -> dict[str, float]:
    """Share of studies whose 95 % interval of accuracy holds the truth, and the median design effect."""
    rng = np.random.default_rng(seed)
    threshold = stats.norm.ppf(design.accuracy) * np.sqrt(1 + design.persona_sd**2 + design.item_sd**2)
    hits, effects = 0, []
    for _ in range(runs):
        person = rng.normal(0, design.persona_sd, design.personas)
        item = rng.normal(0, design.item_sd, design.items)
        asked = np.argsort(rng.random((design.personas, design.items)), axis=1)[:, : design.per_persona]
        p, i = np.repeat(np.arange(design.personas), design.per_persona), asked.ravel()
        x = (threshold + person[p] + item[i] + rng.normal(size=len(p)) > 0).astype(float)
        means = Slices(np.zeros(len(p), dtype=np.int64), 1, p, i).means(x, np.ones(len(p)))
        low, high, _ = interval(
            METRICS["accuracy"], means.estimate, means.se, means.df, n_eff=means.n_eff, level=RULES.level
        )
        hits += int(low[0] <= design.accuracy <= high[0])
        effects.append(len(p) / float(means.n_eff[0]))
    return {"mean": hits / runs, "deff": float(np.median(effects))}


def coverage(design: Design, *, runs: int, seed: int) -> dict[str, float]:
    """Share of studies whose 95 % interval holds the truth: for the mean, and for the gap of the smaller group."""
    rng = np.random.default_rng(seed)
    hits = {"mean": 0, "gap": 0}
    for _ in range(runs):
        person = rng.normal(0, design.persona_sd, design.personas)
        item = rng.normal(0, design.item_sd, design.items)
        group = rng.choice(len(design.groups), design.personas, p=design.groups)
        weight = rng.choice([0.5, 1.0, 2.0], design.personas) if design.weights else np.ones(design.personas)
        asked = np.argsort(rng.random((design.personas, design.items)), axis=1)[:, : design.per_persona]
        p, i = np.repeat(np.arange(design.personas), design.per_persona), asked.ravel()
        # Normal scores: the truth is then .5 whatever the effects, as no probability has to be cut off at 0 and 1.
        x = 0.5 + person[p] + item[i] + rng.normal(0, 0.4, len(p))
        slices = Slices(group[p], len(design.groups), p, i)
        everyone = Slices(np.zeros(len(p), dtype=np.int64), 1, rows=slices.rows).means(x, weight[p])
        gaps = slices.gaps(x, weight[p])
        hits["mean"] += int(abs(everyone.estimate[0] - 0.5) <= t_quantile(everyone.df)[0] * everyone.se[0])
        hits["gap"] += int(abs(gaps.difference[-1]) <= t_quantile(gaps.df)[-1] * gaps.se[-1])
    return {name: n / runs for name, n in hits.items()}


def false_disparities(*, runs: int, seed: int, interaction_sd: float = 0.15) -> float:
    """Share of studies in which the range of groups that are served alike has p ≤ .05.

    The groups' true means are equal; each finds other questions hard.
    """
    people, items, n = 200, 20, 4
    rng = np.random.default_rng(seed)
    found = 0
    for run in range(runs):
        group = rng.integers(0, n, people)
        hard = rng.normal(0, 0.2, items) + rng.normal(0, interaction_sd, (n, items))
        x = 0.6 + rng.normal(0, 0.1, (people, 1)) + hard[group] + rng.normal(0, 0.4, (people, items))
        size = np.bincount(group, minlength=n).astype(float)
        a = np.stack([np.bincount(group, x[:, j], minlength=n) for j in range(items)], axis=1)
        b = np.repeat(size[:, None], items, axis=1)
        mean = a.sum(axis=1) / b.sum(axis=1)
        squares = np.bincount(group, ((x - mean[group][:, None]) ** 2).sum(axis=1), minlength=n)
        cells = size * items
        questions = disparity.question_noise(
            a, b, size / people, cell=cells / (cells - 1) * squares / cells**2, draws=200, seed=run
        )
        assert questions is not None
        ones = np.full(people, float(items))
        null = disparity.permuted_means(x.sum(axis=1), ones, group, n, draws=200, seed=run) + questions
        p = (1 + (disparity.spread(null).range >= disparity.spread(mean).range).sum()) / 201
        found += int(p <= 0.05)
    return found / runs


def false_pockets(*, runs: int, seed: int) -> float:
    """Share of studies of the demo's size without any pocket in which one is confirmed."""
    found = 0
    for run in range(runs):
        scores, groups, gold = world(
            personas=96,
            items=12,
            items_per_persona=3,
            orders=1,
            skill=0.4,
            persona_sd=0.1,
            item_sd=0.1,
            respondents=300,
            traits=TRAITS,
            seed=seed + run,
        )
        found += int(find_pockets(scores, groups, gold, rules=RULES, seed=run).get_column("confirmed").any())
    return found / runs


def planted_pocket(*, effect: float, runs: int, seed: int) -> tuple[float, float]:
    """Share of studies in which a planted pocket is found, and the power that the errors state for that effect.

    A quarter of 600 personas answers as their respondent less often by `effect`; found means: the pocket itself or a
    part of it is confirmed. The power stated is `pockets.power`, that of search and test together, with the error found
    in each study; it takes the pocket to be alone, so that others that are found with it raise the share found.
    """
    found, stated = 0, []
    for run in range(runs):
        scores, groups, gold = world(
            personas=600, items=24, items_per_persona=8, orders=1, skill=0.6, traits=TRAITS, seed=seed + run
        )
        inside = groups.filter(age_band="age_band1").get_column("respondent_id").implode()
        rng = np.random.default_rng(seed + run)
        right = 0.6 + 0.4 / 3
        spoiled = pl.Series(rng.random(scores.height) < effect / right) & scores.get_column("respondent_id").is_in(
            inside
        )
        wrong = ((pl.col("gold_idx") + 1) % pl.col("k_options")).alias("pred_idx")
        scores = scores.with_columns(
            pl.when(spoiled & (pl.col("condition") == "persona")).then(wrong).otherwise("pred_idx").alias("pred_idx")
        ).with_columns(score=(pl.col("pred_idx") == pl.col("gold_idx")).cast(pl.Float64))
        tested = find_pockets(scores, groups, gold, rules=RULES, seed=run)
        pockets = tested.filter((pl.col("outcome") == "score") & pl.col("dimensions").str.contains("age_band"))
        found += int(pockets.filter(pl.col("confirmed") & pl.col("subgroup").str.contains("age_band1")).height > 0)
        own = pockets.filter((pl.col("dimensions") == "age_band") & (pl.col("subgroup") == "age_band1"))
        if own.height:
            row = own.row(0, named=True)
            df = 11  # half of the items, less one
            se = (row["ci_high"] - row["ci_low"]) / 2 / stats.t.ppf(0.975, df)
            stated.append(float(power(effect, np.array([se]), df, tested.height, level=RULES.level)[0]))
    return found / runs, float(np.mean(stated)) if stated else float("nan")


def equal_models(*, runs: int, seed: int) -> float:
    """Share of studies in which two models that answer alike differ in some comparison of a family."""
    different = 0
    for run in range(runs):
        scores, _, _ = world(
            personas=96, items=12, items_per_persona=6, orders=1, seed=seed + run, conditions=("persona",)
        )
        rng = np.random.default_rng(seed + run)
        # Another draw of the same model: each answer is made anew with the same chance of being right.
        right = pl.Series(rng.random(scores.height) < 0.6 + 0.4 / 3)
        again = scores.with_columns(
            model=pl.lit("twin"),
            pred_idx=pl.when(right).then("gold_idx").otherwise((pl.col("gold_idx") + 1) % pl.col("k_options")),
        ).with_columns(score=(pl.col("pred_idx") == pl.col("gold_idx")).cast(pl.Float64))
        table = compare_models(pl.concat([scores, again]), rules=RULES)
        different += int((table.filter(metric="accuracy").get_column("q_value") <= RULES.level).fill_null(False).any())
    return different / runs
