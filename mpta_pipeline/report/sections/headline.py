"""Accuracy of everyone by model, task and survey, under each condition, with the baselines."""

from __future__ import annotations

from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% from "macros.html" import id with context %}
{% if view.headlines %}
<div class="scroll" role="group" tabindex="0" aria-label="Headline table">
<table>
  <caption>Share of right answers, everyone together, with {{ view.confidence }} interval; effect of the persona in percentage points. Baselines are computed for the
    same answers as the column “{{ words.condition(view.conditions[0]) if view.conditions else "" }}”. “In the group” is unweighted and uses the study's best dimension
    that the task does not ask about.</caption>
  <thead><tr>
    <th scope="col">Model</th><th scope="col">Task · survey</th>
    {% for c in view.conditions %}<th scope="col">{{ words.opening(words.condition(c)) }}</th>{% endfor %}
    <th scope="col">Effect of<br>the persona</th>
    <th scope="col" class="n">Chance</th><th scope="col" class="n">Most frequent<br>answer</th>
    <th scope="col" class="n">… in the<br>group</th>
    <th scope="col" class="n">People ×<br>questions</th>
  </tr></thead>
  <tbody>
  {% for h in view.headlines %}
  <tr class="said{% if h.lead.small %} small-cell{% endif %}">
    <th scope="row">{{ labels.model(h.model) }}</th>
    <td>{{ labels.task(h.task) }}{% if h.task in view.samples %} <span class="badge">sample items</span>{% endif %}<br><span class="sub">{{ labels.survey(h.survey) }}{% if not h.lead.weighted %}, unweighted{% endif %}</span></td>
    {% for c in view.conditions %}
    <td class="ci">{% if c in h.by_condition %}{{ words.number(h.by_condition[c].estimate, share=True) }}{% if h.by_condition[c].low is not none %}<br><span class="sub">{{ words.interval(h.by_condition[c].low, h.by_condition[c].high, share=True) }}</span>{% endif %}{% if h.by_condition[c].unweighted is not none %}<br><span class="sub">unweighted {{ words.number(h.by_condition[c].unweighted, share=True) }}</span>{% endif %}<br>{{ id(h.by_condition[c]) }}{% else %}{{ words.NOTHING }}{% endif %}</td>
    {% endfor %}
    <td class="ci">{{ words.number(h.lead.effect, share=True, signed=True) }}<br><span class="sub">{{ words.interval(h.lead.effect_low, h.lead.effect_high, share=True, signed=True) }}</span></td>
    <td class="n">{{ words.number(h.lead.baselines.get("chance"), share=True) }}</td>
    <td class="n">{{ words.number(h.lead.baselines.get("item_mode"), share=True) }}</td>
    <td class="n">{{ words.number(h.group_mode, share=True) }}{% if h.group_mode is not none %}<br><span class="sub">{{ labels.dimension(h.group_mode_by) }}</span>{% endif %}</td>
    <td class="n">{{ words.count(h.lead.n_personas) }} × {{ words.count(h.lead.n_items) }}</td>
  </tr>
  <tr class="says"><td colspan="{{ 7 + view.conditions | length }}"><span>{{ h.verdict }}{% if h.effect %}; {{ h.effect }}{% endif %}</span></td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
{% else %}
<p>{% if view.cells %}No task of this study has answer options, so there is no share of right answers.{% else %}No estimates yet.{% endif %}</p>
{% endif %}
"""


SECTION = Section(
    name="headline",
    order=30,
    title="Headline",
    template=TEMPLATE,
)
