"""Protects the comparison of models: paired, symmetrical, and silent where nothing can be told apart."""

import numpy as np
import polars as pl
import pytest

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.metrics import compare_models, compute_estimates, headline
from tests.factories.scores import world

RULES = EstimateRules(dimensions=(), bootstrap=50)


@pytest.fixture(scope="module")
def three():
    scores, _, _ = world(personas=80, items=20, orders=1, skill=0.7)
    worse, _, _ = world(personas=80, items=20, orders=1, skill=0.3)
    return pl.concat(
        [scores.with_columns(model=pl.lit(m)) for m in ("b", "a")] + [worse.with_columns(model=pl.lit("c"))]
    )


@pytest.fixture(scope="module")
def table(three):
    return compare_models(three, rules=RULES)


def pair(table, a, b):
    return table.filter(metric="accuracy", condition="persona", model=a, other_model=b).row(0, named=True)


def test_the_same_answers_do_not_differ(table):
    row = pair(table, "a", "b")
    assert (row["difference"], row["se"], row["p_value"], row["q_value"]) == (0, 0, 1, 1)
    assert row["tie_group"] == pair(table, "b", "a")["tie_group"] == 1


def test_a_worse_model_is_told_apart_in_both_directions(table):
    down, up = pair(table, "a", "c"), pair(table, "c", "a")
    assert down["difference"] == pytest.approx(-up["difference"])
    assert down["ci_low"] > 0 > up["ci_high"]
    assert up["tie_group"] == 2
    assert down["difference"] == pytest.approx(pair(table, "a", "a")["estimate"] - pair(table, "c", "c")["estimate"])


def test_one_model_alone_has_its_own_row(three):
    alone = compare_models(three.filter(model="a"), rules=RULES)
    assert set(alone.get_column("other_model")) == {"a"}
    assert alone.get_column("n_answers").min() > 0
    assert compare_models(three.clear(), rules=RULES).is_empty()


def test_a_control_changes_nothing_about_the_models(three, table):
    best, _, _ = world(personas=80, items=20, orders=1, skill=0.95)
    beside = pl.concat([three, best.with_columns(model=pl.lit("a control"))])
    assert compare_models(beside, rules=RULES, controls=["a control"]).equals(table)
    assert not compare_models(beside, rules=RULES).equals(table)


def test_row_order_does_not_show(three, table):
    assert compare_models(three.sample(fraction=1, shuffle=True, seed=1), rules=RULES).equals(table)


def test_own_estimate_is_that_of_the_subgroup_table():
    scores, groups, gold = world(personas=50, items=8, weights=True)
    estimates = compute_estimates(scores, groups, gold, rules=RULES)
    own = compare_models(scores, rules=RULES).filter(metric="accuracy", condition="persona").item(0, "estimate")
    assert own == pytest.approx(
        estimates.filter(metric="accuracy", condition="persona", baseline="", weighted=True).item(0, "estimate")
    )


class TestHeadline:
    @pytest.mark.parametrize(
        ("skill", "says"),
        [
            (0.95, "better than always giving the most frequent answer"),
            (0.0, "not better than chance"),
        ],
    )
    def test_the_sentence_is_plain(self, skill, says):
        scores, groups, gold = world(personas=150, items=20, orders=1, skill=skill, respondents=400)
        table = headline(compute_estimates(scores, groups, gold, rules=RULES))
        assert table.height == 1
        assert table.item(0, "verdict").startswith(says)
        assert table.item(0, "item_mode") > table.item(0, "chance")
        assert np.isclose(table.item(0, "effect"), table.item(0, "persona") - table.item(0, "no_persona"))

    def test_nothing_gives_an_empty_table(self):
        scores, groups, gold = world(personas=5, items=3)
        estimates = compute_estimates(scores, groups, gold, rules=RULES)
        assert headline(estimates.clear()).is_empty()


def test_weights_of_zero_leave_out_and_nothing_undefined_is_a_number():
    scores, _, _ = world(personas=10, items=4, orders=1)
    both = pl.concat([scores.with_columns(model=pl.lit(m)) for m in ("a", "b")])
    first = pl.col("respondent_id") == "r_gss_00000"
    some = compare_models(both.with_columns(weight=pl.when(first).then(0.0).otherwise(1.0)), rules=RULES)
    assert set(some["n_personas"]) == {9}
    assert compare_models(both.with_columns(weight=pl.lit(0.0)), rules=RULES).is_empty()
    # A difference of 0 without any error is not known to be 0.
    row = pair(some, "a", "b")
    assert row["ci_low"] < 0 < row["ci_high"]


def test_always_right_against_always_wrong_on_three_items_is_not_certain():
    scores, _, _ = world(personas=10, items=3, orders=1)
    wrong = (pl.col("gold_idx") + 1) % pl.col("k_options")
    both = pl.concat(
        [
            scores.with_columns(model=pl.lit("a"), pred_idx="gold_idx", score=pl.lit(1.0)),
            scores.with_columns(model=pl.lit("b"), pred_idx=wrong, score=pl.lit(0.0)),
        ]
    )
    row = pair(compare_models(both, rules=RULES), "a", "b")
    assert row["difference"] == row["ci_high"] == 1
    assert row["ci_low"] < 1
    assert row["p_value"] > 0
