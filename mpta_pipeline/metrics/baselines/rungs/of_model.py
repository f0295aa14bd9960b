"""What the model says: asked once about the group, and as panels of personas."""

from __future__ import annotations

from mpta_pipeline.metrics.baselines.rival import Compared, Rival, Told


def _direct(of: Compared) -> Told:
    return Told(of.away(of.stated), of.picked(of.stated))


def _demographics_only(of: Compared) -> Told:
    return of.of_condition("demographics_only")


def _persona(of: Compared) -> Told:
    return Told(of.away(of.cells.model), of.column("credit"))


RIVALS = (
    Rival(name="direct_estimate", title="the model, asked once about the group", place=40, compare=_direct),
    Rival(name="demographics_only", title="panel with demographics only", place=50, compare=_demographics_only),
    Rival(name="persona", title="persona panel", place=60, compare=_persona),
)
