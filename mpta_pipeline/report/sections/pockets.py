"""Hidden pockets: combinations of traits for which a model does worse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpta_pipeline.report.context import Report
from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% macro table(rows, caption) %}
<div class="scroll" role="group" tabindex="0" aria-label="{{ caption.split(",")[0] }}">
<table>
  <caption>{{ caption }}</caption>
  <thead><tr><th scope="col">Who</th><th scope="col">Model</th><th scope="col">Task · survey</th><th scope="col">What is worse</th><th scope="col" class="n">People</th>
    <th scope="col" class="n">Answers</th><th scope="col">Difference [{{ view.confidence }}]</th><th scope="col" class="n">Shrunken</th><th scope="col" class="n">e-value</th><th scope="col" class="n">q</th><th scope="col">The same pocket</th><th scope="col">State</th><th scope="col">Id</th></tr></thead>
  <tbody>
  {% for p in rows %}
  <tr{% if not p.confirmed %} class="small-cell"{% endif %}>
    <th scope="row">{{ labels.subgroup(p.dimensions, p.subgroup) }}<br><span class="sub">{{ labels.dimension(p.dimensions) }}</span></th>
    <td>{{ labels.model(p.model) }}</td><td>{{ labels.task(p.task) }} · {{ labels.survey(p.survey) }}<br><span class="sub">{{ words.condition(p.condition) }}</span></td>
    <td>{{ words.opening(words.outcome(p.outcome)) }}</td><td class="n">{{ words.count(p.n_personas) }}</td><td class="n">{{ words.count(p.n_answers) }}</td>
    <td class="ci">{{ words.number(p.difference, share=True, signed=True) }} <span class="sub">{{ words.interval(p.ci_low, p.ci_high, share=True, signed=True) }}</span></td>
    <td class="n">{{ words.number(p.shrunken_difference, share=True, signed=True) }}</td><td class="n">{{ words.evidence(p.e_value) }}</td><td class="n">{{ words.q(p.q_value) }}</td>
    <td>{% for o in p.others %}{{ labels.subgroup(o.dimensions, o.subgroup) }} <span class="sub">{{ words.outcome(o.outcome) }}, {{ words.number(o.difference, share=True, signed=True) }}{% if own.get(key(o)) %}, <a href="#{{ own[key(o)] }}">a card of its own</a>{% endif %}</span>{% if not loop.last %}<br>{% endif %}{% endfor %}</td><td>{{ "confirmed" if p.confirmed else "not confirmed" }}{% if p.e_confirmed %} <span class="sub">e-BH</span>{% endif %}{% if within.get(key(p)) %}<br><a href="#{{ within[key(p)] }}">card</a>{% endif %}</td><td><code class="id">{{ p.pocket_id }}</code></td>
  </tr>
  {% endfor %}
  </tbody>
</table>
</div>
{% endmacro %}
<p>Hidden pockets are combinations of traits for which a model does worse than for everyone else. They are searched on one half of the people and questions and tested on the other half. A pocket is
  confirmed only if the test half shows it, too, after correction for the number of tests. A group and a part of it, or one group found by several outcomes, count as one
  pocket unless each is worse without the other. Pockets are ranked by e-value, the evidence against chance: 20 and more is strong. “e-BH” marks pockets that are confirmed however the tests depend on each other.</p>
{% if pockets %}
{% set n_confirmed = pockets | selectattr("confirmed") | list | length %}
<p>{{ n_confirmed }} of {{ pockets | length }} candidates {{ "is" if n_confirmed == 1 else "are" }} confirmed{% if n_confirmed > confirmed | length %}, which are {{ confirmed | length }} {{ "pocket" if confirmed | length == 1 else "pockets" }}{% endif %}.{% if not confirmed %} They are therefore not findings: they are most likely due to chance.{% endif %}</p>
{% if confirmed %}{{ table(confirmed[:40], "Confirmed pockets, by e-value" ~ ("; the first 40 of " ~ (confirmed | length) if confirmed | length > 40 else "") ~ ". Differences are in percentage points, on the test half.") }}{% endif %}
{% if others %}
<details><summary>{{ others | length }} {{ "candidate that is" if others | length == 1 else "candidates that are" }} not confirmed</summary>
{{ table(others[:40], "Candidates that the test half does not confirm, by e-value" ~ ("; the first 40 of " ~ (others | length) if others | length > 40 else "") ~ ". Differences are in percentage points, on the test half.") }}
</details>
{% endif %}
{% else %}
<p>No pockets were searched for, or no candidate was large enough to be tested.</p>
{% endif %}
"""


def data(report: Report) -> Mapping[str, Any]:
    """The rows of the search, the leading row of each confirmed pocket, and the card in which each row stands."""
    own = {_key(vars(f)): f.anchor for f in report.found.cards if f.kind == "pocket"}
    folded = {_key(vars(k)): f.anchor for f in report.found.cards for k in f.folded if k.kind == "pocket"}
    return {
        "pockets": report.pockets,
        "confirmed": [row for row in report.pockets if row["leading"]],
        "others": [row for row in report.pockets if not row["confirmed"]],
        "own": own,
        "within": folded | own,
        "key": _key,
    }


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What names a row of the search, in the table and among the findings."""
    return tuple(row[c] for c in ("model", "task", "survey", "condition", "outcome", "dimensions", "subgroup"))


SECTION = Section(
    name="pockets",
    order=50,
    title="Hidden pockets",
    template=TEMPLATE,
    data=data,
    contents="Pockets",
)
