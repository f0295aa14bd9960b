"""Published figures beside the study's own, and the published design beside that of the study."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from mpta_pipeline.report.context import Report
from mpta_pipeline.report.published import Compared, compared, missing, of_effect, said, value
from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% from "macros.html" import id with context %}
<p>{{ published.citation }}. {{ published.address }}. A difference can come from the model, the people, the questions or the design; the table below says in what the designs differ.
  A published value that is not at hand was not looked up by anybody: the source says where it is.</p>
{% if absent %}
<p><b>Made without these files of the published study:</b></p>
<ul>
{% for one in absent %}<li>{{ one.file }}, from {{ one.address }}{% if one.note %}. {{ one.note }}{% endif %}</li>
{% endfor %}</ul>
{% endif %}
<div class="scroll" role="group" tabindex="0" aria-label="Published and ours">
<table>
  <caption>Published figures and this study's own, with {{ view.confidence }} intervals. The difference is ours minus the published value.</caption>
  <thead><tr><th scope="col">Model · survey</th><th scope="col">Ours</th><th scope="col" class="n">Difference</th><th scope="col">Reading</th><th scope="col" class="n">People × questions</th><th scope="col">Trace</th></tr></thead>
  {% for figure, share, rows in figures %}
  <tbody>
  <tr class="block"><th scope="colgroup" colspan="6">{{ figure.name }}{% if figure.of %} · {{ figure.of }}{% endif %}: published {{ said(figure, share=share) }}{% if figure.se is not none %} (standard error {{ words.number(figure.se, share=share) }}){% endif %}</th></tr>
  <tr><td colspan="6"><span class="sub">{{ figure.source }}{% if figure.value is not none and figure.claim %}. {{ figure.claim }}{% endif %}{% if figure.note %}. {{ figure.note }}{% endif %}{% if figure.ours %}. Ours: <code>{{ figure.ours.text }}</code>{% endif %}</span></td></tr>
  {% for one in rows %}
  {% if one.row %}
  <tr{% if one.row.small %} class="small-cell"{% endif %}><th scope="row">{{ labels.model(one.row.model) }}<br><span class="sub">{{ labels.survey(one.row.survey) }}</span></th>
    <td class="ci">{{ value(figure, one.estimate, share=share) }} <span class="sub">{{ words.interval(one.low, one.high, share=share, signed=of_effect(figure)) }}{{ one.why }}</span></td>
    <td class="n">{{ words.number(one.difference, share=share, signed=True) }}</td><td>{{ one.verdict or words.NOTHING }}</td>
    <td class="n">{{ words.count(one.row.n_personas) }} × {{ words.count(one.row.n_items) }}</td><td>{{ id(one.row) }}</td></tr>
  {% else %}
  <tr><td colspan="6">Nothing of ours: {{ one.why }}.</td></tr>
  {% endif %}
  {% endfor %}
  </tbody>
  {% endfor %}
</table>
</div>
{% if published.design %}
<div class="scroll" role="group" tabindex="0" aria-label="Design as published and here">
<table>
  <caption>The design as published and in this study.</caption>
  <thead><tr><th scope="col"></th><th scope="col">Published</th><th scope="col">Here</th><th scope="col">Why it differs</th></tr></thead>
  <tbody>
  {% for row in published.design %}
  <tr><th scope="row">{{ row.what }}</th><td>{{ row.published }}</td><td>{{ row.here }}</td><td>{{ row.why or words.NOTHING }}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
{% endif %}
"""


def data(report: Report) -> Mapping[str, Any] | None:
    """Each published figure with the own estimates beside it, and the files that are absent."""
    published = report.published
    if published is None:
        return None
    figures: list[tuple[Any, bool, list[Compared]]] = []
    for _, group in groupby(compared(report, published), key=lambda one: id(one.figure)):
        rows = list(group)
        figure = rows[0].figure
        figures.append((figure, figure.ours is not None and report.share(figure.ours.metric), rows))
    return {
        "published": published,
        "figures": figures,
        "absent": missing(report, published),
        "said": said,
        "value": value,
        "of_effect": of_effect,
    }


SECTION = Section(
    name="published",
    order=31,
    title="Published and ours",
    template=TEMPLATE,
    data=data,
)
