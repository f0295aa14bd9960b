"""Protects the shares of answers to questions without a key: values by hand, and intervals of few picks."""

import numpy as np
import polars as pl
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.metrics.estimators.answer_shares import answer_shares
from mpta_pipeline.metrics.statistics.proportions import clopper_pearson
from tests.factories.scores import world

RULES = EstimateRules(dimensions=("sex",), min_personas=5, bootstrap=50)
OPTIONS = ["train", "bus", "none of these"]


def asked(scores):
    """Questions without a key."""
    ids = scores["item_id"].unique().sort()
    return pl.DataFrame({"item_id": ids, "options": [OPTIONS] * len(ids), "scoring": ["none"] * len(ids)})


def shares(picks, *, weight=None, unit=None):
    """The shares of one question's answers: (persons × orders) options picked."""
    n = len(picks)
    scores, groups, _ = world(personas=n, items=1, options=3, orders=len(picks[0]), skill=0.5, seed=1)
    scores = scores.filter(pl.col("condition") == "persona").sort("respondent_id", "order_id")
    who = groups.select("respondent_id").sort("respondent_id")
    given = who.with_columns(pl.Series("pred_idx", picks, dtype=pl.List(pl.Int64))).explode("pred_idx")
    told = pl.Series("weight", np.ones(n) if weight is None else weight)
    scores = scores.with_columns(given["pred_idx"], status=pl.lit("ok"))
    scores = scores.drop("weight").join(who.with_columns(told), on="respondent_id", maintain_order="left")
    if unit is not None:
        drawn = who.with_columns(pl.Series("psu", [f"u{i}" for i in unit]))
        groups = groups.drop("psu", strict=False).join(drawn, on="respondent_id", maintain_order="left")
    return answer_shares(scores, groups, rules=RULES, items=asked(scores)).filter(dimensions="all")


def row(frame, option, *, weighted=False):
    return frame.filter(option=option, weighted=weighted).row(0, named=True)


def test_an_interval_of_few_picks_is_that_of_the_binomial():
    """2 of 60: it reached from .1 to 50.6 %, because two deviating persons counted as two clusters."""
    made = row(shares([[0]] * 58 + [[1]] * 2), 1)
    low, high = proportion_confint(2, 60, alpha=0.05, method="beta")
    assert made["share"] == pytest.approx(2 / 60)
    assert (made["ci_low"], made["ci_high"]) == pytest.approx((low, high), rel=1e-3)
    assert high < 0.12


def test_weights_and_sampling_units_make_it_wider():
    """Korn and Graubard by hand: p(1 − p) over the error variance, at most Kish's, times the ratio of t² of units."""
    rng = np.random.default_rng(3)
    w = np.exp(rng.normal(0, 0.5, 60))
    picks = [[0]] * 57 + [[1]] * 3
    made = row(shares(picks, weight=w), 1, weighted=True)
    x = np.array([p[0] == 1 for p in picks], dtype=float)
    p = (w * x).sum() / w.sum()
    v = 60 / 59 * ((w * (x - p)) ** 2).sum() / w.sum() ** 2
    n = min(60 / 59 * p * (1 - p) / v, w.sum() ** 2 / (w**2).sum(), 60)
    expected = stats.beta.ppf(0.025, n * p, n * (1 - p) + 1), stats.beta.ppf(0.975, n * p + 1, n * (1 - p))
    assert (made["share"], made["ci_low"], made["ci_high"]) == pytest.approx((p, *expected), rel=1e-6)
    even = row(shares(picks), 1)
    assert made["ci_high"] - made["ci_low"] > even["ci_high"] - even["ci_low"]
    # Three of a unit of three are one observation; the other 19 units say nothing else.
    alike = row(shares(picks, unit=np.arange(60) // 3), 1)
    v = 20 / 19 * ((1 - 0.05) * 3) ** 2 * (1 + 19 * (0.05 / 0.95) ** 2) / 60**2
    n = 60 / 59 * 0.05 * 0.95 / v * (stats.t.ppf(0.975, 59) / stats.t.ppf(0.975, 19)) ** 2
    assert alike["ci_high"] == pytest.approx(stats.beta.ppf(0.975, n * 0.05 + 1, n * 0.95), rel=1e-6)


def test_ends_of_clopper_and_pearson_are_statsmodels():
    hits, n = np.array([0, 1, 5, 30, 60]), np.full(5, 60)
    low, high = clopper_pearson(hits / n, n.astype(float), level=0.05)
    expected = proportion_confint(hits, n, alpha=0.05, method="beta")
    assert low == pytest.approx(expected[0]) and high == pytest.approx(expected[1])
    assert np.isnan(clopper_pearson(np.array([0.5]), np.array([np.nan]), level=0.05)).all()


@pytest.mark.parametrize("truth", [0.03, 0.1])
def test_intervals_of_few_picks_hold_the_share(truth):
    """Sixty persons, 120 questions: at least 93 % of the intervals hold it, and none is vague."""
    scores, groups, _ = world(personas=60, items=120, options=3, orders=1, skill=0.5, seed=1)
    picked = np.random.default_rng(1).binomial(1, truth, scores.height)
    scores = scores.with_columns(pl.Series("pred_idx", picked), status=pl.lit("ok")).filter(condition="persona")
    made = answer_shares(scores, groups, rules=RULES, items=asked(scores)).filter(dimensions="all", option=1)
    assert made.filter((pl.col("ci_low") <= truth) & (pl.col("ci_high") >= truth)).height >= 0.93 * 120
    assert made.select((pl.col("ci_high") - pl.col("ci_low")).max()).item() < 0.27
