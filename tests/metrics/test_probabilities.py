"""Protects proper scores of probabilities, against scikit-learn and the definition, and NormAd's two gaps."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import GOLD, ITEMS
from mpta_pipeline.metrics import compute_estimates
from tests.factories.scores import world

RULES = EstimateRules(dimensions=("story_zone",), bootstrap=50)


@pytest.fixture(scope="module")
def asked():
    scores, groups, _ = world(personas=60, items=6, options=4, orders=1, probabilities=True, conditions=("persona",))
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), scores.height)
    pick = p.argmax(axis=1)
    scores = scores.with_columns(p_vec=pl.Series(p.tolist()), pred_idx=pl.Series(pick)).with_columns(
        score=(pl.col("pred_idx") == pl.col("gold_idx")).cast(pl.Float64)
    )
    return scores, groups, p


def test_brier_log_and_ranked_scores(asked):
    scores, groups, p = asked
    estimates = compute_estimates(scores, groups, GOLD.empty(), rules=EstimateRules(dimensions=(), bootstrap=50))
    found = {(r["metric"], r["baseline"]): r for r in estimates.iter_rows(named=True)}
    key = scores["gold_idx"].to_numpy()
    hot = np.eye(4)[key]
    assert found["brier", ""]["estimate"] == pytest.approx(((p - hot) ** 2).sum(axis=1).mean())
    assert found["log_score", ""]["estimate"] == pytest.approx(log_loss(key, p, labels=range(4)), rel=1e-3)
    assert found["log_score", "chance"]["baseline_estimate"] == pytest.approx(np.log(4))
    assert found["brier", "chance"]["baseline_estimate"] == pytest.approx(0.75)
    ordinal = scores["ordinal"].to_numpy()
    steps = ((p.cumsum(axis=1) - hot.cumsum(axis=1))[:, :3] ** 2).sum(axis=1) / 3
    assert found["crps", ""]["estimate"] == pytest.approx(steps[ordinal].mean())


def test_answers_without_probabilities_have_no_such_score():
    scores, groups, gold = world(personas=10, items=4)
    estimates = compute_estimates(scores, groups, gold, rules=EstimateRules(dimensions=(), bootstrap=50))
    assert estimates.filter(pl.col("metric").is_in(["brier", "log_score", "crps"])).is_empty()


COUNTRIES = {"EGY": "African-Islamic", "IRN": "African-Islamic", "ITA": "Catholic Europe", "JPN": "Confucian"}


def test_zone_gap_and_adaptability_by_hand():
    scores, groups, _ = world(personas=30, items=16, options=3, orders=1, skill=0.5)
    rows = scores.with_columns(answer_set=pl.lit("acceptability"))
    where = {f"i{j:04d}": (list(COUNTRIES)[j % 4], ("rule_of_thumb", "country")[j // 8]) for j in range(16)}
    items = ITEMS.conform(
        pl.DataFrame(
            [
                {
                    "task": "t", "item_id": name, "kind": "normad", "cluster_id": name, "codebook": None,
                    "category": country, "context": None, "question": "?", "options": ["yes", "no", "neither"],
                    "option_values": ["yes", "no", "neutral"], "option_scores": None, "ordinal": False, "gold_idx": 0,
                    "column": None, "reveals": [], "licence": "test",
                    "scoring": "key", "answer_set": "acceptability", "sample_item": False,
                    "story_country": country, "context_level": level,
                }
                for name, (country, level) in where.items()
            ],
            infer_schema_length=None,
        )
    )  # fmt: skip
    estimates = compute_estimates(rows, groups, GOLD.empty(), rules=RULES, items=items)
    found = estimates.filter(condition="persona", baseline="")
    facts = rows.filter(condition="persona").with_columns(
        zone=pl.col("item_id").replace_strict({k: COUNTRIES[c] for k, (c, _) in where.items()}),
        level=pl.col("item_id").replace_strict({k: level for k, (_, level) in where.items()}),
    )
    zones = facts.group_by("zone").agg(pl.col("score").mean()).get_column("score")
    everyone = found.filter(dimensions="all")
    assert everyone.filter(metric="zone_gap").item(0, "estimate") == pytest.approx(zones.max() - zones.min())
    by_level = dict(facts.group_by("level").agg(pl.col("score").mean()).iter_rows())
    expected = by_level["rule_of_thumb"] - by_level["country"]
    assert everyone.filter(metric="adaptability").item(0, "estimate") == pytest.approx(expected)
    of_zone = found.filter(metric="adaptability", dimensions="story_zone")
    assert set(of_zone["subgroup"]) == set(COUNTRIES.values())
