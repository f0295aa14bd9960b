"""Protects effects of experiments: values computed elsewhere, errors by statsmodels, planted effects found again."""

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm

from mpta_pipeline import metrics
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.metrics.statistics.clustered import Slices
from mpta_pipeline.metrics.statistics.contrasts import Regression, Sample, of_means
from tests.factories.experiments import LEVELS, RULES, WORTH, choices, item, people, planted, scored


@pytest.fixture(scope="module")
def crossed():
    """40 personas, half of them treated, each asked 6 items that differ."""
    rng = np.random.default_rng(7)
    persona, item = np.repeat(np.arange(40), 6), np.tile(np.arange(6), 40)
    arm = persona % 2
    x = 0.3 * rng.normal(size=40)[persona] + 0.4 * rng.normal(size=6)[item] + 0.15 * (arm == 0) + rng.normal(size=240)
    return Sample(x, rng.uniform(0.5, 2, 240), persona, item), arm


def test_a_difference_of_arms_is_that_of_the_other_estimates(crossed):
    """The same difference and error as a gap between two slices of people."""
    sample, arm = crossed
    made = of_means(sample, arm, np.array([1.0, -1.0]))
    gaps = Slices(arm, 2, sample.persona, sample.item).gaps(sample.x, sample.w)
    assert made.estimate == pytest.approx(gaps.difference[0], abs=1e-12)
    assert made.se == pytest.approx(gaps.se[0], rel=0.02), "each side has its own C/(C − 1) there"


def test_arms_within_persons_are_paired(crossed):
    """Each persona in both arms: what is common to a persona cancels."""
    sample, _ = crossed
    arm = np.tile([0, 0, 0, 1, 1, 1], 40)
    alike = Sample(5.0 * sample.persona, np.ones(240), sample.persona, sample.item)
    assert of_means(alike, arm, np.array([1.0, -1.0])).se == pytest.approx(0, abs=1e-9)


def test_errors_of_coefficients_are_those_of_statsmodels(crossed):
    sample, arm = crossed
    design = np.column_stack([np.ones(240), arm, sample.x**0 * np.sin(np.arange(240))])
    factors = np.array([0.0, 1.0, -2.0])
    made = Regression(design, sample).combination(factors)
    fit = sm.WLS(sample.x, design, weights=sample.w)

    def variance(groups):
        n = len(np.unique(groups, axis=0))
        kwds = {"groups": groups, "use_correction": False}
        return factors @ fit.fit(cov_type="cluster", cov_kwds=kwds).cov_params() @ factors * n / (n - 1)

    one, other = variance(sample.persona), variance(sample.item)
    both = variance(sample.persona * 6 + sample.item)
    assert made.estimate == pytest.approx(factors @ fit.fit().params)
    assert made.se**2 == pytest.approx(max(one + other - both, one, other))
    alone = Regression(design, Sample(sample.x, sample.w, sample.persona, np.zeros(240, int))).combination(factors)
    assert alone.se**2 == pytest.approx(one) and alone.df == 39


def test_an_arm_of_known_answers():
    """4 of 6 treated and 2 of 6 others say yes: a difference of 1/3."""
    rows = [
        {"respondent_id": f"r{i:03}", "item_id": "q", "pred_idx": int(i % 6 >= (4 if i < 6 else 2)),
         "arm": "treated" if i < 6 else "plain", "treated": i < 6}
        for i in range(12)
    ]  # fmt: skip
    made = metrics.experiments(scored(rows), people(12), rules=RULES, items=item("q"))
    yes = made.filter(answer="yes", dimensions="all").row(0, named=True)
    assert (yes["effect"], yes["level"], yes["reference"]) == ("arm", "treated", "plain")
    assert yes["estimate"] == pytest.approx(1 / 3) and yes["reference_mean"] == pytest.approx(1 / 3)
    # One item: persons alone. Each side has variance p(1 − p)/6 · 6/5.
    assert yes["se"] == pytest.approx(np.sqrt(2 * (2 / 9) / 6 * 6 / 5))
    assert (yes["n_personas"], yes["n_items"], yes["n_answers"], yes["small"]) == (12, 1, 12, True)
    no = made.filter(answer="no", dimensions="all").row(0, named=True)
    assert no["estimate"] == pytest.approx(-1 / 3)


def test_a_planted_effect_is_found_and_nothing_else():
    made = planted(1)
    whole = made.filter(item_id="all", dimensions="all").row(0, named=True)
    assert whole["outcome"] == "place" and whole["ci_low"] < 0.15 < whole["ci_high"] and whole["q_value"] < 0.001
    groups = made.filter(dimensions="sex", item_id="all")
    assert groups["difference_q"].min() > 0.05, "women and men have the same effect"
    assert groups["difference"].to_list() == pytest.approx([groups["difference"][0], -groups["difference"][0]])
    women = planted(1, more_in_women=0.2).filter(dimensions="sex", item_id="all", subgroup="female").row(0, named=True)
    assert women["difference_q"] < 0.01 and abs(women["difference"] - 0.2) < 3 * women["difference_se"]
    assert set(made["item_id"]) == {"all", *(f"q{j}" for j in range(8))}


def dummies(scores, profiles):
    """Rows of profiles and their dummy variables, made without the package."""
    y, x, who = [], [], []
    for person, name, pick in scores.select("respondent_id", "item_id", "pred_idx").iter_rows():
        for side, one in enumerate(profiles[int(name[1:])]):
            y.append(float(pick == side))
            x.append([1.0, *(float(one[a] == v) for a, names in LEVELS.items() for v in names[1:])])
            who.append(person)
    return np.array(y), np.array(x), np.array(who)


def test_amce_is_that_of_statsmodels():
    scores, items, profiles = choices(3)
    made = metrics.experiments(scores, people(300), rules=RULES, items=items)
    y, x, who = dummies(scores, profiles)
    fit = sm.OLS(y, x).fit(cov_type="cluster", cov_kwds={"groups": np.unique(who, return_inverse=True)[1]})
    names = [(a, v) for a, levels in LEVELS.items() for v in levels[1:]]
    amce = made.filter(effect="amce", dimensions="all")
    found = {(a, v): (e, s) for a, v, e, s in amce.select("factor", "level", "estimate", "se").iter_rows()}
    for (attribute, level), estimate, error in zip(names, fit.params[1:], fit.bse[1:], strict=True):
        assert found[attribute, level][0] == pytest.approx(estimate)
        # Items of a pool are a second kind of cluster: the error is at least that of persons.
        assert found[attribute, level][1] > 0.98 * error
        assert abs(estimate - WORTH[level] / 2) < 4 * found[attribute, level][1], "the planted effect"
    assert amce.filter(level="high")["q_value"].item() < 0.01 < 0.1 < amce.filter(level="large")["q_value"].item()
    mean = made.filter(effect="marginal_mean", dimensions="all", level="blue").row(0, named=True)
    assert mean["estimate"] == pytest.approx(y[x[:, 3] == 1].mean()) and mean["p_value"] is None
    assert mean["reference"] == "" and (mean["n_personas"], mean["outcome"]) == (300, "chosen")


def test_effects_of_a_subgroup_are_those_of_its_own_regression():
    scores, items, _ = choices(3)
    made = metrics.experiments(scores, people(300), rules=RULES, items=items)
    women = people(300).filter(sex="female")["respondent_id"]
    alone = metrics.experiments(
        scores.filter(pl.col("respondent_id").is_in(women.implode())),
        people(300),
        rules=EstimateRules(dimensions=()),
        items=items,
    )
    key = ["effect", "factor", "level"]
    both = made.filter(subgroup="female").join(alone, on=key, suffix=" alone")
    assert both["estimate"].to_list() == pytest.approx(both["estimate alone"].to_list())
    assert both.height == 7 + 4 and both["difference_q"].drop_nulls().min() > 0.01


def test_restricted_attributes_are_compared_where_both_levels_can_be():
    """Blue and high never go together: the AMCE of blue is over low and mid, that of high over red."""
    banned = {("color", "blue"), ("price", "high")}
    scores, items, profiles = choices(5, pool=80, banned=banned)
    made = metrics.experiments(scores, people(300), rules=EstimateRules(dimensions=()), items=items)
    y, x, _ = dummies(scores, profiles)
    # By hand: a saturated model of price × color and size, without the empty cell.
    interaction = np.column_stack([x, x[:, 1] * x[:, 3]])  # mid × blue
    beta = sm.OLS(y, interaction).fit().params
    found = dict(made.filter(effect="amce").select("level", "estimate").iter_rows())
    assert found["blue"] == pytest.approx(beta[3] + 0.5 * beta[5])
    assert found["high"] == pytest.approx(beta[2])
    assert found["mid"] == pytest.approx(beta[1] + 0.5 * beta[5])


def test_a_task_without_an_experiment_has_no_effects():
    rows = [{"respondent_id": "r000", "item_id": "q", "pred_idx": 0}]
    assert metrics.experiments(scored(rows), people(2), rules=RULES, items=item("q")).is_empty()
