"""Figures from scores: estimates, uncertainty, baselines, gaps, pockets and comparisons. It knows only tables."""

from mpta_pipeline.metrics.figures import compute_figures
from mpta_pipeline.metrics.headline import headline
from mpta_pipeline.metrics.registry import METRICS, Metric

__all__ = ["METRICS", "Metric", "compute_figures", "headline"]
