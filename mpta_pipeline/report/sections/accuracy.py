"""Accuracy by subgroup of each task: how many groups differ, and a table for readers without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from mpta_pipeline.core.vocabulary import VERDICTS
from mpta_pipeline.report import phrases
from mpta_pipeline.report.context import HEADLINE, SHOWN_MODELS, Report
from mpta_pipeline.report.rows import Estimate
from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% for model, sentence in sentences if sentence %}<p class="printed"><b>{{ labels.model(model) }}</b>: {{ sentence }}</p>
{% endfor %}
{% if subgroups %}
<p><a href="#explore" data-view="{{ link }}">Chart of the subgroups</a></p>
<noscript>
<div class="scroll" role="group" tabindex="0" aria-label="Accuracy by subgroup">
<table>
  <caption>Accuracy on {{ labels.task(task) }}, {{ labels.survey(survey) }}, by subgroup, with {{ view.confidence }} interval, the comparison with everyone else and the id for <code>mpta trace</code>. Grey cells have few people.</caption>
  <thead><tr><th scope="col">Subgroup</th><th scope="col" class="n">People</th>{% for model in models %}<th scope="col">{{ labels.model(model) }}</th>{% endfor %}<th scope="col" class="n">Chance</th><th scope="col" class="n">Most frequent<br>answer</th></tr></thead>
  {% for dimension, rows in subgroups %}
  <tbody>
  {% if dimension != "all" %}<tr class="block"><th scope="colgroup" colspan="{{ 4 + models | length }}">{{ words.opening(labels.dimension(dimension)) }}</th></tr>{% endif %}
  {% for row in rows %}
  {% set one = row.values() | first %}
  <tr{% if row.values() | selectattr("small") | list | length == row | length and not row.values() | selectattr("verdict", "equalto", "gap") | list %} class="small-cell"{% endif %}><th scope="row">{{ labels.subgroup(one.dimensions, one.subgroup) }}</th><td class="n">{{ words.count(one.n_personas) }}</td>
  {% for model in models %}{% set e = row.get(model) %}<td>{% if e %}{{ words.number(e.estimate, share=True) }} <span class="sub">{{ words.interval(e.low, e.high, share=True) }}{% if e.unweighted is not none %} unweighted {{ words.number(e.unweighted, share=True) }}{% endif %}{% if e.note %} {{ e.note }}{% endif %}{% if e.verdict %}<br>{% if e.verdict == "gap" %}<b>{{ words.VERDICTS[e.verdict] }}</b>{% else %}{{ words.VERDICTS[e.verdict] }}{% endif %} {% if e.gap_apart is not none %}{{ words.number(e.gap_apart, share=True, signed=True) }} without the groups that stand out, {% endif %}{{ words.number(e.gap, share=True, signed=True) }}{% if e.gap_apart is not none %} with{% endif %}{% endif %}<br></span><code class="id">{{ e.estimate_id }}</code>{% else %}{{ words.NOTHING }}{% endif %}</td>{% endfor %}
  <td class="n">{{ words.number(one.baselines.get("chance"), share=True) }}</td><td class="n">{{ words.number(one.baselines.get("item_mode"), share=True) }}</td></tr>
  {% endfor %}
  </tbody>
  {% endfor %}
</table>
</div>
{% if n_models > models | length %}<p>The table shows the first {{ models | length }} of {{ n_models }} models; the warehouse has all.</p>{% endif %}
</noscript>
{% else %}
<p>No accuracy was computed for this task.</p>
{% endif %}
"""


def data(report: Report, task: str, survey: str) -> Mapping[str, Any]:
    """How many groups differ, per model, and one table of subgroups with a column per model."""
    lead = report.lead(task, survey)
    mine = [row for row in report.of(task, survey) if (row.metric, row.condition) == (HEADLINE, lead)]
    found = {row.model for row in mine}
    every = [model for model in report.models if model in found]
    models = every[:SHOWN_MODELS]
    shown = report.blocks([row for row in mine if row.model in models])
    return {
        "sentences": [(m, gaps(report, [row for row in mine if row.model == m])) for m in models],
        "subgroups": [(block.dimension, _side_by_side(block.rows)) for block in shown],
        "models": models,
        "n_models": len(every),
        "link": urlencode({"task": task, "survey": survey, "metric": HEADLINE, "condition": lead}),
    }


def _side_by_side(rows: Sequence[Estimate]) -> list[dict[str, Estimate]]:
    """Per subgroup, in the order of the rows: model → estimate."""
    found: dict[str, dict[str, Estimate]] = {}
    for row in rows:
        found.setdefault(row.subgroup, {})[row.model] = row
    return list(found.values())


def gaps(report: Report, rows: Sequence[Estimate]) -> str:
    """How many of a model's subgroups differ from everyone else, in a sentence; empty if none was tested."""
    tested = [row for row in rows if row.verdict is not None]
    if not tested:
        return ""
    n = {verdict: sum(row.verdict == verdict for row in tested) for verdict in VERDICTS}
    margin = phrases.number(report.study.figures.equivalence_margin, share=True, unit=False)
    differ = f"{n['gap']} {'differs' if n['gap'] == 1 else 'differ'}"
    alike = f"{n['no_gap']} {'is' if n['no_gap'] == 1 else 'are'}"
    return (
        f"Of {len(tested)} subgroups compared with everyone else, {differ}, {alike} shown to be within {margin} "
        f"points, and {n['inconclusive']} cannot be decided because there are too few data."
    )


SECTION = Section(
    name="subgroups",
    order=10,
    title="Accuracy by subgroup",
    template=TEMPLATE,
    place="task",
    data=data,
)
