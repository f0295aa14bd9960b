"""The findings in a few sentences, and the facts that a reader must know before quoting an estimate."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import polars as pl

from mpta_pipeline.report import phrases
from mpta_pipeline.report.context import Report
from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% from "macros.html" import value with context %}
{% if view.headlines %}
<ul class="findings">
{% for h in view.headlines[:12] %}
  <li><b>{{ h.model }}</b> on {{ labels.task(h.task) }}, {{ labels.survey(h.survey) }}{% if h.task in view.samples %} <span class="badge">sample items</span>{% endif %}:
    right in {{ value(h.lead, True) }} of the answers for {{ words.count(h.lead.n_personas) }} people on {{ words.count(h.lead.n_items) }} questions{% if h.lead.condition != "persona" %} ({{ words.condition(h.lead.condition) }}){% endif %}:
    <span class="verdict">{{ h.verdict }}</span>{% if "frequent" in h.verdict %} ({{ words.number(h.lead.baselines["item_mode"], share=True) }}){% endif %}{% if h.effect %}; {{ h.effect }}{% endif %}.</li>
{% endfor %}
</ul>
{% if view.headlines | length > 12 %}<p>{{ view.headlines | length - 12 }} more in the <a href="#headline">headline table</a>.</p>{% endif %}
{% elif not view.cells %}
<p>There are no estimates yet: run the pipeline up to <code>subgroup_metrics</code>.</p>
{% endif %}
{% if confirmed %}
{% set p = confirmed[0] %}
<p><b>{{ confirmed | length }} <a href="#pockets">hidden {{ "pocket" if confirmed | length == 1 else "pockets" }}</a></b> {{ "is" if confirmed | length == 1 else "are" }} confirmed: a model does worse there than its average suggests. The clearest, by e-value: <b>{{ p.model }}</b> for {{ labels.subgroup(p.dimensions, p.subgroup) }} on {{ labels.task(p.task) }}, {{ labels.survey(p.survey) }}{% if p.task in view.samples %} <span class="badge">sample items</span>{% endif %}: {{ words.outcome(p.outcome) }} {{ words.number(-p.difference, share=True, unit=False) }} points {{ words.interval(-p.ci_high, -p.ci_low, share=True) }} below everyone else's{% if p.others %}; {{ p.others | length }} further {{ "row" if p.others | length == 1 else "rows" }} of the search {{ "is" if p.others | length == 1 else "are" }} the same pocket{% endif %}.</p>
{% elif pockets %}
<p>No <a href="#pockets">hidden pocket</a> is confirmed among {{ pockets | length }} {{ "candidate" if pockets | length == 1 else "candidates" }}: with these numbers of people and questions none could be shown. This does not prove that there are none.</p>
{% endif %}
{% if open_tasks %}
<p>{{ open_tasks }}: the reply is text that is compared with a reference, so there is no share of right answers. The estimates are in the sections below.</p>
{% endif %}
<div class="notes" role="note">
<b>Before you quote an estimate</b>
<ul>
{% for note in of_data + view.notes %}  <li>{{ note }}</li>
{% endfor %}
</ul>
</div>
"""


def data(report: Report) -> Mapping[str, Any]:
    """Headlines, pockets and the notes on the data."""
    return {
        "pockets": report.pockets,
        "confirmed": [row for row in report.pockets if row["leading"]],
        "open_tasks": open_tasks(report),
        "of_data": notes(report),
    }


def open_tasks(report: Report) -> str:
    """Names of the tasks without options, which have no headline; empty if there are none."""
    told = {h.task for h in report.headlines}
    names = dict.fromkeys(task for task, _ in report.cells if task not in told)
    return phrases.opening(phrases.listed([report.labels.task(name) for name in names])) if names else ""


def notes(report: Report) -> list[str]:
    """Facts about the data that a reader must know before reading an estimate."""
    notes = []
    waves = report.frames["waves"]
    for survey in report.surveys:
        title = report.labels.survey(survey)
        used = waves.filter(pl.col("survey") == survey)
        if used.height and used["weight_name"].null_count() == used.height:
            notes.append(
                f"The files of {title} carry no survey weights: every estimate of {title} is unweighted and "
                "describes the people in the file, not the population."
            )
        elif used["weight_name"].null_count():
            lacking = phrases.listed(used.filter(pl.col("weight_name").is_null())["wave"].to_list())
            notes.append(f"Of {title}, {lacking} carries no survey weights: estimates of {title} are unweighted.")
        elif used.height:
            names = phrases.listed(sorted(set(used["weight_name"].to_list())))
            notes.append(
                f"Estimates of {title} are weighted with the survey's own weights ({names}), divided by each "
                "person's chance of being in the panel; unweighted estimates are shown, too."
            )
    notes += _unreadable(report)
    if report.samples:
        notes.append(
            f"{phrases.listed([report.labels.task(s) for s in report.samples])}: a small set of sample items written for "
            "this software in the structure of a benchmark. The estimates show that the pipeline works; they are not "
            "results on TruthfulQA or BBQ and must not be quoted as such."
        )
    if len(report.surveys) > 1:
        notes.append(
            "Surveys differ in their questions and in their respondents: estimates are never pooled over surveys."
        )
    notes.append(
        f"Subgroups of fewer than {report.min_personas} people are shown in grey with their n: nothing is hidden, but "
        "they are too small to be interpreted alone."
    )
    closed = sorted({w["survey"] for w in report.waves if w["data_use"] == "local_only"})
    if closed:
        notes.append(
            f"Personas of {phrases.listed([report.labels.survey(survey) for survey in closed])} may only be sent to models on this machine."
        )
    return notes


def _unreadable(report: Report) -> list[str]:
    """A warning for each model, task and survey with too few readable replies."""
    notes = []
    for (model, task, survey), rows in itertools.groupby(
        report.reliability, key=lambda row: (row["model"], row["task"], row["survey"])
    ):
        low = [
            f"{phrases.number(rate.estimate, share=True)} {phrases.condition(row['condition']).lower()}"
            for row in rows
            if (rate := row["rates"].get("parse_rate")) is not None
            and rate.estimate is not None
            and rate.estimate < report.study.least_readable
        ]
        if low:
            notes.append(
                f"Warning: too few replies of {model} on {report.labels.task(task)} ({report.labels.survey(survey)}) name one of the options: "
                f"{phrases.listed(low)}. Its estimates use only these replies and must not be quoted; "
                "`mpta models --probe` shows what the model can do."
            )
    return notes


SECTION = Section(
    name="short",
    order=10,
    title="In short",
    template=TEMPLATE,
    data=data,
)
