"""The report: one HTML file that says what was measured, how sure it is, and where each figure comes from."""

from mpta_pipeline.report.figures import MetricRecord
from mpta_pipeline.report.render import render_report

__all__ = ["MetricRecord", "render_report"]
