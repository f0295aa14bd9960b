"""How unequally a model serves the groups of each dimension."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpta_pipeline.report.context import Report, unequal_metrics
from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% from "macros.html" import id, value with context %}
<p>The worst of several groups is always below the average, and small groups differ widely even if the model serves all equally well. The number in round brackets is therefore the value that chance alone
  produces: people are assigned at random to groups of the same sizes, and the questions that each group finds hard are redrawn. The share of variance between groups (ε²) is also given for people's own answers.</p>
<div class="scroll" role="group" tabindex="0" aria-label="Inequality between subgroups">
<table>
  <caption>{{ words.opening(labels.task(task)) }}, {{ labels.survey(survey) }}, {{ words.condition(view.conditions[0]) }}; one row per dimension.</caption>
  <thead><tr><th scope="col">Dimension</th>{% for m in unequal %}<th scope="col">{{ words.opening(view.metric(m)) }}</th>{% endfor %}<th scope="col">Trace</th></tr></thead>
  {% for model, rows in inequality %}
  <tbody>
  <tr class="block"><th scope="colgroup" colspan="{{ 2 + unequal | length }}">{{ model }}</th></tr>
  {% for dimension, estimates in rows %}
  <tr><th scope="row">{{ labels.dimension(dimension) }}</th>
    {% for m in unequal %}<td>{% if m in estimates %}{{ value(estimates[m], view.share(m)) }}{% if estimates[m].baselines.get("human") is not none %} <span class="sub">({{ words.BASELINES["human"] }} {{ words.number(estimates[m].baselines["human"], share=view.share(m), unit=False) }})</span>{% endif %}{% if estimates[m].baselines.get("permutation_null") is not none and "permutation_null" in estimates[m].baselines %} <span class="sub">({{ words.number(estimates[m].baselines["permutation_null"], share=view.share(m), unit=False) }})</span>{% endif %}{% else %}{{ words.NOTHING }}{% endif %}</td>{% endfor %}<td>{{ id(estimates.values() | first) }}</td></tr>
  {% endfor %}
  </tbody>
  {% endfor %}
</table>
</div>
"""


def data(report: Report, task: str, survey: str) -> Mapping[str, Any] | None:
    """The estimates of whole dimensions, by model and dimension."""
    mine = report.of(task, survey)
    unequal = unequal_metrics(mine)
    rows = [row for row in mine if row.metric in unequal and row.of_dimension]
    rows = [row for row in rows if row.condition == report.lead(task, survey)]
    inequality = [
        (model, [(block.dimension, {row.metric: row for row in block.rows}) for block in report.blocks(of_model)])
        for model in report.models_of(task, survey)
        if (of_model := [row for row in rows if row.model == model])
    ]
    return {"inequality": inequality, "unequal": report.ordered(unequal)} if inequality else None


SECTION = Section(
    name="inequality",
    order=20,
    title="How unequally subgroups are served",
    template=TEMPLATE,
    place="task",
    data=data,
)
