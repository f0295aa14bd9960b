"""Compare models on the same prompts, and group those that do not differ significantly."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import combinations

import numpy as np
import polars as pl

from mpta_pipeline.core.arms import of_control
from mpta_pipeline.core.described_groups import of_people
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import MODEL_COMPARISON
from mpta_pipeline.metrics.metric import METRICS, applicable_to
from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.samples.balancing import UNIT_KEY, Units, balance
from mpta_pipeline.metrics.statistics import equivalence, multiplicity
from mpta_pipeline.metrics.statistics.arrays import Floats, dense
from mpta_pipeline.metrics.statistics.clustered import Rows, Slices
from mpta_pipeline.metrics.statistics.intervals import paired

# The elicitation may differ between models (letters or option probabilities). Otherwise the prompts are the same.
_MATCH = [c for c in UNIT_KEY if c != "elicitation"]
COMPARED = ("accuracy", "accuracy_strict", "mae_n", "rouge_l", "chrf", "parse_rate")


def compare_models(
    scores: pl.DataFrame | Iterable[pl.DataFrame],
    *,
    rules: EstimateRules,
    groups: pl.DataFrame | None = None,
    controls: Collection[str] = (),
) -> pl.DataFrame:
    """Compare all models pairwise, per task and survey, on the prompts that both answered.

    Differences are paired by prompt, with two-way clustered errors, and weighted if all answers have survey weights.
    q-values are Benjamini–Hochberg's within task and metric. Tie groups are formed from the best model down: a group
    holds the models whose difference from its first model is not significant, so that they cannot be ranked.

    Args:
        scores: SCORES of all models, of any number of tasks, or chunks of it. A chunk has all answers for some
            respondents of one model or more.
        rules: `level` applies to intervals, tests and tie groups.
        groups: GROUPS, for the sampling units of people; None: people were sampled individually.
        controls: Names of simulated respondents. They have no row, so that a control changes no figure of a model:
            neither q-values nor tie groups.

    Returns:
        MODEL_COMPARISON: both directions of each pair, and one row per model with its own estimate.
    """
    units: dict[str, dict[str, list[pl.DataFrame]]] = {}
    keyless = set()
    for chunk in [scores] if isinstance(scores, pl.DataFrame) else scores:
        for (task, model), part in of_people(of_control(chunk)).group_by("task", "model"):
            if model in controls:
                continue
            if part.get_column("gold_idx").null_count():
                keyless.add(task)
            units.setdefault(str(task), {}).setdefault(str(model), []).append(_compared(balance(part)))
    parts: list[pl.DataFrame] = []
    for task in sorted(units):
        chosen = [name for name in COMPARED if name in applicable_to(keyed=task not in keyless)]
        of_models = {model: pl.concat(units[task][model]) for model in sorted(units[task])}
        parts.extend(_compare_task(task, of_models, chosen, rules, groups))
    if not parts:
        return MODEL_COMPARISON.empty()
    table = pl.concat(parts, how="diagonal").with_columns(pl.col(pl.Float64).fill_nan(None))
    return MODEL_COMPARISON.conform(_tied(_corrected(table), rules).select(list(MODEL_COMPARISON.schema)))


def _compared(units: Units) -> pl.DataFrame:
    """Value and count of each metric compared, for each balanced answer."""
    return units.frame.select(
        *_MATCH,
        "cluster_id",
        "weight",
        "n_orders",
        *(
            expr.cast(pl.Float64).alias(f"{name}__{part}")
            for name in COMPARED
            for part, expr in (
                ("value", pl.when(METRICS[name].where).then(METRICS[name].value)),
                ("count", pl.when(METRICS[name].where).then(METRICS[name].count.cast(pl.Float64))),
            )
        ),
    )


def _compare_task(
    task: str,
    units: dict[str, pl.DataFrame],
    compared: list[str],
    rules: EstimateRules,
    groups: pl.DataFrame | None,
) -> list[pl.DataFrame]:
    everything = pl.concat([frame.with_columns(pl.lit(model).alias("model")) for model, frame in units.items()])
    parts = []
    for (survey, condition), rows in everything.sort(*_MATCH, "model").group_by(
        ["survey", "condition"], maintain_order=True
    ):
        weighted = bool(rows.get_column("weight").is_not_null().all())
        counted = [pl.col("weight") > 0] if weighted else []
        for metric in compared:
            rows_of = {
                str(m): part.rename({f"{metric}__value": "value", f"{metric}__count": "count"})
                .select(*_MATCH, "cluster_id", "weight", "n_orders", "value", "count")
                .filter(pl.col("value").is_not_null(), pl.col("count") > 0, *counted)
                for (m,), part in rows.group_by("model", maintain_order=True)
            }
            lines = _own_rows(rows_of, weighted) + _pair_rows(rows_of, metric, weighted, rules, groups)
            if lines:
                parts.append(
                    pl.DataFrame(lines, infer_schema_length=None).with_columns(
                        pl.lit(task).alias("task"),
                        pl.lit(survey).alias("survey"),
                        pl.lit(condition).alias("condition"),
                        pl.lit(metric).alias("metric"),
                    )
                )
    return parts


def _own_rows(rows_of: dict[str, pl.DataFrame], weighted: bool) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = []
    for model, rows in rows_of.items():
        if rows.is_empty():
            continue
        w = _weights(rows, weighted) * rows.get_column("count").to_numpy()
        x = rows.get_column("value").to_numpy() / rows.get_column("count").to_numpy()
        lines.append({"model": model, "other_model": model, "estimate": float((w * x).sum() / w.sum()), **_sizes(rows)})
    return lines


def _pair_rows(
    rows_of: dict[str, pl.DataFrame], metric: str, weighted: bool, rules: EstimateRules, groups: pl.DataFrame | None
) -> list[dict[str, object]]:
    own = {model: row["estimate"] for model, row in ((str(r["model"]), r) for r in _own_rows(rows_of, weighted))}
    lines: list[dict[str, object]] = []
    for a, b in combinations(sorted(own), 2):
        both = rows_of[a].join(
            rows_of[b].select(*_MATCH, pl.col("value").alias("value_b"), pl.col("count").alias("count_b")),
            on=_MATCH,
            how="inner",
            maintain_order="left",
        )
        if both.is_empty():
            continue
        x = (both.get_column("value") / both.get_column("count")).to_numpy()
        y = (both.get_column("value_b") / both.get_column("count_b")).to_numpy()
        drawn = None if groups is None else g.sampled(groups, both.get_column("respondent_id"))
        clusters = Rows(
            dense(both.get_column("respondent_id")),
            dense(both.get_column("cluster_id")),
            None if drawn is None or drawn.name != g.UNIT else dense(drawn),
        )
        slices = Slices(np.zeros(both.height, dtype=np.int64), 1, rows=clusters)
        means = slices.means(x - y, _weights(both, weighted))
        low, high, p = paired(means.estimate, means.se, means.df, METRICS[metric].span, level=rules.level)
        d, ends = float(means.estimate[0]), (float(low[0]), float(high[0]))
        for model, other, sign in ((a, b, 1), (b, a, -1)):
            lines.append(
                {
                    "model": model,
                    "other_model": other,
                    "estimate": own[model],
                    "difference": sign * d,
                    "se": float(means.se[0]),
                    "p_value": float(p[0]),
                    "ci_low": ends[0] if sign > 0 else -ends[1],
                    "ci_high": ends[1] if sign > 0 else -ends[0],
                    "mde": float(equivalence.minimal_detectable(means.se, means.df, level=rules.level)[0]),
                    **_sizes(both),
                }
            )
    return lines


def _weights(rows: pl.DataFrame, weighted: bool) -> Floats:
    return rows.get_column("weight").to_numpy() if weighted else np.ones(rows.height)


def _sizes(rows: pl.DataFrame) -> dict[str, object]:
    return {
        "n_answers": int(rows.get_column("n_orders").sum()),
        "n_personas": rows.get_column("respondent_id").n_unique(),
        "n_items": rows.get_column("item_id").n_unique(),
    }


def _corrected(table: pl.DataFrame) -> pl.DataFrame:
    """Add q-values, counting each pair once."""
    for column in ("difference", "se", "p_value", "ci_low", "ci_high", "mde"):
        if column not in table.columns:
            table = table.with_columns(pl.lit(None, pl.Float64).alias(column))
    key = ["task", "survey", "metric", "condition"]
    once = (
        table.filter(pl.col("model") < pl.col("other_model"))
        .sort(*key, "model", "other_model")
        .with_columns(multiplicity.q_values("p_value", ["task", "metric"]).alias("q_value"))
        .select(*key, "model", "other_model", "q_value")
    )
    both = pl.concat([once, once.rename({"model": "other_model", "other_model": "model"}).select(once.columns)])
    return table.join(both, on=[*key, "model", "other_model"], how="left")


def _tied(table: pl.DataFrame, rules: EstimateRules) -> pl.DataFrame:
    """Number the tie groups, best first."""
    key = ["task", "survey", "metric", "condition"]
    groups = []
    for values, part in table.sort(*key, "model", "other_model").group_by(key, maintain_order=True):
        own = part.filter(pl.col("model") == pl.col("other_model"))
        lower = METRICS[str(values[2])].direction == "lower"
        order = own.sort("estimate", "model", descending=[not lower, False]).get_column("model").to_list()
        apart = {
            (row["model"], row["other_model"])
            for row in part.filter(pl.col("q_value") <= rules.level).iter_rows(named=True)
        }
        number, leader = 0, None
        for model in order:
            if leader is None or (leader, model) in apart:
                number, leader = number + 1, model
            groups.append({**dict(zip(key, values, strict=True)), "model": model, "tie_group": number})
    return table.join(pl.DataFrame(groups), on=[*key, "model"], how="left")
