"""All other metrics for everyone, by model and condition. The explorer has their subgroups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from mpta_pipeline.report.context import (
    DISTANCES,
    HEADLINE,
    OF_GROUPS,
    POLLS,
    RELIABILITY,
    Report,
    unequal_metrics,
)
from mpta_pipeline.report.rows import ALL, Estimate
from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% from "macros.html" import id, value with context %}
<div class="scroll" role="group" tabindex="0" aria-label="Further estimates">
<table>
  <caption>Everyone together, with {{ view.confidence }} intervals. <a href="#metrics">Definitions of the metrics</a> are at the end.</caption>
  <thead><tr><th scope="col">Metric</th><th scope="col">Model</th>{% for c in view.conditions %}<th scope="col">{{ words.opening(words.condition(c)) }}</th>{% endfor %}<th scope="col">Baselines</th><th scope="col">Better</th><th scope="col">Trace</th></tr></thead>
  <tbody>
  {% for m in further %}{% for model, estimates in m.everyone %}
  <tr><th scope="row"><a href="#explore" data-view="{{ m.view }}">{{ view.metric(m.metric) }}</a></th><td>{{ model }}</td>
    {% for c in view.conditions %}<td class="ci">{% if c in estimates %}{{ value(estimates[c], m.share) }}{% else %}{{ words.NOTHING }}{% endif %}</td>{% endfor %}
    <td class="sub">{{ view.beside(estimates.values() | first) or words.NOTHING }}</td><td>{{ view.better(m.metric) }}</td><td>{{ id(estimates.values() | first) }}</td></tr>
  {% endfor %}{% endfor %}
  </tbody>
</table>
</div>
<noscript><p>The estimates by subgroup of these metrics are in the warehouse; with scripts, this page draws them.</p></noscript>
"""


@dataclass(frozen=True)
class Further:
    """A further metric of a task and survey: everyone by model and condition, and the address of its subgroups."""

    metric: str
    share: bool
    everyone: Sequence[tuple[str, Mapping[str, Estimate]]]
    view: str


def data(report: Report, task: str, survey: str) -> Mapping[str, Any] | None:
    """The metrics that have no section of their own."""
    mine = report.of(task, survey)
    elsewhere = {HEADLINE, *RELIABILITY, *OF_GROUPS, *(f"{name}_excess" for name in DISTANCES)}
    names = report.ordered({row.metric for row in mine} - elsewhere - unequal_metrics(mine))
    further = [_further(report, metric, task, survey) for metric in names]
    further = [metric for metric in further if metric.everyone]
    return {"further": further} if further else None


def _further(report: Report, metric: str, task: str, survey: str) -> Further:
    models, mine = report.models_of(task, survey), report.of(task, survey)
    # Distances for everyone, and the poll metrics made from them, have their own tables.
    shown_elsewhere = metric in (*DISTANCES, *POLLS)
    everyone = [row for row in mine if row.metric == metric and row.dimensions == ALL and not shown_elsewhere]
    return Further(
        metric=metric,
        share=report.share(metric),
        everyone=[
            (model, by_condition)
            for model in models
            if (by_condition := report.by_condition([row for row in everyone if row.model == model]))
        ],
        view=urlencode({"task": task, "survey": survey, "metric": metric, "condition": report.lead(task, survey)}),
    )


SECTION = Section(
    name="further",
    order=70,
    title="Further estimates",
    template=TEMPLATE,
    place="task",
    data=data,
)
