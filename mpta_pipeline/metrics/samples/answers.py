"""Gather a model's answers to a task, with all that its estimates need to know of the items and the controls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from mpta_pipeline.core.arms import of_control
from mpta_pipeline.core.described_groups import of_people
from mpta_pipeline.metrics.samples.answer_changes import with_controls
from mpta_pipeline.metrics.samples.balancing import Units, balance_chunks, by_persona
from mpta_pipeline.metrics.samples.compact import CompactFrame
from mpta_pipeline.metrics.samples.direct_estimates import DirectEstimates
from mpta_pipeline.metrics.samples.item_features import with_facts, with_places


@dataclass(frozen=True)
class Answers:
    """Order-balanced answers of one model and task.

    Attributes:
        units: The answers for persons, with the features of their items, their controls and `ceiling`; without `mass`
            and `votes`, which the features are made from.
        model: The model.
        task: The task.
        keyed: Every score has an answer key.
        direct: Shares that the model states for described groups; None if it was not asked.
    """

    units: Units
    model: str
    task: str
    keyed: bool
    direct: DirectEstimates | None


def gather(
    scores: pl.DataFrame | Iterable[pl.DataFrame],
    *,
    items: pl.DataFrame | None = None,
    ceiling: pl.DataFrame | None = None,
    retest: pl.DataFrame | None = None,
) -> Answers | None:
    """Gather the answers; None without any. The arguments are those of `estimates.compute_estimates`."""
    stated: list[pl.DataFrame] = []

    def finished(units: Units) -> Units:
        units = units.on(with_controls(units.frame))
        units = units.on(with_facts(units, items, retest))
        nothing = np.zeros((units.frame.height, 0))
        # All that needs these has been computed.
        units = replace(units, mass=nothing, votes=nothing)
        return units.on(CompactFrame.of(_with_ceiling(units.frame, ceiling).drop("places")))

    made = balance_chunks(
        _people_of(by_persona(scores) if isinstance(scores, pl.DataFrame) else scores, stated), finished=finished
    )
    if made is None:
        return None
    assert isinstance(made.units.frame, CompactFrame)
    units = made.units.on(with_places(made.units.frame, items))
    return Answers(units, made.model, made.task, made.keyed, DirectEstimates.joined(stated))


def _people_of(chunks: Iterable[pl.DataFrame], stated: list[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Pass on the answers for persons, and keep the shares that are stated for groups in `stated`."""
    for chunk in chunks:
        if (direct := DirectEstimates.read(chunk)) is not None:
            stated.append(direct.frame)
        yield of_people(of_control(chunk))


def _with_ceiling(units: pl.DataFrame | CompactFrame, ceiling: pl.DataFrame | None) -> pl.DataFrame:
    assert isinstance(units, pl.DataFrame)
    if ceiling is None:
        return units.with_columns(pl.lit(None, pl.Float64).alias("ceiling"))
    return units.join(ceiling, on=["survey", "item_id", "respondent_id"], how="left", maintain_order="left")
