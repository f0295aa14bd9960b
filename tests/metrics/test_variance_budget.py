"""Protects the variance budget: equal to REML on balanced data, unbiased on others, with intervals that cover."""

import numpy as np
import polars as pl
import pytest

from mpta_pipeline.core.multiverse import Configuration, variant_name
from mpta_pipeline.metrics.multiverse import variance_budget
from mpta_pipeline.metrics.multiverse.variance import shares_of, variance_components
from tests.factories.scores import world

# statsmodels 0.15.0, MixedLM with three crossed variance components, REML, on `balanced()`.
REML = {"person": 0.22742354, "question": 0.05200882, "configuration": 0.03872619, "residual": 0.06098412}


def crossed(*sizes: int):
    return [a.ravel() for a in np.meshgrid(*map(np.arange, sizes), indexing="ij")]


def balanced():
    rng = np.random.default_rng(3)
    p, q, c = crossed(12, 9, 4)
    y = 0.5 + rng.normal(0, 0.3, 12)[p] + rng.normal(0, 0.4, 9)[q] + rng.normal(0, 0.2, 4)[c]
    return y + rng.normal(0, 0.25, len(p)), {"person": p, "question": q, "configuration": c}


def test_balanced_data_give_what_reml_gives():
    assert variance_components(*balanced()) == pytest.approx(REML, rel=3e-4)


def test_unbalanced_data_give_the_truth_on_average():
    found = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        p, q = crossed(60, 20)
        kept = rng.random(len(p)) < np.where(q < 5, 0.9, 0.25)
        p, q = p[kept], q[kept]
        y = rng.normal(0, 0.3, 60)[p] + rng.normal(0, 0.4, 20)[q] + rng.normal(0, 0.25, len(p))
        found.append(list(variance_components(y, {"person": p, "question": q}).values()))
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - [0.09, 0.16, 0.0625]) < 3 * error).all()


def test_intervals_cover_the_true_shares():
    true, covered = np.array([0.09, 0.16, 0.0625]) / 0.3125, 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        p, q = crossed(60, 24)
        y = rng.normal(0, 0.3, 60)[p] + rng.normal(0, 0.4, 24)[q] + rng.normal(0, 0.25, len(p))
        found = shares_of(y, {"person": p, "question": q}, left_out=[p % 20, q % 20])
        covered += ((found.low <= true) & (true <= found.high)).mean()
    assert covered / 25 > 0.88


def test_a_component_that_the_design_cannot_tell_is_undefined():
    p = np.repeat(np.arange(5), 4)
    assert all(np.isnan(v) for v in variance_components(np.arange(20.0), {"a": p, "b": p}).values())


def test_a_planted_effect_of_wording_shows_in_the_budget():
    base, _, _ = world(personas=40, items=10, orders=2, conditions=("persona",), seed=2)
    rng = np.random.default_rng(0)
    made, parts = [], []
    for framing in ("you_are", "user_is"):
        levels = {"framing": framing}
        made.append(Configuration("t", "m", levels, variant_name("t", levels), "m", model_is_factor=False))
        share = 0.8 if framing == "you_are" else 0.3
        parts.append(
            base.with_columns(
                pl.lit(made[-1].asked_task).alias("task"), pl.lit(framing).alias("framing"),
                pl.Series("score", (rng.random(base.height) < share).astype(float)),
            )
        )  # fmt: skip
    budget = variance_budget(made, pl.concat(parts))
    shares = dict(budget.select("component", "share").rows())
    # Between two levels .5 apart: .125; within them about .185.
    assert shares["framing"] == pytest.approx(0.4, abs=0.05)
    assert "wording" not in shares and "configuration" not in shares, "what is the same as framing is named once"
    assert sum(shares.values()) == pytest.approx(1)
