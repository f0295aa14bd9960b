"""What becomes of a study's figures when defensible choices are made otherwise."""

from mpta_pipeline.metrics.multiverse.curve import Multiverse, configuration_frame, findings, with_requests
from mpta_pipeline.metrics.multiverse.figures import Figures, check_figures, check_intervals, figure_estimates

__all__ = [
    "Figures",
    "Multiverse",
    "check_figures",
    "check_intervals",
    "configuration_frame",
    "figure_estimates",
    "findings",
    "with_requests",
]
