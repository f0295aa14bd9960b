"""Known truth: what is planted in simulated respondents comes out in its figures, and nothing else does.

`python -m tests.simulation.planted` repeats this with 20 seeds.
"""

from __future__ import annotations

import pytest

from tests.factories import simulated_study
from tests.factories.simulated_study import ask, respondent

POCKET = ("age_band×sex", "65+×female")
PLANTED = {
    "accuracy": 0.8,
    # The group that is refused more often is right more often where it gets an answer, so that the pocket is the only
    # group with fewer right answers.
    "accuracy_by": {"sex×age_band": {"female×65+": 0.45}, "race": {"black": 0.92}},
    "refusals": 0.02,
    "refusals_by": {"race": {"black": 0.148}},
}


@pytest.fixture(scope="module")
def world():
    return simulated_study.study()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_planted_pocket_and_a_refusal_gap_are_found_and_nothing_else(world, tmp_path, seed):
    found = ask(world, respondent(seed=seed, **PLANTED), tmp_path)
    assert found.confirmed() == [POCKET]
    refusals = found.figure("refusal_rate", "race", "black")
    assert refusals["gap"] == pytest.approx(0.128, abs=0.04) and refusals["gap_q"] < 0.001
    women = found.figure("accuracy", "sex×age_band", "female×65+")
    assert women["ci_low"] < 0.98 * 0.45 + 0.03 and women["ci_high"] > 0.98 * 0.45 - 0.03
    assert women["gap"] < -0.2 and women["gap_q"] < 1e-6


@pytest.mark.parametrize("seed", [0, 1])
def test_a_respondent_that_is_alike_for_everybody_has_no_pocket_and_no_gap(world, tmp_path, seed):
    found = ask(world, respondent(accuracy=0.8, noise=0.1, seed=seed), tmp_path)
    assert found.confirmed() == []
    gaps = found.estimates.filter(metric="accuracy", condition="persona", baseline="", verdict="gap")
    assert gaps.is_empty()
    # Right by accuracy, or by chance among three options.
    assert found.figure("accuracy")["estimate"] == pytest.approx(0.9 * 0.8 + 0.1 / 3, abs=0.02)


def test_planted_position_bias_comes_out(world, tmp_path):
    found = ask(world, respondent(position_bias=0.3), tmp_path)
    # 30 % more at the first of three positions: total variation .3 × 2/3.
    assert found.figure("position_tv")["estimate"] == pytest.approx(0.2, abs=0.01)
    # Two orders differ if one or both are taken by position and the content differs.
    assert found.figure("order_flip_rate")["estimate"] > 0.3
    assert found.figure("variance_ratio")["ci_low"] < 1.05


def test_planted_flattening_comes_out(world, tmp_path):
    found = ask(world, respondent(flattening=0.5), tmp_path)
    assert found.figure("variance_ratio")["ci_high"] < 0.9
    assert found.figure("entropy_ratio")["ci_high"] < 0.9
    assert found.figure("position_tv")["estimate"] < 0.02


def test_planted_copying_of_the_group_comes_out_as_caricature(world, tmp_path):
    found = ask(world, respondent(copying=0.5, group="race"), tmp_path)
    assert found.figure("eta2_ratio", "race")["ci_low"] > 1.5
    assert found.confirmed() == []


@pytest.fixture(scope="module")
def both_directions():
    return simulated_study.study(directions=True)


def test_a_planted_direction_effect_comes_out(both_directions, tmp_path):
    """In 30 % of the askings the first option is taken: place 0 forward, place 1 reversed, so .3 of the scale."""
    found = ask(both_directions, respondent(position_bias=0.3), tmp_path)
    effect = found.figure("scale_direction")
    assert effect["estimate"] == pytest.approx(0.3, abs=0.02)
    assert effect["ci_low"] < 0.3 < effect["ci_high"]
    assert found.confirmed() == []


def test_who_has_no_direction_effect_shows_none(both_directions, tmp_path):
    found = ask(both_directions, respondent(noise=0.3), tmp_path)
    effect = found.figure("scale_direction")
    assert effect["ci_low"] < 0 < effect["ci_high"]
    last = ask(both_directions, respondent("late", position_bias=0.2, position="last"), tmp_path / "late")
    assert last.figure("scale_direction")["estimate"] == pytest.approx(-0.2, abs=0.02)
