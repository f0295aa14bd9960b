"""What models answered to questions without a key: a study's own questionnaire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from mpta_pipeline.report.context import Report
from mpta_pipeline.report.rows import ALL
from mpta_pipeline.report.section import Section

SHOWN_QUESTIONS = 60
TEMPLATE = """\
<details open>
<summary>What the models answered to {{ questions | length }} {{ "question" if questions | length == 1 else "questions" }}</summary>
<div class="scroll" role="group" tabindex="0" aria-label="What the models answered">
<table>
  <caption>Shares of the readable answers ({{ words.condition(condition) }}), everyone together, with {{ view.confidence }} intervals clustered by persona, {{ "weighted" if weighted else "unweighted" }}. No answer is right or wrong here. The table
    <code>answer_shares</code> has the shares by group.</caption>
  <thead><tr><th scope="col">Answer</th>{% for model in models %}<th scope="col">{{ labels.model(model) }} [{{ view.confidence }}]</th>{% endfor %}</tr></thead>
  {% for question in questions[:shown] %}
  <tbody>
  <tr class="block"><th scope="colgroup" colspan="{{ models | length + 1 }}">{{ question.text }} <span class="sub">n = {{ words.count(question.n) }} personas</span></th></tr>
  {% for answer, cells in question.answers %}
  <tr><th scope="row">{{ answer }}</th>{% for c in cells %}<td class="ci">{% if c %}{{ words.number(c.share, share=True) }} <span class="sub">{{ words.interval(c.ci_low, c.ci_high, share=True) }}</span>{% endif %}</td>{% endfor %}</tr>
  {% endfor %}
  </tbody>
  {% endfor %}
</table>
</div>
{% if questions | length > shown %}<p>The page shows the first {{ shown }} of {{ questions | length }} questions; the warehouse has all.</p>{% endif %}
</details>
"""


def data(report: Report, task: str, survey: str) -> Mapping[str, Any] | None:
    """Per question, the share of each answer for everyone, models side by side."""
    frame = report.frames["answer_shares"].filter(
        (pl.col("task") == task) & (pl.col("survey") == survey) & (pl.col("dimensions") == ALL)
    )
    if frame.is_empty():
        return None
    seen = frame["condition"].unique().to_list()
    condition = "persona" if "persona" in seen else sorted(seen)[0]
    frame = frame.filter(pl.col("condition") == condition)
    frame = frame.filter(pl.col("weighted") == pl.col("weighted").any())
    models = frame["model"].unique().sort().to_list()
    texts = dict(report.frames["items"].filter(pl.col("task") == task).select("item_id", "question").iter_rows())
    questions = []
    for (item,), part in frame.group_by(["item_id"], maintain_order=True):
        cells = {(row["option"], row["model"]): row for row in part.iter_rows(named=True)}
        options = part.select("option", "answer").unique().sort("option")
        questions.append(
            {
                "text": texts.get(str(item), item),
                "n": part["n_personas"].max(),
                "answers": [(answer, [cells.get((o, model)) for model in models]) for o, answer in options.iter_rows()],
            }
        )
    return {
        "questions": questions,
        "models": models,
        "condition": condition,
        "weighted": bool(frame["weighted"].any()),
        "shown": SHOWN_QUESTIONS,
    }


SECTION = Section(
    name="answers",
    order=42,
    title="",
    template=TEMPLATE,
    place="task",
    data=data,
)
