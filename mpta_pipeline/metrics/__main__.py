"""Print the table of all metrics, as the reference shows it: `python -m mpta_pipeline.metrics`."""

from mpta_pipeline.metrics.metric import describe

print(describe())
