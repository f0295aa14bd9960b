"""What people answered to each question, according to the survey."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from mpta_pipeline.report.context import Report
from mpta_pipeline.report.rows import ALL
from mpta_pipeline.report.section import Section

TEMPLATE = """\
<details>
<summary>What people answered to {{ shares | length }} {{ "question" if shares | length == 1 else "questions" }}</summary>
<div class="scroll" role="group" tabindex="0" aria-label="What people answered">
<table>
  <caption>Shares of the survey's own answers, everyone together, with {{ view.confidence }} intervals: {{ shares[0].options[0].method }}, {{ "weighted" if shares[0].options[0].weighted else "unweighted" }}. The table
    <code>people_shares</code> has them by group.</caption>
  <thead><tr><th scope="col">Answer</th><th scope="col">Share [{{ view.confidence }}]</th><th scope="col" class="n">People</th><th scope="col" class="n">Design effect</th></tr></thead>
  {% for item in shares[:60] %}
  <tbody>
  <tr class="block"><th scope="colgroup" colspan="4">{{ item.question or item.item_id }}</th></tr>
  {% for o in item.options %}
  <tr><th scope="row">{{ o.answer }}</th><td class="ci">{{ words.number(o.share, share=True) }} <span class="sub">{{ words.interval(o.ci_low, o.ci_high, share=True) }}</span></td>
    <td class="n">{{ words.count(o.n_people) }}</td><td class="n">{{ words.number(o.deff, share=False) }}</td></tr>
  {% endfor %}
  </tbody>
  {% endfor %}
</table>
</div>
{% if shares | length > 60 %}<p>The page shows the first 60 of {{ shares | length }} questions; the warehouse has all.</p>{% endif %}
</details>
"""


def data(report: Report, task: str, survey: str) -> Mapping[str, Any] | None:
    """What everyone answered to each item: the question and one row per option, weighted if there are weights."""
    frame = report.frames["people_shares"].filter(
        (pl.col("task") == task) & (pl.col("survey") == survey) & (pl.col("dimensions") == ALL)
    )
    if frame.is_empty():
        return None
    questions = report.frames["items"].select("task", "item_id", "question")
    frame = frame.filter(pl.col("weighted") == pl.col("weighted").any())
    frame = frame.join(questions, on=["task", "item_id"], how="left").sort("item_id", "option")
    shares = [
        {"item_id": item, "question": part.item(0, "question"), "options": part.to_dicts()}
        for (item,), part in frame.partition_by("item_id", as_dict=True, maintain_order=True).items()
    ]
    return {"shares": shares}


SECTION = Section(
    name="shares",
    order=40,
    title="",
    template=TEMPLATE,
    place="task",
    data=data,
)
