"""Accuracy by subgroup, one table per model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpta_pipeline.core.vocabulary import VERDICTS
from mpta_pipeline.report import phrases
from mpta_pipeline.report.context import HEADLINE, SHOWN_MODELS, Report
from mpta_pipeline.report.forest import Forest
from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% from "macros.html" import forest with context %}
{% for model, table in subgroups.items() %}
<details{% if loop.index <= view.open_models %} open{% endif %}>
<summary>{{ model }}</summary>
{% set sentence = gaps(view, table) %}
{% if sentence %}<p>{{ sentence }}</p>{% endif %}
{{ forest(table, "Accuracy of " ~ model ~ " on " ~ labels.task(task) ~ ", " ~ labels.survey(survey) ~ ", by subgroup", words.BASELINES) }}
</details>
{% else %}
<p>No accuracy was computed for this task.</p>
{% endfor %}
{% if n_models > shown_models %}<p>The page shows the subgroup tables of the first {{ shown_models }} of {{ n_models }} models; the warehouse has all.</p>{% endif %}
"""


def data(report: Report, task: str, survey: str) -> Mapping[str, Any]:
    """A table of subgroups per model."""
    models = report.models_of(task, survey)
    tables = report.by_model(models[:SHOWN_MODELS], report.of(task, survey), HEADLINE, report.lead(task, survey))
    return {"subgroups": tables, "n_models": len(models), "shown_models": SHOWN_MODELS, "gaps": gaps}


def gaps(report: Report, table: Forest) -> str:
    """How many subgroups of a table differ from everyone else, in a sentence; empty if none was tested."""
    tested = [row for block in table.blocks for row in block.rows if row.verdict is not None]
    if not tested:
        return ""
    n = {verdict: sum(row.verdict == verdict for row in tested) for verdict in VERDICTS}
    margin = phrases.number(report.study.figures.equivalence_margin, share=True, unit=False)
    differ = f"{n['gap']} {'differs' if n['gap'] == 1 else 'differ'}"
    alike = f"{n['no_gap']} {'is' if n['no_gap'] == 1 else 'are'}"
    return (
        f"Of {len(tested)} subgroups compared with everyone else, {differ}, {alike} shown to be within {margin} "
        f"points, and {n['inconclusive']} cannot be decided because there are too few data."
    )


SECTION = Section(
    name="subgroups",
    order=10,
    title="Accuracy by subgroup",
    template=TEMPLATE,
    place="task",
    data=data,
)
