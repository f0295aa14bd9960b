"""How reliable the replies are: readable, refused, failed, order flips, position bias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from mpta_pipeline.report import phrases
from mpta_pipeline.report.context import Report
from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% from "macros.html" import replies, unread with context %}
<p>Estimates are only as good as the replies behind them. <b>Readable</b>: the reply names one of the options. <b>Order flips</b>: how often two orders of the same
  options get different answers. <b>Position bias</b>: how far the model is from picking all positions equally often; near 0 is good.</p>
{% if rows %}
{{ replies(first, "Replies for everyone, by model, task and survey.") }}
{% if rest %}
<details>
<summary>Other conditions</summary>
{{ replies(rest, "Replies for everyone under the other conditions.") }}
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
"""


def data(report: Report) -> Mapping[str, Any]:
    """Rates of the replies by condition, and why replies cannot be read."""
    lead = report.conditions[0] if report.conditions else ""
    return {
        "rows": report.reliability,
        "first": [row for row in report.reliability if row["condition"] == lead],
        "rest": [row for row in report.reliability if row["condition"] != lead],
        "unreadable": unread_by_model(report),
    }


def unread_by_model(report: Report) -> list[dict[str, Any]]:
    """One row per model with unreadable replies: how many, of how many, and how many for each reason."""
    scores = report.frames["scores"].filter(pl.col("status") != "error")
    reason, unparsed = pl.col("unparsed_reason"), pl.col("status") == "unparsed"
    counts = scores.group_by("model").agg(
        pl.len().alias("replies"),
        unparsed.sum().alias("unread"),
        *((reason == name).sum().alias(name) for name in phrases.UNPARSED),
    )
    rank = {model: i for i, model in enumerate(report.models)}
    rows = counts.filter(pl.col("unread") > 0).to_dicts()
    return sorted(rows, key=lambda row: (rank.get(row["model"], len(rank)), row["model"]))


SECTION = Section(
    name="replies",
    order=70,
    title="Reliability of the replies",
    template=TEMPLATE,
    data=data,
    contents="Reliability",
)
