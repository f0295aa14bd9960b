"""How to trace an estimate back to the survey file."""

from __future__ import annotations

from mpta_pipeline.report.section import Section

TEMPLATE = """\
<p>Each estimate is shown with its id. On the machine that holds the data, this command traces an id back to the answers behind the estimate, to the respondents, and to the variable, native code
  and label in the survey file:</p>
<pre><code>mpta trace {{ view.headlines[0].lead.estimate_id if view.headlines else "f_…" }}</code></pre>
<p>The command also takes the id of a prompt, an answer or a respondent. All tables behind this page are in <code>warehouse.duckdb</code>: the view <code>estimates</code> has these ids,
  <code>scores</code> has the single answers, and <code>answers</code> has what people said in the survey, with native codes and labels.</p>
"""


SECTION = Section(
    name="trace",
    order=80,
    title="Tracing an estimate",
    template=TEMPLATE,
)
