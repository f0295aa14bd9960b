"""The table of all metrics, as the README shows it: `python -m mpta_pipeline.metrics`."""

from mpta_pipeline.metrics.metric import describe

print(describe())
