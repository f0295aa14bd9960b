"""Protects the sums that estimates come from: halves of the personas, summed apart, merge to the bytes of the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.metrics.statistics.clustered import Moments, Rows, Slices, gaps_of_sums, means_of_sums
from mpta_pipeline.metrics.statistics.sums import Sums, exact_parts, merged

PERSONAS, ITEMS, GROUPS = 40, 9, 3


def answers(seed: int, *, several: bool, heavy: bool):
    """Sorted rows of personas with values, weights and a group of each persona, of which some are unknown."""
    rng = np.random.default_rng(seed)
    persona = np.repeat(np.arange(PERSONAS), rng.integers(0, ITEMS, PERSONAS))
    item = rng.integers(0, ITEMS, len(persona))
    if not several:
        _, first = np.unique(persona * ITEMS + item, return_index=True)
        persona, item = persona[first], item[first]
    x = rng.choice([0.0, 1 / 3, 0.5, 1.0, np.nan], len(persona), p=[0.3, 0.2, 0.1, 0.35, 0.05])
    w = rng.gamma(1.0, 1e5 if heavy else 1.0, PERSONAS)
    w[rng.random(PERSONAS) < 0.1] = 0.0
    group = rng.integers(-1, GROUPS, PERSONAS)
    return persona, item, x, w[persona], group[persona]


def sums_of(rows: tuple[np.ndarray, ...], keep: np.ndarray) -> Sums:
    """Sums of a chunk, coded as in the whole study."""
    persona, item, x, w, group = (values[keep] for values in rows)
    coded = Rows(persona, item, n_persona=PERSONAS, n_item=ITEMS)
    return Slices(group, GROUPS, rows=coded).sums_of(Moments(coded, x, w))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), chunks=st.integers(1, 7), several=st.booleans(), heavy=st.booleans())
def test_sums_are_the_same_bytes_whatever_the_chunks(seed, chunks, several, heavy):
    rows = answers(seed, several=several, heavy=heavy)
    rng = np.random.default_rng(seed + 1)
    whole = sums_of(rows, np.ones(len(rows[0]), dtype=bool))
    chunk = rng.integers(0, chunks, PERSONAS)[rows[0]]
    parts = [sums_of(rows, chunk == i) for i in rng.permutation(chunks)]
    together = merged(parts)
    assert {name: values.tobytes() for name, values in whole.to_arrays().items()} == {
        name: values.tobytes() for name, values in together.to_arrays().items()
    }
    for of in (means_of_sums, gaps_of_sums):
        one, two = of(whole), of(together)
        assert [np.asarray(v).tobytes() for v in vars(one).values()] == [
            np.asarray(v).tobytes() for v in vars(two).values()
        ]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_merged_sums_give_the_means_and_gaps_of_the_rows(seed):
    rows = answers(seed, several=True, heavy=False)
    persona, item, x, w, group = rows
    slices = Slices(group, GROUPS, persona, item)
    half = persona % 2 == 0
    together = sums_of(rows, half).merge(sums_of(rows, ~half))
    for of_rows, of_sums in (
        (slices.means(x, w), means_of_sums(together)),
        (slices.gaps(x, w), gaps_of_sums(together)),
    ):
        for name, values in vars(of_rows).items():
            np.testing.assert_allclose(vars(of_sums)[name], values, rtol=1e-9, atol=1e-12, err_msg=name)
    inside = np.isfinite(x) & (w > 0)
    for i in range(GROUPS):
        own = inside & (group == i)
        if own.any():
            assert means_of_sums(together).estimate[i] == pytest.approx(np.average(x[own], weights=w[own]), abs=1e-12)


def test_answers_that_are_all_alike_have_no_error_even_in_merged_sums():
    rows = answers(3, several=True, heavy=False)
    rows = (*rows[:2], np.full(len(rows[0]), 1 / 3), *rows[3:])
    half = rows[0] < PERSONAS // 2
    means = means_of_sums(sums_of(rows, half).merge(sums_of(rows, ~half)))
    assert (means.se == 0).all()
    assert means.estimate == pytest.approx([1 / 3] * GROUPS, abs=1e-13)


def test_a_persona_in_two_chunks_is_refused():
    rows = answers(1, several=True, heavy=False)
    half = np.arange(len(rows[0])) % 2 == 0
    with pytest.raises(ValidationError, match="are in both"):
        sums_of(rows, half).merge(sums_of(rows, ~half))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), max_size=50), st.randoms())
def test_exact_parts_add_up_to_the_same_bytes_in_any_order(values, random):
    code = np.zeros(len(values), dtype=np.int64)
    once = exact_parts(np.array(values)).sums(code, 1)
    shuffled = list(values)
    random.shuffle(shuffled)
    assert exact_parts(np.array(shuffled)).sums(code, 1).tobytes() == once.tobytes()
    assert once.sum() == pytest.approx(sum(values), rel=1e-12, abs=1e-9)
