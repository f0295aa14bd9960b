"""Figures from scores: estimates, uncertainty, baselines, gaps, pockets and comparisons. It knows only tables."""

from mpta_pipeline.metrics.ceiling import cross_fitted
from mpta_pipeline.metrics.comparison import compare_models
from mpta_pipeline.metrics.external import score_answers
from mpta_pipeline.metrics.figures import compute_figures
from mpta_pipeline.metrics.headline import headline
from mpta_pipeline.metrics.pockets import find_pockets
from mpta_pipeline.metrics.registry import METRICS, Metric

__all__ = [
    "METRICS",
    "Metric",
    "compare_models",
    "compute_figures",
    "cross_fitted",
    "find_pockets",
    "headline",
    "score_answers",
]
