"""Define distances between answers and those of the survey's people, per person and between distributions."""

from __future__ import annotations

import polars as pl

from mpta_pipeline.metrics.metric import Metric


def _distance(name: str, label: str, definition: str, source: str) -> tuple[Metric, Metric]:
    """Define a distance between distributions, and its excess over what sampling alone would give."""
    return (
        Metric(
            name=name,
            label=label,
            definition=f"{definition} between the model's order-balanced answers for the group's personas and the "
            "people's own distribution of the group (the survey's, or a published poll's), averaged over items, with "
            "the errors of both. It grows as answers become fewer: compare it with its baselines, which have as few, "
            "not between groups of different size. Baseline `sampling_floor` is what sampling alone gives",
            unit="distance",
            low=0.0,
            high=1.0,
            direction="lower",
            source=source,
            family="distances",
            chance="baseline `chance`: as many random answers as the model's, drawn evenly from the options; "
            "`uniform`: exactly equal shares, as published; `majority`: always the people's most frequent answer",
            computed_by="distances",
        ),
        Metric(
            name=f"{name}_excess",
            label=f"{label} beyond sampling",
            definition=f"{definition} as `{name}`, minus its expected value if model and people answered alike and "
            "differed only by sampling. It is right if nothing differs, and too small if much does: do not compare it "
            "between groups of different size",
            unit="distance",
            low=None,
            high=1.0,
            direction="zero",
            source="own definition: floor by parametric bootstrap",
            family="distances",
            chance="that of `chance` minus the floor",
            computed_by="distances",
        ),
    )


METRICS = (
    Metric(
        name="mae_n",
        label="mean distance on the scale",
        definition="Distance in steps between the order-balanced answer and the person's own, over the length of the "
        "scale; ordinal items",
        unit="share of the scale",
        low=0.0,
        high=1.0,
        direction="lower",
        source="own definition",
        family="ordinal",
        chance="mean distance of a uniform guess",
        value=pl.col("steps"),
        where=pl.col("steps").is_not_null(),
        paired=True,
        gap=True,
        baselines={
            "chance": pl.col("chance_steps"),
            "item_mode": pl.col("item_mode_steps"),
            "group_mode": pl.col("group_mode_steps"),
        },
    ),
    *_distance("tv", "total variation", "Total variation", "Meister et al. 2025"),
    *_distance(
        "w1n",
        "Wasserstein distance on the scale",
        "Wasserstein-1 distance over option positions divided by their range, ordinal items,",
        "own definition of the scale; distance as in scipy",
    ),
    *_distance(
        "js",
        "Jensen–Shannon distance",
        "Jensen–Shannon distance (square root of the divergence, base 2)",
        "own definition of the scale; distance as in scipy",
    ),
)
