"""Published figures beside the study's own estimates: one row per figure, model and survey.

A figure to which no estimate belongs has one row that says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mpta_pipeline.core.published_figures import NeededFile, Ours, PublishedFigure, PublishedStudy
from mpta_pipeline.report import phrases
from mpta_pipeline.report.rows import Estimate

if TYPE_CHECKING:
    from mpta_pipeline.report.context import Report

NOT_AT_HAND = "not at hand"
"""What stands in place of a published value that nobody has looked up."""


@dataclass(frozen=True)
class Compared:
    """A published figure beside one own estimate, or beside none.

    Attributes:
        figure: The published figure.
        row: The estimate; None if there is none.
        estimate: Its value: the model's, a baseline's or the effect.
        low: Lower end of its interval; None for baselines.
        high: Upper end.
        why: Why there is no value; empty if there is one.
    """

    figure: PublishedFigure
    row: Estimate | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    why: str = ""

    @property
    def difference(self) -> float | None:
        """Ours minus published; None unless both are known."""
        known = self.estimate is not None and self.figure.value is not None
        return self.estimate - self.figure.value if known else None  # type: ignore[operator]

    @property
    def verdict(self) -> str:
        """How near the two are, in words; empty if that cannot be said."""
        if self.difference is None or self.figure.value is None:
            return ""
        if self.figure.tolerance is not None:
            near = abs(self.difference) <= self.figure.tolerance
            return f"{'within' if near else 'beyond'} the tolerance"
        if self.low is None or self.high is None:
            return ""
        inside = self.low <= self.figure.value <= self.high
        return f"published value {'within' if inside else 'outside'} our interval"


def compared(report: Report, published: PublishedStudy) -> list[Compared]:
    """The figures in the order of the file, each with all models and surveys."""
    return [row for figure in published.figures for row in _of(report, figure)]


def _of(report: Report, figure: PublishedFigure) -> list[Compared]:
    ours = figure.ours
    if ours is None:
        return [Compared(figure, why="no estimate of this study is comparable")]
    found = [
        _with(figure, ours, row)
        for row in report.estimates
        if (row.task, row.metric, row.condition, row.dimensions, row.subgroup)
        == (ours.task, ours.metric, ours.condition, ours.dimensions, ours.subgroup)
        and (ours.baseline is None or ours.baseline in row.baselines)
    ]
    found.sort(key=lambda one: (one.row is not None and one.row.model in report.controls, _name(one)))
    return found or [Compared(figure, why=_absent(report, ours))]


def _name(one: Compared) -> tuple[str, str]:
    return ("", "") if one.row is None else (one.row.model, one.row.survey)


def _with(figure: PublishedFigure, ours: Ours, row: Estimate) -> Compared:
    if ours.baseline is not None:
        value = row.baselines[ours.baseline]
        return Compared(figure, row, value, why="" if value is not None else "the baseline is undefined")
    if ours.value == "effect":
        why = "" if row.effect is not None else "there are no answers without a persona to compare with"
        return Compared(figure, row, row.effect, row.effect_low, row.effect_high, why)
    why = "" if row.estimate is not None else row.note or "the estimate is undefined"
    return Compared(figure, row, row.estimate, row.low, row.high, why)


def _absent(report: Report, ours: Ours) -> str:
    """Why no estimate belongs to a selection: the first of its parts that no estimate has."""
    rows = [row for row in report.estimates if row.task == ours.task]
    if ours.task not in report.study.tasks:
        return f"study.yaml has no task {ours.task}"
    if not rows:
        return f"task {ours.task} has no estimates: it was not run, or its item file is absent"
    for what, column, value in (
        ("metric", "metric", ours.metric),
        ("condition", "condition", ours.condition),
        ("dimension", "dimensions", ours.dimensions),
        ("subgroup", "subgroup", ours.subgroup),
    ):
        left = [row for row in rows if getattr(row, column) == value]
        if not left:
            return f"no estimate of {what} {value} in task {ours.task}; there are: {_few(rows, column)}"
        rows = left
    known = sorted({name for row in rows for name in row.baselines})
    return f"metric {ours.metric} has no baseline {ours.baseline}; there are: {', '.join(known) or 'none'}"


def _few(rows: list[Estimate], column: str, most: int = 8) -> str:
    known = sorted({getattr(row, column) for row in rows})
    return ", ".join(known[:most]) + (f" and {len(known) - most} more" if len(known) > most else "")


def missing(report: Report, published: PublishedStudy) -> list[NeededFile]:
    """The files of the published study that this one was made without."""
    waves = report.frames["waves"]
    present = {*waves["survey"], *waves["wave"]}
    items = report.frames["items"]
    with_items = set(items.filter(~items["sample_item"])["task"]) if items.height else set()
    return [
        one
        for one in published.files
        if (one.task not in with_items if one.task is not None else (one.wave or one.survey) not in present)
    ]


def as_rows(report: Report, published: PublishedStudy | None) -> list[dict[str, Any]]:
    """The comparison as plain values, for the record of the report, the terminal and `--json`."""
    if published is None:
        return []
    return [_plain(report, one) for one in compared(report, published)]


def _plain(report: Report, one: Compared) -> dict[str, Any]:
    figure, row = one.figure, one.row
    share = figure.ours is not None and report.share(figure.ours.metric)
    return {
        "figure": figure.name,
        "of": figure.of,
        "published": figure.value,
        "published_se": figure.se,
        "claim": figure.claim,
        "source": figure.source,
        "selection": "" if figure.ours is None else figure.ours.text,
        "model": None if row is None else row.model,
        "control": row is not None and row.model in report.controls,
        "survey": None if row is None else row.survey,
        "estimate": one.estimate,
        "ci_low": one.low,
        "ci_high": one.high,
        "difference": one.difference,
        "verdict": one.verdict,
        "estimate_id": None if row is None else row.estimate_id,
        "n_personas": None if row is None else row.n_personas,
        "n_items": None if row is None else row.n_items,
        "why": one.why,
        "note": figure.note,
        "shown": {
            "published": said(figure, share=share),
            "estimate": value(figure, one.estimate, share=share)
            if one.estimate is not None
            else f"{phrases.NOTHING} {one.why}",
            "interval": phrases.interval(one.low, one.high, share=share, signed=of_effect(figure)),
            "difference": phrases.number(one.difference, share=share, signed=True),
        },
    }


def said(figure: PublishedFigure, *, share: bool) -> str:
    """The published value as it is shown: a number, or that it is not at hand."""
    if figure.value is None:
        return figure.claim or NOT_AT_HAND
    return value(figure, figure.value, share=share)


def value(figure: PublishedFigure, number: float | None, *, share: bool) -> str:
    """A value of a figure: in percent, or for an effect on a share in signed percentage points."""
    if not of_effect(figure):
        return phrases.number(number, share=share)
    points = " points" if share and number is not None else ""
    return phrases.number(number, share=share, signed=True) + points


def of_effect(figure: PublishedFigure) -> bool:
    """Whether a figure is a difference from the answers without a persona."""
    return figure.ours is not None and figure.ours.value == "effect"
