"""Protects the errors: two-way clustering must equal statsmodels', weighted or not, sparse or full."""

import numpy as np
import pytest
import statsmodels.api as sm

from mpta_pipeline.metrics.statistics.clustered import Slices, p_value


def crossed(seed, n=900, personas=40, items=25):
    rng = np.random.default_rng(seed)
    p, i = rng.integers(0, personas, n), rng.integers(0, items, n)
    x = (rng.random(n) < np.clip(0.5 + rng.normal(0, 0.2, personas)[p] + rng.normal(0, 0.3, items)[i], 0, 1)).astype(
        float
    )
    return x, p, i, rng.choice([0.5, 1.0, 3.0], n), rng.integers(0, 3, n)


def df_of(fit, w, cluster, *, kish):
    """Degrees of freedom of the clusters' sum of squares by Satterthwaite's formula, from statsmodels' residuals."""
    score = np.array([(w * fit.resid)[cluster == c].sum() for c in np.unique(cluster)])
    own = np.array([w[cluster == c].sum() for c in np.unique(cluster)])
    n, squares = len(score), score**2
    even = own.sum() ** 2 / (own**2).sum() if kish else n
    return min(n - 1, even - 1, 2 * squares.sum() ** 2 / (n * squares.var()))


def test_one_way_error_equals_inspects_unit_value():
    # metrics.md 6.1: values 0..19, cluster i % 4.
    x, c = np.arange(20.0), np.arange(20) % 4
    means = Slices(np.zeros(20, dtype=int), 1, c, c).means(x, np.ones(20))
    assert means.se[0] == pytest.approx(0.645497, abs=1e-6)
    assert means.df[0] == 3


@pytest.mark.parametrize("weighted", [False, True])
def test_two_way_error_equals_statsmodels_in_every_slice(weighted):
    x, p, i, w, s = crossed(1)
    w = w if weighted else np.ones(len(x))
    means = Slices(s, 3, p, i).means(x, w)
    for k in range(3):
        here = s == k
        fit = sm.WLS(x[here], np.ones(here.sum()), weights=w[here]).fit(
            cov_type="cluster",
            cov_kwds={"groups": np.column_stack([p[here], i[here]]), "use_correction": True, "df_correction": False},
        )
        assert means.estimate[k] == pytest.approx(fit.params[0], rel=1e-12)
        assert means.se[k] == pytest.approx(fit.bse[0], rel=1e-9)
        assert means.n_persona[k] == len(np.unique(p[here]))
        assert means.df[k] == pytest.approx(
            min(df_of(fit, w[here], p[here], kish=True), df_of(fit, w[here], i[here], kish=False))
        )


def test_gap_equals_a_regression_on_the_slice():
    # Items are shared by both sides and personas are not; slices of equal numbers of personas, so corrections agree.
    x, p, i, w, _ = crossed(2)
    s = p % 2
    gaps = Slices(s, 2, p, i).gaps(x, w)
    fit = sm.WLS(x, sm.add_constant((s == 0).astype(float)), weights=w).fit(
        cov_type="cluster", cov_kwds={"groups": np.column_stack([p, i]), "use_correction": False}
    )
    assert gaps.difference[0] == pytest.approx(fit.params[1], rel=1e-10)

    def parts(groups):
        return (
            sm.WLS(x, sm.add_constant((s == 0).astype(float)), weights=w)
            .fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False})
            .cov_params()[1, 1]
        )

    cells = np.unique(p * 1000 + i, return_inverse=True)[1]
    c = [20, 25, min(len(np.unique(cells[s == 0])), len(np.unique(cells[s == 1])))]
    v = [part * n / (n - 1) for part, n in zip((parts(p), parts(i), parts(cells)), c, strict=True)]
    assert gaps.se[0] == pytest.approx(np.sqrt(max(v[0] + v[1] - v[2], v[0], v[1])), rel=1e-8)
    assert gaps.difference[1] == pytest.approx(-gaps.difference[0])


def test_weights_times_seven_change_nothing():
    x, p, i, w, s = crossed(3)
    a, b = (Slices(s, 3, p, i).means(x, f * w) for f in (1.0, 7.0))
    assert np.allclose(a.estimate, b.estimate, rtol=1e-13)
    assert np.allclose(a.se, b.se, rtol=1e-12)
    assert np.allclose(a.n_eff, b.n_eff, rtol=1e-12)


def test_a_single_persona_has_no_error_rather_than_none_at_all():
    x = np.array([0.0, 1.0, 1.0])
    means = Slices(np.zeros(3, dtype=int), 1, np.zeros(3, dtype=int), np.arange(3)).means(x, np.ones(3))
    assert means.estimate[0] == pytest.approx(2 / 3)
    assert np.isnan(means.se[0])
    assert np.isnan(means.df[0])


def test_a_single_item_has_the_error_of_its_people():
    x = np.array([0.0, 1.0, 1.0])
    means = Slices(np.zeros(3, dtype=int), 1, np.arange(3), np.zeros(3, dtype=int)).means(x, np.ones(3))
    assert means.se[0] == pytest.approx(x.std(ddof=1) / np.sqrt(3))
    assert (means.df[0], means.one_item[0]) == (2, True)


def test_one_huge_weight_has_no_error_rather_than_a_small_one():
    x, p, i, w, _ = crossed(4)
    w = np.where(p == 0, 1e6, w)
    means, gaps = (f(x, w) for f in (Slices(p % 2, 2, p, i).means, Slices(p % 2, 2, p, i).gaps))
    assert np.isnan(means.se[0]) and np.isfinite(means.se[1])
    assert np.isnan(gaps.se).all()


def test_independent_answers_have_as_many_effective_answers_as_answers():
    rng = np.random.default_rng(0)
    x = (rng.random(400) < 0.5).astype(float)
    means = Slices(np.zeros(400, dtype=int), 1, np.arange(400), np.arange(400)).means(x, np.ones(400))
    assert means.n_eff[0] == pytest.approx(400)


def test_constant_values_have_error_zero_and_their_difference_p_one():
    means = Slices(np.zeros(12, dtype=int), 1, np.arange(12) % 4, np.arange(12) % 3).means(
        np.full(12, 0.1), np.ones(12)
    )
    assert means.se[0] == 0
    assert p_value(np.array([0.0]), np.array([0.0]), np.array([2.0]))[0] == 1
