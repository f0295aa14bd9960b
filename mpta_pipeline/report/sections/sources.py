"""Where it comes from: releases and citations, design, models, code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mpta_pipeline.report import phrases
from mpta_pipeline.report.context import Report
from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% if view.waves %}
<div class="scroll" role="group" tabindex="0" aria-label="Sources">
<table>
  <caption>Releases of the survey waves in use.</caption>
  <thead><tr><th scope="col">Wave</th><th scope="col">Title</th><th scope="col">File</th><th scope="col">SHA-256</th><th scope="col">Version · DOI</th><th scope="col" class="n">Respondents</th>
    <th scope="col">Weight</th><th scope="col">Terms</th></tr></thead>
  <tbody>
  {% for w in view.waves %}
  <tr><th scope="row">{{ w.wave }}</th><td>{{ w.title }}</td><td>{{ w.file_name }}</td><td><code>{{ w.sha256[:12] }}</code></td><td>{{ [w.version, w.doi] | select | join(" · ") or words.NOTHING }}</td>
    <td class="n">{{ words.count(w.n_respondents) }}</td><td>{{ w.weight_name or "none" }}</td><td>{{ w.licence }}{% if w.data_use == "local_only" %}<br><span class="sub">local models only</span>{% endif %}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
{% for wave, lines in view.set_aside.items() %}
<details>
  <summary>Set aside in {{ wave }}: {{ words.count(lines | length) }} column{{ "" if lines | length == 1 else "s" }}, whole or in part</summary>
  <p>The file has codes or labels that the crosswalk does not know. These answers are treated as missing; nothing was guessed.</p>
  <ul>
  {% for line in lines %}
    <li>{{ line }}</li>
  {% endfor %}
  </ul>
</details>
{% endfor %}
{% else %}
<p>No waves have been read yet.</p>
{% endif %}
{% if models %}
<div class="scroll" role="group" tabindex="0" aria-label="Models">
<table>
  <caption>Models of the study. Costs are those of the replies in use, at the prices in <code>models.yaml</code> when this page was made; a model without a price has none.</caption>
  <thead><tr><th scope="col">Model</th><th scope="col">Provider · name there</th><th scope="col">Revision</th><th scope="col">Reported by the provider</th><th scope="col" class="n">Tokens in · out</th><th scope="col" class="n">US dollars</th></tr></thead>
  <tbody>
  {% for m in models %}
  <tr><th scope="row">{{ labels.model(m.model) }}</th><td>{{ m.provider }} · {{ m.provider_name }}{% if m.about %}<br><span class="sub">{{ m.about }}</span>{% endif %}{% if m.local %}<br><span class="sub">on the machine that runs the pipeline</span>{% endif %}</td>
    <td>{{ m.revision or "not pinned" }}</td><td>{{ m.fingerprint or words.NOTHING }}</td><td class="n">{{ words.count(m.tokens_in) }} · {{ words.count(m.tokens_out) }}</td><td class="n">{{ "%.2f" | format(m.cost) if m.cost is not none else words.NOTHING }}</td></tr>
  {% endfor %}
  </tbody>
</table>
</div>
{% endif %}
<h3>Design</h3>
<dl class="defs">
{% for name, text in design %}<dt>{{ name }}</dt><dd>{{ text }}</dd>
{% endfor %}
</dl>
<h3>Cite</h3>
<p>Each card has a sentence to cite under “Cite, trace”. Its anchor, and that of every estimate (<code>#f_…</code>), is the estimate's id: the same data and study always give the same id, and another number never gets it.</p>
<details><summary>BibTeX of the software and of the survey releases</summary>
<pre class="bibtex"><code>{{ bibtex }}</code></pre>
</details>
"""


def data(report: Report) -> Mapping[str, Any]:
    """Models with their tokens and costs, the study's design, citations."""
    return {"models": models(report), "design": design(report), "bibtex": bibtex(report)}


def models(report: Report) -> list[dict[str, Any]]:
    """The models with what their replies took: tokens in and out, US dollars."""
    rows = report.frames["models"].sort("control", "model").to_dicts() if report.frames["models"].height else []
    return [
        row | {"tokens_in": None, "tokens_out": None, "cost": None, "fingerprint": None}
        | dict(report.usage.get(row["model"], {}))
        for row in rows
    ]  # fmt: skip


def design(report: Report) -> list[tuple[str, str]]:
    """What the study did, in words."""
    study, labels = report.study, report.labels
    panel = study.panel
    strata = phrases.listed([labels.dimension(name) for name in panel.strata])
    rules = study.figures
    asked = [
        f"{labels.task(name)} ({task.kind.replace('_', ' ')}"
        + (f", {task.items} questions at most" if task.items else "")
        + (f", {task.items_per_persona} per persona" if task.items_per_persona else "")
        + f", {task.elicitation.replace('_', ' ')})"
        for name, task in study.tasks.items()
    ]
    return [
        ("Study", f"{study.name}; seed {study.seed}"),
        ("Panel", f"{phrases.count(report.n_panel) if report.n_panel else panel.size} personas, {panel.allocation} over the strata of {strata}"),
        ("Persona", f"{study.traits.min} to {study.traits.max} traits ({phrases.listed(list(study.traits.domains))}); {phrases.listed(list(study.styles))}; {phrases.listed([f.replace('_', ' ') for f in study.framings])}; {study.paraphrases} {'wording' if study.paraphrases == 1 else 'wordings'}"),
        ("Conditions", phrases.listed([phrases.condition(c) for c in study.conditions])),
        ("Tasks", "; ".join(asked)),
        ("Groups", f"{phrases.listed([labels.dimension(d) for d in rules.dimensions])}; small below {rules.min_personas} people"),
        ("Tests", f"level {rules.level}; gaps up to {phrases.number(rules.equivalence_margin, share=True, unit=False)} points count as none; intervals {rules.confidence}"),
        ("Code", f"mpta_pipeline {report.version}"),
    ]  # fmt: skip


def bibtex(report: Report) -> str:
    """Entries of the software and of each survey release."""
    entries = [
        "@software{mpta_pipeline,\n"
        "  title   = {mpta_pipeline: personas from survey waves for measuring language models},\n"
        f"  version = {{{report.version}}}\n}}"
    ]
    for w in report.waves:
        fields = {
            "title": w["title"], "version": w["version"], "doi": w["doi"],
            "year": str(w["years"][-1]) if w["years"] else None, "note": f"File {w['file_name']}, SHA-256 {w['sha256']}",
        }  # fmt: skip
        lines = [f"  {name:<7} = {{{_braced(value)}}}" for name, value in fields.items() if value]
        entries.append("@misc{" + re.sub(r"[^A-Za-z0-9-]+", "-", w["release_id"]) + ",\n" + ",\n".join(lines) + "\n}")
    return "\n\n".join(entries)


def _braced(text: str) -> str:
    """Text inside braces: a brace, backslash or line break of its own would end the field."""
    return re.sub(r"([%&#_$])", r"\\\1", re.sub(r"[{}\\\s]+", " ", text)).strip()


SECTION = Section(
    name="sources",
    order=90,
    title="Where it comes from",
    template=TEMPLATE,
    data=data,
    contents="Sources",
)
