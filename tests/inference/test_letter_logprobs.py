"""Letters' log-probabilities out of the first token's candidates: spellings summed, nothing invented."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpta_pipeline.core.reasoning_text import after_thought
from mpta_pipeline.inference.letter_logprobs import answer_token, letter_logprobs, letters_of
from mpta_pipeline.inference.response_fields import Token, candidates, parse_json, tokens_of


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


def test_a_candidate_that_is_listed_twice_counts_once():
    found = letter_logprobs([("B", math.log(0.5)), ("B", math.log(0.5)), ("A", math.log(0.4))], 2)
    assert [math.exp(v) for v in found] == pytest.approx([0.4, 0.5])


def test_scores_that_are_no_probabilities_give_nothing():
    top = (("A", -0.05), ("B", -0.05), ("C", -0.05))
    assert letter_logprobs(top, 3) is None
    assert letters_of([Token("A", top)], "A", 3) == (None, None)


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


def tokens(*texts: str, **tops: tuple[tuple[str, float], ...]) -> list[Token]:
    return [Token(text, tops.get(text.strip(), ((text, -0.1),))) for text in texts]


@pytest.mark.parametrize(
    ("listed", "text", "thought", "place"),
    [
        (["B"], "B", False, 0),
        ([" ", "B"], " B", False, 1),
        (["Ġ", "B"], "B", False, 1),
        (["▁B", "</s>"], "B", False, 0),
        (["**", "B", "**"], "**B**", False, 1),
        (["(", "B", ")"], "(B)", False, 1),
        (["A", " fits", "</think>", "\n\n", "B", "<|im_end|>"], "B", True, 4),
        (["<think>", "A", "</think>", "B"], "<think>A</think>B", False, 3),
        (["B"], "B) too much", False, 0),  # some servers list the first token only
        (["A"], "B", True, None),  # the thought's first token
        (["A"], "A", True, 0),
        (["I", " say", " B"], "B", True, None),  # the thought alone is listed, and ends with the letter
        (["<|channel|>", "analysis", "<|message|>", "B", "<|channel|>", "final", "<|message|>", "B"], "B", True, 7),
        (["A", " is"], "A", True, None),  # the thought goes on
        (["x"], "B", False, None),
        ([], "B", False, None),
        (["B"], "", False, None),
        (["<think>", "B"], "<think>B", False, None),  # never ended
    ],
)
def test_the_answers_own_token_is_found(listed, text, thought, place):
    found = answer_token(tokens(*listed), text, thought=thought)
    assert found is None if place is None else found.candidates == tokens(*listed)[place].candidates


def test_candidates_without_their_token_count_where_the_answer_begins_with_one_of_them():
    """Some servers of completions list candidates and no tokens."""
    first = [Token("", ((" B", -0.1), (" A", -3.0)))]
    assert letters_of(first, " B", 2)[0] == pytest.approx([-3.0, -0.1])
    assert letters_of(first, " no", 2) == (None, None)
    assert letters_of(first, " B", 2, thought=True) == (None, None)


def test_a_first_token_that_is_no_letter_gives_a_share_and_no_vector():
    top = (("The", -0.03), ("A", -3.9), ("B", -5.5), ("C", -6.0))
    vector, share = letters_of([Token("The", top), Token(" answer is B", ())], "The answer is B", 3)
    assert vector is None
    assert share == pytest.approx(math.exp(-3.9) + math.exp(-5.5) + math.exp(-6.0))


def test_an_odd_candidate_is_left_out_and_the_rest_kept():
    odd = [("A", -0.1), ("B", None), (None, -1.0), ("C", float("nan")), ("D", float("-inf")), ("E", "x"), ("F", True)]
    assert candidates(odd) == (("A", -0.1),)
    tops = b'[{"token": "A", "logprob": -0.1}, {"token": "B", "logprob": NaN}]'
    response = b'{"content": [{"token": "A", "top_logprobs": ' + tops + b"}]}"
    assert tokens_of(parse_json(response)) == [Token("A", (("A", -0.1),))]


@pytest.mark.parametrize(
    "value", [None, 5, "x", [], {}, [None], {"content": None}, {"content": [5]}, {"tokens": [None]}]
)
def test_no_form_of_logprobs_is_an_exception(value):
    assert answer_token(tokens_of(value), "B") is None


@pytest.mark.parametrize(
    "part", ["<think>", "here is my reasoning: ", '<details type="reasoning">', "<|channel|>analysis"]
)
def test_a_hostile_text_takes_little_time(part):
    began = time.process_time()
    for length in (50_000, 4_000_000):
        text = part * (length // len(part))
        assert not after_thought(text).strip() or after_thought(text) == text
        assert answer_token(tokens("x"), text + "B") is None
    assert time.process_time() - began < 5


def test_half_a_character_is_replaced_and_not_an_exception():
    assert parse_json(b'{"content": "B \\ud83d"}') == {"content": "B \ufffd"}
