"""The report: one HTML file that says what was measured, how sure it is, and where each estimate comes from."""

from mpta_pipeline.report.render import FirstScreen, first_screen, render_report, shown_prompts
from mpta_pipeline.report.responses import READ, Responses, gather
from mpta_pipeline.report.rows import MetricRecord
from mpta_pipeline.report.scores import Part, Scores

__all__ = [
    "READ",
    "FirstScreen",
    "MetricRecord",
    "Part",
    "Responses",
    "Scores",
    "first_screen",
    "gather",
    "render_report",
    "shown_prompts",
]
