"""A study with invented people whose answers and groups are known, for simulated respondents to be asked about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mpta_pipeline import inference, metrics, tasks
from mpta_pipeline.core import tables
from mpta_pipeline.core.labels import ALL
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.vocabulary import LETTERS

TASK, SURVEY, WAVE = "values", "gss", "gss-2018"
OPTIONS = ("agree strongly", "agree", "disagree")
DIMENSIONS = ("sex", "age_band", "race", "sex×age_band")


@dataclass(frozen=True)
class PlantedStudy:
    """Everything up to the prompts."""

    items: pl.DataFrame
    gold: pl.DataFrame
    groups: pl.DataFrame
    prompts: pl.DataFrame


@dataclass(frozen=True)
class Found:
    """What came out of asking one model."""

    prompts: pl.DataFrame
    responses: pl.DataFrame
    scores: pl.DataFrame
    estimates: pl.DataFrame
    pockets: pl.DataFrame

    def figure(self, metric: str, dimensions: str = "all", subgroup: str = "all") -> dict[str, Any]:
        """The estimate of the persona condition, without a baseline."""
        return self.estimates.filter(
            metric=metric, dimensions=dimensions, subgroup=subgroup, condition="persona", baseline=""
        ).row(0, named=True)

    def confirmed(self, *outcomes: str) -> list[tuple[str, str]]:
        """The pockets that are confirmed (by these outcomes, if any are named), by the group that each is named after.

        The persona's effect truly differs between groups: without a persona, the most frequent answer is given, which
        suits the larger group. So does the score net of it.
        """
        wanted = pl.col("outcome").is_in(list(outcomes)) if outcomes else pl.col("leads")
        rows = self.pockets.filter(pl.col("confirmed") & wanted)
        return [tuple(name.split("=")) for name in rows["pocket"].unique().sort()]  # type: ignore[misc]


def study(
    *,
    people: int = 400,
    items: int = 20,
    seed: int = 0,
    elicitation: str = "letter",
    directions: bool = False,
    described: bool = False,
    panel: int | None = None,
) -> PlantedStudy:
    """Invented people who answer by their race, each asked everything in two of three option orders.

    With `directions`, the two are the scale forward and reversed. With `described`, all groups are described, too, and
    their shares asked for. Only the first `panel` people are personas.
    """
    rng = np.random.default_rng(seed)
    who = [f"r_{i:05d}" for i in range(people)]
    groups = pl.DataFrame(
        {
            "respondent_id": who,
            "survey": SURVEY,
            "sex": rng.choice(["female", "male"], people),
            "age_band": rng.choice(["18–29", "30–44", "45–64", "65+"], people, p=[0.2, 0.25, 0.3, 0.25]),
            "race": rng.choice(["black", "white"], people, p=[0.3, 0.7]),
        }
    )
    ids = [f"q{j:02d}" for j in range(items)]
    lean = rng.dirichlet(np.ones(len(OPTIONS)) * 3, (items, 2))
    race = (groups["race"] == "white").cast(pl.Int64).to_numpy()
    own = np.array([[rng.choice(len(OPTIONS), p=lean[j, race[i]]) for j in range(items)] for i in range(people)])
    gold = tables.GOLD.conform(
        pl.DataFrame(
            {
                "task": TASK,
                "item_id": ids * people,
                "respondent_id": np.repeat(who, items),
                "survey": SURVEY,
                "gold_idx": own.ravel(),
                "weight": pl.Series([None] * people * items, dtype=pl.Float64),
            }
        )
    )
    asked = gold if panel is None else gold.filter(pl.col("respondent_id").is_in(who[:panel]))
    prompts = _prompts(asked, elicitation, directions)
    if described:
        prompts = pl.concat([prompts, _about_groups(prompts, groups)])
    return PlantedStudy(_items(ids), gold, groups, prompts)


def _about_groups(prompts: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """The same questions in the same orders about everyone and each group (condition `group`)."""
    shown = prompts.filter(condition="no_persona").unique(["item_id", "order_id"], maintain_order=True)
    names = [(ALL, ALL)]
    for dimension in DIMENSIONS:
        label = pl.concat_str(dimension.split("×"), separator="×")
        names += [(dimension, subgroup) for subgroup in groups.select(label.unique().sort()).to_series()]
    described = pl.DataFrame({"respondent_id": [f"group:{SURVEY}:{d}={s}" for d, s in names]})
    frame = shown.drop("respondent_id").join(described, how="cross")
    return tables.PROMPTS.conform(
        frame.with_columns(
            pl.format("g_{}_{}_{}", "respondent_id", "item_id", "order_id").alias("prompt_id"),
            pl.lit("group").alias("condition"),
            pl.lit("verbalized").alias("elicitation"),
            pl.lit(None, pl.Int64).alias("gold_idx"),
            pl.lit(None, pl.Int64).alias("gold_pos"),
            pl.format("Think of 100 people: {}.", "respondent_id").alias("system"),
            pl.col("respondent_id").alias("group"),
            pl.concat_str("respondent_id", "user").alias("content_hash"),
        ).select(list(tables.PROMPTS.schema))
    )


def _items(ids: list[str]) -> pl.DataFrame:
    rows = [
        {
            "task": TASK,
            "item_id": item,
            "kind": "value_alignment",
            "cluster_id": item,
            "codebook": None,
            "category": "value",
            "context": None,
            "question": f"Do you agree with statement {item}?",
            "options": list(OPTIONS),
            "option_values": list(OPTIONS),
            "option_scores": [0.0, 0.5, 1.0],
            "ordinal": True,
            "scoring": "key",
            "gold_idx": None,
            "column": item,
            "reveals": [],
            "sample_item": False,
            "licence": "invented",
        }
        for item in ids
    ]
    return tables.ITEMS.conform(pl.DataFrame(rows, infer_schema_length=None))


def _prompts(gold: pl.DataFrame, elicitation: str, directions: bool) -> pl.DataFrame:
    k = len(OPTIONS)
    shown_orders = [[(p + o) % k for p in range(k)] for o in range(k)]
    if directions:
        shown_orders = [list(range(k)), list(reversed(range(k)))]
    orders = pl.DataFrame(
        {
            "order_id": range(len(shown_orders)),
            "option_order": shown_orders,
            "options": [[OPTIONS[i] for i in order] for order in shown_orders],
        },
        schema_overrides={"order_id": pl.Int64},
    )
    lines = pl.concat_str([pl.lit(f"{LETTERS[p]}) ") + pl.col("options").list.get(p) for p in range(k)], separator="\n")
    shown = pl.col("condition") == "persona"
    frame = (
        gold.select("task", "item_id", "respondent_id", "survey", "gold_idx")
        .join(orders, how="cross")
        # Two of three orders for each person and item, balanced over people.
        .filter(
            pl.lit(directions)
            | ((pl.col("order_id") + pl.col("respondent_id").hash(1) + pl.col("item_id").hash(2)) % k < 2)
        )
        .join(pl.DataFrame({"condition": ["persona", "no_persona"]}), how="cross")
        .with_columns(
            pl.format("p_{}_{}_{}_{}", "respondent_id", "item_id", "condition", "order_id").alias("prompt_id"),
            pl.col("item_id").alias("cluster_id"),
            pl.when(shown).then("respondent_id").alias("shown_respondent_id"),
            pl.lit(WAVE).alias("wave"),
            pl.lit("prose").alias("style"),
            pl.lit("you_are").alias("framing"),
            pl.lit(0).alias("paraphrase_id"),
            pl.lit(0).alias("repeat_id"),
            pl.lit(elicitation).alias("elicitation"),
            pl.col("option_order").list.eval(pl.element().arg_sort()).list.get(pl.col("gold_idx")).cast(pl.Int64)
            .alias("gold_pos"),
            pl.when(shown).then(pl.format("You are {}.", "respondent_id")).alias("system"),
            (pl.format("Do you agree with statement {}?\n", "item_id") + lines).alias("user"),
            pl.coalesce(pl.when(shown).then("respondent_id"), "item_id").alias("group"),
            pl.lit([], pl.List(pl.String)).alias("masked"),
            pl.lit("any").alias("data_use"),
            pl.lit(None, pl.Float64).alias("weight"),
            pl.lit(None, pl.String).alias("arm"),
            pl.lit(None, pl.Boolean).alias("treated"),
            pl.lit(None, pl.Int64).alias("line"),
        )
        .with_columns(pl.concat_str("system", "user", ignore_nulls=True).alias("content_hash"))
    )  # fmt: skip
    absent = {name: dtype for name, dtype in tables.PROMPTS.schema.items() if name not in frame.columns}
    frame = frame.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in absent.items())
    return tables.PROMPTS.conform(frame.select(list(tables.PROMPTS.schema)))


def respondent(name: str = "echo", **planted: Any) -> inference.ModelSpec:
    """A simulated respondent with these properties."""
    return inference.ModelSpec.model_validate({"name": name, "provider": "simulated", **planted})


def told(world: PlantedStudy, spec: inference.ModelSpec) -> pl.DataFrame:
    """The prompts with what the respondent knows."""
    wanted = spec.provider_class.wanted_truth(spec)
    assert wanted is not None
    return tasks.with_known_truth(world.prompts, wanted, gold=world.gold, groups=world.groups)


def ask(world: PlantedStudy, spec: inference.ModelSpec, ledger: Path, *, bootstrap: int = 60) -> Found:
    """Send the prompts to a simulated respondent, and compute what the pipeline computes of a model."""
    prompts = told(world, spec)
    inference.send_requests(spec, prompts, ledger)
    responses = inference.responses(spec, prompts, ledger)
    scores = tasks.score(world.prompts, world.items, responses)
    rules = EstimateRules(dimensions=DIMENSIONS, bootstrap=bootstrap)
    estimates = metrics.compute_estimates(scores, world.groups, world.gold, rules=rules, items=world.items)
    pockets = metrics.find_pockets(scores, world.groups, world.gold, rules=rules, seed=1)
    return Found(prompts, responses, scores, estimates, pockets)
