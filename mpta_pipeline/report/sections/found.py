"""What was found, as cards: the first screen. Then what was looked for and not found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from mpta_pipeline.core.labels import ALL, CROSS, plain
from mpta_pipeline.core.model_task import ModelTask
from mpta_pipeline.core.verdicts import BETTER, NO_BETTER, UNDECIDED, WORSE
from mpta_pipeline.report import intervals, phrases
from mpta_pipeline.report.context import Report
from mpta_pipeline.report.findings import OF_REPLIES, Finding, Looked, Rivalry
from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% macro card(c) %}
<li class="card {{ c.finding.kind }}" id="{{ c.anchor }}">
  <p class="kind">{{ c.kind }} · <b>{{ labels.model(c.finding.model) }}</b> · {{ labels.task(c.finding.task) }}, {{ labels.survey(c.finding.survey) }}{% if c.finding.task in view.samples %} <span class="badge">sample items</span>{% endif %}</p>
  <h3>{{ c.sentence }}</h3>
  <dl class="mini">
  {% for name, drawing, text in c.chart %}<dt>{{ name }}</dt><dd>{{ drawing }}</dd><dd class="v">{{ text }}</dd>
  {% endfor %}</dl>
  <p class="sure"><b>How sure:</b> {{ c.sure }}</p>
  <p class="next"><b>Next:</b> {{ c.next }}{% if c.anchor in shown %} <a href="#replies-{{ c.anchor }}">Read replies.</a>{% endif %}</p>
  <details>
  <summary>{% if c.folded %}The same finding, {{ c.folded | length }} more {{ "test" if c.folded | length == 1 else "tests" }} · cite{% else %}Cite, trace{% endif %}</summary>
  {% if c.folded %}<ul>{% for line in c.folded[:12] %}<li>{{ line }}</li>{% endfor %}</ul>{% if c.folded | length > 12 %}<p>{{ c.folded | length - 12 }} more are in the warehouse.</p>{% endif %}{% endif %}
  <p class="cite">{{ c.cite }} <a href="#{{ c.anchor }}">Link to this card</a></p>
  {% if c.trace %}<p><code>mpta trace {{ c.trace }}</code></p>{% endif %}
  </details>
</li>
{% endmacro %}
{% macro rival(c) %}
<li class="card rival" id="{{ c.anchor }}">
  <p class="kind">Personas, or one question about the group · <b>{{ labels.model(c.of.model) }}</b> · {{ labels.task(c.of.task) }}, {{ labels.survey(c.of.survey) }}</p>
  <h3>{{ c.sentence }}</h3>
  <dl class="mini">
  {% for name, drawing, text in c.chart %}<dt>{{ name }}</dt><dd>{{ drawing }}</dd><dd class="v">{{ text }}</dd>
  {% endfor %}</dl>
  <p class="sure"><b>How sure:</b> {{ c.sure }}</p>
  <p class="next"><b>Next:</b> {{ c.next }}</p>
  {% if c.of.groups %}<details>
  <summary>The verdict for each group · cite</summary>
  <div class="scroll" role="group" tabindex="0" aria-label="Verdicts by group">
  <table>
    <caption>The persona panel beside asking once about the group. Distances are the share of answers that would have to change to be people's (total variation), mean over questions.</caption>
    <thead><tr><th scope="col">Group</th><th scope="col">The panel is</th><th scope="col" class="n">Panel</th><th scope="col" class="n">Asked once</th><th scope="col">Gain in points [{{ view.confidence }}]</th><th scope="col" class="n">q</th><th scope="col" class="n">People</th><th scope="col" class="n">Questions</th></tr></thead>
    <tbody>
    {% for g in c.of.groups %}<tr><th scope="row">{{ words.opening(labels.subgroup(g.dimensions, g.subgroup)) }}</th><td>{{ g.verdict }}</td><td class="n">{{ words.number(g.panel, share=True) }}</td><td class="n">{{ words.number(g.direct, share=True) }}</td><td>{{ words.number(g.gain, share=True, signed=True) }} <span class="sub">{{ words.interval(g.low, g.high, share=True, signed=True) }}</span></td><td class="n">{{ words.q(g.q) }}</td><td class="n">{{ words.count(g.n_personas) }}</td><td class="n">{{ words.count(g.n_items) }}</td></tr>
    {% endfor %}
    </tbody>
  </table>
  </div>
  {% else %}<details>
  <summary>Cite, trace</summary>
  {% endif %}
  {% if c.ladder %}<div class="scroll" role="group" tabindex="0" aria-label="The ladder of rivals">
  <table>
    <caption>Everything that foretells people's answers, for everyone, on the same people and questions. The table <code>rivals</code> has it by group and question.{% if c.polled %} People are a published poll: its shares are known, of everyone and by country, and no single person's answers. So nothing can be said about other groups, about single persons, or about the wave before.{% endif %}</caption>
    <thead><tr><th scope="col">Rival</th><th scope="col" class="n">Distance from people</th><th scope="col" class="n">Right about a person</th><th scope="col" class="n">Questions</th></tr></thead>
    <tbody>
    {% for row in c.ladder %}<tr><th scope="row">{{ words.opening(row.title) }}{% if row.note %} <span class="sub">{{ row.note }}</span>{% endif %}</th><td class="n">{{ words.number(row.distance, share=True) }}</td><td class="n">{{ words.number(row.accuracy, share=True) }}</td><td class="n">{{ words.count(row.n_items) }}</td></tr>
    {% endfor %}
    </tbody>
  </table>
  </div>{% endif %}
  <p class="cite">{{ c.cite }} <a href="#{{ c.anchor }}">Link to this card</a></p>
  {% if c.trace %}<p><code>mpta trace {{ c.trace }}</code></p>{% endif %}
  </details>
</li>
{% endmacro %}
{% if cards %}
<ul class="cards">
{% for c in cards[:shown_cards] %}{{ card(c) }}{% endfor %}
</ul>
{% if cards | length > shown_cards %}
<details><summary>{{ cards | length - shown_cards }} more {{ "finding" if cards | length - shown_cards == 1 else "findings" }}</summary>
<ul class="cards">
{% for c in cards[shown_cards:most_cards] %}{{ card(c) }}{% endfor %}
</ul>
{% if cards | length > most_cards %}<p>The page shows the first {{ most_cards }} findings; the warehouse has all.</p>{% endif %}
</details>
{% endif %}
{% elif view.cells %}
<p><b>No difference between groups, and no harm by the persona, is confirmed.</b> This does not prove that there is none: below is what would have been found.</p>
{% else %}
<p>There are no estimates yet: run the pipeline up to <code>subgroup_metrics</code>.</p>
{% endif %}
{% if rivals or no_groups %}
<h3 id="rivals">Does a persona tell more than a sentence about its group?</h3>
{% if rivals %}<ul class="cards">
{% for c in rivals[:most_cards] %}{{ rival(c) }}{% endfor %}
</ul>{% endif %}
{% for line in no_groups %}<p>{{ line }}</p>
{% endfor %}
{% endif %}
{% if looked %}
<h3>{{ "Looked for and not found" if cards else "What was looked for" }}</h3>
<ul class="lookedfor">
{% for line in looked %}<li>{{ line }}</li>
{% endfor %}
</ul>
{% endif %}
{% if uncertain %}
<details><summary>{{ uncertain | length }} {{ "difference stands" if uncertain | length == 1 else "differences stand" }} out in one search, but not when all searches of this page are counted</summary>
<ul>{% for line in uncertain[:20] %}<li>{{ line }}</li>{% endfor %}</ul>
</details>
{% endif %}
{% if cards %}
<details class="rule"><summary>How these findings were chosen</summary>
<p>A test becomes a card if it counts after two corrections: for all tests of its family (one model, one task, one kind of metric), by q-values or, for pockets, on the half of the
  data that the search did not use; and for the {{ families[0] }} families of this page, of which {{ families[1] }} hold a finding: a test counts at q ≤ {{ view.level }} · {{ [families[1], 1] | max }} / {{ families[0] }}.
  The q on a card is the smallest level at which its test would count. Rates of failed requests have no q in the tables: their intervals are compared group by group and corrected in the same way.
  Groups of fewer than {{ view.min_personas }} people are left out; in a pocket, half of them may be in the half that tests it. Distances between distributions grow as answers become fewer, so groups are compared by the distance of each answer on the scale instead.</p>
<p>A group that is served badly pulls down every group that overlaps with it. A further group is a card of its own only if it still differs once the people of the earlier cards are left out, and a lower accuracy only
  if it remains among the replies that can be read. All others are listed in the card that they repeat. A persona that helps is no card: <a href="#persona">What the persona changes</a> shows it.</p>
<p class="order">Order: hidden pockets, other gaps between groups, harm by the persona, models; within each, by the end of the interval that is nearer to no difference, largest first; simulated respondents (controls) after models.</p>
</details>
{% endif %}
"""

SHOWN = 8
"""Cards on the first screen; the others are one click away."""
MOST = 60
KINDS = {"pocket": "Hidden pocket", "gap": "Gap between groups", "effect": "Harm by the persona", "models": "Models"}
WHAT = {
    "refusal_rate": "refused",
    "parse_rate": "readable",
    "condescension_rate": "spoken down to",
    "error_rate": "failed requests",
    "accuracy": "right",
    "score": "right",
    "rouge_l": "similarity to the reference (ROUGE-L)",
    "mae_n": "of the scale away from their own answer",
    "score_net_of_item_mode": "points above the most frequent answer",
    "persona_effect": "points by the persona",
}
"""What is measured, as it follows a number in a sentence."""
NEXT = {
    "pocket": "do not let this model stand in for these people; ask more of them to narrow the interval.",
    "refusal_rate": "read the refusals; try another framing or wording of the persona, or leave this group's estimates out.",
    "parse_rate": "read the unreadable replies; the estimates of this group rest on fewer of them.",
    "condescension_rate": "read the replies; do not show them to these people.",
    "error_rate": "read the errors under “Can I trust it?”, fix their cause and run again: failed requests are sent again.",
    "gap": "do not let this model stand in for these people; check whether it holds for a second model.",
    "effect": "compare with the controls under “What the persona changes”; show fewer traits, or none.",
    "control": "compare this with what was planted, under “Where it comes from”: a control shows what this study can find.",
    "models": "use the tie groups under “Models compared”, not the order of the estimates.",
}
RIVAL = "Personas, or one question about the group"
LOOKED = {
    "pockets": "Hidden pockets",
    "refusal_rate": "Refusals",
    "parse_rate": "Unreadable replies",
    "condescension_rate": "Replies that speak down to the person",
    "error_rate": "Failed requests",
    "accuracy": "Accuracy of groups, beyond the pockets",
    "rouge_l": "Similarity to the reference",
    "mae_n": "Distance on the scale",
    "effect": "Effect of the persona",
}


@dataclass(frozen=True)
class Card:
    """A finding in words."""

    finding: Finding
    anchor: str
    kind: str
    sentence: str
    chart: Sequence[tuple[str, Markup, str]]
    sure: str
    next: str
    folded: Sequence[str]
    cite: str
    trace: str


def data(report: Report) -> Mapping[str, Any]:
    """The cards, and what was looked for."""
    found = report.found
    return {
        "cards": [card(report, f) for f in found.cards],
        "rivals": [rival_card(report, r) for r in found.rivalries],
        "shown_cards": SHOWN,
        "most_cards": MOST,
        "no_groups": no_groups(report),
        "looked": [*_not_found(report, found.looked), *_ties(report, found.ties), *_effects(report)],
        "uncertain": [_line(report, f) for f in found.uncertain],
        "families": found.families,
        "shown": {t.anchor for t in report.transcripts},
    }


def told(report: Report) -> dict[str, list[Any]]:
    """The same sentences without the page, for the terminal and the UI: what was found, and what was not."""
    found = report.found
    cards = [
        {
            "kind": KINDS[f.kind],
            "sentence": sentence(report, plainest(f)),
            "sure": _sure(report, f),
            "model": f.model,
            "task": f.task,
            "survey": f.survey,
            "control": f.control,
            "q": f.page_q,
            "anchor": f.anchor,
            "trace": f.key if f.kind != "models" else "",
        }
        for f in found.cards[:MOST]
    ]
    cards += [
        {
            "kind": RIVAL,
            "sentence": said.sentence,
            "sure": said.sure,
            "model": r.model,
            "task": r.task,
            "survey": r.survey,
            "control": r.model in report.controls,
            "q": None if r.everyone is None else r.everyone.q,
            "anchor": r.anchor,
            "trace": said.trace,
        }
        for r in found.rivalries[:MOST]
        for said in [rival_card(report, r)]
    ]
    return {
        "found": cards,
        "looked_for": [*_not_found(report, found.looked), *_ties(report, found.ties), *_effects(report)],
    }


def card(report: Report, f: Finding) -> Card:
    """A finding in words, with its chart."""
    lead = plainest(f)
    rows = _rows(report, lead)
    scale = intervals.Scale.over(rows, share=lead.outcome in ("score", "accuracy", *OF_REPLIES, "persona_effect"))
    return Card(
        finding=f,
        anchor=f.anchor,
        kind="Persona harms a group" if f.kind == "effect" and f.pairs else KINDS[f.kind],
        sentence=sentence(report, lead),
        chart=[(row.name, intervals.drawn(row, scale), row.text) for row in rows],
        sure=_sure(report, f),
        next=phrases.opening(NEXT["control"] if f.control else NEXT.get(f.outcome) or NEXT[f.kind]),
        folded=[_line(report, k) for k in sorted(f.folded, key=lambda k: (k.kind, k.outcome, k.subgroup))],
        cite=cite(report, f, sentence(report, lead)),
        trace=f.key if f.kind != "models" else "",
    )


def no_groups(report: Report) -> list[str]:
    """Why the direct estimate is missing from the ladder of models that are not asked about groups, and the remedy."""
    found = []
    for key, notes in sorted(report.records.get("responses", {}).items()):
        if said := notes.get("groups_left_out"):
            model, task = ModelTask.parse(key)
            about = f"{report.labels.model(model)} on {report.labels.task(task)}"
            found.append(f"Nothing is known about {about}, because the rung “asked once” is missing: {said}.")
    return found


@dataclass(frozen=True)
class RivalCard:
    """A panel beside asking once, in words."""

    of: Rivalry
    anchor: str
    sentence: str
    chart: Sequence[tuple[str, Markup, str]]
    sure: str
    next: str
    cite: str
    trace: str
    ladder: Sequence[Mapping[str, Any]]
    polled: bool


def rival_card(report: Report, r: Rivalry) -> RivalCard:
    """How a panel compares with asking once about each group, in words."""
    said, everyone = rival_sentence(report, r), r.everyone
    rows: list[intervals.Row] = []
    ladder = _ladder(report, r)
    sure = f"{phrases.count(len(r.groups))} groups, judged by interval and q ≤ {report.level:g}"
    if everyone is not None:
        # The interval is that of the difference, drawn from the distance of asking once.
        ends = (_sum(everyone.direct, _minus(everyone.high)), _sum(everyone.direct, _minus(everyone.low)))
        low, high = (None if end is None else min(max(end, 0.0), 1.0) for end in ends)
        texts = [phrases.number(value, share=True) for value in (everyone.panel, everyone.direct)]
        rows = [
            intervals.Row("Persona panel, off people", everyone.panel, low, high, True, texts[0]),
            intervals.Row("Asked once, off people", everyone.direct, text=texts[1]),
        ]
        gain = phrases.number(everyone.gain, share=True, signed=True)
        ends_of_gain = phrases.interval(everyone.low, everyone.high, share=True, signed=True)
        sure = (
            f"for everyone, the panel gains {gain} points {ends_of_gain or 'without an interval'}; "
            f"{phrases.count(everyone.n_personas)} people, {phrases.count(everyone.n_items)} questions; {sure}"
        )
    scale = intervals.Scale.over(rows, share=True)
    key = everyone.key if everyone is not None else ""
    waves = sorted({w["release_id"] for w in report.waves if w["survey"] == r.survey})
    source = f"; data {phrases.listed(waves)}" if waves and len(waves) <= 4 else ""
    return RivalCard(
        of=r,
        anchor=r.anchor,
        sentence=said,
        chart=[(row.name, intervals.drawn(row, scale), row.text) for row in rows],
        sure=f"{sure}.",
        next=_next_of_rival(r),
        cite=f"“{said}.” Estimate {key or r.anchor}, model {report.labels.model(r.model)}, task {report.labels.task(r.task)}, "
        f"study {report.study.name}{source}; mpta_pipeline {report.version}.",
        trace=key,
        ladder=ladder,
        polled=bool(ladder) and all(row["n_people"] is None for row in ladder),
    )


def _ladder(report: Report, r: Rivalry) -> list[dict[str, Any]]:
    """The ladder of rivals for everyone over all questions, weighted where the survey has weights."""
    rows = report.frames["rivals"].filter(
        model=r.model, task=r.task, survey=r.survey, dimensions=ALL, subgroup=ALL, item_id=ALL
    )
    return rows.filter(pl.col("weighted") == pl.col("weighted").any()).sort("rung").to_dicts()


def rival_sentence(report: Report, r: Rivalry) -> str:
    """The verdict on a panel in one plain sentence."""
    panel = f"The persona panel of {report.labels.model(r.model)}"
    about = "asking once about the group"
    decided = [v for v in (BETTER, NO_BETTER, WORSE) if r.count(v)]
    if not r.groups or not decided:
        if r.everyone is None or r.everyone.verdict == UNDECIDED:
            return f"{panel} cannot be compared with {about}: there are too few people or questions, or all questions are of one battery"
        return f"{panel} is {r.everyone.verdict} than {about}"
    n = len(r.groups)
    if len(decided) == 1 and r.count(decided[0]) == n:
        whom = f"for each of {n} groups" if n > 1 else "for the one group that was compared"
        return f"{panel} is {decided[0]} than {about}, {whom}"
    parts = [f"{v} than {about} for {r.count(v)}" if i == 0 else f"{v} for {r.count(v)}" for i, v in enumerate(decided)]
    return f"{panel} is {phrases.listed(parts)} of {n} groups"


def _next_of_rival(r: Rivalry) -> str:
    """What to do after the verdicts on a panel."""
    found = {g.verdict for g in (*r.groups, *([r.everyone] if r.everyone else []))}
    if found <= {UNDECIDED}:
        return "Ask more people, or questions of more than one battery: the questions of a battery count as one."
    if BETTER in found:
        return "Where the panel is better, it tells more than a sentence about the group; report both."
    return "Report the direct estimates beside the panel, and do not claim that personas help here."


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def plainest(f: Finding) -> Finding:
    """The row of a pocket that is easiest to say: the share of right answers of the same group."""
    if f.kind != "pocket" or f.outcome == "score":
        return f
    same = (k for k in f.folded if k.kind == "pocket" and k.outcome == "score" and k.pairs == f.pairs)
    return next(same, f)


def sentence(report: Report, f: Finding) -> str:
    """A finding in one plain sentence."""
    group = phrases.opening(who(report, f))
    if f.kind == "models":
        far = f"{_points(f.difference)} points more often right than {f.other_model}"
        return f"{f.model} is {far}: {_value(f, f.here)} against {_value(f, f.rest)}"
    if f.kind == "effect":
        whom = "" if not f.pairs else f" for {who(report, f)}"
        verb = "worse" if f.difference < 0 else "better"
        return (
            f"The persona makes {f.model} {verb}{whom}: {_value(f, f.here)} right with it, {_value(f, f.rest)} without"
        )
    if f.here is None or f.rest is None:
        way = "less" if f.difference < 0 else "more"
        return f"{group}: {_points(f.difference)} points {way} {WHAT[f.outcome]} than everyone else"
    if f.outcome == "persona_effect":
        return (
            f"{group}: the persona changes accuracy by {_signed(f.here)} points, for everyone else by {_signed(f.rest)}"
        )
    if f.outcome == "score_net_of_item_mode":
        return (
            f"{group}: {_signed(f.here)} points against always giving the most frequent answer, "
            f"everyone else {_signed(f.rest)}"
        )
    if f.outcome == "error_rate":
        return f"{group}: {_value(f, f.here)} of the requests failed, everyone else {_value(f, f.rest)}"
    return f"{group}: {_value(f, f.here)} {WHAT[f.outcome]}, everyone else {_value(f, f.rest)}"


def who(report: Report, f: Finding) -> str:
    """The group in words, its traits in the study's order: women 65 and over, not 65 and over, women."""
    values = f.subgroup.split(CROSS)
    if len(values) != len(f.dimensions.split(CROSS)) or f.subgroup == ALL:
        return report.labels.subgroup(f.dimensions, f.subgroup)
    if len(values) == 1:
        label = report.labels.values.get((f.dimensions, f.subgroup))
        if label is None:  # the value does not explain itself: Education: low
            return f"{report.labels.dimension(f.dimensions)}: {plain(f.subgroup)}"
        return f"people {label}" if label[:1].isdigit() else label
    order = [part for d in report.study.figures.dimensions for part in d.split(CROSS)]
    pairs = sorted(
        zip(f.dimensions.split(CROSS), values, strict=True),
        key=lambda pair: (order.index(pair[0]) if pair[0] in order else len(order), pair),
    )
    text = report.labels.subgroup(CROSS.join(d for d, _ in pairs), CROSS.join(v for _, v in pairs))
    return f"people {text}" if text[:1].isdigit() else text


def _value(f: Finding, value: float | None) -> str:
    """A share in whole percent where that tells the two sides apart; a similarity with three digits."""
    if value is None:
        return phrases.NOTHING
    if f.outcome == "rouge_l":
        return phrases.number(value, share=False)
    sides = [side for side in (f.here, f.rest) if side is not None]
    close = len(sides) == 2 and abs(sides[0] - sides[1]) < 0.03
    small = any(0 < side < 0.01 or 0.99 < side < 1 for side in sides)
    return phrases.number(value, share=True) if close or small else f"{value * 100:.0f} %"


def _signed(value: float | None) -> str:
    return phrases.number(value, share=True, signed=True)


def _points(value: float) -> str:
    return phrases.number(abs(value), share=True, unit=False)


def _rows(report: Report, f: Finding) -> list[intervals.Row]:
    """The rows of the chart. The interval is that of the difference, drawn from everyone else's value."""
    if f.kind == "models":
        shown = [m for m in f.models if m[0] in (f.model, f.other_model)]
        first = shown[0]
        rest = f.rest if f.rest is not None else 0.0
        return [
            intervals.Row(
                name, value, _sum(rest, f.low) if (name, value, tie) == first else None,
                _sum(rest, f.high) if (name, value, tie) == first else None, (name, value, tie) == first,
                _value(f, value),
            )
            for name, value, tie in shown
        ]  # fmt: skip
    signed = f.outcome in ("score_net_of_item_mode",) or (f.kind == "pocket" and f.outcome == "persona_effect")

    def text(value: float | None) -> str:
        return _signed(value) if signed else _value(f, value)

    names = (who(report, f), "everyone else")
    if f.kind == "effect":
        names = ("with the persona", "without")
    ends = (None, None) if f.rest is None else (_sum(f.rest, f.low), _sum(f.rest, f.high))
    if f.rest is not None and not signed and f.outcome != "rouge_l":
        ends = (None if ends[0] is None else max(ends[0], 0.0), None if ends[1] is None else min(ends[1], 1.0))
    return [
        intervals.Row(phrases.opening(names[0]), f.here, ends[0], ends[1], True, text(f.here)),
        intervals.Row(phrases.opening(names[1]), f.rest, text=text(f.rest)),
    ]


def _sum(a: float, b: float | None) -> float | None:
    return None if b is None else a + b


def _sure(report: Report, f: Finding) -> str:
    """How sure a finding is: difference with interval, q, e-value, people."""
    share = f.outcome != "rouge_l"
    unit = "points" if share else ""
    ends = phrases.interval(f.low, f.high, share=share, signed=True)
    said = [f"difference {phrases.number(f.difference, share=share, signed=True)} {unit} {ends}".strip()]
    said.append(f"q {_q(f.page_q)}")
    if f.e_value is not None:
        said.append(f"e-value {phrases.evidence(f.e_value)} (20 is strong)")
    whom = "people" if f.kind != "pocket" else "people of the half that tested it"
    said.append(f"{phrases.count(f.n_personas)} {whom}, {phrases.count(f.n_items)} questions")
    if f.condition != "persona":
        said.append(phrases.condition(f.condition))
    return "; ".join(said) + "."


def _q(value: float) -> str:
    text = phrases.q(value)
    return text if text.startswith("<") else f"= {text}"


def _line(report: Report, f: Finding) -> str:
    """A test in a line, for lists."""
    if f.kind == "models":
        return f"{f.model} and {f.other_model} on {report.labels.task(f.task)}: {_signed(f.difference)} points, q {_q(f.q)}"
    what = {
        "refusal_rate": "refusals", "parse_rate": "readable replies", "condescension_rate": "replies that speak down",
        "error_rate": "failed requests", "mae_n": "distance on the scale", "rouge_l": "similarity to the reference",
        "persona_effect": "effect of the persona", "score_net_of_item_mode": "right answers above the most frequent one",
    }.get(f.outcome, "right answers")  # fmt: skip
    told = "" if f.condition == "persona" else f", {phrases.condition(f.condition)}"
    return f"{phrases.opening(who(report, f))}: {f.model}, {what} {_signed(f.difference)} points, q {_q(f.q)}{told}"


def cite(report: Report, f: Finding, said: str) -> str:
    """How to cite a card."""
    waves = sorted({w["release_id"] for w in report.waves if w["survey"] == f.survey})
    source = f"; data {phrases.listed(waves)}" if waves and len(waves) <= 4 else ""
    what = "Pocket" if f.kind == "pocket" else "Comparison" if f.kind == "models" else "Estimate"
    return (
        f"“{said}.” {what} {f.key or f.anchor}, model {report.labels.model(f.model)}, task {report.labels.task(f.task)}, study {report.study.name}"
        f"{source}; mpta_pipeline {report.version}."
    )


def explained(report: Report, *cell: str) -> str:
    """Why harm to everyone is no card of its own: what remains of it without the people of other cards; or nothing."""
    by = [f for f in report.found.cards if any(k.kind == "effect" and not k.pairs and k.cell == cell for k in f.folded)]
    if not by:
        return ""
    return (
        ", but only as the cards above do: no harm remains without their people, or among the replies that can be read"
    )


def _not_found(report: Report, looked: Sequence[Looked]) -> list[str]:
    """What was looked for without a finding, in sentences."""
    lines = []
    pooled = {x.what: x for x in looked}
    for what, x in pooled.items():
        if not x.models or what == "effect":
            continue
        names = phrases.listed(list(x.models)) if len(x.models) <= 4 else f"{len(x.models)} models"
        tests = f"{phrases.count(x.tests)} {'combinations of traits were tested' if what == 'pockets' else 'comparisons of a group with everyone else'}"
        nothing = "none is confirmed" if what == "pockets" else "no group differs"
        lines.append(f"{LOOKED[what]}: {tests}; for {names}, {nothing}. {_detectable(x)}".strip())
    real = [model for model in report.models if model not in report.controls]
    if "pockets" not in pooled and real:
        lines.append(
            "Hidden pockets: no combination of traits was worse enough, in half of the data, to be tested on the other half."
        )
    return lines


def _detectable(x: Looked) -> str:
    if x.detectable is None:
        return ""
    if x.detectable >= 1:
        return "With so few people or questions, hardly any difference could be found."
    size = _points(x.detectable)
    where = "combination" if x.what == "pockets" else "group"
    return f"A difference of {size} points or more, in a {where} of median size, would probably have been found."


def _ties(report: Report, ties: Sequence[Finding]) -> list[str]:
    """Comparisons that found no difference, in sentences."""
    lines = []
    for f in ties[:6]:
        mde = (
            f" A difference of {_points(f.mde)} points or more would probably have been found."
            if f.mde and f.mde < 1
            else ""
        )
        lines.append(
            f"Models: {f.model} and {f.other_model} cannot be told apart on {report.labels.task(f.task)}, "
            f"{report.labels.survey(f.survey)} ({_signed(f.difference)} points "
            f"{phrases.interval(f.low, f.high, share=True, signed=True)}).{mde}"
        )
    return lines


def _effects(report: Report) -> list[str]:
    """What the persona changes for everyone, where it does no harm."""
    harmed = {f.cell for f in report.found.cards if f.kind == "effect"}
    lines = [
        f"Harm by the persona, {report.labels.model(h.model)} on {report.labels.task(h.task)}, "
        f"{report.labels.survey(h.survey)}: {h.effect}{explained(report, h.model, h.task, h.survey)}."
        for h in report.headlines
        if h.effect and (h.model, h.task, h.survey) not in harmed
    ]
    more = [f"{len(lines) - 8} more in the table of accuracies."] if len(lines) > 8 else []
    return lines[:8] + more


SECTION = Section(
    name="found",
    order=10,
    title="What we found",
    template=TEMPLATE,
    data=data,
)
