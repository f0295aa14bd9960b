"""Conversations: how many were held to the end, where others stopped, and what the order of their questions does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpta_pipeline.report import phrases
from mpta_pipeline.report.context import Report
from mpta_pipeline.report.rows import ALL, Estimate
from mpta_pipeline.report.section import Section

EFFECTS = ("carry_over", "turn_shift")
TEMPLATE = """\
{% from "macros.html" import id with context %}
{% macro effect(row) %}{% if row %}{{ words.number(row.estimate, share=False, signed=True) }} <span class="sub">{{ words.interval(row.low, row.high, share=False, signed=True) }}{% if row.note %} {{ row.note }}{% endif %}</span>{% else %}{{ words.NOTHING }}{% endif %}{% endmacro %}
<p>The questions of these tasks were asked one after the other, and the model saw the earlier ones with its own answers. Its answers within a conversation are
  therefore not independent of each other.</p>
{% if said %}<ul class="lookedfor">{% for line in said %}<li>{{ line }}</li>
{% endfor %}</ul>{% endif %}
<div class="scroll" role="group" tabindex="0" aria-label="Conversations and the order of their questions">
<table>
  <caption>Effects of the order, for everyone together, as shares of the scale, with {{ view.confidence }} intervals. <b>Pull of the answer before</b>: how much nearer
    the answer is to the one just before than to earlier ones; below 0, it is driven from it. <b>Shift</b>: how far the answer moves along the scale if the question
    is asked last instead of first. Both compare ordinal questions whose order is random.</caption>
  <thead><tr><th scope="col">Model</th><th scope="col">Task · survey</th><th scope="col">Condition</th><th scope="col" class="n">Conversations</th><th scope="col" class="n">Stopped by a<br>failed request</th>
    <th scope="col" class="n">Answered<br>questions each</th><th scope="col">Pull of the answer before [{{ view.confidence }}]</th><th scope="col">Shift from first to last [{{ view.confidence }}]</th><th scope="col">Trace</th></tr></thead>
  <tbody>
  {% for r in rows %}
  <tr><th scope="row">{{ labels.model(r.model) }}</th><td>{{ labels.task(r.task) }} · {{ labels.survey(r.survey) }}</td><td>{{ words.condition(r.condition) }}</td><td class="n">{{ words.count(r.conversations) }}</td>
    <td class="n">{{ words.count(r.stopped) }}{% if r.stopped %} <span class="sub">after {{ r.after }} answers (median)</span>{% endif %}</td><td class="n">{{ "%.1f" | format(r.questions) }}</td>
    <td class="ci">{{ effect(r.effects.get("carry_over")) }}</td><td class="ci">{{ effect(r.effects.get("turn_shift")) }}</td><td>{% for e in r.effects.values() %}{{ id(e) }} {% endfor %}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
{% for line in unfinished %}<p>{{ line }}</p>
{% endfor %}
{% if not measured %}<p>No order effect is shown: fewer than three ordinal questions have a random order. <code>randomize: [questions]</code> in the task's options puts the
  questions of each block in an order of their own for each person.</p>{% endif %}
"""


def data(report: Report) -> Mapping[str, Any] | None:
    """One row per model, task, survey and condition that was asked in conversations; None if there are none."""
    held = report.scores.counts.conversations
    if held.is_empty():
        return None
    key = ["model", "task", "survey", "condition"]
    effects: dict[tuple[str, ...], dict[str, Estimate]] = {}
    for row in report.estimates:
        if row.metric in EFFECTS and row.dimensions == ALL:
            effects.setdefault((row.model, row.task, row.survey, row.condition), {}).setdefault(row.metric, row)
    ranks = [{v: i for i, v in enumerate(v)} for v in (report.models, report.tasks, report.surveys, report.conditions)]
    rows = [
        row | {"effects": effects.get(tuple(row[name] for name in key), {}), "after": f"{row['after'] or 0:g}"}
        for row in held.to_dicts()
    ]
    rows.sort(key=lambda row: [rank.get(row[name], len(rank)) for name, rank in zip(key, ranks, strict=True)])
    lead = [row for row in rows if row["condition"] == (report.conditions[0] if report.conditions else "")]
    said = [line for row in lead for line in _sentences(row, report)]
    return {"rows": rows, "said": said, "measured": bool(effects), "unfinished": _unfinished(report)}


def _unfinished(report: Report) -> list[str]:
    """What the conversations of each model and task did not reach."""
    lines = []
    for key, notes in sorted(report.records.get("responses", {}).items()):
        model, _, task = key.rpartition("|")
        if left := int(notes.get("not_reached", 0)):
            who = f"{report.labels.model(model)}, {report.labels.task(task)}"
            lines.append(
                f"{who}: up to {phrases.count(left)} questions were not reached, because one before them has no response. "
                "`mpta run` goes on where a run stopped; with `--retry-errors`, also after requests that failed."
            )
    return lines


def _sentences(row: Mapping[str, Any], report: Report) -> list[str]:
    """What the order of the questions does to the answers of a model, where its interval excludes 0."""
    who = (
        f"{report.labels.model(row['model'])}, {report.labels.task(row['task'])}, {report.labels.survey(row['survey'])}"
    )
    found = []
    words = {
        "carry_over": ("answers are drawn to the answer just before", "answers are driven from the answer just before"),
        "turn_shift": ("questions asked later are answered higher on the scale", "questions asked later are answered lower on the scale"),
    }  # fmt: skip
    for metric, (above, below) in words.items():
        one = row["effects"].get(metric)
        if one is None or one.low is None or one.high is None or one.low <= 0 <= one.high:
            continue
        size = phrases.number(abs(one.estimate), share=False)
        found.append(f"{who}: {above if one.estimate > 0 else below}, by {size} of the scale.")
    return found


SECTION = Section(name="conversations", order=68, title="Conversations", template=TEMPLATE, data=data)
