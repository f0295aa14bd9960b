"""What becomes of a study's figures when defensible choices are made otherwise."""

from mpta_pipeline.metrics.multiverse.configurations import configuration_frame, with_requests
from mpta_pipeline.metrics.multiverse.curve import Multiverse, findings
from mpta_pipeline.metrics.multiverse.designs import AssumedChoices, FigureError, assumed_error, measured_error
from mpta_pipeline.metrics.multiverse.figures import Figures, check_figures, check_intervals, figure_estimates
from mpta_pipeline.metrics.multiverse.variance import COLUMNS, variance_budget

__all__ = [
    "COLUMNS",
    "AssumedChoices",
    "FigureError",
    "Figures",
    "Multiverse",
    "assumed_error",
    "check_figures",
    "check_intervals",
    "configuration_frame",
    "figure_estimates",
    "findings",
    "measured_error",
    "variance_budget",
    "with_requests",
]
