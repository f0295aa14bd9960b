"""The few estimates to read first: accuracy under each condition beside what guessing would get, in a sentence."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.core.tables import CONDITIONS

OPEN_TEXT = "rouge_l"
_SCHEMA = {
    "model": pl.String, "task": pl.String, "survey": pl.String, "weighted": pl.Boolean,
    **{f"{c}{part}": pl.Float64 for c in CONDITIONS for part in ("", "_low", "_high")},
    "chance": pl.Float64, "item_mode": pl.Float64,
    "effect": pl.Float64, "effect_low": pl.Float64, "effect_high": pl.Float64, "q_value": pl.Float64,
    "n_answers": pl.Int64, "n_personas": pl.Int64, "n_items": pl.Int64, "verdict": pl.String,
}  # fmt: skip


def headline(subgroup_metrics: pl.DataFrame) -> pl.DataFrame:
    """One row a model, task and survey: order-balanced accuracy of everyone, baselines, persona effect, a sentence.

    Uses weighted estimates where there are any, else unweighted ones. A task with open-text answers has no accuracy:
    its row is ROUGE-L, and its sentence says so.

    Args:
        subgroup_metrics: SUBGROUP_METRICS of any models and tasks.

    Returns:
        model, task, survey, weighted; per condition its accuracy with `_low` and `_high`; `chance` and `item_mode` on
        the persona condition's answers; effect with its interval and q; n_answers,
        n_personas, n_items; `verdict`.
    """
    key = ["model", "task", "survey"]
    rows = subgroup_metrics.filter(pl.col("metric").is_in(["accuracy", OPEN_TEXT]) & (pl.col("dimensions") == "all"))
    rows = rows.filter(pl.col("weighted") == pl.col("weighted").any().over(key))
    if rows.is_empty():
        return pl.DataFrame(schema=_SCHEMA)

    def first(column: str, condition: str, baseline: str = "") -> pl.Expr:
        here = (pl.col("condition") == condition) & (pl.col("baseline") == baseline)
        return pl.col(column).filter(here).first()

    lead = "persona"
    made = rows.group_by(key).agg(
        pl.col("weighted").first(),
        (pl.col("metric") == OPEN_TEXT).all().alias("open"),
        *(
            expr
            for c in CONDITIONS
            for expr in (
                first("estimate", c).alias(c),
                first("ci_low", c).alias(f"{c}_low"),
                first("ci_high", c).alias(f"{c}_high"),
            )
        ),
        first("baseline_estimate", lead, "chance").alias("chance"),
        first("baseline_estimate", lead, "item_mode").alias("item_mode"),
        first("effect", lead).alias("effect"),
        *(first(c, lead).alias(c) for c in ("effect_low", "effect_high")),
        first("q_value", lead).alias("q_value"),
        *(first(c, lead).alias(c) for c in ("n_answers", "n_personas", "n_items")),
    )
    low, high, mode, chance = pl.col("persona_low"), pl.col("persona_high"), pl.col("item_mode"), pl.col("chance")
    against = (
        pl.when("open")
        .then(pl.lit("open text: ROUGE-L against the reference, not accuracy"))
        .when(low.is_null())
        .then(pl.lit("too few personas or items for an interval"))
        .when(mode.is_not_null() & (low > mode))
        .then(pl.lit("better than always giving the most frequent answer"))
        .when(mode.is_not_null() & (high < mode) & (low > chance))
        .then(pl.lit("better than chance, worse than always giving the most frequent answer"))
        .when(high < chance)
        .then(pl.lit("worse than chance"))
        .when(mode.is_not_null() & (high < mode))
        .then(pl.lit("not better than chance, worse than always giving the most frequent answer"))
        .when(low > chance)
        .then(
            pl.when(mode.is_not_null())
            .then(pl.lit("better than chance, not better than always giving the most frequent answer"))
            .otherwise(pl.lit("better than chance"))
        )
        .otherwise(
            pl.when(mode.is_not_null())
            .then(pl.lit("not better than chance, nor than always giving the most frequent answer"))
            .otherwise(pl.lit("not better than chance"))
        )
    )
    effect = (
        pl.when(pl.col("q_value").is_null())
        .then(pl.lit(""))
        .when(pl.col("q_value") > 0.05)
        .then(pl.lit("; the persona makes no difference that could be found"))
        .when(pl.col("effect") > 0)
        .then(pl.lit("; the persona helps"))
        .otherwise(pl.lit("; the persona harms"))
    )
    return (
        made.with_columns((against + effect).alias("verdict")).select(list(_SCHEMA)).cast(pl.Schema(_SCHEMA)).sort(key)
    )
