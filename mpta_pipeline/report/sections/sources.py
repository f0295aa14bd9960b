"""The releases of the survey waves in use, and what was set aside in them."""

from __future__ import annotations

from mpta_pipeline.report.section import Section

TEMPLATE = """\
{% if view.waves %}
<div class="scroll" role="region" tabindex="0" aria-label="Sources">
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
"""


SECTION = Section(
    name="sources",
    order=90,
    title="Sources and terms",
    template=TEMPLATE,
    contents="Sources",
)
