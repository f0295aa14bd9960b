"""Define the scale-direction effect: does the answer follow the end of the scale that is shown first?"""

from __future__ import annotations

import polars as pl

from mpta_pipeline.metrics.metric import Metric

METRICS = (
    Metric(
        name="scale_direction",
        label="effect of the scale's direction",
        definition="Place of the answer on the scale (first option 0, last option 1) where the scale is reversed, "
        "minus its place where it is forward. Above 0, the model leans to the options shown first; below 0, to "
        "those shown last. Ordinal items that a person was asked in both directions, with a readable answer to both",
        unit="share of the scale",
        low=-1.0,
        high=1.0,
        direction="zero",
        source="Yan and Keusch 2015 (Public Opinion Quarterly 79)",
        family="scale_direction",
        chance="0",
        value=pl.col("scale_shift"),
        where=pl.col("scale_shift").is_not_null(),
        paired=True,
        gap=True,
        keyless=True,
    ),
)
