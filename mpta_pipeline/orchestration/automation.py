"""Automation conditions: when an asset runs by itself, from named sub-conditions and its place in the graph.

The built-in `eager` condition is not used: it runs again after a parent was re-materialized with equal content, never
requests partitions that were missing before its first tick, and lets one corrupt wave block all others.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from mpta_pipeline.pipeline import graph

C = dg.AutomationCondition

# A parent's new materialization counts only if its content changed. New code makes the asset itself run; what is made
# from it follows if that gives other content.
_CHANGED = C.data_version_changed().with_label("content changed")
# Dagster's own condition ignores the update of a parent whose run was meant to update the asset too. That loses the
# partitions of a run that stopped there because another of its partitions failed.
_PARENT_CHANGED = C.any_deps_match(_CHANGED | C.will_be_requested()).with_label("a parent changed")
_TRIGGER = (C.newly_missing() | _PARENT_CHANGED | C.code_version_changed()).with_label("missing or out of date")
# An asset without partitions loses nothing, and a run that made both is not followed by another one.
_PARENT_CHANGED_ALONE = C.any_deps_updated().replace("newly_updated", _CHANGED).with_label("a parent changed by itself")
_TRIGGER_ALONE = (C.newly_missing() | _PARENT_CHANGED_ALONE | C.code_version_changed()).with_label(
    "missing or out of date"
)

# `newly_requested` alone keeps a change that arrives during a long run. An asset that runs in the same run as its
# parent needs `newly_updated` too, or it would be requested again after the run that has just made it. In `since` the
# reset wins, and a run may be over by the next tick: a change seen in the request's tick is newer than the request.
_REQUESTED = (C.newly_requested() & ~_TRIGGER).with_label("requested")
_REQUESTED_OR_MADE = (_REQUESTED | C.newly_updated()).with_label("requested or made")

# One automatic retry: `newly_true` fires once per failure. It stands outside `since`, where the reset would win.
_FAILED_ONCE = C.execution_failed().newly_true().with_label("failed for the first time")
_IDLE = (~C.any_deps_in_progress() & ~C.in_progress()).with_label("nothing of it is running")
# Waits until the parents' checks have been carried out, and not until they pass: a step stores no table that fails a
# blocking check, so what failed is a warning, for instance about a release that a person accepted.
_CHECKED = C.all_deps_match(
    C.all_checks_match(C.check_passed() | C.check_failed() | C.will_be_requested(), blocking_only=True)
).with_label("blocking checks of the parents were carried out")
_ALL_PARENTS_THERE = (~C.any_deps_missing()).with_label("no parent is missing")
# An asset that reads all waves or models: a corrupt one must not block the others.
_SOME_PARENTS_THERE = C.all_deps_match(~C.missing() | C.will_be_requested()).with_label("each parent has a partition")


# An asset waits for a parent that is about to be rebuilt: no model gets prompts that another run will replace, and an
# asset with two ways from one ancestor does not run once too early. A run that is requested in this tick, and includes
# the asset, ends the wait.
_OUT_OF_DATE = (_PARENT_CHANGED | C.code_version_changed()).since(C.newly_updated() | C.will_be_requested())
# An asset that cannot run, because a parent is missing or it has failed, is not waited for.
_TO_BE_RENEWED = _OUT_OF_DATE & ~C.any_deps_missing() & ~C.execution_failed()
_BEING_REQUESTED: Any = C.any_deps_match(C.will_be_requested())
_PARENTS_RENEWED = (~C.any_deps_match(_TO_BE_RENEWED)).with_label("no parent is out of date")


def _pending(*way: str) -> Any:
    """Condition: an asset is out of date, or one of those that lead to it."""
    if not way:
        return _TO_BE_RENEWED
    behind = C.any_deps_match(_pending(*way[1:])).allow(dg.AssetSelection.assets(way[0]))
    return (_TO_BE_RENEWED | behind).with_label(f"out of date, or behind {way[0]}")


def _way_pending(*way: str) -> Any:
    """Condition: a parent is out of date, or one of the assets that lead to it.

    Args:
        way: The parent, followed by the assets that lead to it, from the nearest upwards.
    """
    return (
        C.any_deps_match(_pending(*way[1:]))
        .allow(dg.AssetSelection.assets(way[0]))
        .with_label(f"the way to {way[0]} is being renewed")
    )


# Dagster's public types do not name what `&` and `since` return.
def _condition(handled: Any, ready: Any, trigger: Any = _TRIGGER) -> Any:
    return (trigger.since(handled) | _FAILED_ONCE) & ready & _IDLE & _CHECKED


def condition(asset: str) -> Any:
    """When an asset runs by itself; derived from its place in the graph."""
    gathered = graph.gathered(asset)
    ready = _SOME_PARENTS_THERE if gathered else _ALL_PARENTS_THERE
    if "model" in gathered:
        return _gathering_models(asset, ready)
    # An asset over the same partitions as a parent runs in the parent's run.
    with_parent = not gathered and any(
        graph.TABLES[parent].partitioning is graph.TABLES[asset].partitioning for parent in _parent_assets(asset)
    )
    wanted = _condition(_REQUESTED_OR_MADE if with_parent else _REQUESTED, ready)
    label = "run with the parent" if with_parent else "run when parents change"
    if way := _way(asset):
        wanted = ~_way_pending(*way) & wanted
    elif any("task" in graph.TABLES[parent].partitioning.dimensions for parent in _parent_assets(asset)):
        wanted = _PARENTS_RENEWED & wanted
    return wanted.with_label(label)


def _gathering_models(asset: str, ready: Any) -> Any:
    """The condition of an asset that reads the tables of all models: once for all of them, not after each run."""
    # What runs in the same run beforehand may be requested in this tick; anything else is waited for.
    in_same_run = next(batch for batch in graph.batches() if asset in batch)
    others = dg.AssetSelection.assets(*in_same_run)
    nothing_requested = (~_BEING_REQUESTED.ignore(others)).with_label("no parent is being requested")
    if graph.TABLES[asset].is_document:
        # It reads everything, so that whatever is out of date anywhere is a parent of its own, and is waited for.
        renewed = ~C.any_deps_match(_TO_BE_RENEWED).ignore(others)
        wanted = _condition(C.newly_requested() & ~_TRIGGER_ALONE, ready, _TRIGGER_ALONE)
        return (renewed & nothing_requested & wanted).with_label("publish when nothing is out of date")
    wanted = _condition(_REQUESTED, ready)
    return (~_way_pending(*_way(asset)) & nothing_requested & wanted).with_label("run when all models are done")


def _parent_assets(asset: str) -> list[str]:
    return [parent for parent in graph.asset_dependencies(asset) if parent in graph.TABLES]


def _way(asset: str) -> list[str]:
    """The assets per model that lead to an asset, from the nearest upwards, and the one that they begin with.

    Two ways lead from items and personas to estimates: a short one by the groups and items themselves, and a long one
    by prompts, responses and scores. An asset that is reached by both waits until the long one has been gone.
    """
    way: list[str] = []
    while parents := _parent_assets(way[-1] if way else asset):
        nearest = max(parents, key=graph.assets().index)
        per_model = "model" in graph.TABLES[nearest].partitioning.dimensions
        if not per_model and not way:
            return []
        way.append(nearest)
        if not per_model:
            break
    return way
