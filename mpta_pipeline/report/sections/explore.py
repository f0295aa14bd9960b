"""Subgroups: a forest plot of any metric and dimension, models side by side, and a world map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from mpta_pipeline.report import charts_data, phrases
from mpta_pipeline.report.context import Report
from mpta_pipeline.report.section import Section

TEMPLATE = """\
<p>Estimates by group, models side by side. A group <b>differs</b> if a test against everyone else in its dimension says so, corrected for the number of groups; an unclear group is not shown to be alike.
  {% if left_out %}The page holds {{ words.count(rows) }} estimates; {{ words.count(left_out) }} more are in the warehouse.{% endif %}</p>
<div id="explorer">
<noscript><p>The charts are drawn by a script, which is switched off. The parts of each task below have the same estimates as tables.</p></noscript>
</div>
<script type="text/plain" id="estimates">{{ block }}</script>
{% if world %}<script type="text/plain" id="world">{{ world }}</script>{% endif %}
"""


def data(report: Report) -> Mapping[str, Any] | None:
    """The estimates of all groups, packed for the charts."""
    if not report.estimates:
        return None
    made = charts_data.chart_data(
        report.frames["subgroup_metrics"], _names(report), small=report.min_personas, controls=report.controls
    )
    countries = [group for group in made["names"]["group"] if made["names"]["dimensions"][group[0]]["key"] == "country"]
    return {
        "block": Markup(charts_data.packed(made)),
        "rows": made["rows"],
        "left_out": made["of"] - made["rows"],
        "world": Markup(charts_data.world()) if len(countries) > 1 else "",
    }


def _names(report: Report) -> charts_data.Names:
    labels = report.labels
    ranks = report.values

    def place(_dimension: str, subgroup: str) -> list[tuple[int, str]]:
        return [(ranks.get(part, len(ranks)), part) for part in subgroup.split("×")]

    return charts_data.Names(
        labels={
            "model": labels.model,
            "task": lambda name: f"{labels.task(name)}{' (sample items)' if name in report.samples else ''}",
            "survey": labels.survey,
            "metric": report.metric,
            "condition": phrases.condition,
            "dimensions": labels.dimension,
        },
        group=labels.subgroup,
        dimensions=report.study.figures.dimensions,
        conditions=report.conditions,
        metrics=list(dict.fromkeys((*charts_data.FIRST, *report.metrics))),
        tasks=report.tasks,
        about=lambda metric: {"share": report.share(metric), "better": report.better(metric)},
        place=place,
    )


SECTION = Section(
    name="explore",
    order=36,
    title="Subgroups",
    template=TEMPLATE,
    data=data,
)
