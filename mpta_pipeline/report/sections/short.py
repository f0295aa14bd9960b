"""How accurate each model is, in a sentence, and the facts that a reader must know before quoting an estimate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from mpta_pipeline.report import phrases
from mpta_pipeline.report.context import Report
from mpta_pipeline.report.section import Section
from mpta_pipeline.report.sections.replies import unreadable

TEMPLATE = """\
{% from "macros.html" import value with context %}
{% if view.headlines %}
<ul class="findings">
{% for h in view.headlines[:12] %}
  <li><b>{{ labels.model(h.model) }}</b> on {{ labels.task(h.task) }}, {{ labels.survey(h.survey) }}{% if h.task in view.samples %} <span class="badge">sample items</span>{% endif %}:
    right in {{ value(h.lead, True) }} of the answers for {{ words.count(h.lead.n_personas) }} people on {{ words.count(h.lead.n_items) }} questions{% if h.lead.condition != "persona" %} ({{ words.condition(h.lead.condition) }}){% endif %}:
    <span class="verdict">{{ h.verdict }}</span>{% if "frequent" in h.verdict %} ({{ words.number(h.lead.baselines["item_mode"], share=True) }}){% endif %}{% if h.effect %}; {{ h.effect }}{% endif %}.</li>
{% endfor %}
</ul>
{% if view.headlines | length > 12 %}<p>{{ view.headlines | length - 12 }} more in the <a href="#headline">headline table</a>.</p>{% endif %}
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
    """Tasks without a headline, and the notes on the data."""
    return {
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
    notes += unreadable(report)
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


SECTION = Section(
    name="short",
    order=15,
    title="In short",
    template=TEMPLATE,
    data=data,
)
