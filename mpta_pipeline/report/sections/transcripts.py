"""Prompts and replies: where a finding shows, and where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpta_pipeline.report.context import Report
from mpta_pipeline.report.section import Section
from mpta_pipeline.report.sections.found import plainest, sentence

TEMPLATE = """\
<p>One reply where a finding shows and one where it does not, for the first findings. Each persona is a real respondent; only personas of surveys whose data-use policy is <code>any</code> today are shown.
  <code>mpta trace</code> with the id of a prompt leads to its respondent and to the survey file.</p>
{% for t in transcripts %}
<details{% if loop.first %} open{% endif %}>
<summary><span id="replies-{{ t.anchor }}">{{ sentences[t.anchor] }}</span> <span class="sub">{{ labels.model(t.finding.model) }}</span></summary>
<p><a href="#{{ t.anchor }}">To the card</a></p>
{% if t.withheld %}<p>The data-use policy of {{ labels.survey(t.finding.survey) }} keeps its personas on the machine that holds the data: <code>mpta trace {{ t.finding.key }}</code> shows them there.</p>{% endif %}
<div class="transcripts">
{% for r in t.replies %}
<section class="transcript {{ "wrong" if r.shows else "right" }}">
  <h3>{{ "Where it shows" if r.shows else "Where it does not" }}</h3>
  <dl>
  {% if r.system %}<dt>Persona (system message)</dt><dd tabindex="0">{{ r.system }}</dd>{% endif %}
  <dt>Question</dt><dd tabindex="0">{{ r.user }}</dd>
  <dt>Reply{% if r.status != "ok" %}: {{ status.get(r.status, r.status) }}{% endif %}</dt><dd tabindex="0">{{ r.text if r.text is not none else r.error or words.NOTHING }}</dd>
  {% if r.chosen %}<dt>Read as</dt><dd>{{ r.chosen }}</dd>{% endif %}
  {% if r.right %}<dt>Right answer</dt><dd>{{ r.right }}</dd>{% endif %}
  </dl>
  <p><code class="prompt">{{ r.prompt_id }}</code></p>
</section>
{% endfor %}
</div>
</details>
{% endfor %}
"""

STATUS = {"refused": "refused", "unparsed": "unreadable", "error": "the request failed"}


def data(report: Report) -> Mapping[str, Any] | None:
    """The transcripts of the first cards."""
    if not report.transcripts:
        return None
    sentences = {t.anchor: sentence(report, plainest(t.finding)) for t in report.transcripts}
    return {"transcripts": report.transcripts, "sentences": sentences, "status": STATUS}


SECTION = Section(
    name="transcripts",
    order=57,
    title="Replies, read",
    template=TEMPLATE,
    data=data,
    contents="Transcripts",
)
