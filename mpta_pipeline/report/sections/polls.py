"""Metrics of published benchmarks of simulated people: representativeness, similarity, SimBench."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpta_pipeline.report.context import POLLS, Report
from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% from "macros.html" import id, value with context %}
<p>Metrics that published benchmarks of simulated people report, computed from the same answers. Compare every estimate with the column “People against people”:
  a second sample of people, as large as the model's, agrees with people no better than that.</p>
<div class="scroll" role="group" tabindex="0" aria-label="Measured as a poll">
<table>
  <caption>Everyone together, with {{ view.confidence }} intervals; {{ labels.task(task) }}, {{ labels.survey(survey) }}.</caption>
  <thead><tr><th scope="col">Metric</th><th scope="col">Condition</th><th scope="col">Estimate [{{ view.confidence }}]</th><th scope="col" class="n">Equal shares</th>
    <th scope="col" class="n">Most frequent<br>answer</th><th scope="col" class="n">People against<br>people</th><th scope="col">Trace</th></tr></thead>
  {% for model, rows in polls %}
  <tbody>
  <tr class="block"><th scope="colgroup" colspan="7">{{ model }}</th></tr>
  {% for estimate in rows %}
  <tr{% if estimate.small %} class="small-cell"{% endif %}>
    <th scope="row">{{ words.opening(view.metric(estimate.metric)) }}</th><td>{{ words.condition(estimate.condition) }}</td>
    <td class="ci">{{ value(estimate, False) }}{% if "mean_wording" in estimate.baselines %} <span class="sub">mean of the wordings {{ words.number(estimate.baselines["mean_wording"], share=False) }}</span>{% endif %}</td>
    <td class="n">{{ words.number(estimate.baselines.get("uniform", estimate.baselines.get("chance")), share=False) }}</td>
    <td class="n">{{ words.number(estimate.baselines.get("majority"), share=False) }}</td>
    <td class="n">{{ words.number(estimate.baselines.get("sampling_floor"), share=False) }}</td><td>{{ id(estimate) }}</td>
  </tr>
  {% endfor %}
  </tbody>
  {% endfor %}
</table>
</div>
"""


def data(report: Report, task: str, survey: str) -> Mapping[str, Any] | None:
    """Per model, the metrics that published benchmarks would report for everyone."""
    found = report.by_order(POLLS, report.of(task, survey))
    models = report.models_of(task, survey)
    polls = [(model, rows) for model in models if (rows := [row for row in found if row.model == model])]
    return {"polls": polls} if polls else None


SECTION = Section(
    name="polls",
    order=50,
    title="Measured as a poll",
    template=TEMPLATE,
    place="task",
    data=data,
)
