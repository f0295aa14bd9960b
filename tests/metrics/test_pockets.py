"""Protects the search for pockets: it must find what was planted, invent nothing, and rank as SliceLine does."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import POCKETS
from mpta_pipeline.metrics import find_pockets
from mpta_pipeline.metrics.pockets.search import detectable_in_errors, discover, power
from tests.factories.scores import world

RULES = EstimateRules(dimensions=("sex",), min_personas=20)
TRAITS = (("sex", 2), ("age_band", 4), ("race", 3))


def planted(effect=0.4, seed=1, **options):
    scores, groups, gold = world(
        personas=500, items=16, items_per_persona=8, orders=1, traits=TRAITS, seed=seed, **options
    )
    inside = groups.filter(sex="sex0", age_band="age_band1").get_column("respondent_id").implode()
    rng = np.random.default_rng(seed)
    hit = pl.Series(rng.random(scores.height) < effect) & scores.get_column("respondent_id").is_in(inside)
    wrong = (pl.col("gold_idx") + 1) % pl.col("k_options")
    scores = scores.with_columns(
        pred_idx=pl.when(hit & (pl.col("condition") == "persona")).then(wrong).otherwise("pred_idx")
    ).with_columns(score=(pl.col("pred_idx") == pl.col("gold_idx")).cast(pl.Float64))
    return scores, groups, gold


@pytest.fixture(scope="module")
def found():
    return find_pockets(*planted(), rules=RULES, seed=5)


def test_a_planted_pocket_is_confirmed(found):
    row = found.filter(outcome="score", dimensions="age_band×sex", subgroup="age_band1×sex0").row(0, named=True)
    assert row["confirmed"]
    assert row["ci_high"] < 0
    assert row["difference"] == pytest.approx(row["estimate"] - row["rest_estimate"])
    assert row["parent"] in {"sex=sex0", "age_band=age_band1"}
    assert found.filter("confirmed", outcome="persona_effect").height > 0


def test_a_pocket_without_any_exception_is_not_missed():
    # All wrong inside, all right outside: no spread on either side, and no clearer pocket.
    scores, groups, gold = planted()
    inside = groups.filter(sex="sex0", age_band="age_band1").get_column("respondent_id").implode()
    wrong = pl.col("respondent_id").is_in(inside) & (pl.col("condition") == "persona")
    scores = scores.with_columns(
        pred_idx=pl.when(wrong).then((pl.col("gold_idx") + 1) % pl.col("k_options")).otherwise("gold_idx")
    ).with_columns(score=(pl.col("pred_idx") == pl.col("gold_idx")).cast(pl.Float64))
    found = find_pockets(scores, groups, gold, rules=RULES, seed=5)
    row = found.filter(outcome="score", dimensions="age_band×sex", subgroup="age_band1×sex0").row(0, named=True)
    assert row["confirmed"]
    assert (row["difference"], row["ci_low"]) == pytest.approx((-1, -1))
    assert row["p_value"] > 0
    assert found.filter("confirmed").get_column("subgroup").str.contains("sex0|age_band1").all()


def test_ancestors_and_outcomes_of_a_pocket_are_one(found):
    confirmed = found.filter("confirmed")
    assert confirmed.height > 3
    # One was planted: one tree, led by the row that explains the others, with the largest e-value of its outcomes.
    assert confirmed["pocket"].n_unique() == 1
    leads = confirmed.filter("leads")
    assert leads.height == 1
    of_group = confirmed.filter(subgroup=leads.item(0, "subgroup"))
    assert leads.item(0, "e_value") == of_group["e_value"].max()
    assert leads.item(0, "pocket") == f"{leads.item(0, 'dimensions')}={leads.item(0, 'subgroup')}"
    assert leads.item(0, "subgroup").startswith("age_band1") and leads.item(0, "subgroup").endswith("sex0")
    alone = found.filter(~pl.col("confirmed"))
    assert alone["leads"].all()


def test_two_pockets_are_two():
    scores, groups, gold = world(personas=700, items=16, items_per_persona=8, orders=1, traits=TRAITS, seed=8)
    rng = np.random.default_rng(8)
    ids = pl.col("respondent_id")
    second = groups.filter(race="race2")["respondent_id"].implode()
    only = groups.filter(pl.col("race") != "race2", age_band="age_band1")["respondent_id"].implode()
    hit = pl.Series(rng.random(scores.height) < 0.5) & (ids.is_in(only) | ids.is_in(second))
    scores = scores.with_columns(
        pred_idx=pl.when(hit & (pl.col("condition") == "persona"))
        .then((pl.col("gold_idx") + 1) % pl.col("k_options"))
        .otherwise("pred_idx")
    ).with_columns(score=(pl.col("pred_idx") == pl.col("gold_idx")).cast(pl.Float64))
    found = find_pockets(scores, groups, gold, rules=RULES, seed=5).filter("confirmed", outcome="score")
    groups_found = {row["pocket"] for row in found.iter_rows(named=True)}
    assert any("race2" in p for p in groups_found) and any("age_band1" in p for p in groups_found)


def test_what_lies_apart_from_the_pocket_is_not_confirmed(found):
    confirmed = found.filter("confirmed")
    touches = confirmed.get_column("subgroup").str.contains("sex0|age_band1")
    assert touches.all()


def test_examples_are_wrong_answers_of_the_pocket(found):
    scores, groups, _ = planted()
    inside = set(groups.filter(sex="sex0", age_band="age_band1").get_column("respondent_id"))
    row = found.filter(outcome="score", subgroup="age_band1×sex0").row(0, named=True)
    shown = scores.filter(pl.col("prompt_id").is_in(row["examples"]))
    assert shown.height == 3
    assert set(shown.get_column("score")) == {0.0}
    assert set(shown.get_column("respondent_id")) <= inside


def test_no_pocket_in_a_world_without_one():
    false = [
        find_pockets(
            *world(personas=96, items=12, items_per_persona=3, orders=1, traits=TRAITS, seed=s), rules=RULES, seed=s
        )
        .get_column("confirmed")
        .any()
        for s in range(8)
    ]
    assert sum(false) <= 1


def test_row_order_does_not_show(found):
    shuffled = [frame.sample(fraction=1, shuffle=True, seed=9) for frame in planted()]
    assert find_pockets(*shuffled, rules=RULES, seed=5).equals(found)


def test_nothing_to_search_gives_an_empty_table():
    scores, groups, gold = world(personas=4, items=4)
    assert find_pockets(scores, groups, gold, rules=RULES, seed=1).equals(POCKETS.empty())


def test_the_worst_slice_is_slicelines():
    # metrics.md 7: eight features of integers 0–3, error .3 and .7 where f0 = 1 and f1 = 2.
    from sliceline.slicefinder import Slicefinder

    rng = np.random.default_rng(0)
    features = np.stack([rng.integers(0, 4, 5000) for _ in range(8)], axis=1)
    pocket = (features[:, 0] == 1) & (features[:, 1] == 2)
    error = (rng.random(5000) < 0.3 + 0.4 * pocket).astype(float)
    assert (pocket.sum(), error[pocket].mean()) == (281, pytest.approx(0.7331, abs=5e-5))
    finder = Slicefinder(alpha=0.95, k=1, max_l=3, min_sup=50, verbose=False).fit(features, error)
    assert finder.top_slices_.tolist()[0][:2] == [1, 2]
    assert finder.top_slices_statistics_[0]["slice_score"] == pytest.approx(0.38398221)
    frame = pl.DataFrame(
        {
            "respondent_id": [f"{i:05d}" for i in range(5000)],
            "score": 1 - error,
            "w": 1.0,
            **{f"trait:f{j}": features[:, j].astype(str) for j in range(8)},
        }
    )
    top = discover(frame, "score", [f"f{j}" for j in range(8)], 50)[0]
    assert (top.traits, top.values) == (("f0", "f1"), ("1", "2"))
    assert top.gap == pytest.approx(error[~pocket].mean() - error[pocket].mean())
    welch = stats.ttest_ind(1 - error[pocket], 1 - error[~pocket], equal_var=False)
    assert top.t == pytest.approx(welch.statistic)
    # DivExplorer's divergence is to everyone, ours to everyone else; the peers' scores follow from it.
    divergence = error[pocket].mean() - error.mean()
    assert divergence == pytest.approx(0.412696, abs=5e-7)
    assert divergence / np.sqrt(error[pocket].var() / 281 + error.var() / 5000) == pytest.approx(15.17, abs=5e-3)
    assert 281 / 5000 * divergence == pytest.approx(0.023194, abs=5e-7)
    assert 0.95 * divergence / error.mean() - 0.05 * (5000 / 281 - 1) == pytest.approx(0.38398221, abs=5e-9)


def test_thedetectable_in_errors_difference_is_that_of_search_and_test_together(found):
    known = found.filter(pl.col("mde").is_not_null())
    assert known.height
    for row in known.head(3).iter_rows(named=True):
        assert row["mde"] > 0
    # One test that must be passed twice: by the search, and at the level left by all slices tested.
    one, many = (float(power(0.1, np.array([0.03]), 11, n, level=0.05)[0]) for n in (1, 20))
    alone = stats.nct.sf(stats.t.isf(0.05, 11), 11, 0.1 / 0.03)
    assert many < one < alone
    errors = np.array([0.03])
    assert float(power(detectable_in_errors(11, 20, 0.05) * 0.03, errors, 11, 20, level=0.05)[0]) == pytest.approx(0.8)


def test_with_two_clusters_and_many_tests_nothing_is_detectable():
    """It was an error of the root finder, and so of the whole table."""
    assert np.isnan(detectable_in_errors(1.0, 60, 0.05))
    assert detectable_in_errors(2.0, 60, 0.05) > detectable_in_errors(10.0, 60, 0.05) > 3
