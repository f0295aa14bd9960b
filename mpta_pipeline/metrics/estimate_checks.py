"""Check tables of estimates before they replace the stored ones."""

from __future__ import annotations

from typing import Any

import polars as pl

from mpta_pipeline.core.checks import CheckResult
from mpta_pipeline.metrics.metric import METRICS
from mpta_pipeline.metrics.samples.groups import ALL

# Tolerance for the rounding errors of summed weights and shares.
SLACK = 1e-9


def _none(name: str, description: str, wrong: pl.DataFrame, key: tuple[str, ...]) -> CheckResult:
    """Pass if no row is wrong. Otherwise fail with the number of wrong rows and the first of them."""
    found: dict[str, Any] = {"wrong": wrong.height}
    if wrong.height:
        found["first"] = " · ".join(str(v) for v in wrong.select(key).row(0))
    return CheckResult(name, wrong.height == 0, "error", description, found)


def check_estimates(estimates: pl.DataFrame) -> list[CheckResult]:
    """Check SUBGROUP_METRICS: counts add up, intervals contain estimates, each estimate has an n and is in range."""
    key = ("survey", "metric", "condition", "dimensions", "subgroup", "baseline")
    own = estimates.filter((pl.col("baseline") == "") & (pl.col("subgroup") != ALL))
    of = ["survey", "metric", "condition", "weighted"]
    sums = own.group_by(*of, "dimensions").agg(pl.col("n_answers").sum().alias("parts"))
    whole = estimates.filter(dimensions=ALL, subgroup=ALL, baseline="").select(*of, pl.col("n_answers").alias("whole"))
    over = sums.join(whole, on=of).filter(pl.col("parts") > pl.col("whole"))
    low, high, estimate = pl.col("ci_low"), pl.col("ci_high"), pl.col("estimate")
    ends = pl.DataFrame(
        [{"metric": name, "low": m.low, "high": m.high} for name, m in METRICS.items()],
        schema={"metric": pl.String, "low": pl.Float64, "high": pl.Float64},
    )
    ranged = estimates.join(ends, on="metric", how="left")
    counts = pl.min_horizontal("n_answers", "n_personas", "n_items")
    return [
        _none(
            "counts_add_up",
            "The subgroups of a dimension have no more answers in total than everyone",
            over.with_columns(pl.lit("").alias("baseline"), pl.lit("").alias("subgroup")),
            key,
        ),
        _none(
            "intervals_contain_estimates",
            "Every interval contains its estimate",
            estimates.filter((estimate < low - SLACK) | (estimate > high + SLACK)),
            key,
        ),
        _none(
            "no_estimate_without_n",
            "Every estimate is based on at least one answer, persona and item",
            estimates.filter(estimate.is_not_null() & (counts <= 0)),
            key,
        ),
        _none(
            "estimates_in_range",
            "Every estimate is finite and within the range of its metric",
            ranged.filter(
                (estimate < pl.col("low") - SLACK) | (estimate > pl.col("high") + SLACK) | estimate.is_infinite()
            ),
            key,
        ),
    ]


def check_pockets(pockets: pl.DataFrame) -> list[CheckResult]:
    """Check POCKETS: differences match the estimates, intervals contain them, and each pocket has an n."""
    key = ("survey", "condition", "outcome", "dimensions", "subgroup")
    gap = pl.col("estimate") - pl.col("rest_estimate")
    counts = pl.min_horizontal("n_answers", "n_personas", "n_items")
    return [
        _none(
            "counts_add_up",
            "A pocket's difference is its estimate minus that of the rest",
            pockets.filter((gap - pl.col("difference")).abs() > SLACK),
            key,
        ),
        _none(
            "intervals_contain_estimates",
            "Every interval contains its difference",
            pockets.filter(
                (pl.col("difference") < pl.col("ci_low") - SLACK) | (pl.col("difference") > pl.col("ci_high") + SLACK)
            ),
            key,
        ),
        _none(
            "no_estimate_without_n",
            "Every pocket is based on at least one answer, persona and item",
            pockets.filter(counts <= 0),
            key,
        ),
        _none(
            "confirmed_by_test",
            "Every confirmed pocket has a q-value",
            pockets.filter(pl.col("confirmed") & pl.col("q_value").is_null()),
            key,
        ),
    ]


def check_comparison(comparison: pl.DataFrame) -> list[CheckResult]:
    """Check MODEL_COMPARISON: both directions agree, intervals contain differences, and each estimate has an n."""
    key = ("task", "survey", "metric", "condition", "model", "other_model")
    pairs = comparison.filter(pl.col("model") != pl.col("other_model"))
    other = pairs.select(*key[:4], model="other_model", other_model="model", back="difference")
    both = pairs.join(other, on=list(key), how="left")
    counts = pl.min_horizontal("n_answers", "n_personas", "n_items")
    return [
        _none(
            "counts_add_up",
            "Swapping the two models only changes the sign of the difference",
            both.filter((pl.col("difference") + pl.col("back")).abs().fill_null(1.0) > SLACK),
            key,
        ),
        _none(
            "intervals_contain_estimates",
            "Every interval contains its difference",
            pairs.filter(
                (pl.col("difference") < pl.col("ci_low") - SLACK) | (pl.col("difference") > pl.col("ci_high") + SLACK)
            ),
            key,
        ),
        _none(
            "no_estimate_without_n",
            "Every estimate is based on at least one answer, persona and item",
            comparison.filter(pl.col("estimate").is_not_null() & (counts <= 0)),
            key,
        ),
    ]
