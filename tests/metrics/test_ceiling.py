"""Protects the information ceiling: it must see what traits tell, and nothing of the person's own answer."""

import numpy as np
import polars as pl
import pytest

from mpta_pipeline.metrics import compute_figures, cross_fitted
from mpta_pipeline.study import FigureRules
from tests.metrics.synthetic import world


def telling(share, n=600):
    rng = np.random.default_rng(0)
    side = rng.integers(0, 2, n)
    answer = np.where(rng.random(n) < share, side, rng.integers(0, 2, n))
    ids = [f"p{i:04d}" for i in range(n)]
    gold = pl.DataFrame(
        {"task": "t", "item_id": "q", "persona_id": ids, "survey": "s", "gold_idx": answer, "weight": None},
        schema_overrides={"weight": pl.Float64},
    )
    return gold, pl.DataFrame(
        {"persona_id": ids, "side": [f"s{v}" for v in side], "noise": [f"n{v % 3}" for v in range(n)]}
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
    ceiling = gold.select("survey", "item_id", "persona_id").with_columns(ceiling=pl.lit(1.0))
    figures = compute_figures(scores, groups, gold, rules=FigureRules(dimensions=(), bootstrap=50), ceiling=ceiling)
    rows = figures.filter(condition="persona")
    accuracy, mode = (
        rows.filter(metric="accuracy", baseline="item_mode").item(0, c) for c in ("estimate", "baseline_estimate")
    )
    assert rows.filter(metric="accuracy", baseline="ceiling").item(0, "baseline_estimate") == pytest.approx(1)
    assert rows.filter(metric="skill", baseline="").item(0, "estimate") == pytest.approx((accuracy - mode) / (1 - mode))
