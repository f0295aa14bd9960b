"""Figures from scores: estimates, uncertainty, baselines, gaps, pockets and comparisons. It knows only tables."""

from mpta_pipeline.metrics.ceiling import cross_fitted
from mpta_pipeline.metrics.checks import check_comparison, check_figures, check_pockets
from mpta_pipeline.metrics.comparison import compare_models
from mpta_pipeline.metrics.design import SurveyMean, survey_mean
from mpta_pipeline.metrics.external import score_answers
from mpta_pipeline.metrics.figures import compute_figures
from mpta_pipeline.metrics.headline import OPEN_TEXT, headline
from mpta_pipeline.metrics.pockets import find_pockets
from mpta_pipeline.metrics.registry import METRICS, Metric
from mpta_pipeline.metrics.retest import read_retest, retest
from mpta_pipeline.metrics.shares import people_shares

__all__ = [
    "METRICS",
    "OPEN_TEXT",
    "Metric",
    "SurveyMean",
    "check_comparison",
    "check_figures",
    "check_pockets",
    "compare_models",
    "compute_figures",
    "cross_fitted",
    "find_pockets",
    "headline",
    "people_shares",
    "read_retest",
    "retest",
    "score_answers",
    "survey_mean",
]
