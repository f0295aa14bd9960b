"""Define metrics of what the persona changes: answers that flip, and its effect compared with controls."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.metrics.metric import Direction, Metric
from mpta_pipeline.metrics.samples.answer_changes import REFERENCE
from mpta_pipeline.metrics.samples.balancing import ONE_KEY

_PAIRED = ONE_KEY & (pl.col("n_pairs") > 0)
_PERSONA = ONE_KEY & (pl.col("condition") == "persona") & (pl.col("n_orders") > pl.col("n_error"))
_SAME = "on the same item in the same option order, both readable"


def _flip(
    name: str,
    definition: str,
    changed: str,
    pairs: str,
    *,
    where: pl.Expr,
    direction: Direction,
    chance: str,
    keyless: bool = False,
) -> Metric:
    return Metric(
        name=name,
        definition=definition,
        unit="share",
        low=0.0,
        high=1.0,
        direction=direction,
        source="own definition: compared with no persona on the same item and order",
        family="flips",
        chance=chance,
        value=pl.col(changed),
        count=pl.col(pairs),
        where=where & (pl.col(pairs) > 0),
        proportion=True,
        gap=True,
        keyless=keyless,
    )


def _contrast(condition: str, told: str) -> Metric:
    return Metric(
        name=f"effect_vs_{condition}",
        definition=f"Accuracy with the persona minus accuracy with {told}, paired by person and item: the part of the "
        "persona's effect that is due to this person rather than to the control",
        unit="difference of shares",
        low=-1.0,
        high=1.0,
        direction="none",
        source="own definition: against the control on the same item and order",
        family="persona_contrasts",
        chance="0",
        value=pl.col("credit") - pl.col(f"control_{condition}"),
        where=_PERSONA & pl.col(f"control_{condition}").is_not_null(),
        gap=True,
    )


METRICS = (
    _flip(
        "flip_rate",
        f"Share of answers that differ from the one without a persona {_SAME}",
        "n_flips",
        "n_pairs",
        where=pl.col("condition") != REFERENCE,
        direction="none",
        chance="that of the controls: paraphrase_flip_rate, repeat_flip_rate, and this rate under placebo",
        keyless=True,
    ),
    _flip(
        "harmful_flip_rate",
        f"Share of answers that are wrong while the one without a persona is right, {_SAME}. Helpful minus harmful is "
        "the effect on the accuracy of single answers",
        "n_harmful",
        "n_pairs",
        where=_PAIRED,
        direction="lower",
        chance="that of the controls",
    ),
    _flip(
        "helpful_flip_rate",
        f"Share of answers that are right while the one without a persona is wrong, {_SAME}",
        "n_helpful",
        "n_pairs",
        where=_PAIRED,
        direction="higher",
        chance="that of the controls",
    ),
    _flip(
        "paraphrase_flip_rate",
        f"Share of answers that differ from those to the persona's first paraphrase, {_SAME}: the effect of wording",
        "n_paraphrase_flips",
        "n_paraphrase_pairs",
        where=pl.lit(True),
        direction="lower",
        chance="none",
        keyless=True,
    ),
    _flip(
        "repeat_flip_rate",
        f"Share of answers that differ from those to the first repeat of the same prompt, {_SAME}: the model's noise",
        "n_repeat_flips",
        "n_repeat_pairs",
        where=pl.lit(True),
        direction="lower",
        chance="none",
        keyless=True,
    ),
    Metric(
        name="flip_excess_placebo",
        definition="Share of answers that the persona changes minus the share that neutral text of its length changes, "
        "paired by person and item",
        unit="difference of shares",
        low=-1.0,
        high=1.0,
        direction="none",
        source="own definition: against the control on the same item and order",
        family="persona_contrasts",
        chance="0",
        value=pl.col("n_flips") / pl.col("n_pairs") - pl.col("placebo_flips"),
        where=_PERSONA & (pl.col("n_pairs") > 0) & pl.col("placebo_flips").is_not_null(),
        gap=True,
    ),
    Metric(
        name="flip_excess_paraphrase",
        definition="Share of answers that the persona changes minus the share that another paraphrase of it changes",
        unit="difference of shares",
        low=-1.0,
        high=1.0,
        direction="none",
        source="own definition: against the control on the same item and order",
        family="persona_contrasts",
        chance="0",
        value=pl.col("n_flips") / pl.col("n_pairs") - pl.col("n_paraphrase_flips") / pl.col("n_paraphrase_pairs"),
        where=_PERSONA & (pl.col("n_pairs") > 0) & (pl.col("n_paraphrase_pairs") > 0),
        gap=True,
    ),
    _contrast("placebo", "neutral text of the same length"),
    _contrast("shuffled_any", "the traits of another respondent"),
    _contrast("shuffled_country", "the traits of another respondent of the same country"),
    _contrast("demographics_only", "the person's demographic traits alone"),
)
