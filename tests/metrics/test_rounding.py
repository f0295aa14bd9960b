"""Protects figures that rounding errors alone could decide, and the repair of correlation matrices."""

import numpy as np
import polars as pl
import pytest

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.metrics import compute_estimates
from mpta_pipeline.metrics.estimators.disparity import question_noise
from mpta_pipeline.metrics.estimators.flattening import _nearest, correlation
from tests.factories.scores import world


def test_weighted_answers_that_are_all_alike_have_no_share_between_groups():
    scores, groups, gold = world(personas=200, items=10, options=4, orders=2, weights=True, seed=2)
    # Without a persona, everyone gets the same answer to an item.
    alike = scores.filter(condition="no_persona")
    estimates = compute_estimates(
        alike, groups, gold, rules=EstimateRules(dimensions=("sex", "age_band"), bootstrap=50)
    )
    assert estimates.filter("weighted").height
    assert estimates.filter(pl.col("metric") == "eta2").is_empty()
    assert estimates.filter(pl.col("metric") == "eta2_ratio", pl.col("estimate").is_not_null()).is_empty()


def test_questions_without_effects_on_groups_leave_ties_with_the_estimate():
    rng = np.random.default_rng(0)
    b = np.full((3, 12), 10.0)
    a = b * rng.random(12)
    noise = question_noise(a, b, np.full(3, 1 / 3), cell=np.full(3, 1e-3), draws=50, seed=1)
    assert (noise == 0).all()


def alternating_projections(matrix: np.ndarray) -> np.ndarray:
    """Higham's algorithm (2002), until nothing moves."""
    nearest, correction = matrix.copy(), np.zeros_like(matrix)
    for _ in range(20_000):
        corrected = nearest - correction
        values, vectors = np.linalg.eigh(corrected)
        positive = (vectors * np.maximum(values, 0.0)) @ vectors.T
        correction = positive - corrected
        before, nearest = nearest, positive.copy()
        np.fill_diagonal(nearest, 1.0)
        if np.abs(nearest - before).max() < 1e-14:
            break
    return nearest


@pytest.mark.parametrize(
    ("k", "rows", "asked", "shared"), [(10, 100, 0.4, 0.17), (25, 150, 0.35, 0.1), (40, 300, 0.3, 0.0)]
)
def test_newtons_method_finds_highams_matrix(k, rows, asked, shared):
    rng = np.random.default_rng(k)
    x = rng.integers(0, 4, (rows, k)) + shared * 3 * rng.normal(size=(rows, 1))
    x[rng.random((rows, k)) > asked] = np.nan
    matrix = correlation(x)
    assert np.linalg.eigvalsh(matrix)[0] < -1e-3
    found, solution = _nearest(matrix)
    assert found == pytest.approx(alternating_projections(matrix), abs=1e-10)
    without = np.delete(np.delete(matrix, 1, 0), 1, 1)
    assert _nearest(without, np.delete(solution, 1))[0] == pytest.approx(alternating_projections(without), abs=1e-10)
