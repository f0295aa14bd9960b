"""Print the table of docs/reference/metrics.md: `python -m mpta_pipeline.metrics`."""

from mpta_pipeline.metrics.metric import describe

print(describe())
