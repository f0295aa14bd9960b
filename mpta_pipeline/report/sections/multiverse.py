"""What becomes of the study's figures when defensible choices are made otherwise: specification curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from mpta_pipeline.core.multiverse import NamedFigure, level_text
from mpta_pipeline.report import intervals, phrases
from mpta_pipeline.report.context import Report
from mpta_pipeline.report.section import Section
from mpta_pipeline.report.specification_curve import Specification, curve

TEMPLATE = """\
<p>Each choice below could defensibly be made otherwise. A <b>configuration</b> is one level of each choice; every figure was computed in each of the {{ n }} configurations{% if fractional %}, which are a balanced part of all {{ full }}{% endif %}.
  A difference <b>holds</b> in a configuration if it has the sign of the configurations taken together and stays significant after correction for their number (Holm). The joint test asks whether so large a median, or so many significant configurations, would occur if the label meant nothing: it permutes persons' labels, so it speaks of these questions, while the intervals also allow for other questions.</p>
<p>They took {{ words.count(requests) }} requests, {{ words.count(shared) }} of which were shared with the study's own tasks or with each other and asked once.</p>
{% for b in budgets %}
<h3 id="variance-{{ loop.index }}">What the score of an answer depends on: {{ labels.task(b.task) }} · {{ labels.survey(b.survey) }} · {{ labels.model(b.over) }}</h3>
<p>{{ b.sentence }}</p>
<div class="scroll" role="group" tabindex="0" aria-label="Variance budget">
<table class="budget">
  <caption>Shares of the variance of the score of single answers (crossed random effects), with {{ view.confidence }} intervals over persons and questions; {{ words.count(b.n) }} answers.</caption>
  <thead><tr><th scope="col">Component</th><th scope="col" class="chart">Share</th><th scope="col">Share of variance [{{ view.confidence }}]</th><th scope="col" class="n">Levels</th></tr></thead>
  <tbody>
  {% for row, name, drawing in b.rows %}
  <tr><th scope="row">{{ name }}</th><td class="chart">{{ drawing }}</td><td class="ci">{{ words.number(row.share, share=True) }} <span class="sub">{{ words.interval(row.ci_low, row.ci_high, share=True) }}</span></td><td class="n">{{ words.count(row.levels) }}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
{% endfor %}
{% if absent %}
<p><b>No configuration has an estimate of:</b> {{ absent | join("; ") }}. The subgroup has no answers, or nothing was asked yet.</p>
{% endif %}
{% for c in curves %}
<h3 id="multiverse-{{ loop.index }}">{{ words.opening(c.figure) }}: {{ labels.task(c.task) }} · {{ labels.survey(c.survey) }} · {{ labels.model(c.over) }}</h3>
<ul class="lookedfor">
{% for sentence in c.sentences %}<li>{{ sentence }}</li>
{% endfor %}
</ul>
<figure class="chart" data-title="{{ c.title }}">
<figcaption><strong>{{ c.title }}</strong>
<p>One column per configuration, sorted, with {{ view.confidence }} interval; the choices of each stand below it.{% if c.tested %} Filled: the difference holds. Hollow: it does not.{% endif %}{% if c.points %} In percentage points.{% elif c.share %} In percent.{% endif %}</p></figcaption>
<div class="drawing scroll" role="group" tabindex="0" aria-label="{{ c.title }}">{{ c.drawing }}</div>
<details>
<summary>The configurations as a table</summary>
<div class="scroll" role="group" tabindex="0" aria-label="Table: {{ c.title }}">
<table>
  <caption class="unseen">{{ c.title }}</caption>
  <thead><tr>{% for name, _ in c.factors %}<th scope="col">{{ words.opening(name) }}</th>{% endfor %}<th scope="col">Estimate [{{ view.confidence }}]</th>{% if c.tested %}<th scope="col" class="n">p</th><th scope="col" class="n">p, corrected</th><th scope="col">Holds</th>{% endif %}<th scope="col" class="n">Answers</th><th scope="col" class="n">People</th></tr></thead>
  <tbody>
  {% for row, levels in c.rows %}
  <tr{% if row.small %} class="small-cell"{% endif %}>{% for level in levels %}<td>{{ level }}</td>{% endfor %}
    <td class="ci">{{ words.number(row.estimate, share=c.share, signed=c.tested) }} <span class="sub">{{ words.interval(row.ci_low, row.ci_high, share=c.share, signed=c.tested) }}</span></td>
    {% if c.tested %}<td class="n">{{ words.q(row.p_value) }}</td><td class="n">{{ words.q(row.p_holm) }}</td><td>{{ "yes" if row.holds else "no" }}</td>{% endif %}
    <td class="n">{{ words.count(row.n_answers) }}</td><td class="n">{{ words.count(row.n_personas) }}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
</details>
</figure>
{% endfor %}
{% if more %}<p>{{ more }} more curves are in the warehouse, table <code>specification_curve</code>.</p>{% endif %}
{% if more_budgets %}<p>{{ more_budgets }} more variance budgets are in the warehouse, table <code>variance_budget</code>.</p>{% endif %}
"""

SHOWN = 24
"""Curves, and variance budgets, on the page. The warehouse has all."""
NAMES = {"scale_direction": "scale direction", "traits": "traits shown", "orders": "option orders"}


@dataclass(frozen=True)
class Curve:
    """One figure over all configurations of one task, survey and model."""

    task: str
    survey: str
    over: str
    figure: str
    title: str
    share: bool
    points: bool
    tested: bool
    sentences: Sequence[str]
    drawing: Markup
    factors: Sequence[tuple[str, Sequence[str]]]
    rows: Sequence[tuple[Mapping[str, Any], Sequence[str]]]


def data(report: Report) -> Mapping[str, Any] | None:
    """The curves; None without a multiverse."""
    multiverse, found = report.study.multiverse, report.frames["multiverse_findings"]
    if multiverse is None or (found.is_empty() and report.frames["configurations"].is_empty()):
        return None
    configurations = report.frames["configurations"]
    total, new = (int(configurations[name].sum()) for name in ("requests", "new_requests"))
    levels = multiverse.factors.levels
    factors = [(NAMES.get(n, n), [str(level_text(one)) for one in given]) for n, given in levels.items()]
    full = 1
    for given in levels.values():
        full *= len(given)
    known = {figure.title: figure for figure in multiverse.figures}
    place = {name: i for i, name in enumerate(known)}
    rows = [row for row in found.iter_rows(named=True) if row["n_configurations"] and row["figure"] in known]
    rows.sort(
        key=lambda row: (
            row["task"],
            row["over"] in report.controls,
            row["over"],
            row["survey"],
            place[row["figure"]],
        )
    )
    absent = [name for name in known if name not in {row["figure"] for row in rows}]
    made = [_curve(report, row, known[row["figure"]], factors) for row in rows[:SHOWN]]
    budgets = _budgets(report)
    return {
        "absent": absent,
        "n": len(multiverse.configurations),
        "full": full,
        "fractional": len(multiverse.configurations) < full,
        "requests": total,
        "shared": total - new,
        "curves": made,
        "budgets": budgets[:SHOWN],
        "more_budgets": max(len(budgets) - SHOWN, 0),
        "more": max(len(rows) - SHOWN, 0),
    }


@dataclass(frozen=True)
class Budget:
    """The variance budget of one task, survey and model."""

    task: str
    survey: str
    over: str
    sentence: str
    n: int
    rows: Sequence[tuple[Mapping[str, Any], str, Markup]]


MEANINGS = {
    "person": "Person: some are easier to foretell than others",
    "question": "Question: some are easier than others",
    "person × question": "Person × question: the same in all configurations",
    "configuration": "Configuration: what choices do together",
    "question × configuration": "Question × configuration: choices that help one question and harm another",
    "wording": "Wording within a configuration",
    "order": "Option order",
    "repeat": "Repeat of the same prompt",
    "residual": "All else: what changes from one asking to the next",
}


def _budgets(report: Report) -> list[Budget]:
    frame = report.frames["variance_budget"].drop_nulls("share")
    keys = frame.select("task", "over", "survey").unique().sort("task", "over", "survey").rows()
    found = []
    for task, over, survey in sorted(keys, key=lambda key: (key[0], key[1] in report.controls, *key[1:])):
        rows = frame.filter(task=task, over=over, survey=survey).sort("share", descending=True).to_dicts()
        named = [(row, MEANINGS.get(row["component"], phrases.opening(_choice(row["component"])))) for row in rows]
        bars = [intervals.Row(n, r["share"], r["ci_low"], r["ci_high"], main=True, text=_percent(r)) for r, n in named]
        scale = intervals.Scale(0.0, 1.0)
        choices = [row for row in rows if row["component"] not in MEANINGS or "configuration" in row["component"]]
        together = sum(row["share"] for row in choices)
        most = rows[0]
        sentence = (
            f"The largest part, {_percent(most)}, is {_lower(named[0][1])}. The choices that were varied, alone, "
            f"together and with the question, account for {phrases.number(together, share=True)}."
        )
        drawn = [(row, name, intervals.drawn(bar, scale)) for (row, name), bar in zip(named, bars, strict=True)]
        found.append(Budget(task, survey, over, sentence, rows[0]["n_answers"], drawn))
    return found


def _lower(text: str) -> str:
    """A component within a sentence: its name, and what it means in brackets."""
    name, colon, meaning = (text[:1].lower() + text[1:]).partition(": ")
    return f"{name} ({meaning})" if colon else name


def _percent(row: Mapping[str, Any]) -> str:
    return phrases.number(row["share"], share=True)


def _curve(
    report: Report, found: Mapping[str, Any], figure: NamedFigure, factors: Sequence[tuple[str, Sequence[str]]]
) -> Curve:
    key = {name: found[name] for name in ("task", "over", "survey", "figure")}
    frame = report.frames["specification_curve"].filter(**key).drop_nulls("estimate").sort("place")
    moves = report.frames["factor_moves"].filter(**key).drop_nulls("moves").sort("moves", descending=True)
    share, tested = report.share(figure.metric), figure.what != "estimate"
    rows = [(row, [one["level"] for one in row["levels"]]) for row in frame.iter_rows(named=True)]
    if len({row["model"] for row, _ in rows}) > 1 and "model" not in dict(factors):
        raise ValueError("configurations of several models on one curve need the factor model")
    specifications = [
        Specification(
            row["estimate"],
            row["ci_low"],
            row["ci_high"],
            bool(row["holds"]) or not tested,
            levels,
            f"{', '.join(levels)}: {phrases.number(row['estimate'], share=share, signed=tested)} "
            f"{phrases.interval(row['ci_low'], row['ci_high'], share=share, signed=tested)}",
        )
        for row, levels in rows
    ]
    named = _named(report, figure)
    title = f"{phrases.opening(named)} in {found['n_configurations']} configurations"
    return Curve(
        **key,
        title=title,
        share=share,
        points=share and tested,
        tested=tested,
        sentences=_sentences(report, found, figure, moves, named),
        drawing=curve(
            specifications,
            factors,
            title=f"{title}, from {specifications[0].words} to {specifications[-1].words}",
            text=lambda value: phrases.number(value, share=share, signed=tested and value != 0, unit=False),
            zero=tested,
        ),
        factors=factors,
        rows=rows,
    )


def _named(report: Report, figure: NamedFigure) -> str:
    if figure.name is not None:
        return figure.name
    metric, group = report.metric(figure.metric).lower(), report.labels.subgroup(figure.dimensions, figure.subgroup)
    said = {
        "estimate": metric,
        "effect": f"effect of the persona on {metric}",
        "gap": f"gap in {metric} between {group} and everyone else",
    }[figure.what]
    return said if figure.what == "gap" or group == "everyone" else f"{said}, {group}"


def _sentences(
    report: Report, found: Mapping[str, Any], figure: NamedFigure, moves: pl.DataFrame, named: str
) -> list[str]:
    """What the curve says, in words."""
    share, tested = report.share(figure.metric), figure.what != "estimate"

    def value(number: float | None, *, signed: bool = tested) -> str:
        text = phrases.number(number, share=share, signed=signed, unit=not tested)
        return f"{text} points" if share and tested else text

    n = found["n_configurations"]
    said = [
        f"The median of the configurations is {value(found['median'])}; they range from {value(found['lowest'])} to "
        f"{value(found['highest'])}."
    ]
    if tested and found["n_holds"] is not None:
        opposite = found["n_opposite"]
        said.append(
            f"It holds in {found['n_holds']} of {n} configurations ({100 * found['share_holds']:.0f} %); without "
            f"correction for their number, the interval excludes 0 in {found['n_excluding_zero']}."
            + (f" In {opposite} it is the other way round, significantly." if opposite else "")
        )
    if found["p_median"] is not None:
        said.append(
            f"All configurations together, for these questions: p {_p(found['p_median'])} for the median and "
            f"p {_p(found['p_count'])} for the number of significant ones ({found['permutations']} permutations"
            + (f"; {found['note']}" if found["note"] else "")
            + ")."
        )
    if moves.height:
        first = moves.row(0, named=True)
        parts = [
            f"{_choice(row['factor'])} alone moves it by {_size(row['moves'], share)}"
            for row in moves.iter_rows(named=True)
        ]
        said.append(
            f"{phrases.opening(phrases.listed(parts))}; it is lowest with {first['lowest_level']} and highest with "
            f"{first['highest_level']} ({_choice(first['factor'])})."
        )
        if tested and found["median"] is not None and first["moves"] > abs(found["median"]):
            said.append(
                f"The choice of {_choice(first['factor'])} moves the figure more than the figure itself is: "
                f"{_size(first['moves'], share)} against {_size(abs(found['median']), share)}."
            )
    return said


def _choice(factor: str) -> str:
    return NAMES.get(factor, factor)


def _size(value: float, share: bool) -> str:
    return f"{phrases.number(value, share=share, unit=False)}{' points' if share else ''}"


def _p(value: float) -> str:
    text = phrases.q(value)
    return text if text.startswith("<") else f"= {text}"


SECTION = Section(
    name="multiverse",
    order=38,
    title="Other defensible choices",
    template=TEMPLATE,
    data=data,
    contents="Multiverse",
)
