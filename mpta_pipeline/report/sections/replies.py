"""Whether the figures can be trusted: replies by model and subgroup, positions, coverage, failures, warnings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from mpta_pipeline.report import phrases
from mpta_pipeline.report.context import SHOWN_MODELS, Report
from mpta_pipeline.report.rows import ALL, Estimate
from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% from "macros.html" import replies, unread, id with context %}
{% if warnings %}
<div class="notes" role="note"><b>Warnings of this study</b>
<ul>
{% for line in warnings %}  <li>{{ words.coded(line) }}</li>
{% endfor %}
</ul></div>
{% else %}
<p><b>No warning:</b> every model of the study has replies, the replies can be read, and no check of the survey waves failed.</p>
{% endif %}
<p>Estimates are only as good as the replies behind them. <b>Readable</b>: the reply names one of the options. <b>Order flips</b>: how often two orders of the same
  options get different answers. <b>Position bias</b>: how far the model is from picking all positions equally often; near 0 is good.{% if turned %}
  <b>Scale direction</b>: how far the answers move along the scale (0 to 1) if it is shown reversed; above 0, the model leans to the options shown first.{% endif %}</p>
{% if rows %}
{{ replies(first, "Replies for everyone, by model, task and survey.") }}
{% if rest %}
<details>
<summary>Other conditions</summary>
{{ replies(rest, "Replies for everyone under the other conditions.") }}
</details>
{% endif %}
{% if described %}
<div class="scroll" role="group" tabindex="0" aria-label="Replies about described groups">
<table>
  <caption>Replies about described groups (condition <code>group</code>). <b>Readable</b>: the reply gives a number for each option, and the numbers sum to 100. Only these are compared with the personas; where many are missing, the verdicts rest on the groups and questions that are left.</caption>
  <thead><tr><th scope="col">Model · task · survey</th><th scope="col" class="n">Groups</th><th scope="col" class="n">Questions</th><th scope="col" class="n">Replies</th><th scope="col" class="n">Readable</th><th scope="col" class="n">Refused</th><th scope="col" class="n">Failed</th><th scope="col">Unreadable because</th></tr></thead>
  <tbody>
  {% for r in described %}
  <tr><th scope="row">{{ labels.model(r.model) }} · {{ labels.task(r.task) }} · {{ labels.survey(r.survey) }}</th><td class="n">{{ words.count(r.groups) }}</td><td class="n">{{ words.count(r.questions) }}</td><td class="n">{{ words.count(r.replies) }}</td>
    <td class="n">{{ words.number(r.ok, share=True) }}</td><td class="n">{{ words.number(r.refused, share=True) }}</td><td class="n">{{ words.number(r.error, share=True) }}</td><td>{{ r.because or words.NOTHING }}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
{% endif %}
{% if of_groups %}
<details>
<summary>Replies by subgroup: the groups with the fewest readable ones</summary>
<div class="scroll" role="group" tabindex="0" aria-label="Replies by subgroup">
<table>
  <caption>Per model, the {{ most }} groups of at least {{ view.min_personas }} people with the fewest readable replies, with {{ view.confidence }} intervals. <b>Differs</b>: the gap to everyone else counts after correction.</caption>
  <thead><tr><th scope="col">Group</th><th scope="col">Task · survey</th><th scope="col" class="n">People</th><th scope="col">Readable [{{ view.confidence }}]</th><th scope="col">Refused [{{ view.confidence }}]</th><th scope="col">Failed [{{ view.confidence }}]</th><th scope="col">Trace</th></tr></thead>
  {% for model, lines in of_groups %}
  <tbody>
  <tr class="block"><th scope="colgroup" colspan="7">{{ labels.model(model) }}</th></tr>
  {% for line in lines %}
  <tr><th scope="row">{{ labels.subgroup(line.dimensions, line.subgroup) }}</th><td>{{ labels.task(line.task) }} · {{ labels.survey(line.survey) }}</td><td class="n">{{ words.count(line.n) }}</td>
    {% for m in ["parse_rate", "refusal_rate", "error_rate"] %}<td class="ci">{% if m in line.rates %}{{ words.number(line.rates[m].estimate, share=True) }} <span class="sub">{{ words.interval(line.rates[m].low, line.rates[m].high, share=True) }}</span>{% if line.rates[m].verdict == "gap" %} <b>differs</b>{% endif %}{% else %}{{ words.NOTHING }}{% endif %}</td>{% endfor %}
    <td>{{ id(line.rates.values() | first) }}</td></tr>
  {% endfor %}
  </tbody>
  {% endfor %}
</table>
</div>
{% if hidden_models %}<p>The page shows the first {{ of_groups | length }} models; the warehouse has all.</p>{% endif %}
</details>
{% endif %}
{% else %}
<p>No replies have been scored yet.</p>
{% endif %}
{% if unreadable %}
<p>If a reply names no answer, none is guessed. <b>Cut off</b>: the reply ended at the token limit or within the model's reasoning; raise
  <code>max_tokens</code> or switch reasoning off. <b>Reasoning only</b>: nothing follows the reasoning. <b>Contradictory</b>: the reply names one option but
  gives the text of another, or gives one answer as true and another as its own.</p>
{{ unread(unreadable) }}
{% endif %}
{% if errors %}
<div class="scroll" role="group" tabindex="0" aria-label="Why requests failed">
<table>
  <caption>Requests that failed after all retries, by reason. <code>mpta run</code> sends them again.</caption>
  <thead><tr><th scope="col">Model</th><th scope="col" class="n">Requests</th><th scope="col">Reason, as the provider reports it</th></tr></thead>
  <tbody>
  {% for model, n, reason in errors[:30] %}
  <tr><th scope="row">{{ labels.model(model) }}</th><td class="n">{{ words.count(n) }}</td><td>{{ reason }}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
{% endif %}
{% if coverage %}
<div class="scroll" role="group" tabindex="0" aria-label="Coverage">
<table>
  <caption>Who was asked, and what.</caption>
  <thead><tr><th scope="col">Task · survey</th><th scope="col" class="n">People asked, of the panel</th><th scope="col" class="n">Questions asked, of all</th><th scope="col" class="n">Models</th><th scope="col" class="n">Answers</th></tr></thead>
  <tbody>
  {% for c in coverage %}
  <tr><th scope="row">{{ labels.task(c.task) }} · {{ labels.survey(c.survey) }}</th><td class="n">{{ words.count(c.people) }}{% if c.panel %} of {{ words.count(c.panel) }}{% endif %}</td><td class="n">{{ words.count(c.questions) }}{% if c.all_items %} of {{ words.count(c.all_items) }}{% endif %}</td><td class="n">{{ words.count(c.models) }}</td><td class="n">{{ words.count(c.answers) }}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
{% endif %}
"""

MOST = 8
"""Groups per model in the table of subgroups."""
RATES = ("parse_rate", "refusal_rate", "error_rate")


def data(report: Report) -> Mapping[str, Any]:
    """Rates of the replies by condition and subgroup, why replies cannot be read, failures, coverage, warnings."""
    lead = report.conditions[0] if report.conditions else ""
    of_groups = by_subgroup(report, lead)
    return {
        "rows": report.reliability,
        "turned": any("scale_direction" in row["rates"] for row in report.reliability),
        "first": [row for row in report.reliability if row["condition"] == lead],
        "rest": [row for row in report.reliability if row["condition"] != lead],
        "described": about_groups(report),
        "unreadable": unread_by_model(report),
        "of_groups": of_groups[:SHOWN_MODELS],
        "hidden_models": len(of_groups) > SHOWN_MODELS,
        "most": MOST,
        "errors": errors(report),
        "coverage": coverage(report),
        "warnings": warnings(report),
    }


def unread_by_model(report: Report) -> list[dict[str, Any]]:
    """One row per model with unreadable replies: how many, of how many, and how many for each reason."""
    rank = {model: i for i, model in enumerate(report.models)}
    rows = report.scores.counts.by_model.filter(pl.col("unread") > 0).to_dicts()
    return sorted(rows, key=lambda row: (rank.get(row["model"], len(rank)), row["model"]))


def about_groups(report: Report) -> list[dict[str, Any]]:
    """One row per model, task and survey whose groups were asked about: replies, their statuses, why none is read."""
    rank = {model: i for i, model in enumerate(report.models)}
    rows = sorted(
        report.scores.counts.about_groups.iter_rows(named=True),
        key=lambda row: (rank.get(row["model"], len(rank)), row["model"], row["task"], row["survey"]),
    )
    said = [[(phrases.UNPARSED.get(r["unparsed_reason"], ""), r["count"]) for r in row["reasons"]] for row in rows]
    return [
        row | {"because": ", ".join(f"{why.lower()} {phrases.count(n)}" for why, n in why_not)}
        for row, why_not in zip(rows, said, strict=True)
    ]


def by_subgroup(report: Report, condition: str) -> list[tuple[str, list[dict[str, Any]]]]:
    """Per model, the groups with the fewest readable replies; models whose replies are all readable are left out."""
    cells: dict[tuple[str, ...], dict[str, Estimate]] = {}
    for row in report.estimates:
        of_group = row.metric in RATES and row.condition == condition and ALL not in (row.dimensions, row.subgroup)
        if of_group and not row.small:
            cells.setdefault((row.model, row.task, row.survey, row.dimensions, row.subgroup), {})[row.metric] = row
    models: dict[str, list[dict[str, Any]]] = {}
    for (model, task, survey, dimensions, subgroup), rates in sorted(cells.items()):
        n = max(row.n_personas for row in rates.values())
        bad = sum((1 - (r.estimate or 0) if m == "parse_rate" else r.estimate or 0) for m, r in rates.items())
        line = {"task": task, "survey": survey, "dimensions": dimensions, "subgroup": subgroup, "rates": rates, "n": n}
        if bad > 0:
            models.setdefault(model, []).append(line | {"bad": bad})
    return [(model, sorted(lines, key=lambda line: -line["bad"])[:MOST]) for model, lines in models.items()]


def errors(report: Report) -> list[tuple[str, int, str]]:
    """Model, number of failed requests and reason, most frequent first."""
    counts = report.failures.sort("model", -pl.col("count"), "reason")
    return list(counts.select("model", "count", "reason").iter_rows())


def coverage(report: Report) -> list[dict[str, Any]]:
    """Per task and survey, how many of the panel and of the questions were asked."""
    items, panel = report.frames["items"], report.frames["panel"]
    rows = {(row["task"], row["survey"]): row for row in report.scores.counts.coverage.iter_rows(named=True)}
    made = dict(items.group_by("task").agg(pl.col("item_id").n_unique()).iter_rows()) if items.height else {}
    sizes = dict(panel.group_by("survey").len().iter_rows()) if panel.height and "survey" in panel.columns else {}
    return [
        rows[cell] | {"all_items": made.get(cell[0]), "panel": max(sizes.get(cell[1], 0), rows[cell]["people"])}
        for cell in report.cells
        if cell in rows
    ]


def warnings(report: Report) -> list[str]:
    """What a reader must know of the run: models without replies and why, requests that wait, waves with warnings."""
    name, lines = report.labels.model, []
    known = report.frames["models"]["model"].to_list() if report.frames["models"].height else []
    runs: dict[str, dict[str, Mapping[str, Any]]] = {}
    for key, notes in report.records.get("responses", {}).items():
        model, _, task = key.rpartition("|")
        runs.setdefault(model, {})[task] = notes
    for model in known:
        if model not in report.models:
            why = "; ".join(dict.fromkeys(_why(notes) for notes in runs.get(model, {}).values() if _why(notes)))
            lines.append(
                f"{name(model)} has no estimates: {why or 'it has not been asked, or every request failed; `mpta status` tells which'}."
            )
    for model, tasks in runs.items():
        if model in known and model not in report.models:
            continue
        for task, notes in tasks.items():
            if why := _why(notes):
                lines.append(f"{name(model)} on {report.labels.task(task)}: {why}.")
    lines += unreadable(report)
    for wave, notes in sorted(report.records.get("harmonized_wave", {}).items()):
        if failing := notes.get("warnings"):
            lines.append(
                f"{wave}: the checks {phrases.listed([str(w).replace('_', ' ') for w in failing])} gave warnings."
            )
        if left := notes.get("left_out"):
            lines.append(
                f"{wave}: {left if isinstance(left, str) else phrases.listed([str(x) for x in left])} was left out and stays as it was last read."
            )
    return lines


def _why(notes: Mapping[str, Any]) -> str:
    """Why replies are missing, from the record of the last run; empty if none are."""
    parts = []
    if notes.get("errors"):
        reasons = f" ({notes['error_reasons']})" if notes.get("error_reasons") else ""
        parts.append(f"{phrases.count(int(notes['errors']))} requests failed{reasons}")
    if notes.get("not_reached"):
        n = phrases.count(int(notes["not_reached"]))
        parts.append(f"up to {n} questions of conversations were not reached, because one before them has no response")
    if notes.get("withheld"):
        because = f": {notes['withheld_because']}" if notes.get("withheld_because") else ""
        parts.append(f"{phrases.count(int(notes['withheld']))} prompts wait{because}".rstrip("."))
    if notes.get("stopped"):
        parts.append(f"asking stopped: {notes['stopped']}")
    if notes.get("left"):
        parts.append(f"{phrases.count(int(notes['left']))} prompts are not asked yet")
    return "; ".join(parts)


def unreadable(report: Report) -> list[str]:
    """A warning for each model, task and survey with too few readable replies."""
    cells: dict[tuple[str, str, str], list[str]] = {}
    for row in about_groups(report):
        replied = row["ok"] + row["refused"] + row["unparsed"]
        if replied > 0 and row["ok"] / replied < report.study.least_readable:
            said = f"{phrases.number(row['ok'] / replied, share=True)} about described groups"
            cells.setdefault((row["model"], row["task"], row["survey"]), []).append(said)
    for row in report.reliability:
        rate = row["rates"].get("parse_rate")
        if rate is not None and rate.estimate is not None and rate.estimate < report.study.least_readable:
            said = f"{phrases.number(rate.estimate, share=True)} {phrases.condition(row['condition']).lower()}"
            cells.setdefault((row["model"], row["task"], row["survey"]), []).append(said)
    return [
        f"Warning: too few replies of {report.labels.model(model)} on {report.labels.task(task)} "
        f"({report.labels.survey(survey)}) name one of the options: {phrases.listed(low)}. Its estimates use only these "
        "replies and must not be quoted; `mpta models --probe` shows what the model can do."
        for (model, task, survey), low in cells.items()
    ]


SECTION = Section(
    name="replies",
    order=70,
    title="Can I trust it?",
    template=TEMPLATE,
    data=data,
)
