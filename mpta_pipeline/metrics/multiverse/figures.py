"""Compute the named figures of a multiverse for one model and task at the levels of a configuration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from mpta_pipeline.core.checks import CheckResult
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.multiverse import NamedFigure
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import CONFIGURATION_ESTIMATES, CONFIGURATION_PEOPLE
from mpta_pipeline.core.unknown_names import unknown_name
from mpta_pipeline.metrics.estimates import estimates_with_tests
from mpta_pipeline.metrics.estimators.means import Prepared
from mpta_pipeline.metrics.metric import METRICS
from mpta_pipeline.metrics.statistics.arrays import Floats
from mpta_pipeline.metrics.statistics.clustered import t_quantile


def check_figures(figures: Sequence[NamedFigure]) -> None:
    """Check that every figure names a metric that has an estimate, an effect or a gap.

    Raises:
        ConfigError: A metric is unknown, is no mean of answers, or has no effect or gap.
    """
    means = [name for name, metric in METRICS.items() if metric.value is not None]
    for figure in figures:
        if figure.metric not in means:
            raise unknown_name("metric of answers", figure.metric, means, variable="multiverse.figures.metric")
        metric = METRICS[figure.metric]
        if (figure.what == "effect" and not metric.paired) or (figure.what == "gap" and not metric.gap):
            raise ConfigError(
                f"The metric {figure.metric} has no {figure.what}",
                variable="multiverse.figures.what",
                value=figure.what,
                remedy="use what: estimate, or another metric such as accuracy",
            )


@dataclass(frozen=True)
class Figures:
    """The figures of one model and task.

    Attributes:
        estimates: CONFIGURATION_ESTIMATES.
        people: CONFIGURATION_PEOPLE.
    """

    estimates: pl.DataFrame
    people: pl.DataFrame


def figure_estimates(
    scores: pl.DataFrame | Iterable[pl.DataFrame],
    groups: pl.DataFrame,
    gold: pl.DataFrame | Iterable[pl.DataFrame],
    *,
    figures: Sequence[NamedFigure],
    rules: EstimateRules,
    items: pl.DataFrame | None = None,
) -> Figures:
    """Compute the figures of one model and task. Estimates, errors and tests are those of `compute_estimates`.

    Args:
        scores: SCORES of one model and task, or chunks of them.
        groups: GROUPS.
        gold: GOLD of the task.
        figures: The figures.
        rules: Levels and smallest cells of the estimates.
        items: ITEMS of the task.

    Returns:
        One row per survey and figure, weighted if the survey has weights, and the sums by person behind them. A figure
        whose subgroup nobody of the panel belongs to has no row.

    Raises:
        ConfigError: A figure names a dimension or a metric that does not exist.
    """
    check_figures(figures)
    wanted = tuple(dict.fromkeys(f.dimensions for f in figures if f.dimensions != "all"))
    people = _People({(f.metric, f.condition) for f in figures})
    made = estimates_with_tests(
        scores,
        groups,
        gold,
        rules=rules.model_copy(update={"dimensions": wanted}),
        items=items,
        only={figure.metric for figure in figures},
        watch=people.add,
    )
    if made is None:
        return Figures(CONFIGURATION_ESTIMATES.empty(), CONFIGURATION_PEOPLE.empty())
    own = made.filter(pl.col("baseline") == "").sort("weighted", descending=True)
    own = own.unique(["survey", "metric", "condition", "dimensions", "subgroup"], keep="first", maintain_order=True)
    parts = [_of_figure(own, figure, rules.level) for figure in figures]
    found = pl.concat(parts).sort("survey", "figure")
    return Figures(
        CONFIGURATION_ESTIMATES.conform(found.select(list(CONFIGURATION_ESTIMATES.schema))),
        people.frame(str(made.item(0, "model")), str(made.item(0, "task"))),
    )


def check_intervals(estimates: pl.DataFrame) -> CheckResult:
    """Check that every interval contains its figure."""
    outside = estimates.filter(
        (pl.col("estimate") < pl.col("ci_low") - 1e-9) | (pl.col("estimate") > pl.col("ci_high") + 1e-9)
    )
    return CheckResult(
        "intervals_contain_estimates",
        outside.is_empty(),
        "error",
        "Every interval contains its estimate" if outside.is_empty() else f"{outside.height} interval(s) do not",
        {"outside": outside.height},
    )


def check_found(findings: pl.DataFrame, figures: Sequence[NamedFigure]) -> CheckResult:
    """Check that each figure was computed in some configuration."""
    known = set(findings.filter(pl.col("n_configurations") > 0)["figure"])
    absent = [figure.title for figure in figures if figure.title not in known]
    said = f"No configuration has an estimate of {', '.join(absent)}: does the subgroup exist, and was it asked?"
    return CheckResult(
        "figures_computed", not absent, "warn", said if absent else "Every figure was computed", {"absent": absent}
    )


class _People:
    """Collects the sums by person of each survey, weighted where the survey has weights."""

    def __init__(self, wanted: set[tuple[str, str]]) -> None:
        self._wanted = wanted
        self._parts: dict[tuple[str, str, str], pl.DataFrame] = {}

    def add(self, condition: str, prepared: Prepared, reference: Floats | None) -> None:
        """Sum the values of one metric under one condition. The weighted block of a survey follows the other."""
        block, metric = prepared.block, prepared.values.metric.name
        if (metric, condition) not in self._wanted:
            return
        x = np.where(prepared.used, prepared.values.x, 0.0)
        effect = None if reference is None else np.where(prepared.used, x - reference, 0.0)
        rows = pl.DataFrame(
            {
                "respondent_id": block.frame.get_column("respondent_id"),
                "total": x * prepared.w,
                "weight": prepared.w,
                "effect": [None] * len(x) if effect is None else effect * prepared.w,
            },
            schema_overrides={"effect": pl.Float64},
        )
        sums = rows.filter(pl.col("weight") > 0).group_by("respondent_id").agg(
            pl.col("total", "weight").sum(), pl.when(pl.col("effect").count() > 0).then(pl.col("effect").sum())
        )  # fmt: skip
        self._parts[block.survey, metric, condition] = sums

    def frame(self, model: str, task: str) -> pl.DataFrame:
        """CONFIGURATION_PEOPLE."""
        parts = [
            sums.with_columns(
                pl.lit(model).alias("model"),
                pl.lit(task).alias("task"),
                pl.lit(survey).alias("survey"),
                pl.lit(metric).alias("metric"),
                pl.lit(condition).alias("condition"),
                pl.col("effect").fill_nan(None),
            )
            for (survey, metric, condition), sums in self._parts.items()
        ]
        if not parts:
            return CONFIGURATION_PEOPLE.empty()
        found = pl.concat(parts).select(list(CONFIGURATION_PEOPLE.schema))
        return CONFIGURATION_PEOPLE.conform(found.sort("survey", "metric", "condition", "respondent_id"))


def _of_figure(estimates: pl.DataFrame, figure: NamedFigure, level: float) -> pl.DataFrame:
    rows = estimates.filter(
        metric=figure.metric, condition=figure.condition, dimensions=figure.dimensions, subgroup=figure.subgroup
    )
    columns = {"estimate": "estimate", "se": "se", "ci_low": "ci_low", "ci_high": "ci_high", "p_value": None}
    if figure.what == "effect":
        columns = {"estimate": "effect", "se": "effect_se", "ci_low": "effect_low", "ci_high": "effect_high"}
        columns |= {"p_value": "p_value"}
    elif figure.what == "gap":
        error, df = (rows[name].to_numpy() for name in ("gap_error", "gap_df"))
        width = pl.Series("width", t_quantile(df, level) * error)
        rows = rows.with_columns((pl.col("gap") - width).alias("gap_low"), (pl.col("gap") + width).alias("gap_high"))
        columns = {"estimate": "gap", "se": "gap_error", "ci_low": "gap_low", "ci_high": "gap_high"}
        columns |= {"p_value": "gap_p"}
    return rows.select(
        "model",
        "task",
        "survey",
        pl.lit(figure.title).alias("figure"),
        *(
            (pl.lit(None, pl.Float64) if source is None else pl.col(source).fill_nan(None)).alias(name)
            for name, source in columns.items()
        ),
        "n_answers",
        "n_personas",
        "n_items",
        "weighted",
        "small",
    )
