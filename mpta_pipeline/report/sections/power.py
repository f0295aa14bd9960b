"""How small a difference the study could find, and what more people or questions would buy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from mpta_pipeline.core.power import why_more_finds_less
from mpta_pipeline.report import phrases
from mpta_pipeline.report.context import Report
from mpta_pipeline.report.section import Section

TEMPLATE = """\
<p>The smallest differences that this design finds with 80 % power, computed from its panel and questions, not from any answer. It assumes that 60 % of the answers are right, 50 % without a persona; <code>mpta power</code> takes other assumptions.
  More people help until the questions set the limit, and the other way round.</p>
{% if why_none %}<p>{{ why_none }}</p>
<ul class="lookedfor">{% for line in nothing %}<li>{{ line }}</li>
{% endfor %}</ul>{% endif %}
{% for c in curves %}
<figure class="chart" data-title="{{ c.title }}">
<figcaption><strong>{{ c.title }}</strong>
<p>{{ c.sentence }}</p></figcaption>
<div class="drawing scroll" role="group" tabindex="0" aria-label="{{ c.title }}">{{ c.drawing }}</div>
<details>
<summary>The curves as a table</summary>
<div class="scroll" role="group" tabindex="0" aria-label="Table: {{ c.title }}">
<table>
  <caption class="unseen">{{ c.title }}</caption>
  <thead><tr><th scope="col">Difference</th><th scope="col">Of</th><th scope="col" class="n">People</th><th scope="col" class="n">Batteries</th><th scope="col" class="n">Smallest difference found, in points</th></tr></thead>
  <tbody>
  {% for row, group in c.rows %}
  <tr><th scope="row">{{ row.what }}</th><td>{{ group }}</td><td class="n">{{ words.count(row.n_personas) }}</td><td class="n">{{ words.count(row.n_clusters) }}</td><td class="n">{{ points(row.detectable) }}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
</details>
</figure>
{% endfor %}
{% if nothing and not why_none %}<p>Even a difference of 100 points would not be found for: {{ nothing|join("; ") }}.</p>{% endif %}
{% for line in why %}<p>{{ line }}</p>
{% endfor %}
{% if more %}<p>The curves of {{ more }} more are in the warehouse, table <code>power</code>.</p>{% endif %}
"""

SHOWN = 6
"""Tasks and surveys with curves; the warehouse has all."""
_LINES = {"subgroup gap": "c1", "persona effect": "c2", "pocket": "c4", "arm effect": "c3"}
_DASHES = {1.0: "", 2.0: "6 3", 4.0: "2 3"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP = 860.0, 300.0, 60.0, 130.0, 14.0


@dataclass(frozen=True)
class Curves:
    """The curves of one task and survey."""

    title: str
    sentence: str
    drawing: Markup
    rows: Sequence[tuple[Mapping[str, Any], str]]


def data(report: Report) -> Mapping[str, Any] | None:
    """Curves per task and survey, or why nothing can be found; None if the table was not given."""
    frame = report.frames["power"]
    if frame.is_empty():
        return None
    made, nothing = [], []
    for task, survey in frame.select("task", "survey").unique().sort("task", "survey").rows():
        part = _of_middle(frame.filter(task=task, survey=survey).to_dicts())
        if any(row["detectable"] is not None and row["detectable"] <= 1 for row in part):
            made.append(_curves(report, task, survey, part))
        else:
            nothing.append(_nothing(_where(report, task, survey), frame.filter(task=task, survey=survey)))
    return {
        "curves": made[:SHOWN],
        "points": points,
        "nothing": nothing,
        "why_none": "" if made else _NONE,
        "more": max(len(made) - SHOWN, 0),
        "why": why_more_finds_less(frame) if made else [],
    }


_NONE = (
    "No task of this study would find even a difference of 100 points. An error needs several people and several "
    "batteries of questions, or one battery alone: its degrees of freedom are those of the fewer. Differences that the "
    "other sections do not confirm are therefore no sign that there are none."
)


def _nothing(where: str, power: pl.DataFrame) -> str:
    """A task without a difference that could be found, with its size and what would change that."""
    whole = power.filter(people=1, questions=1).sort("n_personas", descending=True).row(0, named=True)
    people, batteries = phrases.count(whole["n_personas"]), whole["n_clusters"]
    size = f"{people} {'person' if whole['n_personas'] == 1 else 'people'}, {batteries} batter{'y' if batteries == 1 else 'ies'}"
    could = power.filter(pl.col("detectable") <= 1, pl.col("people") >= 1).with_columns(
        (pl.col("people") * pl.col("questions")).alias("cost")
    )
    if could.is_empty():
        return f"{where} ({size})"
    first = could.sort("cost", "people", "detectable").row(0, named=True)
    more = [
        f"{first[name]:g} times the {what}"
        for name, what in (("people", "people"), ("questions", "questions"))
        if first[name] != 1
    ]
    found = f"{_A[first['what']]} of {points(first['detectable'])} points"
    if not more:
        return f"{where} ({size}; at best, {found} would be found)"
    return f"{where} ({size}; with {' and '.join(more)}, {found} would be found)"


_A = {
    "subgroup gap": "a subgroup gap",
    "persona effect": "a persona effect",
    "pocket": "a pocket",
    "arm effect": "an arm effect",
}


def _where(report: Report, task: str, survey: str) -> str:
    return f"{report.labels.task(task)} · {report.labels.survey(survey)}"


def _of_middle(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one subgroup for each kind of difference: the one in the middle of those that can be found now."""
    found: list[dict[str, Any]] = []
    for what in _LINES:
        now = [row for row in rows if row["what"] == what and row["people"] == row["questions"] == 1]
        known = sorted((row for row in now if row["detectable"] is not None), key=lambda row: row["detectable"])
        if known:
            chosen = known[(len(known) - 1) // 2]
            same = ("what", "dimensions", "subgroup")
            found += [row for row in rows if all(row[name] == chosen[name] for name in same)]
    return found


def _curves(report: Report, task: str, survey: str, rows: Sequence[dict[str, Any]]) -> Curves:
    where = _where(report, task, survey)
    said = []
    for what in _LINES:
        by = {(row["people"], row["questions"]): row for row in rows if row["what"] == what}
        if (now := by.get((1.0, 1.0))) is None:
            continue
        group = report.labels.subgroup(now["dimensions"], now["subgroup"])
        of = "" if group == "everyone" else f" of {group} ({phrases.count(now['n_personas'])} people)"
        more = "; ".join(
            f"{_told(by[key]['detectable'])} with {name}"
            for key, name in (((4.0, 1.0), "four times the people"), ((1.0, 4.0), "four times the questions"))
            if key in by
        )
        first = _told(now["detectable"])
        unit = "" if first == _NOT_FOUND else f" point{'' if first == '1.0' else 's'}"
        said.append(f"{phrases.opening(what)}{of}: {first}{unit}; {more}.")
    shown = [row for row in rows if row["detectable"] is not None and row["detectable"] <= 1]
    return Curves(
        f"Smallest differences found, in points: {where}",
        " ".join(said),
        _drawn(shown),
        [(row, report.labels.subgroup(row["dimensions"], row["subgroup"])) for row in rows],
    )


_NOT_FOUND = "none is found"


def _told(value: float | None) -> str:
    """A difference in points for a sentence."""
    return _NOT_FOUND if points(value) == phrases.NOTHING else points(value)


def points(value: float | None) -> str:
    """A difference in points; a dash if none of at most 100 points is found."""
    return phrases.NOTHING if value is None or value > 1 else f"{100 * value:.1f}"


def _drawn(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Lines over multiples of the people: colour by kind of difference, dashes by multiple of the questions."""
    steps = sorted({row["people"] for row in rows})
    low, high = math.log2(steps[0]), max(math.log2(steps[-1]), math.log2(steps[0]) + 1)
    most = max(row["detectable"] for row in rows)
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if most / s <= 8 or s == 0.2)
    top = math.ceil(most / step) * step

    def x(people: float) -> float:
        return float(LEFT + (math.log2(people) - low) / (high - low) * (WIDTH - LEFT - RIGHT))

    def y(value: float) -> float:
        return float(TOP + (1 - value / top) * HEIGHT)

    drawn = []
    for i in range(round(top / step) + 1):
        drawn.append(
            Markup('<line class="rail" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>').format(
                LEFT, WIDTH - RIGHT, y=y(i * step)
            )
        )
        drawn.append(
            Markup('<text class="level" x="{}" y="{:.1f}" dy="4">{:g}</text>').format(
                LEFT - 8, y(i * step), round(100 * i * step, 6)
            )
        )
    for people in steps:
        label = Markup('<text class="level middle" x="{:.1f}" y="{:.1f}">× {:g}</text>')
        drawn += [label.format(x(people), TOP + HEIGHT + 20, people)]
    drawn.append(
        Markup('<text class="factor middle" x="{:.1f}" y="{:.1f}">people; × 1 is the study as it is</text>').format(
            (LEFT + WIDTH - RIGHT) / 2, TOP + HEIGHT + 40
        )
    )
    beside: list[float] = []
    for what, colour in _LINES.items():
        for questions, dash in _DASHES.items():
            line = sorted(
                (row["people"], row["detectable"])
                for row in rows
                if row["what"] == what and row["questions"] == questions
            )
            if not line:
                continue
            path = " ".join(f"{'M' if i == 0 else 'L'}{x(p):.1f} {y(v):.1f}" for i, (p, v) in enumerate(line))
            words = f"{what}, questions × {questions:g}: " + ", ".join(
                f"{100 * v:.1f} points with people × {p:g}" for p, v in line
            )
            drawn.append(
                Markup(
                    '<g><title>{}</title><path d="{}" fill="none" stroke="var(--{})" stroke-width="2" stroke-dasharray="{}"/></g>'
                ).format(words, path, colour, dash)
            )
            if questions == 1:
                at = y(line[-1][1])
                while any(abs(at - other) < 16 for other in beside):
                    at -= 16
                beside.append(at)
                drawn.append(
                    Markup('<text class="name" x="{}" y="{:.1f}" dy="4" fill="var(--{})">{}</text>').format(
                        WIDTH - RIGHT + 8, at, colour, what
                    )
                )
    for i, (questions, dash) in enumerate(_DASHES.items()):
        left, at = LEFT + 180 * i, TOP + HEIGHT + 66
        drawn.append(
            Markup(
                '<line x1="{}" x2="{}" y1="{y}" y2="{y}" stroke="var(--ink)" stroke-width="2" stroke-dasharray="{}"/>'
            ).format(left, left + 34, dash, y=at)
        )
        drawn.append(
            Markup('<text class="key" x="{}" y="{}" dy="4">questions × {:g}</text>').format(left + 42, at, questions)
        )
    return Markup(
        '<svg class="curve" viewBox="0 0 {:g} {:g}" role="img"><title>Smallest difference found, in points, by number of people</title>{}</svg>'
    ).format(WIDTH, TOP + HEIGHT + 80, Markup("").join(drawn))


SECTION = Section(
    name="power",
    order=66,
    title="How small a difference this study could find",
    template=TEMPLATE,
    data=data,
    contents="Power",
)
