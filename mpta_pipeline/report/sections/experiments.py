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
SHOWN_SENTENCES = 5
_OUTCOMES = {
    "place": "place on the scale (0 to 100)",
    "share": "share of the answer",
    "right": "share of right answers",
    "chosen": "share of profiles that are chosen",
}
VERDICTS = {
    "reproduces": "reproduces people's effect",
    "understates": "understates people's effect",
    "overstates": "overstates people's effect",
    "reverses": "reverses people's effect",
    "cannot_tell": "cannot be told",
}
FEW = 3
"""With at most so many questions, an effect over all of them says little about other questions."""
TEMPLATE = """\
{% macro effect(row) %}{{ words.number(row.estimate, share=True, signed=row.effect != "marginal_mean", unit=row.outcome != "place") }} <span class="sub">{{ words.interval(row.ci_low, row.ci_high, share=True, signed=row.effect != "marginal_mean") }}</span>{% endmacro %}
{% macro beside(row, of) %}{{ words.number(row[of[0]], share=True, signed=True) }} <span class="sub">{{ words.interval(row[of[1]], row[of[2]], share=True, signed=True) }}</span>{% endmacro %}
{% macro people(rows, caption, grouped) %}
<div class="scroll" role="group" tabindex="0" aria-label="{{ caption }}">
<table>
  <caption>{{ caption }}</caption>
  <thead><tr>{% if grouped %}<th scope="col">Group</th>{% endif %}<th scope="col">Arm</th><th scope="col">Question</th><th scope="col">Outcome</th><th scope="col">Model [{{ view.confidence }}]</th><th scope="col">People [{{ view.confidence }}]</th><th scope="col">Model − people [{{ view.confidence }}]</th><th scope="col" class="n">q</th><th scope="col">The model</th><th scope="col" class="n">People asked</th></tr></thead>
  <tbody>
  {% for row in rows[:shown] %}<tr{% if row.small %} class="small-cell"{% endif %}>{% if grouped %}<th scope="row">{{ labels.dimension(row.dimensions) }}: {{ labels.subgroup(row.dimensions, row.subgroup) }}</th><td>{{ row.level }}</td>{% else %}<th scope="row">{{ row.level }}</th>{% endif %}<td>{{ row.question }}</td><td>{{ row.what }}</td><td class="ci">{{ effect(row) }}</td><td class="ci">{{ beside(row, ("people_estimate", "people_ci_low", "people_ci_high")) }}</td><td class="ci">{{ beside(row, ("beyond_people", "beyond_people_low", "beyond_people_high")) }}</td><td class="n">{{ words.q(row.beyond_people_q) }}</td><td>{{ verdicts[row.people_verdict] }}</td><td class="n">{{ words.count(row.n_people) }}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
{% if rows | length > shown %}<p>The page shows the first {{ shown }} of {{ rows | length }}; the table <code>experiments</code> has all.</p>{% endif %}
{% endmacro %}
{% macro groups(rows, caption) %}{% if rows %}
<details><summary>By subgroup: {{ rows | length }} effect{{ "" if rows | length == 1 else "s" }}</summary>
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
{% if cell.people %}
<h4>Beside people's own effects</h4>
<p>{{ cell.told }}</p>
<ul class="lookedfor">{% for line in cell.said_of_people %}<li>{{ line }}</li>
{% endfor %}</ul>
{{ people(cell.people, "The same effects on the model's answers and on those of the survey's people, in points. The verdict needs a difference with q below " ~ view.level ~ ", corrected for all effects on everyone in the task; reproduces: surely within ± " ~ margin ~ " points.", False) }}
{% if cell.people_groups %}<details><summary>By subgroup: {{ cell.people_groups | length }} comparison{{ "" if cell.people_groups | length == 1 else "s" }} with people</summary>
{{ people(cell.people_groups, "Groups that differ most surely from people first; q is corrected for all subgroups of the task.", True) }}
</details>{% endif %}
<h4>All effects on the model's answers</h4>
{% endif %}
{% if cell.arms %}
<div class="scroll" role="group" tabindex="0" aria-label="Effects of the arms">
<table>
  <caption>Each arm minus the control{{ " (" ~ cell.control ~ ")" if cell.control }}, with {{ view.confidence }} intervals clustered by persona and question. Effects on shares are in percentage points, those on places in points of a scale from 0 to 100. q is corrected for all effects on everyone in the task.</caption>
  <thead><tr><th scope="col">Arm</th><th scope="col">Question</th><th scope="col">Outcome</th><th scope="col" class="n">Control</th><th scope="col">Effect [{{ view.confidence }}]</th><th scope="col" class="n">q</th><th scope="col" class="n">Personas</th></tr></thead>
  <tbody>
  {% for row in cell.arms[:shown] %}<tr{% if row.small %} class="small-cell"{% endif %}><th scope="row">{{ row.level }}</th><td>{{ row.question }}</td><td>{{ row.what }}</td><td class="n">{{ words.number(row.reference_mean, share=True, unit=row.outcome != "place") }}</td><td class="ci">{{ effect(row) }}</td><td class="n">{{ words.q(row.q_value) }}</td><td class="n">{{ words.count(row.n_personas) }}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
{% if cell.arms | length > shown %}<p>The page shows the first {{ shown }} of {{ cell.arms | length }} effects; the table <code>experiments</code> has all.</p>{% endif %}
{% endif %}
{% if cell.levels %}
<div class="scroll" role="group" tabindex="0" aria-label="Effects of the attributes">
<table>
  <caption>{% if cell.rated %}AMCE: how much higher a profile is rated with the level than with the attribute's first level, other attributes being equal, in points of a scale from 0 to 100. Marginal mean: mean rating of all profiles with the level.{% else %}AMCE: how much more often a profile is chosen with the level than with the attribute's first level, other attributes being equal, in percentage points. Marginal mean: how often the profiles with the level are chosen; chance is 50 %.{% endif %} Intervals are clustered by persona and question.</caption>
  <thead><tr><th scope="col">Attribute</th><th scope="col">Level</th><th scope="col">AMCE [{{ view.confidence }}]</th><th scope="col" class="n">q</th><th scope="col">Marginal mean [{{ view.confidence }}]</th><th scope="col" class="n">Personas</th></tr></thead>
  <tbody>
  {% for mean, amce in cell.levels %}<tr{% if mean.small %} class="small-cell"{% endif %}><th scope="row">{{ mean.factor }}</th><td>{{ mean.level }}</td><td class="ci">{% if amce %}{{ effect(amce) }}{% else %}<span class="sub">the others are compared with it</span>{% endif %}</td><td class="n">{% if amce %}{{ words.q(amce.q_value) }}{% endif %}</td><td class="ci">{{ effect(mean) }}</td><td class="n">{{ words.count(mean.n_personas) }}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
{% endif %}
{{ groups(cell.groups, "Effects by subgroup, groups that differ most surely first.") }}
{% endfor %}
{% if left_out %}<p>The page shows the first {{ cells | length }} of {{ cells | length + left_out }} combinations of task, survey and model; the table <code>experiments</code> has all.</p>{% endif %}
"""
_MOST = SHOWN_MODELS


def data(report: Report) -> Mapping[str, Any] | None:
    """The effects of each task, survey and model, under the persona and weighted where the survey has weights."""
    frame = report.frames["experiments"]
    if frame.is_empty():
        return None
    items = {row["item_id"]: row for row in report.frames["items_as_written"].select(_OF_ITEMS).iter_rows(named=True)}
    cells = [
        _cell(part, items, report, task=str(task), survey=str(survey), model=str(model))
        for (task, survey, model), part in frame.group_by(["task", "survey", "model"], maintain_order=True)
    ]
    return {
        "cells": cells[:_MOST],
        "left_out": max(len(cells) - _MOST, 0),
        "shown": SHOWN_ROWS,
        "verdicts": VERDICTS,
        "margin": phrases.number(report.study.figures.equivalence_margin, share=True, unit=False),
    }


_OF_ITEMS = ("item_id", "question", "options", "option_scores", "ordinal")


def _cell(
    part: pl.DataFrame, items: Mapping[str, Mapping[str, Any]], report: Report, *, task: str, survey: str, model: str
) -> dict[str, Any]:
    """What the page shows of one task, survey and model."""
    seen = part["condition"].unique().to_list()
    condition = "persona" if "persona" in seen else sorted(seen)[0]
    mine = part.filter(pl.col("condition") == condition)
    weighted = bool(mine["weighted"].any())
    config = report.study.tasks.get(task)
    fields = {} if config is None else {name: arm.fields for name, arm in config.arms.items()}
    rows = [_named(row, items, fields) for row in mine.filter(pl.col("weighted") == weighted).iter_rows(named=True)]
    everyone = [row for row in rows if row["dimensions"] == ALL]
    arms = sorted(
        (row for row in everyone if row["effect"] == "arm"),
        key=lambda row: (row["item_id"] != "all", row["q_value"] is None, row["q_value"] or 0.0),
    )
    amce = {(row["factor"], row["level"]): row for row in everyone if row["effect"] == "amce"}
    means = [row for row in everyone if row["effect"] == "marginal_mean"]
    if config is not None:
        means = _in_order(means, config.options.get("attributes"))
    groups = sorted(
        (row for row in rows if row["dimensions"] != ALL and row["effect"] != "marginal_mean"),
        key=lambda row: (row["difference_q"] is None, row["difference_q"] or 0.0, row["difference_p"] or 0.0),
    )
    beside = [row for row in rows if row["people_verdict"] is not None]
    beside = sorted(beside, key=lambda row: (row["beyond_people_q"] or 0.0, row["item_id"] == "all"))
    people = [row for row in beside if row["dimensions"] == ALL]
    return {
        "task": task,
        "survey": survey,
        "model": model,
        "condition": condition,
        "weighted": weighted,
        "control": arms[0]["reference"] if arms else "",
        "arms": arms,
        "levels": [(row, amce.get((row["factor"], row["level"]))) for row in means],
        "rated": any(row["outcome"] == "place" for row in means),
        "groups": groups,
        "said": [*_said(arms, report), *_said_of_levels(list(amce.values()), report)],
        "people": people,
        "people_groups": [row for row in beside if row["dimensions"] != ALL],
        "told": _counted(people, report, task=task, survey=survey) if people else "",
        "said_of_people": [_beside_people(row) for row in people[:SHOWN_SENTENCES]],
    }


def _named(
    row: dict[str, Any], items: Mapping[str, Mapping[str, Any]], fields: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """The row with its question and outcome in words."""
    item = items.get(row["item_id"])
    what = _OUTCOMES.get(row["outcome"], row["outcome"])
    if row["answer"]:
        what = f"{what} “{row['answer']}”"
    elif row["outcome"] == "place" and item is not None and (ends := _ends(item)):
        what = f"place on the scale, 0 “{ends[0]}” to 100 “{ends[1]}”"
    question = "all questions" if row["item_id"] == "all" else row["item_id"] if item is None else item["question"]
    for name, text in fields.get(row["level"], {}).items():
        other = fields.get(row["reference"], {}).get(name, "")
        question = question.replace("{{" + name + "}}", text if text == other else f"[{other} → {text}]")
    named = f"{row['factor']}: {row['level']}" if row["effect"] != "arm" else f"{row['level']}, {what}: {question}"
    return row | {"named": named, "what": what, "question": question}


def _ends(item: Mapping[str, Any]) -> tuple[str, str] | None:
    """The options at 0 and at 1 of a scale."""
    options, scores = item["options"], item["option_scores"]
    if scores is None:
        return (options[0], options[-1]) if item["ordinal"] and options else None
    placed = [(score, text) for score, text in zip(scores, options, strict=True) if score is not None]
    if not item["ordinal"]:
        placed.sort(key=lambda pair: pair[0])
    return (placed[0][1], placed[-1][1]) if placed else None


def _said(arms: list[dict[str, Any]], report: Report) -> list[str]:
    """The arms' effects in words: over all questions, and the confirmed ones on single questions."""
    wholes = [row for row in arms if row["item_id"] == "all"]
    said = [_sentence(row, report) for row in wholes]
    several = [row["n_items"] for row in wholes if row["n_items"] > 1]
    if several and max(several) <= FEW:
        said.append(
            f"With {max(several)} questions, an effect over all of them says little about other questions like these; "
            "read the effects on single questions."
        )
    singles = [row for row in arms if row["item_id"] != "all"]
    confirmed = [row for row in singles if row["q_value"] is not None and row["q_value"] <= report.level]
    said += [_sentence(row, report) for row in confirmed[:SHOWN_SENTENCES]]
    if (more := len(confirmed) - SHOWN_SENTENCES) > 0:
        said.append(f"{more} more effect{' on a single question is' if more == 1 else 's on single questions are'} "
                    "confirmed; the table below has them.")  # fmt: skip
    if singles and not confirmed:
        one = "The effect on a single question is not confirmed."
        said.append(
            one if len(singles) == 1 else f"None of the {len(singles)} effects on single questions is confirmed."
        )
    return said


def _in_order(means: list[dict[str, Any]], attributes: Any) -> list[dict[str, Any]]:
    """The levels as the study lists them, the one that others are compared with first."""
    named = {str(name): [str(level) for level in levels] for name, levels in dict(attributes or {}).items()}

    def place(row: dict[str, Any]) -> tuple[int, int]:
        levels = named.get(row["factor"], [])
        first = list(named).index(row["factor"]) if row["factor"] in named else len(named)
        return first, levels.index(row["level"]) if row["level"] in levels else len(levels)

    return sorted(means, key=place)


def _said_of_levels(amce: list[dict[str, Any]], report: Report) -> list[str]:
    """The confirmed effects of levels in words, and how many others there are."""
    confirmed = [row for row in amce if row["q_value"] is not None and row["q_value"] <= report.level]
    said = [_sentence(row, report) for row in confirmed]
    if rest := len(amce) - len(confirmed):
        if not confirmed:
            said.append(
                "No effect of a level is confirmed." if rest > 1 else "The effect of the level is not confirmed."
            )
        else:
            said.append(f"{rest} other effect{' of a level is' if rest == 1 else 's of levels are'} not confirmed.")
    return said


def _sentence(row: dict[str, Any], report: Report) -> str:
    """An effect on everyone in words."""
    q, level = row["q_value"], report.level
    who = f"“{row['level']}”" if row["effect"] == "arm" else f"{row['factor']} “{row['level']}”"
    against = f"“{row['reference']}”"
    what = row["what"] if row["item_id"] == "all" else f"{row['what']} in “{row['question']}”"
    if row["estimate"] is None or q is None:
        return f"{who} against {against}: the effect on the {what} cannot be computed."
    by = _points(abs(row["estimate"]))
    ends = phrases.interval(row["ci_low"], row["ci_high"], share=True, signed=True)
    if q > level:
        signed = _points(row["estimate"], signed=True)
        return f"{who} against {against}: an effect on the {what} is not confirmed ({signed} {ends}, q {_q(q)})."
    way = "raises" if row["estimate"] > 0 else "lowers"
    return f"{who} {way} the {what} by {by} {ends} against {against} (q {_q(q)})."


def _points(value: float, *, signed: bool = False) -> str:
    text = phrases.number(value, share=True, signed=signed, unit=False)
    return f"{text} point{'' if text.lstrip('+' + phrases.MINUS) == '1.0' else 's'}"


def _q(value: float) -> str:
    text = phrases.q(value)
    return text if text.startswith("<") else f"= {text}"


def _counted(people: list[dict[str, Any]], report: Report, *, task: str, survey: str) -> str:
    """How often each verdict was given, and who the people are."""
    counts = {name: sum(row["people_verdict"] == name for row in people) for name in VERDICTS}
    told = [f"{name} {n}" for name, n in counts.items() if n and name != "cannot_tell"]
    parts = [f"the model {phrases.listed(told)}"] if told else []
    if left := counts["cannot_tell"]:
        parts.append(f"{left} cannot be told")
    which = f"{len(people)} effect{'' if len(people) == 1 else 's'}"
    own = report.frames["people_effects"].filter(task=task, survey=survey, dimensions=ALL)
    how = own["method"].unique().sort().to_list()
    errors = f" Errors of people's effects: {'; '.join(how)}." if how else ""
    return f"{which} can be compared with those on the survey's people: {'; '.join(parts)}.{errors}"


def _beside_people(row: dict[str, Any]) -> str:
    """The comparison with people in words."""
    what = row["what"] if row["item_id"] == "all" else f"{row['what']} in “{row['question']}”"

    def moved(name: str, of: str) -> str:
        ends = phrases.interval(row[f"{of}ci_low"], row[f"{of}ci_high"], share=True, signed=True)
        return f"{name} {_points(row[f'{of}estimate'], signed=True)} {ends}"

    apart = phrases.interval(row["beyond_people_low"], row["beyond_people_high"], share=True, signed=True)
    verdict = row["people_verdict"]
    says = "whether the model differs cannot be told" if verdict == "cannot_tell" else f"the model {VERDICTS[verdict]}"
    return (
        f"“{row['level']}” against “{row['reference']}”, {what}: {moved('people', 'people_')}, {moved('the model', '')}; "
        f"{says} (difference {_points(row['beyond_people'], signed=True)} {apart}, q {_q(row['beyond_people_q'])})."
    )


SECTION = Section(
    name="experiments",
    order=54,
    title="Experiments",
    template=TEMPLATE,
    data=data,
)
