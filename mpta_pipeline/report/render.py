"""Render the report as one self-contained HTML file: no network, everything escaped, readable without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from mpta_pipeline.core import tables as t
from mpta_pipeline.core.labels import Labels
from mpta_pipeline.core.published_figures import PublishedStudy
from mpta_pipeline.core.study import Study
from mpta_pipeline.report import charts, charts_data, phrases
from mpta_pipeline.report.context import Report
from mpta_pipeline.report.findings import Findings
from mpta_pipeline.report.published import as_rows
from mpta_pipeline.report.rows import MetricRecord
from mpta_pipeline.report.scores import Scores
from mpta_pipeline.report.section import Section, sections
from mpta_pipeline.report.sections.found import told
from mpta_pipeline.report.transcripts import Chosen

_TEMPLATES = Path(__file__).parent / "templates"
TASKS = 40
"""Place of the tasks among the sections of the page."""
OPEN = 10
"""Place of the part of a task that is open; parts with a title after it are folded."""


@dataclass(frozen=True)
class FirstScreen:
    """What the report says first.

    Attributes:
        prompts: Ids of the prompts whose texts the report shows: PROMPTS and RESPONSES are read for these alone.
        told: The findings, and what was looked for, as sentences; published figures beside the own estimates.
        found: The findings.
        chosen: The prompts to show with each card.
    """

    prompts: list[str]
    told: dict[str, list[Any]]
    found: Findings
    chosen: list[Chosen]


@dataclass(frozen=True)
class _Part:
    """A rendered section of the page.

    Attributes:
        kind: Class of its element: `part-` and the section's name, or `task`, of which print keeps the sentences.
    """

    kind: str
    anchor: str
    contents: str
    heading: Markup
    body: Markup


def render_report(
    tables: Mapping[str, pl.DataFrame],
    *,
    study: Study,
    metrics: Mapping[str, MetricRecord] | None = None,
    title: str,
    generated: datetime,
    set_aside: Mapping[str, Sequence[str]] | None = None,
    notes: Sequence[str] = (),
    labels: Labels | None = None,
    records: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    usage: Mapping[str, Mapping[str, Any]] | None = None,
    published: PublishedStudy | None = None,
    scores: Scores | None = None,
    failures: pl.DataFrame | None = None,
    first: FirstScreen | None = None,
) -> str:
    """Render the report.

    Args:
        tables: Frames by table name. `subgroup_metrics` and `waves` are always shown; `pockets`, `model_comparison`,
            `items`, `panel` and `scores` add their sections if given; `options` orders subgroups along their scale.
        study: The study: names, conditions, dimensions, smallest cell, level.
        metrics: Records of the metric registry by name, for definitions, units and bounds.
        title: Title of the page.
        generated: When the report was made.
        set_aside: Wave → what was set aside in it because the crosswalk does not know it, one text per column.
        notes: Further facts that a reader must know before quoting an estimate, one sentence each.
        labels: Names for people of surveys, tasks, dimensions and subgroups; None writes the configuration's names.
        records: Table → partition → the record of the stored table, for failures and warnings of the run.
        usage: Model → tokens and US dollars of its replies.
        published: A published study whose figures are shown beside the own estimates.
        scores: The scores, to be read in parts; None if they are among the tables.
        failures: Failed requests: model, reason, count; None if they are among the table `responses`.
        first: What `first_screen` found in the same tables, if it was asked before.

    Returns:
        HTML with styles, scripts and data inside. Equal input gives equal text.
    """
    frames = {table.name: tables.get(table.name, table.empty()) for table in t.PUBLISHED}
    if "group_replies" in tables:
        frames["group_replies"] = tables["group_replies"]
    report = Report(
        frames,
        study,
        metrics or {},
        set_aside or {},
        notes,
        labels=labels or Labels(),
        records=records,
        usage=usage,
        published=published,
        scores=scores,
        failures=failures,
    )
    if first is not None:
        report.found, report.chosen_prompts = first.found, first.chosen
    shared = {"view": report, "study": study, "words": phrases, "labels": report.labels, "charts": charts}
    return (
        _environment()
        .get_template("page.html")
        .render(
            **shared,
            title=title,
            generated=generated,
            parts=_parts(report, shared),
            style=_files("*.css"),
            scripts=_files("*.js"),
            library=Markup(charts_data.library()) if report.estimates else "",
        )
    )


def _files(pattern: str) -> Markup:
    """The templates with such a name in the order of their names, after the page's own style."""
    paths = sorted(_TEMPLATES.glob(pattern), key=lambda path: (path.name != "report.css", path.name))
    return Markup("\n".join(path.read_text(encoding="utf-8") for path in paths))


def shown_prompts(
    tables: Mapping[str, pl.DataFrame], *, study: Study, metrics: Mapping[str, MetricRecord], labels: Labels
) -> list[str]:
    """The ids of the prompts whose texts the report shows; the arguments are those of `first_screen`."""
    return first_screen(tables, study=study, metrics=metrics, labels=labels).prompts


def first_screen(
    tables: Mapping[str, pl.DataFrame],
    *,
    study: Study,
    metrics: Mapping[str, MetricRecord],
    labels: Labels,
    published: PublishedStudy | None = None,
    scores: Scores | None = None,
) -> FirstScreen:
    """What the report says first, before PROMPTS and RESPONSES are read.

    Args:
        tables: Frames by table name: the estimates, pockets and comparison, scores, groups, and personas with today's
            `data_use`.
        study: The study.
        metrics: Records of the metric registry by name.
        labels: Names for people, and which models are controls.
        published: A published study whose figures are compared with the own estimates.
        scores: The scores, to be read in parts; None if they are among the tables.
    """
    frames = {table.name: tables.get(table.name, table.empty()) for table in t.PUBLISHED}
    report = Report(frames, study, metrics, {}, (), labels=labels, scores=scores)
    chosen = report.chosen_prompts
    prompts = sorted({prompt for one in chosen for prompt in one.prompts})
    return FirstScreen(prompts, told(report) | {"published": as_rows(report, published)}, report.found, chosen)


def _parts(report: Report, shared: Mapping[str, Any]) -> list[_Part]:
    """The sections of the page in order; the parts of each task and survey come at place `TASKS`."""
    page = [(section, body) for section in sections("page") if (body := _body(section, shared, report)) is not None]
    made = [
        (
            section.order,
            _Part(
                f"part-{section.name}",
                section.name,
                section.contents or section.title,
                Markup.escape(section.title),
                body,
            ),
        )
        for section, body in page
    ]
    before = [part for order, part in made if order < TASKS]
    after = [part for order, part in made if order >= TASKS]
    tasks = [_task(report, shared, i, *cell) for i, cell in enumerate(report.cells, 1)]
    return [*before, *tasks, *after]


def _task(report: Report, shared: Mapping[str, Any], place: int, task: str, survey: str) -> _Part:
    """The part of the page for one task and survey."""
    named = f"{report.labels.task(task)} · {report.labels.survey(survey)}"
    badge = Markup(' <span class="badge">sample items</span>') if task in report.samples else ""
    opening = _template(_TASK_OPENING).render(**shared, task=task, survey=survey)
    parts: list[Markup] = []
    for section in sections("task"):
        body = _body(section, shared, report, task, survey)
        if body is None:
            continue
        heading = Markup("<h3>{}</h3>").format(section.title)
        if section.order == OPEN:
            body = heading + body
        elif section.title:
            body = Markup('<details class="fold">\n<summary>{}</summary>\n{}\n</details>').format(heading, body)
        parts.append(body)
    return _Part(
        "task",
        f"s{place}",
        named,
        Markup.escape(phrases.opening(named)) + badge,
        Markup("\n").join([Markup(opening), *parts]),
    )


_TASK_OPENING = """\
{% if view.about(survey) %}<p class="sub">{{ view.about(survey) }}</p>{% endif %}
{% for h in view.headlines if h.task == task and h.survey == survey %}
<p class="printed"><b>{{ labels.model(h.model) }}</b>: {{ h.verdict }}{% if h.effect %}; {{ h.effect }}{% endif %}.</p>
{% endfor %}
"""


def _body(section: Section, shared: Mapping[str, Any], report: Report, *cell: str) -> Markup | None:
    data = section.data(report, *cell)
    if data is None:
        return None
    names = dict(zip(("task", "survey"), cell, strict=True)) if cell else {}
    return Markup(_template(section.template).render(**shared, **names, **data))


@cache
def _template(source: str) -> Template:
    return _environment().from_string(source)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
