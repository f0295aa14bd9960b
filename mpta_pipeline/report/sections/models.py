"""Models compared on the prompts that both answered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from mpta_pipeline.report.context import HEADLINE, Report
from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% from "macros.html" import comparison with context %}
{% if lead or others %}
<p>Models are compared on the prompts that both answered. Models with the same letter cannot be told apart with these data: their order is not a ranking.</p>
{% if lead %}{{ comparison(lead, "Models by task, from best to worst, with tie groups.") }}{% endif %}
{% if others %}
<details>
<summary>Other metrics and conditions</summary>
{{ comparison(others, "Models by task, metric and condition, from best to worst, with tie groups.") }}
</details>
{% endif %}
{% else %}
<p>There is only one model, so there is nothing to compare. Add models to <code>models.yaml</code>; stored answers are reused.</p>
{% endif %}
"""


def data(report: Report) -> Mapping[str, Any]:
    """Comparisons of accuracy under the first condition, and all others."""
    lead, others = comparisons(report)
    return {"lead": lead, "others": others}


def comparisons(report: Report) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One row per task, survey, metric and condition: its models from best to worst with their tie groups.

    Returns:
        Those of accuracy under the first condition, and all others.
    """
    frame = report.frames["model_comparison"]
    if frame.select("model").n_unique() < 2:
        return [], []
    key = ("task", "survey", "metric", "condition")
    own = frame.filter(pl.col("model") == pl.col("other_model")).partition_by(*key, as_dict=True)
    pairs = frame.filter(pl.col("model") != pl.col("other_model")).partition_by(*key, "model", as_dict=True)
    places = [(name, {v: i for i, v in enumerate(known)}) for name, known in _orders(report)]

    def place(group: tuple[Any, ...]) -> list[tuple[int, str]]:
        return [(known.get(v, len(known)), str(v)) for (_, known), v in zip(places, group, strict=True)]

    lead: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for group in sorted(own, key=place):
        metric = str(group[2])
        lower = report.metrics[metric].direction == "lower" if metric in report.metrics else False
        models = own[group].sort("tie_group", "estimate", "model", descending=[False, not lower, False]).to_dicts()
        span = report.spans.get(metric, math.inf)
        for row in models:
            of_model = pairs.get((*group, row["model"]))
            ends = pl.col("ci_low", "ci_high").clip(-span, span)
            row["differences"] = [] if of_model is None else of_model.sort("other_model").with_columns(ends).to_dicts()
        shown = {**dict(zip(key, group, strict=True)), "share": report.share(metric), "models": models}
        leads = metric == HEADLINE and group[3] == next(iter(report.conditions), group[3])
        (lead if leads else others).append(shown)
    return lead, others


def _orders(report: Report) -> list[tuple[str, Sequence[str]]]:
    """The order of tasks, surveys, metrics and conditions on the page."""
    return [
        ("task", report.tasks),
        ("survey", report.surveys),
        ("metric", list(report.metrics)),
        ("condition", report.conditions),
    ]


SECTION = Section(
    name="models",
    order=60,
    title="Models compared",
    template=TEMPLATE,
    data=data,
)
