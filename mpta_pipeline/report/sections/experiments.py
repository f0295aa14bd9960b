"""Effects of experiments: arms against their control, and conjoint attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from mpta_pipeline.report import phrases
from mpta_pipeline.report.context import SHOWN_MODELS, Report
from mpta_pipeline.report.rows import ALL
from mpta_pipeline.report.section import Section

SHOWN_ROWS = 60
_OUTCOMES = {
    "place": "place on the scale (0 to 1)",
    "share": "share of the answer",
    "right": "share of right answers",
    "chosen": "share of profiles that are chosen",
}
TEMPLATE = """\
{% macro effect(row) %}{{ words.number(row.estimate, share=True, signed=row.effect != "marginal_mean") }} <span class="sub">{{ words.interval(row.ci_low, row.ci_high, share=True, signed=row.effect != "marginal_mean") }}</span>{% endmacro %}
{% macro groups(rows, caption) %}{% if rows %}
<details><summary>By subgroup: {{ rows | length }} effects</summary>
<div class="scroll" role="group" tabindex="0" aria-label="{{ caption }}">
<table>
  <caption>{{ caption }} <i>Differs</i> is the effect in the group minus that in everyone else, corrected for all groups of the task (q).</caption>
  <thead><tr><th scope="col">Group</th><th scope="col">What</th><th scope="col">Effect [{{ view.confidence }}]</th><th scope="col" class="n">Differs</th><th scope="col" class="n">q</th><th scope="col" class="n">Personas</th></tr></thead>
  <tbody>
  {% for row in rows[:shown] %}<tr{% if row.small %} class="small-cell"{% endif %}><th scope="row">{{ labels.dimension(row.dimensions) }}: {{ labels.subgroup(row.dimensions, row.subgroup) }}</th><td>{{ row.named }}</td><td class="ci">{{ effect(row) }}</td><td class="n">{{ words.number(row.difference, share=True, signed=True) }}</td><td class="n">{{ words.q(row.difference_q) }}</td><td class="n">{{ words.count(row.n_personas) }}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
{% if rows | length > shown %}<p>The page shows the first {{ shown }} of {{ rows | length }}; the table <code>experiments</code> has all.</p>{% endif %}
</details>
{% endif %}{% endmacro %}
{% for cell in cells %}
<h3>{{ labels.task(cell.task) }} · {{ labels.survey(cell.survey) }} · {{ labels.model(cell.model) }}</h3>
<p class="sub">{{ words.opening(words.condition(cell.condition)) }}; {{ "weighted" if cell.weighted else "unweighted" }}.</p>
{% if cell.said %}<ul class="lookedfor">{% for line in cell.said %}<li>{{ line }}</li>
{% endfor %}</ul>{% endif %}
{% if cell.arms %}
<div class="scroll" role="group" tabindex="0" aria-label="Effects of the arms">
<table>
  <caption>Each arm minus the control, in percentage points, with {{ view.confidence }} intervals clustered by persona and question; q is corrected for all effects on everyone in the task.</caption>
  <thead><tr><th scope="col">Arm</th><th scope="col">Question</th><th scope="col">Outcome</th><th scope="col" class="n">Control</th><th scope="col">Effect [{{ view.confidence }}]</th><th scope="col" class="n">q</th><th scope="col" class="n">Personas</th></tr></thead>
  <tbody>
  {% for row in cell.arms[:shown] %}<tr{% if row.small %} class="small-cell"{% endif %}><th scope="row">{{ row.level }}</th><td>{{ row.question }}</td><td>{{ row.named }}</td><td class="n">{{ words.number(row.reference_mean, share=True) }}</td><td class="ci">{{ effect(row) }}</td><td class="n">{{ words.q(row.q_value) }}</td><td class="n">{{ words.count(row.n_personas) }}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
{% if cell.arms | length > shown %}<p>The page shows the first {{ shown }} of {{ cell.arms | length }} effects; the table <code>experiments</code> has all.</p>{% endif %}
{% endif %}
{% if cell.levels %}
<div class="scroll" role="group" tabindex="0" aria-label="Effects of the attributes">
<table>
  <caption>AMCE: how much more often (or higher) a profile is chosen (or rated) with the level than with the attribute's first, other attributes being equal, in percentage points. Marginal mean: over all profiles with the level; .5 is chance in a choice between two.</caption>
  <thead><tr><th scope="col">Attribute</th><th scope="col">Level</th><th scope="col">AMCE [{{ view.confidence }}]</th><th scope="col" class="n">q</th><th scope="col">Marginal mean [{{ view.confidence }}]</th><th scope="col" class="n">Personas</th></tr></thead>
  <tbody>
  {% for mean, amce in cell.levels %}<tr{% if mean.small %} class="small-cell"{% endif %}><th scope="row">{{ mean.factor }}</th><td>{{ mean.level }}</td><td class="ci">{% if amce %}{{ effect(amce) }}{% else %}<span class="sub">compared with</span>{% endif %}</td><td class="n">{% if amce %}{{ words.q(amce.q_value) }}{% endif %}</td><td class="ci">{{ effect(mean) }}</td><td class="n">{{ words.count(mean.n_personas) }}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
{% endif %}
{{ groups(cell.groups, "Effects by subgroup, groups that differ most surely first.") }}
{% endfor %}
{% if left_out %}<p>The page shows {{ cells | length }} of {{ cells | length + left_out }} combinations of task, survey and model; the table <code>experiments</code> has all.</p>{% endif %}
"""
_MOST = SHOWN_MODELS


def data(report: Report) -> Mapping[str, Any] | None:
    """The effects of each task, survey and model, under the persona and weighted where the survey has weights."""
    frame = report.frames["experiments"]
    if frame.is_empty():
        return None
    questions = dict(report.frames["items"].select("item_id", "question").iter_rows())
    cells = []
    for (task, survey, model), part in frame.group_by(["task", "survey", "model"], maintain_order=True):
        seen = part["condition"].unique().to_list()
        condition = "persona" if "persona" in seen else sorted(seen)[0]
        mine = part.filter(pl.col("condition") == condition)
        weighted = bool(mine["weighted"].any())
        rows = [_named(row, questions) for row in mine.filter(pl.col("weighted") == weighted).iter_rows(named=True)]
        everyone = [row for row in rows if row["dimensions"] == ALL]
        arms = sorted(
            (row for row in everyone if row["effect"] == "arm"),
            key=lambda row: (row["item_id"] != "all", row["q_value"] is None, row["q_value"] or 0.0),
        )
        amce = {(row["factor"], row["level"]): row for row in everyone if row["effect"] == "amce"}
        means = [row for row in everyone if row["effect"] == "marginal_mean"]
        groups = sorted(
            (row for row in rows if row["dimensions"] != ALL and row["effect"] != "marginal_mean"),
            key=lambda row: (row["difference_q"] is None, row["difference_q"] or 0.0, row["difference_p"] or 0.0),
        )
        cells.append(
            {
                "task": task,
                "survey": survey,
                "model": model,
                "condition": condition,
                "weighted": weighted,
                "arms": arms,
                "levels": [(row, amce.get((row["factor"], row["level"]))) for row in means],
                "groups": groups,
                "said": [_sentence(row, report) for row in [*arms, *amce.values()] if row["item_id"] == "all"],
            }
        )
    return {"cells": cells[:_MOST], "left_out": max(len(cells) - _MOST, 0), "shown": SHOWN_ROWS}


def _named(row: dict[str, Any], questions: Mapping[str, str]) -> dict[str, Any]:
    outcome = _OUTCOMES.get(row["outcome"], row["outcome"])
    named = f"{outcome} “{row['answer']}”" if row["answer"] else outcome
    if row["effect"] != "arm":
        named = f"{row['factor']}: {row['level']}"
    elif row["dimensions"] != ALL:
        named = f"{row['level']}, {named}"
    question = "all questions" if row["item_id"] == "all" else questions.get(row["item_id"], row["item_id"])
    if row["dimensions"] != ALL and row["item_id"] != "all":
        named = f"{named}: {question}"
    return row | {"named": named, "question": question}


def _sentence(row: dict[str, Any], report: Report) -> str:
    """An effect on everyone in words."""
    q, level = row["q_value"], report.level
    what = _OUTCOMES.get(row["outcome"], row["outcome"])
    who = f"“{row['level']}”" if row["effect"] == "arm" else f"{row['factor']} “{row['level']}”"
    against = f"“{row['reference']}”"
    if row["estimate"] is None or q is None:
        return f"{who} against {against}: the effect cannot be computed."
    by = f"{phrases.number(abs(row['estimate']), share=True, unit=False)} points"
    ends = phrases.interval(row["ci_low"], row["ci_high"], share=True, signed=True)
    if q > level:
        signed = f"{phrases.number(row['estimate'], share=True, signed=True)} points"
        return f"{who} against {against}: an effect on the {what} is not confirmed ({signed} {ends}, q {phrases.q(q)})."
    way = "raises" if row["estimate"] > 0 else "lowers"
    return f"{who} {way} the {what} by {by} {ends} against {against} (q {phrases.q(q)})."


SECTION = Section(
    name="experiments",
    order=54,
    title="Experiments",
    template=TEMPLATE,
    data=data,
)
