"""Protects estimates of scores that come in chunks: the same bytes as those of the whole."""

import polars as pl
import pytest

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.core.study import EstimateRules
from mpta_pipeline.metrics import compute_estimates
from mpta_pipeline.metrics.samples.balancing import balance, balance_chunks, by_persona
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
