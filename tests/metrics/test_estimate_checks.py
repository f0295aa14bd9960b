"""Protects the checks that stand between new estimates and the stored ones: what is wrong must be found."""

import polars as pl
import pytest

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import POCKETS
from mpta_pipeline.metrics import check_comparison, check_estimates, check_pockets, compare_models, compute_estimates
from tests.factories.scores import world

RULES = EstimateRules(dimensions=("sex", "sex×age_band", "category"), bootstrap=50)


@pytest.fixture(scope="module")
def study():
    return world(personas=60, items=8, items_per_persona=4, bad=0.1, persona_sd=0.2)


@pytest.fixture(scope="module")
def estimates(study):
    return compute_estimates(*study, rules=RULES)


def failed(checks):
    return {c.name for c in checks if not c.passed}


def test_sound_estimates_pass(estimates):
    assert failed(check_estimates(estimates)) == set()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"n_answers": 10**6}, "counts_add_up"),
        ({"ci_low": 0.99, "ci_high": 1.0}, "intervals_contain_estimates"),
        ({"n_items": 0}, "no_estimate_without_n"),
        ({"estimate": 1.5, "ci_low": None, "ci_high": None}, "estimates_in_range"),
    ],
)
def test_what_is_wrong_is_found(estimates, change, name):
    rows = estimates.filter(metric="accuracy", dimensions="sex", baseline="", condition="persona").head(1)
    key = ["metric", "condition", "dimensions", "subgroup", "baseline", "weighted"]
    broken = pl.concat(
        [
            estimates.join(rows, on=key, how="anti"),
            rows.with_columns(pl.lit(v, estimates.schema[c]).alias(c) for c, v in change.items()),
        ]
    )
    assert failed(check_estimates(broken)) == {name}


def test_pockets_and_comparisons(study):
    assert failed(check_pockets(POCKETS.empty())) == set()
    twin = (
        study[0]
        .with_columns(model=pl.lit("twin"), pred_idx=pl.lit(0, pl.Int64))
        .with_columns(score=(pl.col("gold_idx") == 0).cast(pl.Float64), status=pl.lit("ok"))
    )
    table = compare_models(pl.concat([study[0], twin]), rules=RULES)
    assert failed(check_comparison(table)) == set()
    assert failed(check_comparison(table.with_columns(pl.col("difference").abs()))) >= {"counts_add_up"}
    assert failed(check_comparison(table.with_columns(n_items=pl.lit(0, pl.Int64)))) == {"no_estimate_without_n"}
