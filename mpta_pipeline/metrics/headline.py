"""Select the headline estimates: accuracy per condition beside its baselines, with a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import CONDITIONS
from mpta_pipeline.core.verdicts import accuracy_verdict, effect_verdict

OPEN_TEXT = "rouge_l"
_SCHEMA = {
    "model": pl.String, "task": pl.String, "survey": pl.String, "weighted": pl.Boolean,
    **{f"{c}{part}": pl.Float64 for c in CONDITIONS for part in ("", "_low", "_high")},
    "chance": pl.Float64, "item_mode": pl.Float64,
    "effect": pl.Float64, "effect_low": pl.Float64, "effect_high": pl.Float64, "q_value": pl.Float64,
    "n_answers": pl.Int64, "n_personas": pl.Int64, "n_items": pl.Int64, "verdict": pl.String,
}  # fmt: skip


def headline(subgroup_metrics: pl.DataFrame, *, level: float = EstimateRules().level) -> pl.DataFrame:
    """Summarize each model, task and survey: order-balanced accuracy, baselines, persona effect and a sentence.

    Uses weighted estimates if there are any, otherwise unweighted ones. A task with open-text answers has no accuracy:
    its row shows ROUGE-L, and its sentence says so.

    Args:
        subgroup_metrics: SUBGROUP_METRICS of any models and tasks.
        level: Level of tests, `figures.level` of the study.

    Returns:
        One row per model, task and survey: model, task, survey, weighted; the accuracy of each condition with `_low`
        and `_high`; `chance` and `item_mode` on the answers of the persona condition; effect with its interval and q;
        n_answers, n_personas, n_items; `verdict`.
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
        *(first(c, lead).alias(c) for c in ("p_value", "q_value", "mde", "n_answers", "n_personas", "n_items")),
    )
    verdicts = [_verdict(row, level) for row in made.iter_rows(named=True)]
    made = made.with_columns(pl.Series("verdict", verdicts, dtype=pl.String))
    return made.select(list(_SCHEMA)).cast(pl.Schema(_SCHEMA)).sort(key)


def _verdict(row: Mapping[str, Any], level: float) -> str:
    """State the accuracy and the persona's effect in a sentence."""
    effect = effect_verdict(row["effect"], p_value=row["p_value"], q_value=row["q_value"], mde=row["mde"], level=level)
    said = (
        "open text: ROUGE-L against the reference, not accuracy"
        if row["open"]
        else accuracy_verdict(row["persona_low"], row["persona_high"], chance=row["chance"], mode=row["item_mode"])
    )
    return f"{said}; {effect}" if effect else said
