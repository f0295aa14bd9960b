"""Models × tasks: everyone's estimates as a sortable heat map with intervals, baselines and tie groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import polars as pl

from mpta_pipeline.report import charts, phrases
from mpta_pipeline.report.context import HEADLINE, Report
from mpta_pipeline.report.forest import Forest
from mpta_pipeline.report.rows import ALL, Estimate
from mpta_pipeline.report.section import Section

SHOWN = (HEADLINE, "tv", "refusal_rate", "error_rate", "parse_rate")
"""Metrics with a heat map, in this order. Those after the first one shown are folded."""
BANDS = 7
"""Shades of the heat map, `--s0` to `--s6` of the style sheet."""

TEMPLATE = """\
{% macro grid(g) %}
<figure class="chart grid" id="grid-{{ g.metric }}" data-title="{{ g.title }}">
<figcaption><strong>{{ g.title }}</strong>
<p>{{ "Share" if g.share else "Estimate" }} for everyone, {{ words.condition(g.condition) }}, with {{ view.confidence }} interval. {% if g.better %}{{ words.opening(g.better) }} is better. {% endif %}Darker is higher.
All strips have one axis, from {{ words.number(g.forest.axis.low, share=g.share) }} to {{ words.number(g.forest.axis.high, share=g.share) }}.
{% if g.tied %}In one column, models that share a letter cannot be told apart. {% endif %}Choose a number to see its subgroups{% if g.rows | length > 1 %}, a heading to sort{% endif %}.</p></figcaption>
{{ charts.legend(g.forest.marks, words.BASELINES, other=g.forest.weighted, confidence=view.confidence) }}
<div class="scroll" role="group" tabindex="0" aria-label="{{ g.title }}">
<table class="sortable">
  <caption class="unseen">{{ g.title }}</caption>
  <thead><tr><th scope="col" data-best="text">{% if g.rows | length > 1 %}<button type="button">Model</button>{% else %}Model{% endif %}</th>
  {% for task, survey in g.columns %}<th scope="col" data-best="{{ "low" if g.better == "lower" else "high" }}"{% if loop.first and g.rows | length > 1 %} aria-sort="{{ "ascending" if g.better == "lower" else "descending" }}"{% endif %}>{% set name %}{{ words.opening(labels.task(task)) }} <span class="sub">{{ labels.survey(survey) }}</span>{% endset %}{% if g.rows | length > 1 %}<button type="button">{{ name }}</button>{% else %}{{ name }}{% endif %}{% if task in view.samples %} <span class="badge">sample items</span>{% endif %}</th>{% endfor %}</tr></thead>
  {% for body in (g.rows, g.controls) if body %}
  <tbody>
  {% if loop.index == 2 or not g.rows %}<tr class="block"><th scope="colgroup" colspan="{{ 1 + g.columns | length }}">Controls: simulated, with known answers; not ranked</th></tr>{% endif %}
  {% for model, cells in body %}
  <tr><th scope="row" data-value="{{ model }}">{{ labels.model(model) }}</th>
  {% for c in cells %}{% if c %}<td class="cell" data-value="{{ c.row.estimate }}" data-band="{{ c.band }}" data-text="{{ words.number(c.row.estimate, share=g.share) }} {{ words.interval(c.row.low, c.row.high, share=g.share) }}{{ " " ~ c.tie if c.tie }}" data-csv="{{ words.number(c.row.estimate, share=g.share) }} {{ words.interval(c.row.low, c.row.high, share=g.share) }}{{ " " ~ c.tie if c.tie }}"><a href="#{{ c.anchor }}" data-view="{{ c.view }}"><b>{{ words.number(c.row.estimate, share=g.share) }}</b>{% if c.tie %} <span class="tie" title="tie group">{{ c.tie }}</span>{% endif %}<span class="range">{{ words.interval(c.row.low, c.row.high, share=g.share) }}</span></a>{{ g.forest.strip(c.row) }}</td>
  {% else %}<td data-value="">{{ words.NOTHING }}</td>{% endif %}{% endfor %}</tr>
  {% endfor %}
  </tbody>
  {% endfor %}
</table>
</div>
</figure>
{% endmacro %}
{{ grid(grids[0]) }}
{% for g in grids[1:] %}
<details>
<summary>{{ g.title }}</summary>
{{ grid(g) }}
</details>
{% endfor %}
"""


@dataclass(frozen=True)
class Cell:
    """One model on one task and survey.

    Attributes:
        row: The estimate for everyone.
        band: Shade, 0 to BANDS − 1.
        tie: Letter of the tie group; empty if there is none.
        anchor: Part of the page about the task and survey, for readers without scripts.
        view: Address of the cell's subgroups.
    """

    row: Estimate
    band: int
    tie: str
    anchor: str
    view: str


@dataclass(frozen=True)
class Grid:
    """A heat map: models by task and survey, for one metric.

    Attributes:
        rows: Model → a cell per column, None where there is no estimate.
        controls: The same for the controls, which have known answers and are never ranked.
    """

    metric: str
    title: str
    share: bool
    better: str
    condition: str
    columns: Sequence[tuple[str, str]]
    forest: Forest
    rows: Sequence[tuple[str, Sequence[Cell | None]]]
    controls: Sequence[tuple[str, Sequence[Cell | None]]]
    tied: bool


def data(report: Report) -> Mapping[str, Any] | None:
    """One heat map per metric."""
    grids = [grid for metric in SHOWN if (grid := _grid(report, metric)) is not None]
    return {"grids": grids} if grids else None


def _grid(report: Report, metric: str) -> Grid | None:
    found = {
        (row.model, row.task, row.survey): row
        for row in report.estimates
        if row.metric == metric and row.dimensions == ALL and row.condition == report.lead(row.task, row.survey)
    }
    if not found:
        return None
    columns = [cell for cell in report.cells if any(key[1:] == cell for key in found)]
    forest = report.forest(metric, list(found.values()), list(found.values()))
    ties = _ties(report, metric)
    anchors = {cell: f"s{place}" for place, cell in enumerate(report.cells, 1)}

    def cell(model: str, task: str, survey: str) -> Cell | None:
        row = found.get((model, task, survey))
        if row is None or row.estimate is None or not math.isfinite(row.estimate):
            return None
        tie = ties.get((model, task, survey, row.condition))
        view = {"task": task, "survey": survey, "metric": metric, "condition": row.condition, "models": model}
        return Cell(
            row,
            _band(forest.axis, row.estimate),
            "" if tie is None else phrases.letter(tie),
            anchors[task, survey],
            urlencode(view),
        )

    models = [model for model in report.models if any(key[0] == model for key in found)]
    made = [(model, [cell(model, *column) for column in columns]) for model in models]
    best = -1 if report.better(metric) != "lower" else 1
    ranked = [row for row in made if row[0] not in report.controls]
    ranked.sort(key=lambda row: (_place(row[1], best), row[0]))
    return Grid(
        metric=metric,
        title=f"{phrases.opening(report.metric(metric))} by model and task",
        share=report.share(metric),
        better=report.better(metric),
        condition=next(iter(found.values())).condition,
        columns=columns,
        forest=forest,
        rows=ranked,
        controls=[row for row in made if row[0] in report.controls],
        tied=any(c is not None and c.tie for _, cells in ranked for c in cells),
    )


def _place(cells: Sequence[Cell | None], best: int) -> float:
    """Where a model stands in the first column: best first, models without an estimate last."""
    first = cells[0].row.estimate if cells and cells[0] is not None else None
    return float("inf") if first is None else best * first


def _band(axis: charts.Axis, value: float) -> int:
    return min(max(int((value - axis.low) / (axis.high - axis.low) * BANDS), 0), BANDS - 1)


def _ties(report: Report, metric: str) -> dict[tuple[str, ...], int]:
    """(Model, task, survey, condition) → tie group, where several models were compared."""
    frame = report.frames["model_comparison"].filter(metric=metric)
    frame = frame.drop_nulls("tie_group").filter(pl.col("model").n_unique().over("task", "survey", "condition") > 1)
    rows = frame.select("model", "task", "survey", "condition", "tie_group").unique()
    return {row[:4]: row[4] for row in rows.iter_rows()}


SECTION = Section(
    name="grid",
    order=32,
    title="Models × tasks",
    template=TEMPLATE,
    data=data,
)
