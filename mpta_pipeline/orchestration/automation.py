"""When an asset runs by itself: named sub-conditions, put together once for each place in the graph.

The built-in `eager` condition is not used: it runs again whatever was re-materialized with equal content, never
requests partitions that were missing before its first tick, and lets one corrupt wave block all others.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

C = dg.AutomationCondition

# A parent's new materialization counts only if its content changed. New code makes the asset itself run; what is made
# from it follows if that gives other content.
_CHANGED = C.data_version_changed().with_label("content changed")
# Dagster's own condition passes over the update of a parent whose run was to update the asset too. That loses the
# partitions of a run that got no further, because another of its partitions failed.
_PARENT_CHANGED = C.any_deps_match(_CHANGED | C.will_be_requested()).with_label("a parent changed")
_TRIGGER = (C.newly_missing() | _PARENT_CHANGED | C.code_version_changed()).with_label("missing or out of date")
# Without partitions nothing is lost, and a run that made both is not followed by another.
_PARENT_CHANGED_ALONE = C.any_deps_updated().replace("newly_updated", _CHANGED).with_label("a parent changed by itself")
_TRIGGER_ALONE = (C.newly_missing() | _PARENT_CHANGED_ALONE | C.code_version_changed()).with_label(
    "missing or out of date"
)

# `newly_requested` alone keeps a change that lands during a long run; an asset that runs in the same run as its parent
# needs `newly_updated` too, or it would be requested again after the run that has just made it. A latch lets its reset
# win, and a run may be over by the next tick: what changes in the tick that sees the request is newer than the request.
_REQUESTED = (C.newly_requested() & ~_TRIGGER).with_label("requested")
_REQUESTED_OR_MADE = (_REQUESTED | C.newly_updated()).with_label("requested or made")

# One automatic retry: `newly_true` fires once for each failure. It stands outside the latch, where the reset would win.
_FAILED_ONCE = C.execution_failed().newly_true().with_label("failed for the first time")
_IDLE = (~C.any_deps_in_progress() & ~C.in_progress()).with_label("nothing of it is running")
_CHECKED = C.all_deps_blocking_checks_passed()
_ALL_PARENTS_THERE = (~C.any_deps_missing()).with_label("no parent is missing")
# Fan-in over waves: one that is corrupt must not hold back the others.
_SOME_PARENTS_THERE = C.all_deps_match(~C.missing() | C.will_be_requested()).with_label("each parent has a partition")


# A parent that is about to be renewed is waited for: no model is asked prompts that another run will replace, and an
# asset with two ways from one ancestor (figures: by the groups, and by prompts, responses and scores) does not run once
# too early. A run that is requested in this tick, and takes the asset along, ends the wait.
_OUT_OF_DATE = (_PARENT_CHANGED | C.code_version_changed()).since(C.newly_updated() | C.will_be_requested())
# What cannot run, because a parent is missing or it has failed, is not waited for.
_TO_BE_RENEWED = _OUT_OF_DATE & ~C.any_deps_missing() & ~C.execution_failed()
_PARENTS_RENEWED = (~C.any_deps_match(_TO_BE_RENEWED)).with_label("no parent is out of date")


def _pending(*way: str) -> Any:
    """Whether an asset is out of date, or any of those that lead to it."""
    if not way:
        return _TO_BE_RENEWED
    behind = C.any_deps_match(_pending(*way[1:])).allow(dg.AssetSelection.assets(way[0]))
    return (_TO_BE_RENEWED | behind).with_label(f"out of date, or behind {way[0]}")


def _way_pending(*way: str) -> Any:
    """Whether the first of some assets, which lead from a parent upwards, is out of date or behind."""
    return (
        C.any_deps_match(_pending(*way[1:]))
        .allow(dg.AssetSelection.assets(way[0]))
        .with_label(f"the way to {way[0]} is being renewed")
    )


# Items lead to scores directly, too: they would be scored against answers to the questions as they were.
_ANSWERS_PENDING = _way_pending("responses", "prompts")
_SCORES_PENDING = _way_pending("scores", "responses", "prompts")
_ESTIMATES_PENDING = _way_pending("subgroup_metrics", "scores", "responses", "prompts")
# Publishing waits for what this very tick requests, too: once for all models and tasks, not once for each run.
_BEING_REQUESTED: Any = C.any_deps_match(C.will_be_requested())
_NOTHING_REQUESTED = (~_BEING_REQUESTED.ignore(dg.AssetSelection.assets("model_comparison"))).with_label(
    "no parent is being requested"
)


# Dagster's public types do not name what `&` and `since` return.
def _condition(handled: Any, ready: Any, trigger: Any = _TRIGGER) -> Any:
    return (trigger.since(handled) | _FAILED_ONCE) & ready & _IDLE & _CHECKED


FIRST_IN_RUN = _condition(_REQUESTED, _ALL_PARENTS_THERE).with_label("run when parents change")
SAME_RUN_AS_PARENT = _condition(_REQUESTED_OR_MADE, _ALL_PARENTS_THERE).with_label("run with the parent")
ASKED = (_PARENTS_RENEWED & _condition(_REQUESTED, _ALL_PARENTS_THERE)).with_label("ask when prompts change")
ASKING = (_PARENTS_RENEWED & _condition(_REQUESTED_OR_MADE, _ALL_PARENTS_THERE)).with_label("prepare what is asked")
SCORED = (~_ANSWERS_PENDING & _condition(_REQUESTED_OR_MADE, _ALL_PARENTS_THERE)).with_label("run with the answers")
ESTIMATES = (~_SCORES_PENDING & _condition(_REQUESTED_OR_MADE, _ALL_PARENTS_THERE)).with_label("run with the scores")
FAN_IN = _condition(_REQUESTED, _SOME_PARENTS_THERE).with_label("run with the parents that are there")
COMPARE = (~_SCORES_PENDING & _NOTHING_REQUESTED & _condition(_REQUESTED, _SOME_PARENTS_THERE)).with_label(
    "compare when all scores are there"
)

# The warehouse has two ways from personas and would run once too early: only new figures set it off.
PUBLISH = (
    ~_ESTIMATES_PENDING
    & _NOTHING_REQUESTED
    & _condition(C.newly_requested() & ~_TRIGGER_ALONE, _SOME_PARENTS_THERE, _TRIGGER_ALONE).ignore(
        dg.AssetSelection.assets("personas", "panel", "prompts", "harmonized_wave", "survey_changelog")
    )
).with_label("run when figures change")
