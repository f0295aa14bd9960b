"""Protects specification curves: what holds, how much a choice moves a figure, and the joint test."""

import numpy as np
import polars as pl
import pytest

from mpta_pipeline.core.multiverse import NamedFigure
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import CONFIGURATION_ESTIMATES, CONFIGURATION_PEOPLE, SCORES
from mpta_pipeline.metrics.multiverse import figure_estimates, findings, with_requests
from mpta_pipeline.metrics.statistics.multiplicity import holm
from tests.factories.scores import world
from tests.simulation.multiverse import FIGURES, PLANTED, configurations, found_in

NAMES = [c.name for c in configurations()]


def test_a_finding_planted_in_three_of_eight_holds_in_these_three():
    found = found_in(3, planted=PLANTED, permutations=99)
    held = found.curve.filter("holds").select("figure", "configuration").rows()
    assert sorted(held) == sorted((FIGURES[0].title, NAMES[i]) for i in PLANTED)
    row = found.findings.filter(figure=FIGURES[0].title).row(0, named=True)
    assert (row["n_holds"], row["share_holds"], row["n_opposite"]) == (3, 3 / 8, 0)


def test_holm_is_what_statsmodels_says():
    from statsmodels.stats.multitest import multipletests

    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005])
    known = np.isfinite(p)
    assert holm(p)[known] == pytest.approx(multipletests(p[known], method="holm")[1])
    assert np.isnan(holm(p)[1])


def made(values: list[float], effects: np.ndarray | None = None):
    """One figure, an effect, with given values in the eight configurations."""
    figure = FIGURES[0].model_copy(update={"what": "effect", "dimensions": "all", "subgroup": "all"})
    rows = [
        {
            "model": "m", "task": c.asked_task, "survey": "s", "figure": figure.title, "estimate": value, "se": 0.02,
            "ci_low": value - 0.04, "ci_high": value + 0.04, "p_value": 0.001 if abs(value) > 0.05 else 0.6,
            "n_answers": 10, "n_personas": 5, "n_items": 2, "weighted": False, "small": False,
        }
        for c, value in zip(configurations(), values, strict=True)
    ]  # fmt: skip
    people = CONFIGURATION_PEOPLE.empty()
    if effects is not None:
        people = pl.concat(
            pl.DataFrame(
                {
                    "model": "m", "task": c.asked_task, "survey": "s", "metric": "accuracy", "condition": "persona",
                    "respondent_id": [f"r{i}" for i in range(len(effects))],
                    "total": 0.0, "effect": effects[:, j], "weight": 1.0,
                }
            )
            for j, c in enumerate(configurations())
        )  # fmt: skip
    estimates = CONFIGURATION_ESTIMATES.conform(pl.DataFrame(rows).select(list(CONFIGURATION_ESTIMATES.schema)))
    groups = pl.DataFrame({"respondent_id": ["r0"], "sex": ["a"]})
    return findings(configurations(), estimates, people, groups, figures=[figure], permutations=999)


def test_a_choice_moves_a_figure_by_the_difference_between_its_levels():
    # The third choice alternates fastest: it moves the figure by .1, the first by .02, the second by nothing.
    found = made([0.10, 0.20, 0.10, 0.20, 0.12, 0.22, 0.12, 0.22])
    moves = {row["factor"]: row for row in found.moves.iter_rows(named=True)}
    assert [moves[name]["moves"] for name in ("framing", "style", "elicitation")] == pytest.approx([0.02, 0, 0.1])
    assert (moves["elicitation"]["lowest_level"], moves["elicitation"]["highest_level"]) == ("letter", "verbalized")
    assert {row["n_pairs"] for row in moves.values()} == {4}
    curve = found.curve.sort("place")
    assert curve["estimate"].is_sorted() and curve["place"].to_list() == list(range(8))


def test_the_other_sign_does_not_hold_and_is_counted():
    row = made([0.2] * 6 + [-0.2, 0.0]).findings.row(0, named=True)
    assert (row["n_holds"], row["n_opposite"], row["n_excluding_zero"], row["median"]) == (6, 1, 6, 0.2)


def test_the_joint_test_of_an_effect_is_that_of_signs():
    """Ten persons with one and the same effect: of 1,024 signs, 2 give as large a mean, and 22 one below the level."""
    row = made([0.2] * 8, np.ones((10, 8))).findings.row(0, named=True)
    assert row["p_median"] == pytest.approx(2 / 1024, abs=0.004)
    assert row["p_count"] == pytest.approx(22 / 1024, abs=0.012)
    mixed = made([0.0] * 8, np.tile([[1.0], [-1.0]], (5, 8))).findings.row(0, named=True)
    assert mixed["p_median"] == 1.0


def test_a_request_counts_where_it_is_first_needed():
    first, second = configurations()[:2]
    asked = pl.DataFrame(
        {
            "model": "m",
            "task": ["t", first.asked_task, first.asked_task, second.asked_task, second.asked_task],
            "request_hash": ["own", "own", "a", "a", "b"],
        }
    )
    counts = with_requests([first, second], asked)
    assert dict(zip(counts["configuration"], counts.select("requests", "new_requests").rows(), strict=True)) == {
        first.name: (2, 1), second.name: (2, 1),
    }  # fmt: skip


def by_hand(scores, groups, *, weighted):
    """Gap of one sex to everyone else, and effect of the persona, from single answers in cyclic orders.

    The option with the most mass over the orders (probabilities, or picks) is the answer; ties share the credit.
    Orders without a readable answer take their share away, but for failed requests.
    """
    unit = ["condition", "respondent_id", "item_id"]
    one_hot = pl.concat_list((pl.col("pred_idx") == i).cast(pl.Float64) for i in range(3))
    asked = scores.group_by(unit).agg(
        pl.col("gold_idx").first(),
        pl.col("weight").first(),
        ((pl.col("status") == "ok").sum() / (pl.col("status") != "error").sum()).alias("readable"),
        (pl.col("status") != "error").any().alias("replied"),
    )
    mass = (
        scores.filter(status="ok")
        .with_columns(pl.coalesce("p_vec", one_hot).alias("mass"), pl.lit([0, 1, 2]).alias("option"))
        .explode("mass", "option")
        .group_by(*unit, "option")
        .agg(pl.col("mass").mean().round(12))
    )
    top = mass.filter(pl.col("mass") == pl.col("mass").max().over(unit)).with_columns(pl.len().over(unit).alias("tied"))
    right = top.join(asked, on=unit).filter(pl.col("option") == pl.col("gold_idx"))
    right = right.select(*unit, (1 / pl.col("tied")).alias("right"))
    credit = (
        asked.filter("replied")
        .join(right, on=unit, how="left")
        .select(
            *unit, "weight" if weighted else pl.lit(1.0).alias("weight"),
            (pl.col("right").fill_null(0.0) * pl.col("readable")).alias("credit"),
        )
        .join(groups.select("respondent_id", "sex"), on="respondent_id")
    )  # fmt: skip

    def mean(rows, of="credit"):
        return (rows[of] * rows["weight"]).sum() / rows["weight"].sum()

    own, bare = credit.filter(condition="persona"), credit.filter(condition="no_persona")
    both = own.join(bare.select("respondent_id", "item_id", other="credit"), on=["respondent_id", "item_id"])
    both = both.with_columns(change=pl.col("credit") - pl.col("other"))
    female = pl.col("sex") == "sex1"
    return {"gap": mean(own.filter(female)) - mean(own.filter(~female)), "effect": mean(both, "change")}


@pytest.mark.parametrize("weights", [False, True])
def test_figures_under_cyclic_orders_are_those_counted_by_hand(weights):
    """Picks that change with the order, probabilities for some, refusals, unreadable replies and failed requests."""
    scores, groups, gold = world(personas=40, items=9, options=3, orders=3, weights=weights, bad=0.15, seed=8)
    rng = np.random.default_rng(2)
    n = scores.height
    moved, failed, stated = rng.random(n) < 0.5, rng.random(n) < 0.08, rng.random(n) < 0.3
    ok = (pl.col("status") == "ok") & ~pl.col("failed")
    scores = (
        scores.with_columns(
            pl.Series("moved", moved), pl.Series("failed", failed), pl.Series("stated", stated & ~moved),
            pl.Series("any", rng.integers(0, 3, n)), pl.Series("p", rng.dirichlet(np.ones(3), n).tolist()),
        )
        .with_columns(
            pl.when(ok).then(pl.when("moved").then("any").otherwise("pred_idx")).alias("pred_idx"),
            pl.when("failed").then(pl.lit("error")).otherwise("status").alias("status"),
            pl.when(ok & pl.col("stated")).then("p").alias("p_vec"),
        )
        .with_columns(((pl.col("pred_idx") + pl.col("order_id")) % 3).alias("pred_pos"))
        .drop("moved", "failed", "stated", "any", "p")
    )  # fmt: skip
    figures = [
        NamedFigure(what="gap", dimensions="sex", subgroup="sex1"),
        NamedFigure(what="effect", name="persona effect"),
    ]
    rules = EstimateRules(dimensions=("sex",), min_personas=5, bootstrap=50)
    made = figure_estimates(SCORES.conform(scores), groups, gold, figures=figures, rules=rules).estimates
    expected = by_hand(scores, groups, weighted=weights)
    found = dict(made.select("figure", "estimate").iter_rows())
    assert found["gap in accuracy, sex1"] == pytest.approx(expected["gap"], abs=1e-9)
    assert found["persona effect"] == pytest.approx(expected["effect"], abs=1e-9)
    assert set(made["weighted"]) == {weights}
