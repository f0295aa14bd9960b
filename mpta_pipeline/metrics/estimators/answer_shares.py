"""Compute the shares of the model's answers to questions that have no key, by subgroup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import polars as pl

from mpta_pipeline.core.arms import of_control
from mpta_pipeline.core.described_groups import of_people
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import ANSWER_SHARES
from mpta_pipeline.metrics.metric import METRICS
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.statistics.arrays import Floats, dense
from mpta_pipeline.metrics.statistics.clustered import Means, Rows, Slices, t_quantile
from mpta_pipeline.metrics.statistics.intervals import interval
from mpta_pipeline.metrics.statistics.proportions import clopper_pearson

_UNIT = ("survey", "condition", "respondent_id", "item_id", "weight")
_READ = ("model", "task", *_UNIT, "pred_idx")


def answer_shares(
    scores: pl.DataFrame | Iterable[pl.DataFrame], groups: pl.DataFrame, *, rules: EstimateRules, items: pl.DataFrame
) -> pl.DataFrame:
    """Compute the share of each option among the readable answers to each item without a key.

    A person's answer is the mean over the option orders; errors are clustered by person (or sampling unit). Intervals
    are t on the logit or, with fewer than 10 effective picks of the option or of all others, Korn and Graubard's.
    Groups of fewer personas than the study's minimum are marked.

    Args:
        scores: SCORES of one model and task, or chunks of it. Treatments of an experiment are left out.
        groups: GROUPS.
        rules: Dimensions, level and minimum size.
        items: ITEMS of the task.

    Returns:
        ANSWER_SHARES; empty for items with a key, with conjoint profiles and for open text.
    """
    asked = items.filter((pl.col("scoring") == "none") & (pl.col("options").list.len() > 0))
    if "profiles" in asked.columns:
        asked = asked.filter(pl.col("profiles").is_null())
    wanted = (pl.col("status") == "ok") & pl.col("item_id").is_in(asked["item_id"].implode())
    chunks = [scores] if isinstance(scores, pl.DataFrame) else scores
    read = [of_people(of_control(chunk)).filter(wanted).select(_READ) for chunk in chunks]
    answers = pl.concat(read) if read else pl.DataFrame()
    if answers.is_empty():
        return ANSWER_SHARES.empty()
    picks = answers.group_by(_UNIT).agg("pred_idx").sort(_UNIT)
    traits = groups.pipe(g.apart).drop("survey", *g.DESIGN, strict=False)
    texts = dict(asked.select("item_id", "options").iter_rows())
    parts = []
    for (survey, condition), part in picks.group_by(["survey", "condition"], maintain_order=True):
        drawn = g.sampled(groups.filter(pl.col("survey") == survey), part["respondent_id"])
        rows = part.with_columns(drawn.alias("cluster of person")).join(
            traits, on="respondent_id", how="left", maintain_order="left"
        )
        has_weights = rows["weight"].null_count() == 0
        for weighted in (False, True) if has_weights else (False,):
            names = {"survey": survey, "condition": condition, "weighted": weighted}
            for (item,), mine in rows.group_by(["item_id"], maintain_order=True):
                parts += [
                    made.with_columns(pl.lit(item).alias("item_id"), **_literals(names))
                    for made in _of_item(mine, texts[str(item)], rules, weighted=weighted)
                ]
    made = pl.concat(parts).with_columns(
        pl.lit(answers.item(0, "model")).alias("model"),
        pl.lit(answers.item(0, "task")).alias("task"),
        pl.col(pl.Float64).fill_nan(None),
    )
    return ANSWER_SHARES.conform(made.select(list(ANSWER_SHARES.schema)))


def _literals(names: dict[str, Any]) -> dict[str, pl.Expr]:
    return {name: pl.lit(value) for name, value in names.items()}


def _of_item(rows: pl.DataFrame, options: list[str], rules: EstimateRules, *, weighted: bool) -> Iterator[pl.DataFrame]:
    """The rows of one item: each option in each subgroup."""
    w = rows["weight"].cast(pl.Float64).to_numpy() if weighted else np.ones(rows.height)
    codes = Rows(dense(rows["cluster of person"]), np.zeros(rows.height, dtype=np.int64))
    for dimension in dict.fromkeys((g.ALL, *rules.dimensions)):
        if not g.of_people(dimension):
            continue
        cut = g.cut(rows, dimension)
        if not cut.labels:
            continue
        slices = Slices(cut.codes, len(cut.labels), rows=codes)
        people = np.bincount(cut.codes[cut.codes >= 0], minlength=len(cut.labels))
        for option, answer in enumerate(options):
            x = rows.select((pl.col("pred_idx").list.eval(pl.element() == option)).list.mean()).to_series().to_numpy()
            means = slices.means(x, w)
            share = np.clip(means.estimate, 0.0, 1.0)
            low, high, few = interval(
                METRICS["parse_rate"], share, means.se, means.df, n_eff=means.n_eff, level=rules.level
            )
            ends = clopper_pearson(share, _effective(means, slices, w, rules.level), level=rules.level)
            low, high = np.where(few, ends[0], low), np.where(few, ends[1], high)
            yield pl.DataFrame(
                {
                    "dimensions": dimension,
                    "subgroup": cut.labels,
                    "option": option,
                    "answer": answer,
                    "share": share,
                    "se": means.se,
                    "ci_low": low,
                    "ci_high": high,
                    "n_personas": people,
                    "small": people < rules.min_personas,
                },
                schema_overrides={"option": pl.Int64, "n_personas": pl.Int64},
            )


def _effective(means: Means, slices: Slices, w: Floats, level: float) -> Floats:
    """Effective number of persons behind a share of few picks (Korn and Graubard 1998).

    A person gives one answer to a question, so that the sampling units, and not the few who picked the option, are the
    degrees of freedom. The error of few picks says little about the weights: the number is at most Kish's.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        most = slices.sum(w) ** 2 / slices.sum(w**2)
        rows, units = ((n - 1).astype(np.float64) for n in (means.n_rows, means.n_persona))
        wider = t_quantile(rows, level) / t_quantile(units, level)
    return np.asarray(np.minimum(means.n_eff, most) * wider**2)
