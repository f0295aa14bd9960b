"""Population fidelity by dimension."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpta_pipeline.report.context import FIDELITY, OF_GROUPS, Report
from mpta_pipeline.report.rows import Estimate
from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% from "macros.html" import id with context %}
<div class="scroll" role="group" tabindex="0" aria-label="Population fidelity">
<table>
  <caption>Population fidelity by dimension, {{ words.condition(view.conditions[0]) }}: whether the model's groups answer as people's groups do (accuracy), differ as much from each other (adaptability)
    and come in the same order (structure). The lowest of the three lowers the score most. In brackets: the value of a second sample of people.</caption>
  <thead><tr><th scope="col">Model</th><th scope="col">Dimension</th><th scope="col">Score</th><th scope="col">Accuracy</th><th scope="col">Adaptability</th><th scope="col">Structure</th><th scope="col">Lowest part</th>
    <th scope="col">Consistency</th><th scope="col">Trace</th></tr></thead>
  <tbody>
  {% for model, dimension, estimates, smallest in fidelity %}
  <tr><th scope="row">{{ model }}</th><td>{{ labels.dimension(dimension) }}</td>
    {% for m in ["pfs", "pfs_accuracy", "pfs_adaptability", "pfs_structure"] %}<td>{% if m in estimates %}{{ words.number(estimates[m].estimate, share=False) }} <span class="sub">({{ words.number(estimates[m].baselines.get("second_sample"), share=False) }})</span>{% else %}{{ words.NOTHING }}{% endif %}</td>{% endfor %}
    <td>{{ smallest or words.NOTHING }}</td>
    <td>{% if "consistency" in estimates %}{{ words.number(estimates["consistency"].estimate, share=True) }} <span class="sub">(chance {{ words.number(estimates["consistency"].baselines.get("chance"), share=True) }})</span>{% else %}{{ words.NOTHING }}{% endif %}</td>
    <td>{{ id(estimates.values() | first) }}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
"""


def data(report: Report, task: str, survey: str) -> Mapping[str, Any] | None:
    """Model, dimension, estimates of fidelity, and the name of the lowest part."""
    lead = report.lead(task, survey)
    mine = [row for row in report.of(task, survey) if row.metric in OF_GROUPS and row.condition == lead]
    fidelity: list[tuple[str, str, Mapping[str, Estimate], str]] = []
    for model in report.models_of(task, survey):
        for block in report.blocks([row for row in mine if row.model == model]):
            by_metric = {row.metric: row for row in block.rows}
            parts = {m: x.estimate for m in FIDELITY[1:] if (x := by_metric.get(m)) and x.estimate is not None}
            smallest = min(parts, key=parts.__getitem__).removeprefix("pfs_") if parts else ""
            fidelity.append((model, block.dimension, by_metric, smallest))
    return {"fidelity": fidelity} if fidelity else None


SECTION = Section(
    name="fidelity",
    order=60,
    title="Population fidelity",
    template=TEMPLATE,
    place="task",
    data=data,
)
