"""Answers of simulated respondents in an experiment: arms with a planted effect, choices between profiles."""

import numpy as np
import polars as pl

from mpta_pipeline import metrics
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import ARM_ANSWERS, ITEMS, SCORES

RULES = EstimateRules(dimensions=("sex",), min_personas=30)


def scored(rows):
    """SCORES of readable answers: rows with respondent_id, item_id, pred_idx and, as needed, arm and scale_place."""
    frame = pl.DataFrame(rows)
    defaults = {
        "model": "m", "task": "t", "condition": "persona", "survey": "s", "wave": "s-1", "kind": "questionnaire",
        "style": "prose", "framing": "you_are", "paraphrase_id": 0, "repeat_id": 0, "elicitation": "letter",
        "order_id": 0, "k_options": 2, "ordinal": False, "scoring": "none", "status": "ok", "request_hash": "h",
    }  # fmt: skip
    frame = frame.with_columns(pl.lit(v).alias(k) for k, v in defaults.items() if k not in frame.columns)
    frame = frame.with_columns(pl.format("p{}", pl.int_range(pl.len())).alias("prompt_id"))
    if "cluster_id" not in frame.columns:
        frame = frame.with_columns(pl.col("item_id").alias("cluster_id"))
    return SCORES.conform(
        frame.with_columns(pl.lit(None, d).alias(n) for n, d in SCORES.schema.items() if n not in frame.columns).select(
            list(SCORES.schema)
        )
    )


def items_of(*rows):
    """ITEMS of rows that state item_id and what else differs from a question with the answers yes and no."""
    defaults = {
        "task": "t", "kind": "questionnaire", "question": "?", "options": ["yes", "no"], "option_values": ["yes", "no"],
        "ordinal": False, "scoring": "none", "reveals": [], "sample_item": False, "licence": "x",
    }  # fmt: skip
    made = [defaults | {"cluster_id": row["item_id"]} | row for row in rows]
    frame = pl.DataFrame(made, infer_schema_length=None)
    absent = (pl.lit(None, d).alias(n) for n, d in ITEMS.schema.items() if n not in frame.columns)
    return ITEMS.conform(frame.with_columns(absent).select(list(ITEMS.schema)))


def item(name, **more):
    return items_of({"item_id": name} | more)


def people(n):
    return pl.DataFrame(
        {
            "respondent_id": [f"r{i:03}" for i in range(n)],
            "survey": "s",
            "sex": ["female" if i % 3 == 0 else "male" for i in range(n)],
        }
    )


def planted(seed, n=240, effect=0.15, more_in_women=0.0):
    """Answers of simulated respondents on 8 items of a scale; the treatment moves the place."""
    rng = np.random.default_rng(seed)
    own, hard = rng.normal(0, 0.1, n), rng.normal(0, 0.1, 8)
    rows = []
    for i in range(n):
        treated = bool(rng.integers(2))
        move = treated * (effect + more_in_women * (i % 3 == 0))
        for j in range(8):
            place = np.clip(0.4 + own[i] + hard[j] + move + rng.normal(0, 0.1), 0, 1)
            rows.append(
                {"respondent_id": f"r{i:03}", "item_id": f"q{j}", "pred_idx": 0, "scale_place": place,
                 "arm": "treated" if treated else "plain", "treated": treated}
            )  # fmt: skip
    items = items_of(*({"item_id": f"q{j}", "ordinal": True} for j in range(8)))
    return metrics.experiments(scored(rows), people(n), rules=RULES, items=items)


def beside_own(seed, n=400, asked=1500, effect=0.15, share=1.0):
    """Effects on a model that moves `share` times as far as people, who were in the arms themselves.

    Returns:
        EXPERIMENTS, and the row of people's effect over all questions.
    """
    rng = np.random.default_rng(1000 + seed)
    hard, unit = rng.normal(0, 0.04, 8), rng.normal(0, 0.03, 60)

    def answers(people, moves):
        own = rng.normal(0, 0.05, people)
        for i in range(people):
            treated = bool(rng.integers(2))
            for j in range(8):
                place = np.clip(0.5 + own[i] + unit[i % 60] + hard[j] + treated * moves + rng.normal(0, 0.07), 0, 1)
                yield {
                    "respondent_id": f"r{i:04}", "item_id": f"q{j}", "scale_place": float(place),
                    "arm": "treated" if treated else "plain", "treated": treated,
                }  # fmt: skip

    items = items_of(*({"item_id": f"q{j}", "ordinal": True} for j in range(8)))
    persons = pl.DataFrame(
        {"respondent_id": [f"r{i:04}" for i in range(asked)], "survey": "s", "sex": "x",
         "psu": [str(i % 60) for i in range(asked)], "stratum": [str(i % 20) for i in range(asked)]}
    )  # fmt: skip
    facts = (pl.lit("t").alias("task"), pl.lit("s").alias("survey"), pl.lit(0).alias("answer_idx"))
    given = pl.DataFrame(list(answers(asked, effect))).with_columns(*facts, pl.lit(None, pl.Float64).alias("weight"))
    own = metrics.people_effects(
        ARM_ANSWERS.conform(given.select(list(ARM_ANSWERS.schema))), items, persons, rules=EstimateRules(dimensions=())
    )
    rows = [row | {"pred_idx": 0} for row in answers(n, share * effect)]
    made = metrics.experiments(scored(rows), persons, rules=EstimateRules(dimensions=()), items=items, people=own)
    return made, own.filter(item_id="all").row(0, named=True)


LEVELS = {"price": ["low", "mid", "high"], "color": ["red", "blue"], "size": ["small", "large"]}
# Utility of each level: what a logit-free linear choice would add.
WORTH = {"low": 0.0, "mid": -0.1, "high": -0.3, "red": 0.0, "blue": 0.1, "small": 0.0, "large": 0.0}


def choices(seed, n=300, tasks=5, pool=60, banned=None):
    """Answers to pairs of profiles: the first is chosen with probability .5 + (its worth − the other's)/2."""
    rng = np.random.default_rng(seed)
    profiles = []
    while len(profiles) < pool:
        pair = [{a: str(rng.choice(names)) for a, names in LEVELS.items()} for _ in range(2)]
        if banned is None or not any(banned <= set(one.items()) for one in pair):
            profiles.append(pair)
    rows = []
    for i in range(n):
        for j in rng.choice(pool, tasks, replace=False):
            first, second = (sum(WORTH[v] for v in one.values()) for one in profiles[j])
            rows.append(
                {
                    "respondent_id": f"r{i:03}",
                    "item_id": f"c{j}",
                    "pred_idx": int(rng.random() > 0.5 + (first - second) / 2),
                }
            )

    def listed(one):
        return [{"attribute": a, "level": v, "place": LEVELS[a].index(v)} for a, v in one.items()]

    restrictions = [[{"attribute": a, "level": v, "place": 0} for a, v in sorted(banned)]] if banned else None
    more = {} if restrictions is None else {"restrictions": restrictions}
    items = items_of(
        *({"item_id": f"c{j}", "profiles": [listed(one) for one in pair], **more} for j, pair in enumerate(profiles))
    )
    return scored(rows), items, profiles
