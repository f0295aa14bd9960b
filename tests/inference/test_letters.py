"""Letters' log-probabilities out of the first token's candidates: spellings summed, nothing invented."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpta_pipeline.inference.letters import letter_logprobs


def test_spellings_of_a_letter_are_summed_in_probability():
    found = letter_logprobs(
        [("A", math.log(0.4)), (" A", math.log(0.1)), ("B)", math.log(0.3)), ("a", math.log(0.2))], 2
    )
    assert [math.exp(v) for v in found] == pytest.approx([0.5, 0.3])


def test_a_letter_that_cannot_matter_gets_its_bound():
    found = letter_logprobs([("A", math.log(0.999)), ("B", math.log(0.0009)), ("x", math.log(0.00005))], 3)
    assert math.exp(found[2]) == pytest.approx(0.00005)


def test_no_vector_where_a_missing_letter_could_matter():
    assert letter_logprobs([("A", math.log(0.5)), ("The", math.log(0.2))], 2) is None


@pytest.mark.parametrize("candidates", [[], [("The", -0.1)], [("Z", -0.1), ("AB", -0.2), ("", -1.0), ("Ａ", -1.0)]])
def test_no_vector_without_letters(candidates):
    assert letter_logprobs(candidates, 3) is None


@pytest.mark.parametrize("token", ["A", " A", "A)", "(A", "A.", "**A**", "ĠA", "▁A", "A:\n", '"A"'])
def test_what_counts_as_a_letter(token):
    assert letter_logprobs([(token, -0.1)], 1) == pytest.approx([-0.1])


@given(
    st.lists(st.tuples(st.sampled_from(["A", " A", "B", "C)", "x"]), st.floats(-30, -0.01)), max_size=8),
    st.integers(2, 4),
)
def test_a_vector_is_complete_and_finite(candidates, k):
    found = letter_logprobs(candidates, k)
    assert found is None or (len(found) == k and all(math.isfinite(v) for v in found))
