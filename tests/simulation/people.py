"""Worlds in which people are sampled: whether intervals of accuracy and distances cover what all people would show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import stats

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import TEXT_SCORES
from mpta_pipeline.metrics.estimators.alignment import distance_estimates
from mpta_pipeline.metrics.samples.balancing import Units, balance
from mpta_pipeline.metrics.samples.item_features import with_facts
from mpta_pipeline.metrics.samples.survey_answers import View, cut_rows, make_blocks
from mpta_pipeline.metrics.statistics import distances
from mpta_pipeline.metrics.statistics.arrays import Floats, Ints
from mpta_pipeline.metrics.statistics.clustered import Rows, Slices, t_quantile

RULES = EstimateRules(dimensions=())


@dataclass(frozen=True)
class Survey:
    """A survey whose people answer items from a trait, and a model that answers for some of them.

    Attributes:
        people: Respondents.
        personas: Those of them that the model is asked about.
        items: Items, drawn anew in each study from endlessly many.
        copies: Share of the model's answers that are the person's own.
        apart: How far the model's other answers lie from people's: 0 nowhere, 1 another distribution.
        shift: The model's other answers lie one way from people's, on all items.
        units: Sampling units; 0: people are drawn one by one.
        alike: Share of the variance of answers that people of a unit have in common.
        trait: Share that a person's answers have in common.
        weights: People have unequal weights.
        options: Options of each item.
    """

    people: int
    personas: int
    items: int
    copies: float = 0.2
    apart: float = 1.0
    shift: bool = False
    units: int = 0
    alike: float = 0.0
    trait: float = 0.3
    weights: bool = False
    options: int = 4


SURVEYS = {
    "1000 people, 200 personas, 30 items": Survey(1000, 200, 30),
    "100 people, 60 personas, 20 items": Survey(100, 60, 20),
    "the 300 people are the personas, half copied": Survey(300, 300, 30, copies=0.5),
    "20 sampling units of 40 people": Survey(800, 200, 30, units=20, alike=0.1),
    "100 sampling units, weights": Survey(1500, 300, 40, units=100, alike=0.1, weights=True),
    "the model is near": Survey(1000, 200, 30, apart=0.3),
    "shifted one way, 100 people": Survey(100, 100, 25, shift=True, trait=0.5),
}


def _distributions(rng: np.random.Generator, survey: Survey, n: int) -> tuple[Floats, Floats]:
    """People's distribution of n items, and that of the model's answers which are no copies."""
    people = rng.dirichlet(np.full(survey.options, 3.0), n)
    model = (1 - survey.apart) * people + survey.apart * rng.dirichlet(np.full(survey.options, 3.0), n)
    if survey.shift:
        up = np.roll(people, 1, axis=1)
        up[:, -1] += up[:, 0]
        up[:, 0] = 0.0
        model = (people + up) / 2
    return people, model


def truth(survey: Survey, name: str) -> float:
    """Mean distance over endlessly many items, people and personas."""
    people, other = _distributions(np.random.default_rng(1), survey, 100_000)
    model = survey.copies * people + (1 - survey.copies) * other
    places = np.broadcast_to(np.arange(survey.options, dtype=float)[:, None], model.T.shape)
    measures = {
        "tv": distances.total_variation,
        "js": distances.jensen_shannon,
        "w1n": lambda a, b: distances.wasserstein(a, b, places),
    }
    return float(measures[name](model.T, people.T).mean())


def study(survey: Survey, rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Scores, groups and people's answers of one study."""
    of_people, of_model = _distributions(rng, survey, survey.items)
    unit = np.arange(survey.people) % max(survey.units, 1)
    common = np.sqrt(survey.alike) * rng.normal(size=max(survey.units, 1))[unit]
    common = common + np.sqrt(survey.trait) * rng.normal(size=survey.people)
    left = np.sqrt(1 - survey.alike - survey.trait)

    def picked(shares: Floats, n: int) -> Ints:
        y = common[:n, None] + left * rng.normal(size=(n, survey.items))
        return np.asarray((stats.norm.cdf(y)[:, :, None] > np.cumsum(shares, axis=1)[None, :, :-1]).sum(axis=2))

    own, n = picked(of_people, survey.people), survey.personas
    other = picked(of_model, n)
    answer = np.where(rng.random(other.shape) < survey.copies, own[:n], other)
    weight = rng.choice([0.5, 1.0, 2.0], survey.people) if survey.weights else np.ones(survey.people)
    person, item = (x.ravel() for x in np.indices(own.shape))
    gold = pl.DataFrame(
        {
            "respondent_id": [f"r{p:06d}" for p in range(survey.people)],
            "weight": weight if survey.weights else pl.Series([None] * survey.people, dtype=pl.Float64),
        }
    )[person].with_columns(
        pl.Series("item_id", [f"i{i:03d}" for i in range(survey.items)])[item],
        pl.lit("s").alias("survey"),
        pl.Series("gold_idx", own.ravel()),
    )
    fixed = {
        "model": "m", "task": "t", "condition": "persona", "wave": "w", "category": None, "kind": "value_alignment",
        "scoring": "key", "answer_set": None,
        "style": "p", "framing": "f", "paraphrase_id": 0, "repeat_id": 0, "elicitation": "letter", "order_id": 0,
        "k_options": survey.options, "ordinal": True, "status": "ok", "score": 1.0, "condescending": False,
    }  # fmt: skip
    scores = gold.filter(pl.Series(person < n)).with_columns(
        *(pl.lit(value).alias(name) for name, value in fixed.items()),
        pl.col("item_id").alias("cluster_id"),
        pl.Series("pred_idx", answer.ravel()),
        pl.int_range(pl.len()).alias("prompt_id"),
        pl.col("gold_idx").alias("gold_pos"),
        pl.lit(None, pl.List(pl.Float64)).alias("p_vec"),
        pl.lit(None, pl.Float64).alias("bias"),
        pl.lit(None, TEXT_SCORES).alias("text_scores"),
        pl.lit(None, pl.Float64).alias("letter_share"),
        pl.lit(None, pl.String).alias("unparsed_reason"),
    )
    scores = scores.with_columns(pl.col("pred_idx").alias("pred_pos"))
    groups = gold.select("respondent_id", "survey").unique(maintain_order=True)
    if survey.units:
        groups = groups.with_columns(pl.lit("one").alias("stratum"), pl.Series("psu", unit).cast(pl.String))
    return scores, groups, gold


def distance_coverage(survey: Survey, *, runs: int, seed: int) -> dict[str, float]:
    """Share of studies whose 95 % interval of a mean distance holds the one among all people, personas and items."""
    rng = np.random.default_rng(seed)
    true = {name: truth(survey, name) for name in ("tv", "w1n", "js")}
    hits = dict.fromkeys(true, 0)
    for _ in range(runs):
        scores, groups, gold = study(survey, rng)
        balanced = balance(scores)
        units = Units(with_facts(balanced.frame, None), balanced.answer, balanced.mass, balanced.positions)
        *_, block = make_blocks(units, groups, gold, "s", rules=RULES)
        asked = block.of("persona")
        estimates = distance_estimates(View(asked, cut_rows(asked.frame, "all"), "persona"))
        for name, value in true.items():
            row = estimates[name].row(0, named=True)
            hits[name] += int(row["ci_low"] <= value <= row["ci_high"])
    return {name: n / runs for name, n in hits.items()}


def unit_coverage(*, units: int, runs: int, seed: int) -> tuple[float, float]:
    """Share of 95 % intervals of a persona mean that hold the truth where people of a unit are alike.

    200 personas in the sampling units given, 40 items. With the units as clusters, and with persons as if drawn alone.
    """
    rng = np.random.default_rng(seed)
    person, item = (x.ravel() for x in np.indices((200, 40)))
    unit = person % units
    rows = Rows(person, item, unit), Rows(person, item)
    hits = [0, 0]
    for _ in range(runs):
        x = 0.1 * rng.normal(size=units)[unit] + 0.1 * rng.normal(size=200)[person]
        x = x + 0.02 * rng.normal(size=40)[item] + 0.4 * rng.normal(size=len(person))
        for i, clusters in enumerate(rows):
            means = Slices(np.zeros(len(person), dtype=np.int64), 1, rows=clusters).means(x, np.ones(len(person)))
            hits[i] += int(abs(means.estimate[0]) <= t_quantile(means.df)[0] * means.se[0])
    return hits[0] / runs, hits[1] / runs
