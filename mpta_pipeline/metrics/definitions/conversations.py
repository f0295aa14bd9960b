"""Define what the order of a conversation's questions does to the answers."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.metrics.metric import Metric

_WHERE = "Ordinal questions of a conversation whose order is random (docs/how-to/ask-a-questionnaire.md)"

METRICS = (
    Metric(
        name="carry_over",
        label="pull of the answer before",
        definition="Mean distance on the scale (first option 0, last option 1) to the conversation's earlier answers, "
        "minus the distance to the one just before. Above 0, the answer is drawn to the one before (assimilation); "
        f"below 0, it is driven from it (contrast). {_WHERE}, with at least two answered before",
        unit="share of the scale",
        low=-1.0,
        high=1.0,
        direction="zero",
        source="Tourangeau and Rasinski 1988 (Psychological Bulletin 103)",
        family="conversation_order",
        chance="0",
        value=pl.col("pull"),
        where=pl.col("pull").is_not_null(),
        paired=True,
        gap=True,
        keyless=True,
    ),
    Metric(
        name="turn_shift",
        label="shift from the first to the last question",
        definition="How far the answer moves along the scale (first option 0, last option 1) if the question is asked "
        f"last instead of first: slope of the answer's place on the question's place in the order. {_WHERE}",
        unit="share of the scale",
        low=-1.5,
        high=1.5,
        direction="zero",
        source="Schuman and Presser 1981 (Questions and Answers in Attitude Surveys)",
        family="conversation_order",
        chance="0",
        value=pl.col("turn_product"),
        count=pl.col("turn_square"),
        where=pl.col("turn_square") > 0,
        paired=True,
        gap=True,
        keyless=True,
    ),
)
