"""Scores, groups and answers of people made from a known model of the world, for tests, simulations and benchmarks."""

from __future__ import annotations

import numpy as np
import polars as pl

from mpta_pipeline.core.tables import GOLD, SCORES, TEXT_SCORES


def world(
    *,
    personas: int = 60,
    items: int = 12,
    items_per_persona: int | None = None,
    options: int = 3,
    orders: int | None = None,
    skill: float = 0.6,
    persona_sd: float = 0.0,
    item_sd: float = 0.0,
    conditions: tuple[str, ...] = ("persona", "no_persona"),
    weights: bool = False,
    probabilities: bool = False,
    bad: float = 0.0,
    respondents: int | None = None,
    surveys: tuple[str, ...] = ("gss",),
    traits: tuple[tuple[str, int], ...] = (("sex", 2), ("age_band", 4)),
    seed: int = 0,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """SCORES, groups and GOLD of one model and task.

    Each persona answers an item as its own respondent with probability `skill`, shifted by persona and item effects,
    and else picks any option; the no-persona answer of an item is one and the same for all personas.
    """
    rng = np.random.default_rng(seed)
    k, n_orders = options, orders or options
    scores, people, answers = [], [], []
    for survey in surveys:
        everyone = respondents or personas
        ids = np.array([f"r_{survey}_{i:05d}" for i in range(everyone)])
        weight = rng.choice([0.5, 1.0, 2.0], everyone) if weights else np.full(everyone, np.nan)
        group = {name: rng.integers(0, n, everyone) for name, n in traits}
        people.append(
            pl.DataFrame(
                {
                    "respondent_id": ids,
                    "survey": survey,
                    **{name: [f"{name}{v}" for v in group[name]] for name in group},
                }
            )
        )
        popularity = rng.dirichlet(np.ones(k) * 2, items)
        own = np.stack([rng.choice(k, everyone, p=popularity[j]) for j in range(items)], axis=1)
        who, what = (x.ravel() for x in np.meshgrid(np.arange(everyone), np.arange(items), indexing="ij"))
        answers.append(
            pl.DataFrame(
                {
                    "task": "t",
                    "item_id": [f"i{j:04d}" for j in what],
                    "respondent_id": ids[who],
                    "survey": survey,
                    "gold_idx": own[who, what],
                    "weight": weight[who],
                }
            )
        )
        p_effect, i_effect = rng.normal(0, persona_sd, personas), rng.normal(0, item_sd, items)
        asked = np.argsort(rng.random((personas, items)), axis=1)[:, : items_per_persona or items]
        p, j = np.repeat(np.arange(personas), asked.shape[1]), asked.ravel()
        for condition in conditions:
            know = rng.random(len(p)) < np.clip(skill + p_effect[p] + i_effect[j], 0, 1)
            pick = np.where(know, own[p, j], rng.integers(0, k, len(p)))
            if condition == "no_persona":
                pick = rng.integers(0, k, items)[j]
            for order in range(n_orders):
                status = np.where(rng.random(len(p)) < bad, rng.choice(["refused", "unparsed"], len(p)), "ok")
                ok = status == "ok"
                pos = (pick + order) % k
                frame = pl.DataFrame(
                    {
                        "model": "m",
                        "task": "t",
                        "prompt_id": [f"{survey}{condition}{a}_{b}_{order}" for a, b in zip(p, j, strict=True)],
                        "request_hash": "h",
                        "condition": condition,
                        "survey": survey,
                        "wave": f"{survey}-1",
                        "respondent_id": ids[p],
                        "item_id": [f"i{b:04d}" for b in j],
                        "kind": "value_alignment",
                        "scoring": "key",
                        "answer_set": None,
                        "cluster_id": [f"i{b:04d}" for b in j],
                        "category": ["even" if b % 2 == 0 else "odd" for b in j],
                        "style": "prose",
                        "framing": "you_are",
                        "paraphrase_id": 0,
                        "repeat_id": 0,
                        "elicitation": "letter",
                        "order_id": order,
                        "k_options": k,
                        "ordinal": [b % 2 == 0 for b in j],
                        "gold_idx": own[p, j],
                        "gold_pos": (own[p, j] + order) % k,
                        "pred_idx": pl.Series(pick).set(pl.Series(~ok), None),
                        "pred_pos": pl.Series(pos).set(pl.Series(~ok), None),
                        "status": status,
                        "score": pl.Series((pick == own[p, j]).astype(float)).set(pl.Series(~ok), None),
                        "bias": None,
                        "weight": weight[p],
                    }
                ).with_columns(
                    text_scores=pl.lit(None, TEXT_SCORES),
                    condescending=pl.lit(False),
                    letter_share=pl.lit(None, pl.Float64),
                    unparsed_reason=pl.lit(None, pl.String),
                )
                mass = np.full((len(p), k), 0.2 / k)
                mass[np.arange(len(p)), pick] += 0.8
                vectors = (
                    pl.Series(mass.tolist()) if probabilities else pl.Series([None] * len(p), dtype=pl.List(pl.Float64))
                )
                scores.append(
                    frame.with_columns(
                        vectors.set(pl.Series(~ok), None).alias("p_vec") if probabilities else vectors.alias("p_vec")
                    )
                )
    return (
        SCORES.conform(pl.concat(scores, how="vertical_relaxed").with_columns(pl.col("weight").fill_nan(None))),
        pl.concat(people),
        GOLD.conform(pl.concat(answers).with_columns(pl.col("weight").fill_nan(None))),
    )
