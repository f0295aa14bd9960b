"""Protects the information ceiling: it must see what traits tell, and nothing of the person's own answer."""

import numpy as np
import polars as pl
import pytest

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.metrics import compute_estimates, cross_fitted
from tests.factories.scores import world


def telling(share, n=600):
    rng = np.random.default_rng(0)
    side = rng.integers(0, 2, n)
    answer = np.where(rng.random(n) < share, side, rng.integers(0, 2, n))
    ids = [f"p{i:04d}" for i in range(n)]
    gold = pl.DataFrame(
        {"task": "t", "item_id": "q", "respondent_id": ids, "survey": "s", "gold_idx": answer, "weight": None},
        schema_overrides={"weight": pl.Float64},
    )
    return gold, pl.DataFrame(
        {"respondent_id": ids, "side": [f"s{v}" for v in side], "noise": [f"n{v % 3}" for v in range(n)]}
    )


@pytest.mark.parametrize(("share", "expected"), [(1.0, 1.0), (0.6, 0.8), (0.0, 0.5)])
def test_it_finds_what_the_traits_tell_and_no_more(share, expected):
    made = cross_fitted(*telling(share), hidden={}, seed=1)
    assert made.get_column("ceiling").mean() == pytest.approx(expected, abs=0.05)


def test_a_masked_trait_is_not_used():
    made = cross_fitted(*telling(1.0), hidden={"q": ["side"]}, seed=1)
    assert made.get_column("ceiling").mean() == pytest.approx(0.5, abs=0.06)


def test_skill_lies_between_mode_and_ceiling():
    scores, groups, gold = world(personas=60, items=4, respondents=300)
    ceiling = gold.select("survey", "item_id", "respondent_id").with_columns(ceiling=pl.lit(1.0))
    estimates = compute_estimates(
        scores, groups, gold, rules=EstimateRules(dimensions=(), bootstrap=50), ceiling=ceiling
    )
    rows = estimates.filter(condition="persona")
    accuracy, mode = (
        rows.filter(metric="accuracy", baseline="item_mode").item(0, c) for c in ("estimate", "baseline_estimate")
    )
    assert rows.filter(metric="accuracy", baseline="ceiling").item(0, "baseline_estimate") == pytest.approx(1)
    assert rows.filter(metric="skill", baseline="").item(0, "estimate") == pytest.approx((accuracy - mode) / (1 - mode))


def test_rows_order_does_not_show_and_only_those_asked_for_come_out():
    gold, traits = telling(0.6)
    whole = cross_fitted(gold, traits, hidden={}, seed=1)
    shuffled = cross_fitted(
        gold.sample(fraction=1, shuffle=True, seed=2),
        traits.sample(fraction=1, shuffle=True, seed=3),
        hidden={},
        seed=1,
    )
    assert whole.equals(shuffled)
    some = ["p0003", "p0100", "p0500"]
    part = cross_fitted(gold, traits, hidden={}, seed=1, people=some)
    assert part.equals(whole.filter(pl.col("respondent_id").is_in(some)))


def test_a_trait_that_nobody_has_does_not_matter():
    gold, traits = telling(1.0)
    made = cross_fitted(gold, traits.with_columns(nobody=pl.lit(None, pl.String)), hidden={}, seed=1)
    assert made.get_column("ceiling").mean() == pytest.approx(1.0, abs=0.01)


def test_gaps_net_of_the_ceiling_stand_beside_raw_ones():
    scores, groups, gold = world(personas=60, items=4, respondents=300)
    easy = groups.filter(sex="sex0").get_column("respondent_id").implode()
    ceiling = gold.select("survey", "item_id", "respondent_id").with_columns(
        ceiling=pl.when(pl.col("respondent_id").is_in(easy)).then(1.0).otherwise(0.5)
    )
    estimates = compute_estimates(
        scores, groups, gold, rules=EstimateRules(dimensions=("sex",), bootstrap=50), ceiling=ceiling
    )
    rows = estimates.filter(condition="persona", metric="accuracy", dimensions="sex", subgroup="sex0")
    raw, net = (rows.filter(baseline=b).item(0, "gap") for b in ("", "ceiling"))
    assert net == pytest.approx(raw - 0.5)
