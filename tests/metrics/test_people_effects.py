"""Protects people's own effects in an experiment: values computed elsewhere, small groups left out, verdicts."""

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from scipy import stats

from mpta_pipeline import metrics
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import ARM_ANSWERS, PEOPLE_EFFECTS
from mpta_pipeline.metrics.estimators.people_effects import beside_people
from tests.factories.experiments import item, items_of, people, scored

RULES = EstimateRules(dimensions=("sex",), min_personas=10)


def told(values, arms, *, weight=None, items="q", idx=None, place=True):
    """ARM_ANSWERS of persons r000, r001, … with their value, arm and weight; `items` names one item or one per row."""
    n = len(values)
    names = [items] * n if isinstance(items, str) else list(items)
    seen: dict[str, int] = {}
    ids = []
    for name in names:
        ids.append(f"r{seen.get(name, 0):03}")
        seen[name] = seen.get(name, 0) + 1
    frame = pl.DataFrame(
        {
            "task": "t", "item_id": names, "respondent_id": ids, "survey": "s", "arm": list(arms),
            "treated": [arm != "plain" for arm in arms],
            "answer_idx": [0] * n if idx is None else [int(i) for i in idx],
            "scale_place": [float(v) for v in values] if place else [None] * n,
            "weight": [None] * n if weight is None else [float(w) for w in weight],
        },
        schema_overrides={"scale_place": pl.Float64, "weight": pl.Float64},
    )  # fmt: skip
    return ARM_ANSWERS.conform(frame.select(list(ARM_ANSWERS.schema)))


@pytest.fixture(scope="module")
def sampled():
    """90 people in 2 arms, in 3 strata of 5 sampling units each."""
    rng = np.random.default_rng(11)
    n = 90
    unit = np.arange(n) % 15
    arm = np.where(rng.random(n) < 0.4, "told", "plain")
    y = np.clip(0.4 + 0.1 * (arm == "told") + 0.1 * rng.normal(size=15)[unit] + 0.2 * rng.normal(size=n), 0, 1)
    return y, arm, rng.uniform(0.3, 3, n), unit


def grouped(n, unit=None):
    frame = people(n)
    if unit is None:
        return frame
    return frame.with_columns(
        pl.Series("psu", [str(u) for u in unit]), pl.Series("stratum", [str(u % 3) for u in unit])
    )


def one(made, **where):
    return made.filter(**({"dimensions": "all", "item_id": "all", "weighted": False} | where)).row(0, named=True)


def test_two_groups_of_people_are_compared_as_welch_does(sampled):
    y, arm, _, _ = sampled
    row = one(metrics.people_effects(told(y, arm), item("q", ordinal=True), grouped(90), rules=RULES))
    test = stats.ttest_ind(y[arm == "told"], y[arm == "plain"], equal_var=False)
    ends = test.confidence_interval()
    assert row["estimate"] == pytest.approx(y[arm == "told"].mean() - y[arm == "plain"].mean())
    assert row["reference_mean"] == pytest.approx(y[arm == "plain"].mean())
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((ends.low, ends.high))
    assert (row["p_value"], row["df"]) == pytest.approx((test.pvalue, test.df))
    assert (row["n_arm"], row["n_control"]) == ((arm == "told").sum(), (arm == "plain").sum())


def test_errors_by_design_are_computed_by_hand(sampled):
    """Weights, strata and units: Taylor linearization written out, and statsmodels' sandwich for a single stratum."""
    y, arm, w, unit = sampled
    groups = grouped(90, unit)
    made = metrics.people_effects(told(y, arm, weight=w), item("q", ordinal=True), groups, rules=RULES)
    row = one(made, weighted=True)
    mean = {a: (w * y)[arm == a].sum() / w[arm == a].sum() for a in ("told", "plain")}
    variance = 0.0
    for stratum in range(3):
        totals = []
        for u in range(stratum, 15, 3):
            z = 0.0
            for a, sign in (("told", 1), ("plain", -1)):
                rows = (unit == u) & (arm == a)
                z += sign * (w * (y - mean[a]))[rows].sum() / w[arm == a].sum()
            totals.append(z)
        variance += 5 / 4 * sum((z - np.mean(totals)) ** 2 for z in totals)
    reach = stats.t.ppf(0.975, 15 - 3) * np.sqrt(variance)
    assert row["estimate"] == pytest.approx(mean["told"] - mean["plain"])
    assert (row["se"], row["df"]) == pytest.approx((np.sqrt(variance), 12))
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((row["estimate"] - reach, row["estimate"] + reach))
    assert row["method"] == "by design (15 PSUs in 3 strata)"
    alone = metrics.people_effects(told(y, arm, weight=w), item("q", ordinal=True), groups.drop("stratum"), rules=RULES)
    design = sm.add_constant((arm == "told").astype(float))
    kwds = {"groups": unit, "use_correction": False}
    fit = sm.WLS(y, design, weights=w).fit(cov_type="cluster", cov_kwds=kwds)
    assert one(alone, weighted=True)["se"] == pytest.approx(fit.bse[1] * np.sqrt(15 / 14))


def test_several_questions_count_alike_and_subgroups_are_compared(sampled):
    """The mean of the questions' effects, also where fewer people answered one; women against everyone else."""
    y, arm, _, _ = sampled
    other = np.clip(y[:60] + 0.2 * (arm[:60] == "told"), 0, 1)
    frame = told([*y, *other], [*arm, *arm[:60]], items=["q"] * 90 + ["z"] * 60)
    groups, items = grouped(90), items_of({"item_id": "q", "ordinal": True}, {"item_id": "z", "ordinal": True})
    made = metrics.people_effects(frame, items, groups, rules=RULES)
    single = [one(made, item_id=name)["estimate"] for name in ("q", "z")]
    assert one(made)["estimate"] == pytest.approx(np.mean(single)) and one(made)["n_items"] == 2
    # By hand: one value per person, the sum of the influences on both questions.
    z = np.zeros(90)
    for values in (y, other):
        n = len(values)
        for a, sign in (("told", 1), ("plain", -1)):
            rows = np.flatnonzero(arm[:n] == a)
            z[rows] += sign * (values[rows] - values[rows].mean()) / len(rows) / 2
    variance = sum((arm == a).sum() * z[arm == a].var(ddof=1) for a in ("told", "plain"))
    assert one(made)["se"] == pytest.approx(np.sqrt(variance))
    women = np.arange(90) % 3 == 0

    def effect(rows):
        return y[rows & (arm == "told")].mean() - y[rows & (arm == "plain")].mean()

    row = one(made, dimensions="sex", subgroup="female", item_id="q")
    assert row["estimate"] == pytest.approx(effect(women))
    assert row["difference"] == pytest.approx(effect(women) - effect(~women)) and row["difference_q"] is not None


def test_answers_beside_a_scale_are_shares_and_few_people_are_not_published(sampled):
    y, arm, _, _ = sampled
    yes = (y > 0.5).astype(int)
    frame = told(y, arm, idx=yes, place=False)
    made = metrics.people_effects(frame, item("q"), grouped(90), rules=RULES)
    row = one(made, item_id="q", outcome="share", answer="no")
    assert row["estimate"] == pytest.approx(yes[arm == "told"].mean() - yes[arm == "plain"].mean())
    assert set(made["answer"]) == {"yes", "no"}
    few = EstimateRules(dimensions=("sex",), min_personas=20)
    small = metrics.people_effects(frame, item("q"), grouped(90), rules=few)
    assert not small.filter(subgroup="female").height, "8 to 22 women in an arm are too few"
    assert metrics.people_effects(ARM_ANSWERS.empty(), item("q"), grouped(90), rules=RULES).is_empty()


MODEL = {"effect": "arm", "outcome": "place", "dimensions": "all", "subgroup": "all", "weighted": False, "answer": ""}


def verdict(model, model_se, of_people, people_se, **rules):
    """The comparison of an effect on the model's answers with that on people's, with 200 degrees of freedom each."""

    def row(estimate, se):
        t = stats.t.ppf(0.975, 200)
        return {
            "estimate": estimate, "se": se, "df": 200.0, "ci_low": estimate - t * se, "ci_high": estimate + t * se,
            "p_value": 2 * stats.t.sf(abs(estimate) / se, 200) if se else None, "n_items": 1,
        }  # fmt: skip

    names = {"survey": "s", "level": "told", "item_id": "all", "everyone": True}
    made = pl.DataFrame([MODEL | row(model, model_se) | {"own_se": model_se, "own_df": 200.0} | names])
    own = {name: MODEL[name] for name in MODEL if name != "effect"} | row(of_people, people_se)
    own |= {"survey": "s", "level": "told", "item_id": "all", "n_arm": 101, "n_control": 101}
    return beside_people(made, pl.DataFrame([own]), EstimateRules(**rules)).row(0, named=True)


@pytest.mark.parametrize(
    ("model", "people_", "word"),
    [
        ((0.20, 0.010), (0.21, 0.010), "reproduces"),
        ((0.05, 0.010), (0.25, 0.020), "understates"),
        ((0.45, 0.010), (0.25, 0.020), "overstates"),
        ((-0.15, 0.010), (0.15, 0.020), "reverses"),
        ((-0.02, 0.030), (0.25, 0.020), "understates"),  # not distinguishable from 0: no reversal
        ((0.30, 0.010), (-0.01, 0.020), "overstates"),  # people did not move
        ((0.20, 0.100), (0.10, 0.050), "cannot_tell"),
        ((0.00, 0.005), (0.01, 0.005), "reproduces"),  # neither moves
    ],
)
def test_the_verdict(model, people_, word):
    row = verdict(*model, *people_)
    assert row["people_verdict"] == word
    assert row["beyond_people"] == pytest.approx(model[0] - people_[0])
    assert row["beyond_people_se"] == pytest.approx(np.hypot(model[1], people_[1]))
    assert row["n_people"] == 202


def test_effects_of_the_model_stand_beside_those_of_people(sampled):
    """A model that always says the same is not taken as certain: its error is that of its interval."""
    y, arm, _, _ = sampled
    rows = [
        {"respondent_id": f"r{i:03}", "item_id": "q", "pred_idx": 0, "scale_place": 0.5,
         "arm": "told" if i % 2 else "plain", "treated": bool(i % 2)}
        for i in range(60)
    ]  # fmt: skip
    items = item("q", ordinal=True)
    own = metrics.people_effects(told(y, arm), items, grouped(90), rules=RULES)
    made = metrics.experiments(scored(rows), grouped(90), rules=RULES, items=items, people=own)
    row = made.filter(dimensions="all").row(0, named=True)
    mine = one(own)
    assert (row["estimate"], row["se"]) == (0, 0)
    assert row["people_estimate"] == mine["estimate"] and row["n_people"] == 90
    assert row["beyond_people"] == pytest.approx(-mine["estimate"]) and row["beyond_people_se"] > mine["se"]
    assert row["beyond_people_low"] < row["beyond_people"] < row["beyond_people_high"]
    without = metrics.experiments(scored(rows), grouped(90), rules=RULES, items=items)
    added = [name for name in made.columns if "people" in name]
    assert without.drop(added).equals(made.drop(added)) and without["people_verdict"].is_null().all()
    # Over all questions, both must be about the same ones.
    more = own.with_columns(pl.col("n_items") + 1)
    apart = metrics.experiments(
        scored(rows), grouped(90), rules=RULES, items=items, people=PEOPLE_EFFECTS.conform(more)
    )
    assert apart["people_estimate"].is_null().all()
