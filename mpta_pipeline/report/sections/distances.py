"""Distance between a model's answers and people's own answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpta_pipeline.report.context import DISTANCES, Report
from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% from "macros.html" import id, value with context %}
<p>The distance between the model's answers and the distribution of the survey's own answers; 0 means that both are the same. Two finite samples never agree
  exactly: “{{ words.BASELINES["sampling_floor"] }}” is the distance that a model would have even if it answered exactly as people do. This baseline and even guessing are computed with as
  few answers as the model gave. With fewer answers, distances are larger. Compare a distance with these baselines only; never compare distances, or their excess over sampling alone, between groups of different size.</p>
{% for model, table in distances %}
{{ charts.legend(table.marks, words.BASELINES, other=table.weighted, confidence=view.confidence) }}
<div class="scroll" role="group" tabindex="0" aria-label="Distances of {{ model }}">
<table>
  <caption><b>{{ model }}</b>: distance between its answers and those of the respondents, averaged over questions, everyone together.</caption>
  <thead><tr><th scope="col">Condition</th><th scope="col" class="chart">{{ charts.axis(table.axis) }}</th>
    <th scope="col">Estimate [{{ view.confidence }}]</th><th scope="col" class="n">Sampling alone</th><th scope="col" class="n">Even guessing</th><th scope="col" class="n">Most frequent<br>answer</th><th scope="col" class="n">People</th><th scope="col">Trace</th></tr></thead>
  {% for block in table.blocks %}
  <tbody>
  <tr class="block"><th scope="colgroup" colspan="8">{{ view.metric(block.dimension) }}</th></tr>
  {% for estimate in block.rows %}
  <tr{% if estimate.small %} class="small-cell"{% endif %}>
    <th scope="row">{{ words.condition(estimate.condition) }}</th>
    <td class="chart">{{ table.strip(estimate) }}</td><td class="ci">{{ value(estimate, False) }}</td>
    <td class="n">{{ words.number(estimate.baselines.get("sampling_floor"), share=False) }}</td>
    <td class="n">{{ words.number(estimate.baselines.get("chance"), share=False) }}</td>
    <td class="n">{{ words.number(estimate.baselines.get("majority"), share=False) }}</td><td class="n">{{ words.count(estimate.n_people) }}</td><td>{{ id(estimate) }}</td>
  </tr>
  {% endfor %}
  </tbody>
  {% endfor %}
</table>
</div>
<p class="sub">{{ (table.blocks | first).rows[0].method }}.</p>
{% endfor %}
"""


def data(report: Report, task: str, survey: str) -> Mapping[str, Any] | None:
    """Per model, the distances of everyone to the survey's own distribution, all on one axis."""
    found = report.by_order(DISTANCES, report.of(task, survey))
    distances = [
        (model, report.forest(DISTANCES[0], of_model, found, by_metric=True))
        for model in report.models_of(task, survey)
        if (of_model := [row for row in found if row.model == model])
    ]
    return {"distances": distances} if distances else None


SECTION = Section(
    name="distances",
    order=30,
    title="Distance to what people answered",
    template=TEMPLATE,
    place="task",
    data=data,
)
