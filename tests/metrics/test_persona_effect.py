"""Protects what is said of a persona's effect: flips by hand, their noise floors, contrasts against the controls."""

import numpy as np
import polars as pl
import pytest

from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.core.tables import GOLD, SCORES
from mpta_pipeline.metrics import compute_estimates
from mpta_pipeline.metrics.samples.answer_changes import flips
from tests.factories.scores import world

RULES = EstimateRules(dimensions=("sex",), bootstrap=50)


@pytest.fixture(scope="module")
def study():
    """A persona that helps, a placebo that changes answers at random, a second wording that changes a tenth of them."""
    scores, groups, _ = world(personas=120, items=20, items_per_persona=8, options=3, orders=2, skill=0.7, seed=3)
    persona = scores.filter(condition="persona")
    rng = np.random.default_rng(1)

    def changed(frame, share, name, **columns):
        other = pl.Series(rng.random(frame.height) < share)
        pick = pl.when(other).then((pl.col("pred_idx") + 1) % 3).otherwise("pred_idx").alias("pred_idx")
        return frame.with_columns(pick, **columns).with_columns(
            score=(pl.col("pred_idx") == pl.col("gold_idx")).cast(pl.Float64),
            prompt_id=pl.col("prompt_id") + name,
        )

    none = scores.filter(condition="no_persona")
    parts = [
        scores,
        changed(none, 0.3, "placebo", condition=pl.lit("placebo")),
        changed(persona, 0.1, "second", paraphrase_id=pl.lit(1)),
        changed(none, 0.05, "again", repeat_id=pl.lit(1)),
    ]
    return SCORES.conform(pl.concat(parts, how="vertical_relaxed")), groups


@pytest.fixture(scope="module")
def found(study):
    estimates = compute_estimates(*study, GOLD.empty(), rules=RULES)
    rows = estimates.filter(baseline="", dimensions="all")
    return {(r["metric"], r["condition"]): r for r in rows.iter_rows(named=True)}


def by_hand(scores, condition):
    """Right with and without, order by order, of everyone and item."""
    now, before = {}, {}
    for row in scores.filter(paraphrase_id=0, repeat_id=0).iter_rows(named=True):
        key = (row["respondent_id"], row["item_id"], row["order_id"])
        side = before if row["condition"] == "no_persona" else now if row["condition"] == condition else {}
        side[key] = (row["pred_idx"], row["score"])
    return [(before[key], now[key]) for key in now]


def test_flips_are_counted_on_the_same_item_in_the_same_order(study):
    scores = study[0].filter(paraphrase_id=0, repeat_id=0)
    estimates = compute_estimates(scores, study[1], GOLD.empty(), rules=RULES)
    rows = estimates.filter(baseline="", dimensions="all")
    for condition in ("persona", "placebo"):
        pairs = by_hand(scores, condition)
        expected = {
            "flip_rate": np.mean([b[0] != a[0] for b, a in pairs]),
            "harmful_flip_rate": np.mean([b[1] == 1 and a[1] == 0 for b, a in pairs]),
            "helpful_flip_rate": np.mean([b[1] == 0 and a[1] == 1 for b, a in pairs]),
        }
        of = {r["metric"]: r for r in rows.filter(condition=condition).iter_rows(named=True)}
        for name, estimate in expected.items():
            assert of[name]["estimate"] == pytest.approx(estimate)
            assert of[name]["ci_low"] <= estimate <= of[name]["ci_high"]
        # Helpful less harmful is the paired effect on single answers.
        net = of["helpful_flip_rate"]["estimate"] - of["harmful_flip_rate"]["estimate"]
        assert net == pytest.approx(of["accuracy_strict"]["effect"])


def test_noise_floors_of_wording_and_of_asking_again(found):
    assert found["paraphrase_flip_rate", "persona"]["estimate"] == pytest.approx(0.1, abs=0.02)
    assert found["repeat_flip_rate", "no_persona"]["estimate"] == pytest.approx(0.05, abs=0.02)
    assert ("paraphrase_flip_rate", "no_persona") not in found
    excess = found["flip_excess_paraphrase", "persona"]["estimate"]
    assert excess > 0.2


def test_the_effect_against_neutral_text_is_paired_by_person_and_item(study, found):
    units = (
        study[0]
        .filter(pl.col("repeat_id") == 0, pl.col("paraphrase_id") == 0)
        .group_by("condition", "respondent_id", "item_id")
        .agg(
            *(((pl.col("pred_idx") == i).mean()).alias(f"m{i}") for i in range(3)),
            pl.col("gold_idx").first(),
        )
    )
    top = pl.max_horizontal("m0", "m1", "m2")
    tied = sum((pl.col(f"m{i}") == top).cast(pl.Int64) for i in range(3))
    at_gold = pl.concat_list("m0", "m1", "m2").list.get(pl.col("gold_idx")) == top
    units = units.with_columns((at_gold.cast(pl.Float64) / tied).alias("credit"))
    wide = units.pivot(on="condition", index=["respondent_id", "item_id"], values="credit")
    only = compute_estimates(study[0].filter(repeat_id=0, paraphrase_id=0), study[1], GOLD.empty(), rules=RULES)
    row = only.filter(metric="effect_vs_placebo", dimensions="all", baseline="").row(0, named=True)
    assert row["estimate"] == pytest.approx((wide["persona"] - wide["placebo"]).mean())
    assert row["ci_low"] > 0.1
    assert row["condition"] == "persona"
    assert ("effect_vs_shuffled_any", "persona") not in found
    assert found["flip_excess_placebo", "persona"]["estimate"] > 0


def test_unreadable_answers_are_no_flips(study):
    scores = (
        study[0]
        .filter(paraphrase_id=0, repeat_id=0, condition="persona")
        .with_columns(pred_idx=pl.lit(None, pl.Int64), score=pl.lit(None, pl.Float64), status=pl.lit("unparsed"))
    )
    both = pl.concat([scores, study[0].filter(paraphrase_id=0, repeat_id=0, condition="no_persona")])
    made = flips(both)
    assert made.select(pl.col("n_pairs", "n_flips", "n_harmful", "n_helpful").sum()).row(0) == (0, 0, 0, 0)


def test_many_subgroups_do_not_hide_an_effect_on_everyone():
    scores, groups, _ = world(
        personas=60, items=12, items_per_persona=3, traits=(("sex", 2), ("noise", 20)), skill=0.65
    )
    rules = [EstimateRules(dimensions=d, bootstrap=50) for d in ((), ("sex", "noise", "sex×noise"))]
    q = [
        compute_estimates(scores, groups, GOLD.empty(), rules=r)
        .filter(metric="accuracy", dimensions="all", condition="persona", baseline="")
        .item(0, "q_value")
        for r in rules
    ]
    assert q[0] == q[1]
