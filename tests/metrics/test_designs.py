"""Protects the choice of a design by a budget: expected intervals are those that simulated figures turn out to have."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from mpta_pipeline.core.multiverse import NamedFigure, combinations, possible_designs
from mpta_pipeline.metrics.multiverse import AssumedChoices, FigureError, assumed_error, measured_error

FACTORS = {"framing": 0.02, "style": 0.03, "elicitation": 0.05}
PERSON, OWN_ANSWER, QUESTION, CONFIGURATION = 0.3, 0.4, 0.2, 0.04
CHANGING, REWORDED, REST = 0.25, 0.1, 0.5
"""Standard deviations: person, person × question, question, configuration beyond the factors, person × configuration,
question × configuration, all three."""
P, Q = 24, 10


def drawn(rng, combination, people=P, reps=1, times=1):
    """(reps × people × configurations): means over questions, whose configurations are rows of levels."""
    c = len(combination)
    levels = sum(
        rng.normal(0, times * sd, (reps, 2))[:, combination[:, f]] for f, sd in enumerate(FACTORS.values())
    ) + rng.normal(0, CONFIGURATION, (reps, c))  # fmt: skip
    shared = levels + rng.normal(0, QUESTION, (reps, Q, 1)).mean(axis=1)
    shared += rng.normal(0, REWORDED, (reps, Q, c)).mean(axis=1)
    own = rng.normal(0, PERSON, (reps, people)) + rng.normal(0, OWN_ANSWER / np.sqrt(Q), (reps, people))
    changing = np.sqrt(CHANGING**2 + REST**2 / Q)
    return shared[:, None, :] + own[:, :, None] + rng.normal(0, changing, (reps, people, c))


def error(people=P):
    return FigureError(
        persons=(PERSON**2 + OWN_ANSWER**2 / Q) / people,
        askings=(CHANGING**2 + REST**2 / Q) / people,
        questions=QUESTION**2 / Q,
        factors={name: sd**2 for name, sd in FACTORS.items()},
        levels=dict.fromkeys(FACTORS, 2),
        configurations=CONFIGURATION**2 + REWORDED**2 / Q,
        quantile=1.96,
        n_persons=people,
        measured=True,
    )


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("design", possible_designs([2, 2, 2]), ids=lambda one: one.design)
def test_the_expected_interval_is_that_of_simulated_means(design, share):
    means = drawn(np.random.default_rng(1), design.rows, int(P * share), reps=6000).mean(axis=(1, 2))
    # The error of a variance of 6,000 values is 2 % of it, that of its root 1 %.
    assert error().half_width(len(design.rows), share) == pytest.approx(1.96 * means.std(), rel=0.03)


def test_parts_by_hand():
    one = FigureError(0.004, 0.002, 0.001, {"style": 0.0006}, {"style": 3}, 0.0008, 2.0, 10, True)
    assert one.parts(4, 0.5) == pytest.approx(
        {"persons": 0.008, "questions": 0.001, "levels": 0.0002, "configurations": 0.0012}
    )
    assert one.half_width(4, 0.5) == pytest.approx(2 * 0.0104**0.5)
    assert np.isnan(one.half_width(4, 0.1)), "one person has no interval"


FAR = 10
"""Levels so far apart that a variance is hardly ever estimated below 0, which would count as 0."""


def asked(rng, figure, shift=0.0):
    """The curve, the sums by person and the groups of a figure in eight configurations."""
    rows = combinations([2, 2, 2], "full")
    people = 2 * P if figure.what == "gap" else P
    x = drawn(rng, rows, people, times=FAR)[0]
    inside = np.arange(people) < P
    x[inside] += shift
    estimate = x[inside].mean(axis=0) - (x[~inside].mean(axis=0) if figure.what == "gap" else 0)
    who = [f"r{i}" for i in range(people)]
    curve = pl.DataFrame(
        {
            "asked_task": [f"t~{i}" for i in range(8)], "asked_model": "m", "survey": "gss", "estimate": estimate,
            "levels": [
                [{"factor": name, "level": str(i)} for name, i in zip(FACTORS, row, strict=True)]
                for row in rows.tolist()
            ],
            "se": 0.2, "ci_low": estimate - 0.42, "ci_high": estimate + 0.42,
        }
    )  # fmt: skip
    sums = pl.DataFrame(
        {
            "model": "m", "task": np.tile(curve["asked_task"].to_numpy(), people), "survey": "gss",
            "metric": "accuracy", "condition": "persona", "respondent_id": np.repeat(who, 8),
            "total": Q * x.ravel(), "effect": Q * x.ravel(), "weight": float(Q),
        }
    )  # fmt: skip
    groups = pl.DataFrame({"respondent_id": who, "sex": np.where(inside, "female", "male")})
    return curve, sums, groups


@pytest.mark.parametrize(
    "figure",
    [NamedFigure(what="estimate"), NamedFigure(dimensions="sex", subgroup="female")],
    ids=["estimate", "gap"],
)
def test_variances_of_asked_configurations_are_the_true_ones_on_average(figure):
    rng, found = np.random.default_rng(0), []
    for _ in range(50):
        one = measured_error(*asked(rng, figure, shift=0.1), figure)
        found.append([one.persons, one.askings, sum(one.factors.values()), one.configurations])
    assert (one.quantile, one.n_persons) == (pytest.approx(2.1), P)
    assert one.questions == pytest.approx(0.2**2 - one.persons - one.askings)
    true, sides = error(), 2 if figure.what == "gap" else 1
    mean = np.mean(found, axis=0)
    assert mean[:2] == pytest.approx([true.persons * sides, true.askings * sides], rel=0.08)
    if figure.what == "estimate":
        assert mean[2:] == pytest.approx([FAR**2 * sum(true.factors.values()), true.configurations], rel=0.25)
    else:
        assert (mean[2:] < 0.005).all(), "what shifts both groups alike does not move their gap"


def test_a_fraction_that_leaves_nothing_beside_main_effects_still_says_how_far_levels_are_apart():
    curve, sums, groups = asked(np.random.default_rng(0), NamedFigure(what="estimate"))
    kept = (
        curve.with_row_index()
        .filter(pl.col("index").is_in([0, 3, 5, 6]))
        .with_columns(estimate=pl.Series([0.0, 0.0, 0.4, 0.4]))
    )
    found = measured_error(kept, sums, groups, NamedFigure(what="estimate"))
    # Levels of the first factor are at 0 and .4, those of the others at .2 and .2: variance .08, less the noise.
    assert found.factors == pytest.approx({"framing": 0.08 - found.askings / 2, "style": 0, "elicitation": 0})
    assert found.configurations == 0


def test_nothing_is_said_of_one_configuration_or_of_nobody():
    curve, sums, groups = asked(np.random.default_rng(0), NamedFigure(what="estimate"))
    assert measured_error(curve.head(1), sums, groups, NamedFigure(what="estimate")) is None
    assert measured_error(curve, sums, groups, NamedFigure(dimensions="sex", subgroup="other")) is None
    assert measured_error(curve, sums, groups, NamedFigure(dimensions="race", subgroup="other")) is None


def test_assumed_variances_by_hand():
    """Ten persons (four women) answer four questions of a battery each."""
    who, items = np.repeat([f"r{i}" for i in range(10)], 4), np.tile(list("abcd"), 10)
    prompts = pl.DataFrame(
        {
            "task": "t", "survey": "gss", "respondent_id": who, "item_id": items, "cluster_id": items,
            "gold_idx": np.arange(40) % 3, "condition": "persona",
        }
    )  # fmt: skip
    groups = pl.DataFrame({"respondent_id": [f"r{i}" for i in range(10)], "sex": ["f"] * 4 + ["m"] * 6})
    levels, choices = {"style": 2, "framing": 4}, AssumedChoices(choice_sd=0.04)
    one = assumed_error(prompts, groups, NamedFigure(what="estimate"), levels, choices=choices)
    # .6 × .4 = .24, of which .01 is between persons and .23 between answers; half of that is the same everywhere.
    assert (one.persons, one.askings) == pytest.approx((0.01 / 10 + 0.115 / 40, 0.115 / 40))
    assert one.questions == pytest.approx(0.15**2 / 4)
    assert one.parts(8)["levels"] == pytest.approx(0.0004 / 2 + 0.0004 / 4)
    assert one.parts(8)["configurations"] == pytest.approx((0.0008 + 0.115 / 40) / 8)
    assert one.quantile == pytest.approx(stats.t.ppf(0.975, 3))
    gap = assumed_error(prompts, groups, NamedFigure(dimensions="sex", subgroup="f"), levels)
    assert gap.persons == pytest.approx(0.01 / 4 + 0.01 / 6 + 0.115 / 16 + 0.115 / 24)
    assert (gap.questions, gap.n_persons) == (pytest.approx(0.05**2 / 4), 4)
    effect = assumed_error(prompts, groups, NamedFigure(what="effect"), levels)
    assert effect.askings == pytest.approx((0.24 + 0.25 - 0.01) / 2 / 40)
    assert assumed_error(prompts, groups, NamedFigure(dimensions="sex", subgroup="x"), levels) is None


def test_designs_are_those_that_study_yaml_can_ask_for():
    for levels in ([2, 2, 2], [2, 3], [3, 3, 4], [2] * 8):
        full, *parts = possible_designs(levels)
        assert (full.design, full.runs, len(full.rows)) == ("full", None, np.prod(levels))
        assert parts
        for part in parts:
            assert (combinations(levels, part.design, part.runs) == part.rows).all() and len(part.rows) <= part.runs
    assert [one.design for one in possible_designs([5])] == ["full"]


def test_a_fraction_too_small_for_its_factors_is_refused_before_it_takes_all_memory():
    with pytest.raises(ValueError, match="allow more runs"):
        combinations([2] * 8, "fractional", 6)
