"""Protects against what only many rows show: polars splits a frame over its threads from about 16,000 rows on.

A `filter` by an expression without a column then fails. Every public function of the metrics is run over 100,000 rows;
`tests/no_literal_filters.py` closes the kind for all code that any test runs.
"""

import numpy as np
import polars as pl
import pytest

from mpta_pipeline import metrics
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import ITEMS
from tests.factories.scores import world
from tests.no_literal_filters import names_no_column

ROWS = 100_000
RULES = EstimateRules(dimensions=("sex",), bootstrap=50)


@pytest.fixture(scope="module")
def many():
    scores, groups, gold = world(personas=1_250, items=20, options=2, orders=2, weights=True)
    assert scores.height == ROWS
    return scores, groups, gold


@pytest.fixture(scope="module")
def estimates(many):
    scores, groups, gold = many
    return metrics.compute_estimates(scores, groups, gold, rules=RULES)


def test_estimates_and_their_checks(estimates):
    assert all(check.passed for check in metrics.check_estimates(estimates))
    assert metrics.headline(estimates).height == 1
    wide = pl.concat(
        [estimates.with_columns(pl.lit(f"m{i}").alias("model")) for i in range(ROWS // estimates.height + 1)]
    )
    assert metrics.check_estimates(wide)  # made for one model: here it only has to run
    assert metrics.headline(wide).height == wide["model"].n_unique()


def test_pockets_and_comparison(many):
    scores, groups, gold = many
    pockets = metrics.find_pockets(scores, groups, gold, rules=RULES, seed=1)
    assert all(check.passed for check in metrics.check_pockets(pockets))
    compared = metrics.compare_models(
        pl.concat([scores, scores.with_columns(pl.lit("other").alias("model"))]), rules=RULES
    )
    assert all(check.passed for check in metrics.check_comparison(compared))
    row = compared.filter(metric="accuracy", condition="persona").filter(pl.col("model") != pl.col("other_model"))
    assert set(row["difference"]) == {0.0}


def test_ceiling_and_retest(many):
    _, groups, gold = many
    many_gold = pl.concat([gold.with_columns(pl.format("{}{}", "item_id", pl.lit(i)).alias("item_id")) for i in "abcd"])
    assert many_gold.height == ROWS
    assert metrics.cross_fitted(many_gold, groups.drop("survey"), hidden={}, seed=1).height == ROWS
    people = pl.DataFrame({"person": [str(i) for i in range(ROWS)], "column": "c", "value": "yes"})
    assert metrics.retest(people, people)["retest"].to_list() == [1.0]


@pytest.mark.parametrize("persona", [True, False])
@pytest.mark.parametrize("how", ["index", "probabilities"])
def test_answers_made_elsewhere(persona, how):
    rng = np.random.default_rng(3)
    items = ITEMS.conform(
        pl.DataFrame(
            [
                {
                    "task": "t", "kind": "k", "item_id": f"i{j}", "cluster_id": f"i{j}", "category": "c",
                    "question": f"q{j}", "options": ["a1", "b2", "c3"], "option_values": ["a1", "b2", "c3"],
                    "ordinal": False, "gold_idx": j % 3, "scoring": "key", "sample_item": False, "licence": "test",
                    "codebook": None, "context": None, "option_scores": None, "column": None, "reveals": [],
                }
                for j in range(100)
            ],
            infer_schema_length=None,
        )
    )  # fmt: skip
    answers = pl.DataFrame(
        {"item_id": [f"i{j % 100}" for j in range(ROWS)], "repeat_id": [j // 100 for j in range(ROWS)]}
    )
    if persona:
        answers = answers.with_columns(pl.format("p{}", "repeat_id").alias("respondent_id")).drop("repeat_id")
        answers = answers.with_columns(pl.lit(2.0).alias("weight"))
    if how == "index":
        answers = answers.with_columns(pl.Series("answer", rng.integers(0, 3, ROWS)))
    else:
        answers = answers.with_columns(pl.Series("probabilities", rng.dirichlet(np.ones(3), ROWS).tolist()))
    scores = metrics.score_answers(answers, items)
    assert scores.height == ROWS
    assert abs(float(scores["score"].mean()) - 1 / 3) < 0.01


def test_a_filter_by_a_literal_is_seen():
    assert names_no_column(pl.lit(True))
    assert names_no_column(~pl.lit(True).fill_null(False))
    assert not names_no_column(pl.col("a") > 1)
    assert not names_no_column(pl.all().is_not_null())
