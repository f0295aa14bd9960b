"""Compute estimates from scores: uncertainty, baselines, gaps, pockets and comparisons. Reads and returns tables."""

from mpta_pipeline.metrics import detectable, multiverse
from mpta_pipeline.metrics.baselines.ceiling import cross_fitted
from mpta_pipeline.metrics.baselines.people_shares import people_shares
from mpta_pipeline.metrics.baselines.retest import read_retest, retest
from mpta_pipeline.metrics.baselines.rivals import rivals
from mpta_pipeline.metrics.estimate_checks import check_comparison, check_estimates, check_pockets
from mpta_pipeline.metrics.estimates import compute_estimates, estimates_and_rivals
from mpta_pipeline.metrics.estimators.answer_shares import answer_shares
from mpta_pipeline.metrics.estimators.experiments import answers_needed, experiments
from mpta_pipeline.metrics.estimators.people_effects import people_effects
from mpta_pipeline.metrics.headline import OPEN_TEXT, headline
from mpta_pipeline.metrics.metric import METRICS, Metric
from mpta_pipeline.metrics.model_comparison import compare_models
from mpta_pipeline.metrics.pockets.search import find_pockets
from mpta_pipeline.metrics.samples.external_scores import score_answers
from mpta_pipeline.metrics.statistics.linearization import SurveyMean, survey_mean

__all__ = [
    "METRICS",
    "OPEN_TEXT",
    "Metric",
    "SurveyMean",
    "answer_shares",
    "answers_needed",
    "check_comparison",
    "check_estimates",
    "check_pockets",
    "compare_models",
    "compute_estimates",
    "cross_fitted",
    "detectable",
    "estimates_and_rivals",
    "experiments",
    "find_pockets",
    "headline",
    "multiverse",
    "people_effects",
    "people_shares",
    "read_retest",
    "retest",
    "rivals",
    "score_answers",
    "survey_mean",
]
