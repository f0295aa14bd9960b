"""Protects the comparison of the panel with asking once about the group: values by hand, and nothing else changes."""

import numpy as np
import polars as pl
import pytest

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import SCORES
from mpta_pipeline.metrics import compare_models, compute_estimates, find_pockets
from mpta_pipeline.metrics.statistics import distances
from tests.factories.scores import world

RULES = EstimateRules(dimensions=("sex",), min_personas=10, bootstrap=50)


def about_groups(scores, shares):
    """Rows of SCORES in which the model states these shares: (dimensions, subgroup, item) → shares."""
    one = scores.head(1)
    return pl.concat(
        [
            one.with_columns(
                prompt_id=pl.lit(f"g{i}"), condition=pl.lit("group"), elicitation=pl.lit("verbalized"),
                respondent_id=pl.lit(f"group:gss:{dimension}={subgroup}"), item_id=pl.lit(item),
                p_vec=pl.lit(p, pl.List(pl.Float64)), gold_idx=pl.lit(None, pl.Int64), gold_pos=pl.lit(None, pl.Int64),
                score=pl.lit(None, pl.Float64), weight=pl.lit(None, pl.Float64), status=pl.lit("ok"),
                pred_idx=pl.lit(int(np.argmax(p)), pl.Int64), pred_pos=pl.lit(int(np.argmax(p)), pl.Int64),
            )
            for i, ((dimension, subgroup, item), p) in enumerate(shares.items())
        ]
    )  # fmt: skip


def people_of(gold, groups, item, subgroup="all"):
    """The people's shares, counted."""
    rows = gold.join(groups, on="respondent_id").filter(pl.col("item_id") == item)
    rows = rows if subgroup == "all" else rows.filter(pl.col("sex") == subgroup)
    return [(rows["gold_idx"] == i).mean() for i in range(3)]


@pytest.fixture(scope="module")
def tables():
    scores, groups, gold = world(personas=80, items=8, options=3, orders=1, skill=0.3, respondents=600, seed=4)
    return SCORES.conform(scores), groups, gold


def estimates(tables, shares):
    scores, groups, gold = tables
    both = pl.concat([scores, SCORES.conform(about_groups(scores, shares))])
    return compute_estimates(both, groups, gold, rules=RULES)


def row(frame, subgroup="all", baseline="", condition="persona"):
    found = frame.filter(metric="panel_gain", subgroup=subgroup, baseline=baseline, condition=condition, weighted=False)
    return found.row(0, named=True)


@pytest.fixture(scope="module")
def exact(tables):
    """The model states the people's own shares."""
    scores, groups, gold = tables
    asked = scores["item_id"].unique().sort().to_list()
    shares = {("all", "all", i): people_of(gold, groups, i) for i in asked}
    shares |= {("sex", s, i): people_of(gold, groups, i, s) for s in ("sex0", "sex1") for i in asked}
    return estimates(tables, shares)


def test_the_gain_is_the_difference_of_two_total_variations(tables):
    """Item by item: ½ Σ |stated − people| − ½ Σ |personas − people|, counted here; then the mean over items."""
    scores, groups, gold = tables
    stated = {("all", "all", f"i{j:04d}"): [0.2 + 0.05 * j, 0.5 - 0.05 * j, 0.3] for j in range(5)}
    made = row(estimates(tables, stated))
    gains = []
    for (_, _, item), p in stated.items():
        people = people_of(gold, groups, item)
        picks = scores.filter(condition="persona", item_id=item)["pred_idx"]
        panel = [(picks == i).mean() for i in range(3)]
        distance = [0.5 * sum(abs(a - b) for a, b in zip(q, people, strict=True)) for q in (p, panel)]
        gains.append(distance[0] - distance[1])
    assert made["estimate"] == pytest.approx(np.mean(gains))
    assert (made["n_items"], made["n_personas"]) == (5, 80)
    assert made["ci_low"] <= made["estimate"] <= made["ci_high"]


def test_who_states_peoples_own_shares_beats_a_panel_that_guesses(exact):
    """The stated shares are exact, so that the gain is minus the panel's total variation."""
    for subgroup in ("all", "sex0", "sex1"):
        made = row(exact, subgroup)
        tv = exact.filter(metric="tv", subgroup=subgroup, baseline="", condition="persona").row(0, named=True)
        assert made["estimate"] == pytest.approx(-tv["estimate"])
        assert made["ci_high"] < 0 and made["q_value"] < 0.05
        uniform = exact.filter(metric="tv", subgroup=subgroup, baseline="uniform", condition="persona")
        assert row(exact, subgroup, "uniform")["baseline_estimate"] == pytest.approx(
            -uniform["baseline_estimate"].item()
        )


def test_a_panel_that_answers_as_people_do_beats_stated_shares_that_are_wrong():
    scores, groups, gold = world(personas=300, items=10, options=3, orders=1, skill=1.0, respondents=600, seed=2)
    stated = {("all", "all", f"i{j:04d}"): [0.98, 0.01, 0.01] for j in range(10)}
    made = row(estimates((SCORES.conform(scores), groups, gold), stated))
    assert made["ci_low"] > 0 and made["q_value"] < 0.05


def test_personas_who_are_people_are_no_better_than_peoples_shares(tables):
    """Both are right: what the small panel's sampling adds does not count against it, and the interval holds 0."""
    scores, groups, gold = world(personas=60, items=12, options=3, orders=1, skill=1.0, respondents=3000, seed=9)
    asked = scores["item_id"].unique().to_list()
    stated = {("all", "all", i): people_of(gold, groups, i) for i in asked}
    made = row(estimates((SCORES.conform(scores), groups, gold), stated))
    assert made["estimate"] < 0
    assert made["q_value"] > 0.05


def test_no_other_estimate_changes(tables, exact):
    scores, groups, gold = tables
    without = compute_estimates(scores, groups, gold, rules=RULES)
    assert "panel_gain" not in without["metric"].to_list()
    assert exact.filter(pl.col("metric") != "panel_gain").equals(without)
    assert "group" not in exact["condition"].to_list()


def test_pockets_and_comparisons_leave_described_groups_out(tables):
    scores, groups, gold = tables
    extra = SCORES.conform(about_groups(scores, {("all", "all", "i0000"): [0.2, 0.3, 0.5]}))
    both = pl.concat([scores, extra])
    pockets = find_pockets(both, groups, gold, rules=RULES, seed=1)
    assert pockets.equals(find_pockets(scores, groups, gold, rules=RULES, seed=1))
    assert compare_models(both, rules=RULES).equals(compare_models(scores, rules=RULES))


def test_unread_shares_are_left_out(tables):
    scores, groups, gold = tables
    stated = about_groups(scores, {("all", "all", f"i{j:04d}"): [0.2, 0.3, 0.5] for j in range(4)})
    failed = stated.with_columns(
        pl.when(pl.col("item_id") == "i0000").then(None).otherwise("p_vec").alias("p_vec"),
        pl.when(pl.col("item_id") == "i0001").then(pl.lit("refused")).otherwise("status").alias("status"),
    )
    made = row(compute_estimates(pl.concat([scores, SCORES.conform(failed)]), groups, gold, rules=RULES))
    assert made["n_items"] == 2


@pytest.mark.parametrize("apart", [0.0, 0.1, 0.6])
def test_the_bias_of_a_distance_is_found_whether_distributions_differ_or_not(apart):
    """Forty people against stated shares. Extrapolation leaves half of the bias if nothing differs."""
    rng = np.random.default_rng(4)
    cells, n = 400, 40
    truth = rng.dirichlet(np.ones(3) * 3, cells)
    stated = (1 - apart) * truth + apart * truth[:, [1, 2, 0]]
    people = rng.multinomial(n, truth) / n
    tv = {"tv": distances.total_variation}
    true = distances.total_variation(stated.T, truth.T).mean()
    seen = distances.total_variation(stated.T, people.T).mean()
    sizes = np.full(cells, float(n)), np.full(cells, 1e9)
    once = distances.sampling_bias(people, stated, *sizes, tv, seed=1, draws=40)["tv"].mean()
    owner = np.zeros(cells, dtype=np.int64)
    alike = distances.bias_among_alike(people, stated, *sizes, tv, owner=owner, seed=1, draws=40)["tv"].mean()
    left, before = (abs(seen - bias - true) for bias in (alike, once))
    assert left < (0.02 if apart < 0.5 else 0.006)
    if apart == 0:
        assert left < 0.6 * before, "which made a panel look nearer to people than asking once, whose shares were right"
