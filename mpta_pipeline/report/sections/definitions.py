"""Definition, unit, direction and source of each metric on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpta_pipeline.report.context import Report
from mpta_pipeline.report.section import Section

TEMPLATE = """\
<details>
<summary>Definition, unit, direction and source of {{ defined | length }} metrics</summary>
<dl class="defs">
{% for m in defined %}
  <dt>{{ words.opening(view.metric(m.name)) }} <code>{{ m.name }}</code></dt>
  <dd>{{ m.definition }}. <span class="sub">Unit: {{ m.unit }}. Better: {{ words.DIRECTIONS.get(m.direction, m.direction) }}. A model that knows nothing: {{ m.chance }}. Source: {{ m.source }}.</span></dd>
{% else %}
  <dt>No definitions were passed to this report.</dt>
{% endfor %}
</dl>
</details>
"""


def data(report: Report) -> Mapping[str, Any]:
    """Records of the metrics that the page shows."""
    shown = {row.metric for row in report.estimates}
    return {"defined": [record for name, record in report.metrics.items() if name in shown]}


SECTION = Section(
    name="metrics",
    order=100,
    title="What each metric is",
    template=TEMPLATE,
    data=data,
    contents="Metrics",
)
