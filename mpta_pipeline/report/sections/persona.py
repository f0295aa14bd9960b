"""What the persona changes, beside the controls that tell what it is due to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from mpta_pipeline.report import intervals, phrases
from mpta_pipeline.report.context import Headline, Report
from mpta_pipeline.report.rows import ALL, Estimate, effect_verdict
from mpta_pipeline.report.section import Section
from mpta_pipeline.report.sections.found import explained

TEMPLATE = """\
{% from "macros.html" import id with context %}
<p>The effect of the persona is the accuracy with it minus that without it, for the same people, questions and options. The controls tell what it is due to: the person's demographics alone, neutral text of the same length, the traits
  of somebody else, or another wording.</p>
<ul class="lookedfor">
{% for w in weighed %}<li><b>{{ labels.model(w.model) }}</b> on {{ labels.task(w.task) }}, {{ labels.survey(w.survey) }}: {{ w.sentence }}</li>
{% endfor %}
</ul>
{% if more %}<p>{{ more }} more in the <a href="#headline">table of accuracies</a>.</p>{% endif %}
{% if missing %}<p>No control was asked{% if asked_demographics %} beside the demographics{% endif %}: without <code>placebo</code> and <code>shuffled_any</code> under <code>conditions</code> in <code>study.yaml</code>, an effect may be that of any text of this length.</p>{% endif %}
<details>
<summary>The effect beside its controls, with intervals</summary>
<div class="scroll" role="group" tabindex="0" aria-label="Effect of the persona beside its controls">
<table>
  <caption>Accuracy of everyone by condition, and the difference from the answers without a persona in points, with {{ view.confidence }} intervals; q is corrected for the number of tests.</caption>
  <thead><tr><th scope="col">Condition</th><th scope="col" class="chart">Accuracy</th><th scope="col">Estimate [{{ view.confidence }}]</th><th scope="col">Difference from no persona [{{ view.confidence }}]</th><th scope="col" class="n">q</th><th scope="col">Trace</th></tr></thead>
  {% for w in weighed[:shown] %}
  <tbody>
  <tr class="block"><th scope="colgroup" colspan="6">{{ labels.model(w.model) }} · {{ labels.task(w.task) }} · {{ labels.survey(w.survey) }}</th></tr>
  {% for e, drawing in w.rows %}
  <tr><th scope="row">{{ words.opening(words.condition(e.condition)) }}</th><td class="chart">{{ drawing }}</td>
    <td class="ci">{{ words.number(e.estimate, share=True) }} <span class="sub">{{ words.interval(e.low, e.high, share=True) }}</span></td>
    <td class="ci">{{ words.number(e.effect, share=True, signed=True) }} <span class="sub">{{ words.interval(e.effect_low, e.effect_high, share=True, signed=True) }}</span></td>
    <td class="n">{{ words.q(e.effect_q) }}</td><td>{{ id(e) }}</td></tr>
  {% endfor %}
  {% for e, name in w.contrasts %}
  <tr><th scope="row">{{ name }}</th><td class="chart"></td><td class="ci">{{ words.number(e.estimate, share=True, signed=True) }} <span class="sub">{{ words.interval(e.low, e.high, share=True, signed=True) }}</span></td><td></td><td></td><td>{{ id(e) }}</td></tr>
  {% endfor %}
  </tbody>
  {% endfor %}
</table>
</div>
</details>
"""

SHOWN = 12
"""Models, tasks and surveys in the table; the sentences cover more."""
SENTENCES = 40
CONTROLS = ("placebo", "shuffled_country", "shuffled_any")
TOLD = {
    "placebo": "neutral text of the same length",
    "shuffled_country": "the traits of another respondent of the same country",
    "shuffled_any": "the traits of another respondent",
}
CONTRASTS = {
    "effect_vs_demographics_only": "Persona minus demographics only",
    "effect_vs_placebo": "Persona minus neutral text",
    "effect_vs_shuffled_country": "Persona minus another respondent's of the country",
    "effect_vs_shuffled_any": "Persona minus another respondent's",
    "flip_excess_paraphrase": "Answers changed, beyond another wording",
    "flip_excess_placebo": "Answers changed, beyond neutral text",
}


@dataclass(frozen=True)
class Weighed:
    """The persona's effect for one model, task and survey, and the sentence that weighs it."""

    model: str
    task: str
    survey: str
    sentence: str
    rows: Sequence[tuple[Estimate, Markup]]
    contrasts: Sequence[tuple[Estimate, str]]


def data(report: Report) -> Mapping[str, Any] | None:
    """The sentences and tables; None if no effect was tested."""
    told = [h for h in report.headlines if h.lead.effect is not None]
    if not told:
        return None
    conditions = set(report.conditions)
    return {
        "weighed": [_weighed(report, h) for h in told[:SENTENCES]],
        "more": max(len(told) - SENTENCES, 0),
        "shown": SHOWN,
        "missing": not conditions & set(CONTROLS),
        "asked_demographics": "demographics_only" in conditions,
    }


def _weighed(report: Report, h: Headline) -> Weighed:
    everyone = {
        (row.metric, row.condition): row
        for row in report.of(h.task, h.survey)
        if row.model == h.model and row.dimensions == ALL
    }
    named = [intervals.Row(c, e.estimate, e.low, e.high, main=True) for c, e in h.by_condition.items()]
    scale = intervals.Scale.over(named, share=True)
    rows = [
        (
            e,
            intervals.drawn(
                intervals.Row(
                    phrases.condition(c), e.estimate, e.low, e.high, main=c == h.lead.condition,
                    text=f"{phrases.number(e.estimate, share=True)} {phrases.interval(e.low, e.high, share=True)}",
                ),
                scale,
            ),
        )
        for c, e in h.by_condition.items()
    ]  # fmt: skip
    contrasts = [(e, name) for metric, name in CONTRASTS.items() if (e := everyone.get((metric, "persona")))]
    due = explained(report, h.model, h.task, h.survey)
    return Weighed(h.model, h.task, h.survey, weigh(h, everyone, report.level, due), rows, contrasts)


def weigh(h: Headline, everyone: Mapping[tuple[str, str], Estimate], level: float, due: str = "") -> str:
    """The effect and what it is due to, in a sentence.

    Args:
        h: Accuracy of everyone by condition.
        everyone: (metric, condition) → estimate of everyone.
        level: Level of tests.
        due: What harm is due to, if other findings explain it.
    """
    lead = h.lead
    said = effect_verdict(lead, level) + due
    confirmed = lead.effect_q is not None and lead.effect_q <= level
    parts = []
    alone = h.by_condition.get("demographics_only")
    if alone is not None and alone.effect is not None and lead.condition != "demographics_only":
        same_way = lead.effect is not None and lead.effect * alone.effect > 0
        if confirmed and same_way:
            parts.append(f"of which {_size(alone.effect)} come with demographics alone{_rest(everyone)}")
        else:
            parts.append(f"demographics alone change it by {_signed(alone.effect)}")
    for name in CONTROLS:
        control = h.by_condition.get(name)
        if control is not None and control.effect is not None:
            own = everyone.get((f"effect_vs_{name}", "persona"))
            net = f", so that {_signed(own.estimate)} {_ends(own)} are due to this person" if own else ""
            parts.append(f"{TOLD[name]} changes it by {_signed(control.effect)}{net}")
    flips, wording = everyone.get(("flip_rate", "persona")), everyone.get(("paraphrase_flip_rate", "persona"))
    if flips is not None and wording is not None:
        changed, other = (phrases.number(e.estimate, share=True) for e in (flips, wording))
        parts.append(f"the persona changes {changed} of the answers, another wording of it {other}")
    joint = ", " if parts and parts[0].startswith("of which") else "; "
    return f"{joint.join([said, *parts[:1]])}{''.join(f'; {part}' for part in parts[1:])}."


def _rest(everyone: Mapping[tuple[str, str], Estimate]) -> str:
    """What the beliefs, values and attitudes add to the demographics."""
    more = everyone.get(("effect_vs_demographics_only", "persona"))
    if more is None or more.estimate is None or more.low is None or more.high is None:
        return ""
    if more.low <= 0 <= more.high:
        return f"; that the other traits add to it could not be shown ({_signed(more.estimate)} {_ends(more)})"
    return f"; the other traits change it by {_signed(more.estimate)} {_ends(more)} more"


def _size(value: float) -> str:
    return phrases.number(abs(value), share=True, unit=False)


def _signed(value: float | None) -> str:
    return f"{phrases.number(value, share=True, signed=True)} points"


def _ends(row: Estimate) -> str:
    return phrases.interval(row.low, row.high, share=True, signed=True)


SECTION = Section(
    name="persona",
    order=37,
    title="What the persona changes",
    template=TEMPLATE,
    data=data,
    contents="Persona effect",
)
