"""Protects the scoring of whole options: the tokens that are summed are the option's own, or nothing is scored."""

import pytest

from mpta_pipeline.inference.option_logprobs import sum_of_echo, sum_of_prompt
from mpta_pipeline.inference.provider_errors import ProviderError

PROMPT, OPTION = "You are a nurse.\nAnswer:", " yes indeed"
WORDS = ["You", " are", " a", " nurse", ".", "\n", "Answer", ":", " yes", " indeed", "!"]
VALUES = [None, -9.0, -9.0, -9.0, -9.0, -9.0, -9.0, -9.0, -0.5, -0.25, -7.0]


def offsets(tokens: list[str], start: int = 0) -> list[int]:
    return [start + sum(map(len, tokens[:i])) for i in range(len(tokens))]


def echoed(tokens, values, text_offset) -> dict:
    return {"choices": [{"text": PROMPT + OPTION + "!", "logprobs": {
        "tokens": tokens, "token_logprobs": values, "text_offset": text_offset, "top_logprobs": None}}]}  # fmt: skip


@pytest.mark.parametrize("begin", [[], ["<s>"], ["<|begin_of_text|>"], ["<bos>", "<unk>"]])
def test_a_leading_special_token_shifts_nothing(begin):
    """vLLM's offsets count it, and the text does not have it."""
    tokens = begin + WORDS
    values = [None] * len(begin) + ([-9.0] if begin else [None]) + VALUES[1:]
    assert sum_of_echo(echoed(tokens, values, offsets(tokens)), PROMPT, OPTION) == pytest.approx(-0.75)


@pytest.mark.parametrize(("space", "line"), [("Ġ", "Ċ"), ("▁", "<0x0A>")])
def test_tokens_as_vocabularies_write_them_are_aligned(space, line):
    tokens = [word.replace(" ", space).replace("\n", line) for word in WORDS]
    assert sum_of_echo(echoed(tokens, VALUES, offsets(tokens)), PROMPT, OPTION) == pytest.approx(-0.75)


def test_a_token_over_the_border_counts_with_the_option():
    tokens = [*WORDS[:7], ": yes", " indeed", "!"]
    values = [None, *[-9.0] * 6, -0.5, -0.25, -7.0]
    assert sum_of_echo(echoed(tokens, values, None), PROMPT, OPTION) == pytest.approx(-0.75)


def test_offsets_alone_count_where_they_fit_the_text():
    assert sum_of_echo(echoed(None, VALUES, offsets(WORDS)), PROMPT, OPTION) == pytest.approx(-0.75)


@pytest.mark.parametrize(
    ("tokens", "values", "text_offset"),
    [
        (None, [None, *VALUES], [0, *offsets(WORDS, 3)]),  # three characters too far
        (["other", " words"], [None, -1.0], [0, 5]),
        (WORDS, [None] * 11, offsets(WORDS)),
        (WORDS, [None, *[-9.0] * 7, float("nan"), -0.25, -7.0], offsets(WORDS)),
        (WORDS, None, offsets(WORDS)),
        (None, None, None),
        ([None], [None], [None]),
    ],
)
def test_what_cannot_be_aligned_is_refused(tokens, values, text_offset):
    with pytest.raises(ProviderError):
        sum_of_echo(echoed(tokens, values, text_offset), PROMPT, OPTION)


def entry(text: str, value: float) -> dict:
    return {"7": {"logprob": value, "rank": 1, "decoded_token": text}}


def test_an_options_tokens_are_its_own_where_a_template_writes_more_before_it():
    """Qwen3 renders an empty thought before an assistant's message and opens a reply without one."""
    listed = [
        None,
        entry("<|im_start|>", -9.0),
        entry("<think>", -9.0),
        entry("</think>", -9.0),
        entry("no", -1.0),
        entry("pe", -2.0),
    ]
    assert sum_of_prompt({"prompt_logprobs": listed}, before=2, option="nope") == pytest.approx(-3.0)
    with pytest.raises(ProviderError, match="not the option's"):
        sum_of_prompt({"prompt_logprobs": listed}, before=2, option="other")
