"""When an asset runs by itself: named sub-conditions, put together once for each place in the graph.

The built-in `eager` condition is not used: it runs again whatever was re-materialized with equal content, never
requests partitions that were missing before its first tick, and lets one corrupt wave block all others.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

C = dg.AutomationCondition

# A parent's new materialization counts only if its content or the code that made it changed.
_CHANGED = (C.data_version_changed() | C.code_version_changed()).with_label("content or code changed")
_PARENT_CHANGED = C.any_deps_updated().replace("newly_updated", _CHANGED).with_label("a parent changed")
_TRIGGER = (C.newly_missing() | _PARENT_CHANGED | C.code_version_changed()).with_label("missing or out of date")

# `newly_requested` alone keeps a change that lands during a long run; an asset that runs in the same run as its parent
# needs `newly_updated` too, or it would be requested again after the run that has just made it.
_REQUESTED = C.newly_requested()
_REQUESTED_OR_MADE = C.newly_requested() | C.newly_updated()

# One automatic retry: `newly_true` fires once for each failure. It stands outside the latch, where the reset would win.
_FAILED_ONCE = C.execution_failed().newly_true().with_label("failed for the first time")
_IDLE = (~C.any_deps_in_progress() & ~C.in_progress()).with_label("nothing of it is running")
_CHECKED = C.all_deps_blocking_checks_passed()
_ALL_PARENTS_THERE = (~C.any_deps_missing()).with_label("no parent is missing")
# Fan-in over waves: one that is corrupt must not hold back the others.
_SOME_PARENTS_THERE = C.all_deps_match(~C.missing() | C.will_be_requested()).with_label("each parent has a partition")


# An asset with two ways from one ancestor (figures: by the groups, and by prompts, responses and scores) would run
# once too early with what the longer way has not renewed yet. It waits while anything on that way has a parent that
# changed after it was made. A run that is requested in this tick, and takes the asset along, ends the wait.
_OUT_OF_DATE = _PARENT_CHANGED.since(C.newly_updated() | C.will_be_requested())


def _pending(*way: str) -> Any:
    """Whether an asset is out of date, or any of those that lead to it."""
    if not way:
        return _OUT_OF_DATE
    behind = C.any_deps_match(_pending(*way[1:])).allow(dg.AssetSelection.assets(way[0]))
    return (_OUT_OF_DATE | behind).with_label(f"out of date, or behind {way[0]}")


_SCORES_PENDING = (
    C.any_deps_match(_pending("responses", "prompts"))
    .allow(dg.AssetSelection.assets("scores"))
    .with_label("the way to the scores is being renewed")
)


def _condition(handled: Any, ready: Any) -> Any:  # Dagster's public types do not name what `&` and `since` return
    return (_TRIGGER.since(handled) | _FAILED_ONCE) & ready & _IDLE & _CHECKED


FIRST_IN_RUN = _condition(_REQUESTED, _ALL_PARENTS_THERE).with_label("run when parents change")
SAME_RUN_AS_PARENT = _condition(_REQUESTED_OR_MADE, _ALL_PARENTS_THERE).with_label("run with the parent")
FIGURES = (~_SCORES_PENDING & _condition(_REQUESTED_OR_MADE, _ALL_PARENTS_THERE)).with_label("run with the scores")
FAN_IN = _condition(_REQUESTED, _SOME_PARENTS_THERE).with_label("run with the parents that are there")

# The warehouse has two ways from personas and would run once too early: only new figures set it off.
PUBLISH = (
    _condition(_REQUESTED, _SOME_PARENTS_THERE)
    .ignore(dg.AssetSelection.assets("personas", "panel", "prompts", "harmonized_wave", "survey_changelog"))
    .with_label("run when figures change")
)
