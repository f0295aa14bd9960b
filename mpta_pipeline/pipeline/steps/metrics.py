"""Steps from responses to estimates; one partition per model and task, and one comparison of the models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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
    """Compute the estimates of a model on a task, for everyone and for each subgroup."""
    inputs.table("people_shares")  # made once for all models; warehouse and report read it
    study, file = inputs.study, inputs.retest_file
    frame, ladder = metrics.estimates_and_rivals(
        inputs.one_by_one("scores"),
        inputs.table("groups"),
        inputs.parts("gold"),
        rules=study.figures,
        releases=inputs.table("releases"),
        items=inputs.table("items"),
        ceiling=inputs.optional_table("ceiling"),
        retest=None if file is None else metrics.read_retest(file),
        study=study.name,
    )
    kept, before = inputs.replaced_estimates, inputs.previous()
    return Output(
        frame,
        checks=metrics.check_estimates(frame),
        companions={"rivals": ladder},
        # Before the estimates are stored: a process killed in between has kept estimates that still stand, which does
        # no harm.
        before_storing=None if before is None else lambda: keep_replaced(kept, before, frame),
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
        for task in sorted({pair.task for pair in asked})
    ]
    frame = tables.MODEL_COMPARISON.conform(pl.concat([tables.MODEL_COMPARISON.empty(), *frames]))
    return Output(frame, checks=metrics.check_comparison(frame), companions={"models": models})
