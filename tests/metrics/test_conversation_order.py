"""What the order of a conversation does: by hand, by statsmodels, and on planted truth."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import statsmodels.formula.api as smf

from mpta_pipeline import inference, metrics, tasks
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.metrics.samples.balancing import balance
from mpta_pipeline.metrics.samples.conversation_order import order_effects
from tests.factories.simulated_study import respondent
from tests.tasks.test_questionnaire import asked

QUESTIONS = 8
ONE = '      - {{id: v{i}, question: "Statement {i}.", options: *a, ordinal: true}}'
STATEMENTS = "\n".join(ONE.format(i=i) for i in range(2, 9))
YAML = f"""\
blocks:
  - name: views
    shuffle: true
    questions:
      - {{id: v1, question: "Statement 1.", options: &a [agree, neither, disagree], ordinal: true}}
{STATEMENTS}
"""


def rows(*answers: tuple[str, int, str | None, float | None]) -> pl.DataFrame:
    schema = {"conversation": pl.String, "turn": pl.Int64, "shuffled_with": pl.String, "scale_place": pl.Float64}
    return pl.DataFrame(answers, schema=schema, orient="row")


def test_by_hand():
    scores = rows(
        ("c", 3, "s", 0.5), ("c", 1, "s", 0.0), ("c", 2, "s", 1.0),  # in any order of rows
        ("c", 4, "s", None), ("c", 5, "s", 0.5),  # no readable answer just before
        ("c", 6, None, 1.0), ("c", 7, "s", 1.0),  # a question of another set just before
        ("d", 1, "s", 0.25), (None, None, None, 0.5),
    )  # fmt: skip
    found = order_effects(scores)
    # .5 is .5 from the answer just before (1.0), and .5 from the one before that (0.0).
    assert found["pull"].to_list() == [0.0, None, None, None, None, None, None, None, None]
    # Set s of conversation c: 0, 1, .5, .5, 1 at -.5, -.25, 0, .25, .5; mean .6.
    product = dict(zip(scores["turn"].head(7), found["turn_product"].head(7), strict=True))
    assert product[1] == pytest.approx(-0.6 * -0.5) and product[2] == pytest.approx(0.4 * -0.25)
    assert product[7] == pytest.approx(0.4 * 0.5) and product[4] is None and product[6] is None
    assert found["turn_square"][7] is None, "a single question has no order"


def test_nothing_outside_conversations():
    assert order_effects(pl.DataFrame({"scale_place": [0.5]})).rows() == [(None, None, None)]
    none = order_effects(rows(("c", 1, None, 0.5), ("c", 2, None, 1.0)))
    assert none.null_count().row(0) == (2, 2, 2), "questions in a fixed order"


def test_the_shift_is_the_slope_within_conversations():
    rng = np.random.default_rng(5)
    scores = pl.concat(
        rows(*((f"c{i}", turn, "s", float(np.clip(rng.normal(0.3 + 0.04 * turn, 0.2), 0, 1))) for turn in range(1, 7)))
        for i in range(30)
    )
    found = scores.with_columns(order_effects(scores))
    slope = found["turn_product"].sum() / found["turn_square"].sum()
    data = found.with_columns(at=(pl.col("turn") - 1) / 5).to_pandas()
    fit = smf.ols("scale_place ~ at + C(conversation)", data=data).fit()
    assert slope == pytest.approx(fit.params["at"], abs=1e-9)


def expected_pull(p: float) -> float:
    """Mean over turns 3 to 8, if an answer copies the one before with probability p and is else drawn from 3 options.

    Two independent places of 0, .5 and 1 are 4/9 apart on average, and those d turns apart 4/9 × (1 - p^d).
    """
    of_turn = [
        np.mean([1 - p**d for d in range(2, turn)]) - (1 - p) for turn in range(3, QUESTIONS + 1)
    ]  # fmt: skip
    return float(np.mean(of_turn)) * 4 / 9


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("talk") / "views.yaml"
    path.write_text(YAML)
    return asked(path, asked="conversation")


@pytest.mark.parametrize("p", [0.4, 0.0])
def test_planted_carry_over_comes_out_and_nothing_else_does(study, tmp_path, p):
    items, gold, prompts, groups = study
    prompts = prompts.filter(condition="persona")
    spec = respondent(carry_over=p)
    known = tasks.with_known_truth(prompts, spec.provider_class.wanted_truth(spec), gold=gold, groups=groups)
    talk = tasks.Conversations(spec, tmp_path)
    inference.send_requests(spec, inference.PromptParts(spec, [lambda: talk.composed(known)]), tmp_path)
    scores = tasks.score(prompts, items, inference.responses(spec, talk.composed(known), tmp_path))
    assert scores.height == prompts.height
    rules = EstimateRules(dimensions=("sex",), bootstrap=50)
    estimates = metrics.compute_estimates(scores, groups, gold, rules=rules, items=items)
    of_all = estimates.filter(dimensions="all", weighted=False)
    means = balance(scores).frame.group_by("survey").agg(pl.col("pull").mean()).rows()
    for survey, mean in means:
        by_metric = {row["metric"]: row for row in of_all.filter(survey=survey).iter_rows(named=True)}
        pull, shift = by_metric["carry_over"], by_metric["turn_shift"]
        assert pull["estimate"] == pytest.approx(mean, abs=1e-9)
        assert pull["ci_low"] < expected_pull(p) < pull["ci_high"]
        assert (pull["ci_low"] > 0) == (p > 0)
        assert shift["ci_low"] < 0 < shift["ci_high"]
