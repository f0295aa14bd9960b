"""How small a difference a design can find: the errors are those that estimates turn out to have.

`python -m tests.simulation.power` plants differences of just that size and counts how often they are found.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.metrics import detectable as d
from tests.factories import simulated_study
from tests.factories.simulated_study import ask, respondent

RULES = EstimateRules(dimensions=simulated_study.DIMENSIONS)
AS_SIMULATED = d.Assumed(accuracy=0.8, person_sd=0.0, gap_sd=0.0)


@pytest.fixture(scope="module")
def world():
    return simulated_study.study()


@pytest.fixture(scope="module")
def found(world):
    return d.detectable(world.prompts, world.groups, rules=RULES, assumed=AS_SIMULATED)


def test_the_errors_are_those_of_the_estimates(world, found, tmp_path):
    """Each detectable gap, divided by the estimate's own error, is the factor of level and power."""
    estimates = ask(world, respondent(accuracy=0.8), tmp_path).estimates.filter(
        metric="accuracy", condition="persona", baseline=""
    )
    both = found.filter(what=d.GAP).join(estimates, on=["dimensions", "subgroup"])
    assert both.height == found.filter(what=d.GAP).height == 16
    df = both.select(pl.min_horizontal("n_personas", "n_clusters")).to_series().to_numpy() - 1
    factor = stats.t.isf(0.05 / 16 / 2, df) + stats.t.ppf(0.8, df)
    ratios = both["detectable"].to_numpy() / (both["gap_se"].to_numpy() * factor)
    assert np.median(ratios) == pytest.approx(1.0, abs=0.15)


def test_more_people_and_questions_find_smaller_differences(found):
    small = simulated_study.study(people=150, items=10)
    fewer = d.detectable(small.prompts, small.groups, rules=RULES, assumed=AS_SIMULATED)
    both = d.summary(found).join(d.summary(fewer), on="what", suffix="_fewer")
    assert (both["detectable"] < both["detectable_fewer"]).all() and both.height == 3


def test_a_pocket_takes_more_than_a_gap_of_the_same_group(found):
    wide = found.filter(pl.col("what") != d.EFFECT).pivot("what", index=["dimensions", "subgroup"], values="detectable")
    assert (wide[d.POCKET] > wide[d.GAP]).all()


def test_two_batteries_can_show_nothing_and_one_speaks_of_itself(world):
    def of(clusters: int) -> pl.DataFrame:
        prompts = world.prompts.with_columns((pl.col("item_id").hash(1) % clusters).cast(pl.String).alias("cluster_id"))
        return d.detectable(prompts, world.groups, rules=RULES).filter(what=d.GAP)

    one, two = of(1), of(2)
    assert one["detectable"].max() < 0.2
    assert two["detectable"].min() > 0.5


def test_one_key_for_everybody_makes_the_persona_effect_uncertain(world):
    keyed = world.prompts.with_columns(gold_idx=pl.lit(0))
    own, fixed = (
        d.detectable(prompts, world.groups, rules=RULES).filter(what=d.EFFECT)["detectable"][0]
        for prompts in (world.prompts, keyed)
    )
    assert fixed > 3 * own


def test_tasks_without_a_key_and_empty_studies_have_nothing_to_find(world):
    keyless = world.prompts.with_columns(pl.lit(None, pl.Int64).alias("gold_idx"))
    for prompts in (keyless, world.prompts.clear()):
        nothing = d.detectable(prompts, world.groups, rules=RULES)
        assert nothing.is_empty() and d.summary(nothing).is_empty()
