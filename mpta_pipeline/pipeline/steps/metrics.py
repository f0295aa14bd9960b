"""Steps from responses to estimates; one partition per model and task, and one comparison of the models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline import inference, metrics, tasks
from mpta_pipeline.core import tables
from mpta_pipeline.core.checks import CheckResult
from mpta_pipeline.core.chunks import Chunk, StoredChunk
from mpta_pipeline.core.estimate_ids import ESTIMATE_KEY, estimate_ids_by_key
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.multiverse import is_variant
from mpta_pipeline.core.provenance import read_only_copy, store_only_copy
from mpta_pipeline.pipeline.inputs import Inputs
from mpta_pipeline.pipeline.step import Output, step


@step("scores")
def scores(inputs: Inputs) -> Output:
    """Parse a model's replies and compare them with the answer key."""
    prompts = inputs.chunks("prompts")
    if len(prompts) > 1:
        return _scores_in_chunks(inputs, prompts)
    frame = tasks.score(inputs.table("prompts"), inputs.table("items"), inputs.table("responses"))
    rates = tasks.readable_rates(frame)
    # The rates, and not whether they are enough: `least_readable` may change without a reply being read again.
    notes = _statuses(frame) | {"readable": rates}
    return Output(frame, notes, [tasks.check_readable(rates, inputs.study.least_readable)])


def _scores_in_chunks(inputs: Inputs, prompts: Sequence[StoredChunk]) -> Output:
    """As `scores`, chunk by chunk: a chunk is scored again if its prompts or responses changed."""
    items, least = inputs.table("items"), inputs.study.least_readable
    responses = {chunk.name: chunk for chunk in inputs.chunks("responses")}
    shared = inputs.digest_without("prompts", "responses")

    def scored(asked: StoredChunk, answered: StoredChunk) -> tuple[pl.DataFrame, dict[str, Any]]:
        frame = tasks.score(asked.read(), items, answered.read())
        return frame, {"statuses": _statuses(frame), "replies": tasks.reply_counts(frame)}

    def summary(chunks: Sequence[StoredChunk]) -> tuple[dict[str, Any], list[CheckResult]]:
        statuses: Counter[str] = Counter()
        for chunk in chunks:
            statuses.update(chunk.notes["statuses"])
        rates = tasks.merged_rates([chunk.notes["replies"] for chunk in chunks])
        return dict(sorted(statuses.items())) | {"readable": rates}, [tasks.check_readable(rates, least)]

    chunks = []
    for asked in prompts:
        # Responses in one file, of an earlier version, belong to all chunks of the prompts.
        answered = responses.get(asked.name) or responses[""]
        made_from = digest(shared, asked.version, answered.version)
        chunks.append(Chunk(asked.name, made_from, partial(scored, asked, answered)))
    return Output(chunks=chunks, summary=summary)


def _statuses(scores: pl.DataFrame) -> dict[str, int]:
    return dict(scores["status"].value_counts().sort("status").rows())


@step("subgroup_metrics")
def subgroup_metrics(inputs: Inputs) -> Output:
    """Compute the estimates of a model on a task, for everyone and for each subgroup.

    A task or model at the levels of a configuration has the figures of the multiverse instead.
    """
    if is_variant(inputs.partition):
        none = tables.SUBGROUP_METRICS.empty()
        beside = {"rivals": tables.RIVALS, "experiments": tables.EXPERIMENTS, "answer_shares": tables.ANSWER_SHARES}
        return Output(
            none,
            checks=metrics.check_estimates(none),
            companions={name: schema.empty() for name, schema in beside.items()},
        )
    inputs.table("people_shares")  # made once for all models; warehouse and report read it
    study, file, items = inputs.study, inputs.retest_file, inputs.table("items")
    kept: list[pl.DataFrame] = []

    def seen() -> Iterator[pl.DataFrame]:
        for chunk in inputs.one_by_one("scores"):
            kept.append(metrics.answers_needed(chunk, items))
            yield chunk

    frame, ladder = metrics.estimates_and_rivals(
        seen(),
        inputs.table("groups"),
        inputs.parts("gold"),
        rules=study.figures,
        releases=inputs.table("releases"),
        items=items,
        ceiling=inputs.optional_table("ceiling"),
        retest=None if file is None else metrics.read_retest(file),
        study=study.name,
    )
    replaced, before = inputs.replaced_estimates, inputs.previous()
    groups, rules = inputs.table("groups"), study.figures
    people = inputs.table("people_effects")
    experiments = metrics.experiments(kept, groups, rules=rules, items=items, people=people)
    shares = metrics.answer_shares(kept, groups, rules=rules, items=items)
    return Output(
        frame,
        checks=metrics.check_estimates(frame),
        companions={"rivals": ladder, "experiments": experiments, "answer_shares": shares},
        # Before the estimates are stored: a process killed in between has kept estimates that still stand, which does
        # no harm.
        before_storing=None if before is None else lambda: keep_replaced(replaced, before, frame),
    )


def keep_replaced(kept: Path, before: pl.DataFrame, now: pl.DataFrame) -> None:
    """Keep id and value of each estimate that is about to be replaced by a different one.

    Args:
        kept: The file of replaced estimates.
        before: The stored estimates.
        now: The new ones.
    """
    before = tables.SUBGROUP_METRICS.with_current_names(before)
    if "estimate_id" not in before.columns:
        before = before.with_columns(estimate_ids_by_key(before)).sort("weighted", descending=True, maintain_order=True)
    gone = before.unique("estimate_id", keep="first", maintain_order=True).join(now, on="estimate_id", how="anti")
    known = tables.REPLACED_ESTIMATES.with_current_names(
        read_only_copy(kept) if kept.exists() else tables.REPLACED_ESTIMATES.empty()
    )
    gone = gone.select(
        "estimate_id", pl.concat_str(*ESTIMATE_KEY, separator="/").alias("estimate_key"), "metric", "weighted",
        "estimate", "n_answers", "release_ids", pl.lit(f"{datetime.now(UTC):%Y-%m-%d %H:%M}").alias("until"),
    ).join(known, on="estimate_id", how="anti")  # fmt: skip
    if gone.height:
        store_only_copy(tables.REPLACED_ESTIMATES.conform(pl.concat([known, gone])), kept)


@step("people_shares")
def people_shares(inputs: Inputs) -> Output:
    """Compute how people answered a task's items, once for all models."""
    frame = metrics.people_shares(
        inputs.table("items"), inputs.table("gold"), inputs.table("groups"), rules=inputs.study.figures
    )
    return Output(frame)


@step("people_effects")
def people_effects(inputs: Inputs) -> Output:
    """Compute the effects of an experiment on people who were in its arms themselves, once for all models."""
    frame = metrics.people_effects(
        inputs.table("arm_answers"), inputs.table("items"), inputs.table("groups"), rules=inputs.study.figures
    )
    return Output(frame)


@step("ceiling")
def ceiling(inputs: Inputs) -> Output:
    """Predict the panel's answers from the visible traits, cross-fitted, once for all models."""
    gold = inputs.table("gold")
    if gold.is_empty():
        return Output()
    prompts = inputs.reduced("prompts", lambda part: part.select("item_id", "respondent_id", "masked").unique())
    masked = prompts.select("item_id", "masked").explode("masked").drop_nulls().unique()
    told = inputs.table("personas").select("respondent_id", pl.col("traits")).explode("traits").drop_nulls()
    told = told.unnest("traits").unique(["respondent_id", "column"], keep="first", maintain_order=True)
    traits = told.pivot(on="column", index="respondent_id", values="value")
    frame = metrics.cross_fitted(
        gold,
        traits.select("respondent_id", *sorted(c for c in traits.columns if c != "respondent_id")),
        hidden={str(item): part["masked"].to_list() for (item,), part in masked.sort("masked").group_by("item_id")},
        seed=inputs.study.seed,
        people=prompts["respondent_id"].unique().to_list(),
    )
    return Output(frame)


@step("pockets")
def pockets(inputs: Inputs) -> Output:
    """Search one half of the data for subgroups where a model does worse and confirm them on the other half."""
    study = inputs.study
    if is_variant(inputs.partition):
        return Output(tables.POCKETS.empty(), {"confirmed": 0}, metrics.check_pockets(tables.POCKETS.empty()))
    frame = metrics.find_pockets(
        inputs.one_by_one("scores"),
        inputs.table("groups"),
        inputs.parts("gold"),
        rules=study.figures,
        seed=study.seed,
        study=study.name,
    )
    return Output(frame, {"confirmed": int(frame["confirmed"].sum())}, metrics.check_pockets(frame))


@step("model_comparison")
def model_comparison(inputs: Inputs) -> Output:
    """Compare the models, without the controls, in pairs on the prompts that both answered."""
    models = inference.models_table(inputs.models.values())
    controls = models.filter("control")["model"].to_list()
    groups, rules = inputs.table("groups"), inputs.study.figures
    asked = [ModelTask.parse(key) for key in inputs.partitions("scores")]
    # Models are compared within a task, so that the answers to one task only are in memory.
    frames = [
        metrics.compare_models(
            inputs.one_by_one(
                "scores", [str(pair) for pair in asked if pair.task == task and pair.model not in controls]
            ),
            rules=rules,
            groups=groups,
        )
        # Those of the multiverse are compared by its own figures.
        for task in sorted({pair.task for pair in asked if not is_variant(pair.task)})
    ]
    frame = tables.MODEL_COMPARISON.conform(pl.concat([tables.MODEL_COMPARISON.empty(), *frames]))
    return Output(frame, checks=metrics.check_comparison(frame), companions={"models": models})


@step("configuration_estimates")
def configuration_estimates(inputs: Inputs) -> Output:
    """Compute the figures of the multiverse for a model and a task at the levels of a configuration."""
    multiverse, task = inputs.study.multiverse, ModelTask.parse(inputs.partition).task
    for name in ("scores", "groups", "gold", "items"):
        inputs.partitions(name)  # declared for all tasks, and read for those of the multiverse
    if multiverse is None or not is_variant(task):
        none = tables.CONFIGURATION_ESTIMATES.empty()
        return Output(
            none,
            checks=[metrics.multiverse.check_intervals(none)],
            companions={"configuration_people": tables.CONFIGURATION_PEOPLE.empty()},
        )
    made = metrics.multiverse.figure_estimates(
        inputs.one_by_one("scores"),
        inputs.table("groups"),
        inputs.parts("gold"),
        figures=multiverse.figures,
        rules=inputs.study.figures,
        items=inputs.table("items"),
    )
    return Output(
        made.estimates,
        checks=[metrics.multiverse.check_intervals(made.estimates)],
        companions={"configuration_people": made.people},
    )


@step("configurations")
def configurations(inputs: Inputs) -> Output:
    """Gather all configurations: specification curves, shares in which a finding holds, joint tests."""
    multiverse, study = inputs.study.multiverse, inputs.study
    for name in ("configuration_estimates", "configuration_people", "scores", "groups"):
        inputs.partitions(name)  # declared for all studies, and read for those with a multiverse
    if multiverse is None:
        return Output(
            tables.CONFIGURATIONS.empty(),
            checks=[metrics.multiverse.check_found(tables.MULTIVERSE_FINDINGS.empty(), ())],
            companions={
                "specification_curve": tables.SPECIFICATION_CURVE.empty(),
                "multiverse_findings": tables.MULTIVERSE_FINDINGS.empty(),
                "factor_moves": tables.FACTOR_MOVES.empty(),
                "variance_budget": tables.VARIANCE_BUDGET.empty(),
            },
        )
    found = metrics.multiverse.findings(
        inputs.configurations,
        inputs.stacked("configuration_estimates"),
        inputs.stacked("configuration_people"),
        inputs.table("groups"),
        figures=multiverse.figures,
        strata=study.panel.strata,
        level=study.figures.level,
        permutations=multiverse.permutations,
        seed=study.seed,
    )
    asked = inputs.stacked("scores", lambda part: part.select("model", "task", "request_hash").unique())
    condition = multiverse.figures[0].condition
    budget = metrics.multiverse.variance_budget(
        inputs.configurations,
        inputs.stacked("scores", lambda part: _of_configurations(part, condition)),
        condition=condition,
        level=study.figures.level,
        seed=study.seed,
    )
    return Output(
        metrics.multiverse.with_requests(inputs.configurations, asked),
        checks=[metrics.multiverse.check_found(found.findings, multiverse.figures)],
        companions={
            "specification_curve": found.curve,
            "multiverse_findings": found.findings,
            "factor_moves": found.moves,
            "variance_budget": budget,
        },
    )


def _of_configurations(scores: pl.DataFrame, condition: str) -> pl.DataFrame:
    """The answers to tasks of the multiverse under one condition, as far as the variance budget reads them."""
    kept = scores.select(metrics.multiverse.COLUMNS)
    if kept.height and not is_variant(str(kept.item(0, "task"))):
        return kept.clear()
    return kept.filter(pl.col("condition") == condition)


@step("power")
def power(inputs: Inputs) -> Output:
    """Compute how small a difference the study would find, with its panel and questions and with more of them."""
    asked = inputs.stacked("prompts", _asked_persons, by_chunk=True)
    rows = metrics.detectable.grid(
        asked,
        inputs.table("groups"),
        rules=inputs.study.figures,
        people=metrics.detectable.PEOPLE,
        questions=metrics.detectable.QUESTIONS,
    )
    return Output(metrics.detectable.power_table(rows))


def _asked_persons(prompts: pl.DataFrame) -> pl.DataFrame:
    """The persons and questions of the study's own tasks, without texts."""
    units = metrics.detectable.units_of(prompts)
    return units.clear() if units.height and is_variant(str(units.item(0, "task"))) else units
