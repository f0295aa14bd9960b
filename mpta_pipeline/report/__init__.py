"""The report: one HTML file that says what was measured, how sure it is, and where each estimate comes from."""

from mpta_pipeline.report.render import render_report, shown_prompts
from mpta_pipeline.report.rows import MetricRecord

__all__ = ["MetricRecord", "render_report", "shown_prompts"]
