"""Protects estimates of scores that come in chunks: the same bytes as those of the whole."""

import numpy as np
import polars as pl
import pytest

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.metrics import compare_models, compute_estimates, find_pockets
from mpta_pipeline.metrics.samples.balancing import balance, balance_chunks, by_persona
from mpta_pipeline.metrics.samples.groups import apart
from mpta_pipeline.metrics.samples.human_answers import people
from tests.factories.scores import world

RULES = EstimateRules(dimensions=("sex", "category"), bootstrap=50)


@pytest.fixture(scope="module")
def small():
    return world(
        personas=60, items=8, options=4, orders=2, weights=True, bad=0.1, probabilities=True, surveys=("gss", "wvs")
    )


def chunks(scores: pl.DataFrame, n: int, seed: int) -> list[pl.DataFrame]:
    shuffled = scores.sample(fraction=1.0, shuffle=True, seed=seed)
    code = shuffled["respondent_id"].hash(seed=seed) % n
    return [shuffled.filter(code == i) for i in range(n)]


def test_estimates_are_the_same_bytes_whatever_the_chunks(small):
    scores, groups, gold = small
    whole = compute_estimates(scores, groups, gold, rules=RULES)
    for n in (2, 5):
        assert compute_estimates(iter(chunks(scores, n, n)), groups, gold, rules=RULES).equals(whole)


def test_units_of_chunks_are_the_units_of_the_whole(small):
    scores, _, _ = small
    whole, made = balance(scores), balance_chunks(chunks(scores, 3, 1)).units
    assert made.frame.equals(whole.frame)
    for name in ("answer", "mass", "positions", "votes"):
        assert getattr(made, name).tobytes() == getattr(whole, name).tobytes()


def test_chunks_with_fewer_options_than_others_are_padded(small):
    scores, _, _ = small
    first = scores["respondent_id"] < "r_gss_00030"
    mixed = scores.with_columns(k_options=pl.when(first).then(pl.lit(6)).otherwise(pl.col("k_options")))
    whole, made = balance(mixed), balance_chunks([mixed.filter(first), mixed.filter(~first)]).units
    assert made.answer.shape == whole.answer.shape
    assert made.votes.tobytes() == whole.votes.tobytes()


def test_a_whole_frame_is_cut_between_respondents(small):
    scores, _, _ = small
    parts = list(by_persona(scores, rows=500))
    assert len(parts) > 2
    assert sum(part.height for part in parts) == scores.height
    ids = [set(part["respondent_id"]) for part in parts]
    assert len(set().union(*ids)) == sum(len(names) for names in ids)


def test_a_respondent_in_two_chunks_is_refused(small):
    scores, groups, gold = small
    with pytest.raises(ValidationError, match="in several chunks"):
        compute_estimates([scores.head(100), scores.slice(100)], groups, gold, rules=RULES)


def test_chunks_of_two_models_are_refused(small):
    scores, groups, gold = small
    one, two = chunks(scores, 2, 1)
    with pytest.raises(ValidationError, match="one model and one task"):
        compute_estimates([one, two.with_columns(model=pl.lit("other"))], groups, gold, rules=RULES)


def test_no_chunk_and_empty_chunks_have_no_estimates(small):
    scores, groups, gold = small
    assert compute_estimates([], groups, gold, rules=RULES).is_empty()
    assert compute_estimates([scores.clear()], groups, gold, rules=RULES).is_empty()


def test_pockets_are_the_same_whatever_the_chunks(small):
    scores, groups, gold = small
    rules = EstimateRules(min_personas=4)
    whole = find_pockets(scores, groups, gold, rules=rules, seed=1)
    assert whole.height
    assert find_pockets(iter(chunks(scores, 3, 1)), groups, gold, rules=rules, seed=1).equals(whole)


def test_models_compared_in_chunks_differ_as_those_of_the_whole(small):
    scores, groups, _ = small
    both = pl.concat([scores, scores.filter(pl.col("item_id") != "i0003").with_columns(model=pl.lit("other"))])
    whole = compare_models(both, rules=RULES, groups=groups)
    of_models = [part for _, part in both.group_by("model")]
    parts = [part for scores in of_models for part in chunks(scores, 2, 1)]
    assert whole.height
    assert compare_models(iter(parts), rules=RULES, groups=groups).equals(whole)


def test_peoples_answers_are_read_in_parts(small):
    _, groups, gold = small
    shuffled = gold.sample(fraction=1.0, shuffle=True, seed=1)
    whole, parts = (
        people(answers, apart(groups), "gss", gold["item_id"])
        for answers in (gold, [shuffled.head(100), shuffled.slice(100)])
    )
    assert np.array_equal(parts.answers, whole.answers)
    assert np.array_equal(parts.own_weight, whole.own_weight)
    assert parts.persons.equals(whole.persons)


def test_a_persons_answers_may_have_different_weights(small):
    """Every answer keeps its own weight, and the sums are those of rows."""
    _, groups, gold = small
    gold = gold.filter(pl.col("item_id") != "i0002", pl.col("respondent_id") != "r_gss_00003")
    by_item = gold.with_columns(
        weight=pl.col("weight") * pl.when(pl.col("item_id") == "i0001").then(3.0).otherwise(1.0)
    )
    for answers in (gold, by_item):
        made = people(answers, apart(groups), "gss", answers["item_id"]).weighted()
        own = answers.filter(survey="gss").join(groups, on="respondent_id")
        expected = own.group_by("sex", "item_id", "gold_idx").agg(
            w=pl.col("weight").sum(), w2=(pl.col("weight") ** 2).sum()
        )
        labels = made.cut_persons("sex").labels
        for row in expected.iter_rows(named=True):
            place = labels.index(row["sex"]), made.items.index(row["item_id"]), row["gold_idx"]
            assert made.counts("sex")[place] == pytest.approx(row["w"])
            assert made.counts("sex", squared=True)[place] == pytest.approx(row["w2"])
        assert made.counts("all").sum() == pytest.approx(own["weight"].sum())
