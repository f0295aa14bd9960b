"""Steps from tasks to prompts; one partition per task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import polars as pl

from mpta_pipeline import tasks
from mpta_pipeline.core import tables
from mpta_pipeline.core.checks import CheckResult
from mpta_pipeline.core.chunks import Chunk, StoredChunk, chunk_names, distinct
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.multiverse import is_variant
from mpta_pipeline.core.provenance import Node, Record
from mpta_pipeline.core.study import TaskConfig, TaskVariant
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.inputs import Inputs
from mpta_pipeline.pipeline.step import Output, step
from mpta_pipeline.pipeline.stored import made, read, reduced


@step("items")
def items(inputs: Inputs) -> Output:
    """Make a task's items and, beside them, every respondent's answer to them.

    A task without any question in the study's waves is set aside, with empty tables: the other tasks go on.
    """
    task, config = inputs.partition, inputs.task
    respondents = inputs.respondents()
    gaps = tasks.Gaps()
    try:
        frame = tasks.build_items(
            task,
            config,
            crosswalk=inputs.crosswalk,
            respondents=respondents,
            study=inputs.study,
            base=inputs.config_folder,
            cache_dir=inputs.item_files,
            gaps=gaps,
        )
    except tasks.NoItemsError as nothing:
        notes = {"respondents_answers": 0, NO_ITEMS: str(nothing), **gaps.notes()}
        none = {"gold": tables.GOLD.empty(), "arm_answers": tables.ARM_ANSWERS.empty()}
        return Output(tables.ITEMS.empty(), notes, companions=none)
    gold = tasks.build_gold(
        task, config, frame, crosswalk=inputs.crosswalk, respondents=respondents, base=inputs.config_folder
    )
    own = tasks.arm_answers(task, config, frame, gold, crosswalk=inputs.crosswalk, respondents=respondents)
    return Output(
        frame, {"respondents_answers": gold.height, **gaps.notes()}, companions={"gold": gold, "arm_answers": own}
    )


NO_ITEMS = "no_items"
"""Note of items: why the task is set aside, and what to do."""


@step("prompts")
def prompts(inputs: Inputs) -> Output:
    """Cross items, personas, conditions and option orders into prompts."""
    plan = tasks.plan_prompts(
        inputs.partition,
        inputs.study,
        items=inputs.table("items"),
        gold=inputs.table("gold"),
        panel=inputs.table("panel"),
        personas=inputs.table("personas"),
        base=inputs.config_folder,
        groups=inputs.table("groups"),
        crosswalk=inputs.crosswalk,
        draws=inputs.table("arm_draws"),
    )
    names = chunk_names(plan.height())
    if len(names) == 1:
        frame = plan.build()
        counts = tasks.prompt_counts(frame, _checked_orders(inputs.task))
        notes = {"contents": frame["content_hash"].n_unique(), **_totals([counts])}
        return Output(frame, notes, tasks.check_counts([counts]))
    shared = inputs.digest_without("arm_draws", "gold", "groups", "panel", "personas")
    chunks = [
        Chunk(name, digest(shared, own), partial(_built, part), counted="content_hash")
        for name, part, own in plan.in_chunks(names)
    ]
    return Output(chunks=chunks, summary=_summary)


def _built(part: Callable[[], tasks.PromptPlan]) -> tuple[pl.DataFrame, dict[str, Any]]:
    plan = part()
    frame = plan.build()
    return frame, tasks.prompt_counts(frame, _checked_orders(plan.config))


def _checked_orders(config: TaskConfig) -> str:
    """The design by which positions of the key are checked. Where `given` is a level, they may be anywhere."""
    return "forward" if isinstance(config, TaskVariant) and config.orders == "given" else config.orders


def _summary(chunks: Sequence[StoredChunk]) -> tuple[dict[str, Any], list[CheckResult]]:
    counts = [chunk.notes for chunk in chunks]
    return {"contents": distinct(chunks, "content_hash").len(), **_totals(counts)}, tasks.check_counts(counts)


def _totals(counts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Personas that are asked, and requests about groups."""
    return {name: sum(one[name] for one in counts) for name in ("personas", ABOUT_GROUPS)}


ABOUT_GROUPS = "about_groups"
"""Note of prompts: requests about described groups (condition `group`)."""


def without_items(records: Mapping[str, Record | None]) -> list[tuple[str, str]]:
    """Tasks that are set aside because no wave of the study has a question of theirs, each with the remedy.

    Args:
        records: Task → record of its items.
    """
    return [
        (task, str(record.notes[NO_ITEMS]))
        for task, record in records.items()
        if record and NO_ITEMS in record.notes and not is_variant(task)
    ]


def items_left_out(deployment: Deployment) -> list[tuple[str, str]]:
    """Task and message: tasks without items, items that cannot be asked, and what of a questionnaire is not used."""
    found = []
    for task in deployment.study.own_tasks:
        record = made(deployment, Node("items", task))
        notes = record.notes if record else {}
        found += [(task, f"The task is set aside. {said}") for _, said in without_items({task: record})]
        if left := notes.get("left_out"):
            found.append(
                (
                    task,
                    f"{left:,} items cannot be asked and are left out: {notes['left_out_items']}. Complete them in the "
                    "item file, or get it again",
                )
            )
        found += [(task, f"The questionnaire has {note}") for note in notes.get("not_used", ())]
    return found


def redrawn_arms(deployment: Deployment) -> list[tuple[str, str]]:
    """Task and message: experiments whose arms or seed changed, so that the next run draws everybody anew."""
    if made(deployment, Node("panel")) is None or made(deployment, Node("arm_draws")) is None:
        return []
    draws, found = read(deployment, "arm_draws"), []
    for task, config in deployment.study.own_tasks.items():
        before = draws.filter(task=task)
        if not config.arms or config.arm_design == "every" or before.is_empty():
            continue
        if tasks.drawn_from(config, deployment.study.seed) in before["drawn_by"]:
            continue
        sent = reduced(deployment, "prompts", task, lambda part: part.drop_nulls("arm").select(_CONTENT).unique())
        were, are = sorted(before["arm"].unique()), sorted(tasks.draw_ids(config))
        what = (
            "The seed of the study changed"
            if were == are
            else (f"The arms were {', '.join(were)} and are {', '.join(are)} now")
        )
        found.append(
            (
                task,
                f"{what}, so that the next run draws the arms of all {before.height:,} personas anew and sends up to "
                f"{sent.height:,} requests per model again. If an arm was only renamed, give it the key `id` with its "
                "earlier name: everybody stays where they were, and nothing is sent again",
            )
        )
    return found


_CONTENT = pl.col("content_hash").hash().alias("content")
