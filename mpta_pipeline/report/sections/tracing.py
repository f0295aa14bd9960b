"""How to trace an estimate back to the survey's file."""

from __future__ import annotations

from mpta_pipeline.report.section import Section

TEMPLATE = """\
<p>Beside each estimate stands its id. On the machine that holds the data, this command follows it back to the answers behind it, the respondents, and the variable, native code
  and label in the survey's file:</p>
<pre><code>mpta trace {{ view.headlines[0].lead.estimate_id if view.headlines else "f_…" }}</code></pre>
<p>It takes the id of a prompt, an answer or a respondent too. All tables behind this page are in <code>warehouse.duckdb</code>: the view <code>estimates</code> has these ids,
  <code>scores</code> the single answers, <code>answers</code> what people said in the survey, with native codes and labels.</p>
"""


SECTION = Section(
    name="trace",
    order=80,
    title="Tracing an estimate",
    template=TEMPLATE,
)
