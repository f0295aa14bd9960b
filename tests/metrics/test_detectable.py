"""How small a difference a design can find: the errors are those that estimates turn out to have.

`python -m tests.simulation.power` plants differences of just that size and counts how often they are found.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from mpta_pipeline.core.power import why_more_finds_less
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


def test_more_questions_find_less_only_where_the_search_begins_to_halve_them(world):
    """From 8 batteries on, pockets are confirmed on other questions, too: 4 batteries find a smaller one than 8 do."""
    for clusters, says in ((4, True), (8, False), (1, True)):
        names = (pl.col("item_id").rank("dense") % clusters).cast(pl.String)
        prompts = world.prompts.with_columns(names.alias("cluster_id"))
        rows = d.grid(prompts, world.groups, rules=RULES, people=(1, 2), questions=(1, 2, 4))
        table = d.power_table(rows).filter(people=1)
        now, then = (table.filter(what=d.POCKET, questions=q)["detectable"].fill_null(9).median() for q in (1, 2))
        assert (then > now) is says
        told = why_more_finds_less(table)
        assert [line.split(",")[0] for line in told] == {
            4: ["From 8 batteries of questions on"], 8: [], 1: ["With one battery of questions"],
        }[clusters]  # fmt: skip


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


def _design(people: int, items: int, dimension: str = "sex") -> tuple[pl.DataFrame, pl.DataFrame]:
    """Everybody is asked every question, half of the people in each of two groups."""
    who = [f"r{i:04d}" for i in range(people)]
    prompts = pl.DataFrame({"respondent_id": who}).join(
        pl.DataFrame({"item_id": [f"q{j}" for j in range(items)]}), how="cross"
    )
    prompts = prompts.with_columns(
        pl.lit("t").alias("task"), pl.lit("s").alias("survey"), pl.lit("persona").alias("condition"),
        pl.col("item_id").alias("cluster_id"), pl.lit(0).alias("gold_idx"),
    )  # fmt: skip
    groups = pl.DataFrame({"respondent_id": who, dimension: ["a", "b"] * (people // 2)})
    return prompts, groups


def _of(rows: list[dict[str, object]], what: str, **where: object) -> list[float]:
    return [
        float(str(row["detectable"]))
        for row in rows
        if row["what"] == what and all(row[name] == value for name, value in where.items())
    ]


@pytest.mark.parametrize("people", [60, 400])
def test_two_arms_and_one_question_are_a_two_sample_t_test(people):
    """The smallest difference has the power that statsmodels gives it."""
    from statsmodels.stats.power import TTestIndPower

    prompts, groups = _design(people, 1)
    assumed = d.Assumed(accuracy=0.5, person_sd=0.0, gap_sd=0.0)
    (found,) = _of(d.grid(prompts, groups, rules=EstimateRules(dimensions=()), assumed=assumed), d.ARM)
    power = TTestIndPower().power(effect_size=found / 0.5, nobs1=people // 2, alpha=0.05)
    assert power == pytest.approx(0.8, abs=0.005)


def test_what_more_buys_is_what_the_larger_study_has():
    assumed = d.Assumed(accuracy=0.6)
    rules = EstimateRules(dimensions=("sex",))
    small = d.grid(*_design(80, 10), rules=rules, assumed=assumed, people=(1, 4), questions=(1, 3))
    for people, questions in ((4, 1), (1, 3), (4, 3)):
        large = d.grid(*_design(80 * people, 10 * questions), rules=rules, assumed=assumed)
        for what in (d.GAP, d.EFFECT, d.ARM, d.POCKET):
            scaled = _of(small, what, people=people, questions=questions)
            assert scaled == pytest.approx(_of(large, what)), (what, people, questions)


def test_the_middle_subgroup_stands_for_all():
    prompts, groups = _design(80, 10)
    rows = d.grid(prompts, groups, rules=EstimateRules(dimensions=("sex",)), people=d.PEOPLE, questions=d.QUESTIONS)
    chosen = d.what_more_buys(d.power_table(rows))
    each = chosen.group_by("what").agg(pl.struct("dimensions", "subgroup").n_unique().alias("n"), pl.len())
    assert each["n"].unique().to_list() == [1] and each.height == 4
    # Half of the people are too few for a subgroup of 30.
    assert each.filter(what=d.GAP)["len"].item() == 12 < each.filter(what=d.ARM)["len"].item() == 15
