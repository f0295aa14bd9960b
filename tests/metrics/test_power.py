"""Protects what `mpta plan` says a design can find: power and detectable difference against statsmodels."""

import math

import pytest
from statsmodels.stats.proportion import power_proportions_2indep

from mpta_pipeline.metrics.statistics.power import detectable, effective, power_of


@pytest.mark.parametrize("difference", [0.05, 0.1, 0.2, 0.4])
@pytest.mark.parametrize(("n_group", "n_rest"), [(40, 40), (100, 300), (500, 2000), (2000, 500)])
@pytest.mark.parametrize("level", [0.05, 0.005])
def test_power_is_that_of_statsmodels(difference, n_group, n_rest, level):
    # The group's share is the smaller one: 1/2 − difference/2.
    expected = power_proportions_2indep(
        diff=-difference,
        prop2=0.5 + difference / 2,
        nobs1=n_group,
        ratio=n_rest / n_group,
        alpha=level,
        return_results=False,
    )
    assert power_of(difference, n_group, n_rest, level=level) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("n_group", "n_rest"), [(60, 180), (400, 1200), (5000, 5000)])
def test_the_detectable_difference_has_the_power(n_group, n_rest):
    found = detectable(n_group, n_rest, level=0.05)
    assert power_of(found, n_group, n_rest, level=0.05) == pytest.approx(0.8, abs=1e-9)
    assert power_of(found * 0.99, n_group, n_rest, level=0.05) < 0.8


def test_four_times_the_answers_halve_the_difference_and_few_find_nothing():
    assert detectable(4000, 4000, level=0.05) == pytest.approx(detectable(1000, 1000, level=0.05) / 2, rel=0.01)
    assert detectable(2, 2, level=0.001) is None and detectable(0, 50, level=0.05) is None


def test_alike_answers_and_weights_count_less():
    assert effective(100, 1) == 100
    assert effective(100, 10, alike=0.0) == 1000
    assert effective(100, 10, alike=1.0) == pytest.approx(100), "ten answers that agree are one"
    assert effective(100, 10, alike=0.05) == pytest.approx(1000 / 1.45)
    assert effective(100, 1, weights=2.0) == 50
    assert math.isclose(effective(50, 0.5), 25)
