"""Estimates of many models, tasks and countries, as the pipeline publishes them, with planted gaps."""

from __future__ import annotations

import numpy as np
import polars as pl
import pycountry

from mpta_pipeline.core import tables
from mpta_pipeline.core.estimate_ids import estimate_ids

SEXES = ("female", "male")
AGES = ("18–29", "30–44", "45–64", "65+")
CONDITIONS = ("persona", "no_persona", "demographics_only")
METRICS = {"accuracy": 0.6, "refusal_rate": 0.05, "error_rate": 0.01, "parse_rate": 0.97, "tv": 0.25, "brier": 0.4}


def countries(n: int) -> list[str]:
    """Codes of n countries, spread over the world."""
    known = sorted(country.alpha_3 for country in pycountry.countries)
    return [known[int(i)] for i in np.linspace(0, len(known) - 1, n)]


def estimates(*, models: int, tasks: int, n_countries: int, metrics: tuple[str, ...] = tuple(METRICS)) -> pl.DataFrame:
    """SUBGROUP_METRICS of one survey: everyone, sex, age, sex × age and countries under three conditions.

    Women of 65 and over are planted: each model is right .3 less often for them than for others.
    """
    random = np.random.default_rng(7)
    groups = [("all", "all", 2000)]
    groups += [("sex", sex, 1000) for sex in SEXES] + [("age_band", age, 500) for age in AGES]
    groups += [("sex×age_band", f"{sex}×{age}", 250) for sex in SEXES for age in AGES]
    groups += [("country", code, 20 + 13 * (i % 9)) for i, code in enumerate(countries(n_countries))]
    cut = pl.DataFrame(groups, schema=["dimensions", "subgroup", "n_personas"], orient="row")
    grid = (
        pl.DataFrame({"model": [f"model-{i:02d}" for i in range(models)]})
        .join(pl.DataFrame({"task": [f"task_{i}" for i in range(tasks)]}), how="cross")
        .join(pl.DataFrame({"metric": list(metrics)}), how="cross")
        .join(pl.DataFrame({"condition": CONDITIONS}), how="cross")
        .join(cut, how="cross")
    )
    n = grid.height
    planted = (pl.col("subgroup") == "female×65+") & (pl.col("metric") == "accuracy")
    centre = pl.col("metric").replace_strict(METRICS) + pl.Series(random.normal(0, 0.03, n))
    noise = pl.Series(random.normal(0, 0.01, n))
    half = 1.2 / pl.col("n_personas").sqrt()
    made = grid.with_columns(
        (centre - 0.3 * planted.cast(pl.Float64)).clip(0, 1).alias("estimate"),
        pl.lit("wvs").alias("survey"),
        pl.lit(False).alias("weighted"),
        pl.lit("").alias("baseline"),
        half.alias("half"),
    ).with_columns(
        (pl.col("estimate") - pl.col("half")).clip(0, 1).alias("ci_low"),
        (pl.col("estimate") + pl.col("half")).clip(0, 1).alias("ci_high"),
        (pl.col("half") / 2).alias("se"),
        pl.lit("normal, clustered by persona and item").alias("method"),
        (10 * pl.col("n_personas")).alias("n_answers"),
        pl.lit(10).alias("n_items"),
        (pl.col("n_personas") < 30).alias("small"),
        pl.lit(["wvs-7@0123456789ab"]).alias("release_ids"),
        pl.when(pl.col("dimensions") != "all").then(noise - 0.3 * planted.cast(pl.Float64)).alias("gap"),
        pl.when(pl.col("dimensions") == "all").then(None).when(planted).then(pl.lit("gap"))
        .when(pl.col("n_personas") >= 500).then(pl.lit("no_gap")).otherwise(pl.lit("inconclusive")).alias("verdict"),
        pl.when(pl.col("dimensions") != "all").then(pl.when(planted).then(0.0001).otherwise(0.6)).alias("gap_q"),
        pl.when(pl.col("condition") == "persona").then(pl.Series(random.normal(0.02, 0.02, n))).alias("effect"),
    ).with_columns(
        (pl.col("effect") - 0.05).alias("effect_low"), (pl.col("effect") + 0.05).alias("effect_high"),
        pl.when(pl.col("effect").is_not_null()).then(0.5).alias("q_value"),
    ).drop("half")  # fmt: skip
    accuracy = made.filter(metric="accuracy")
    chance = accuracy.with_columns(baseline=pl.lit("chance"), baseline_estimate=pl.lit(0.25))
    mode = accuracy.with_columns(baseline=pl.lit("item_mode"), baseline_estimate=pl.lit(0.55))
    every = pl.concat([made.with_columns(baseline_estimate=pl.lit(None, pl.Float64)), chance, mode])
    missing = [c for c in tables.SUBGROUP_METRICS.schema if c not in every.columns and c != "estimate_id"]
    every = every.with_columns(pl.lit(None, tables.SUBGROUP_METRICS.schema[c]).alias(c) for c in missing)
    return tables.SUBGROUP_METRICS.conform(every.with_columns(estimate_ids(every, "many")))


def model_records(models: int, controls: tuple[str, ...] = ()) -> pl.DataFrame:
    """MODELS of the models of `estimates`."""
    frame = pl.DataFrame({"model": [f"model-{i:02d}" for i in range(models)]}).with_columns(
        pl.lit("simulated").alias("provider"),
        pl.lit("simulated").alias("provider_name"),
        pl.lit("").alias("revision"),
        pl.lit(True).alias("local"),
        pl.lit("v1").alias("version"),
        pl.lit(1.0).alias("panel_share"),
        pl.col("model").is_in(controls).alias("control"),
    )
    missing = [c for c in tables.MODELS.schema if c not in frame.columns]
    return tables.MODELS.conform(frame.with_columns(pl.lit(None, tables.MODELS.schema[c]).alias(c) for c in missing))


def ties(estimates: pl.DataFrame) -> pl.DataFrame:
    """MODEL_COMPARISON of everyone's accuracy: models in groups of three, best first."""
    own = estimates.filter(metric="accuracy", dimensions="all", baseline="")
    rank = pl.col("estimate").rank("ordinal", descending=True).over("task", "condition").cast(pl.Int64)
    kept = ["model", "task", "survey", "metric", "condition", "estimate", "n_answers", "n_personas", "n_items"]
    frame = own.select(kept).with_columns(
        ((rank - 1) // 3 + 1).alias("tie_group"), pl.col("model").alias("other_model")
    )
    missing = [c for c in tables.MODEL_COMPARISON.schema if c not in frame.columns]
    return tables.MODEL_COMPARISON.conform(
        frame.with_columns(pl.lit(None, tables.MODEL_COMPARISON.schema[c]).alias(c) for c in missing)
    )


def is_one_of(models: tuple[str, ...]) -> pl.Expr:
    """Rows of these models."""
    return pl.col("model").is_in(models)
