"""What replies give away about their model and endpoint: cut-off replies, and prompts cut in silence."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from mpta_pipeline.core.reasoning_text import after_thought
from mpta_pipeline.inference.providers.base import ModelResponse

CUT = frozenset(
    ("incomplete", "length", "max_output_tokens", "max_tokens", "model_context_window_exceeded", "model_length")
)
"""Finish reasons that mean: the limit of tokens was reached (lower case)."""


def was_cut(response: ModelResponse) -> bool:
    """Whether a reply ended at the limit of tokens."""
    return (response.finish_reason or "").lower() in CUT


def starved(response: ModelResponse) -> bool:
    """Whether the limit of tokens left no room for an answer: there is none, or only a thought."""
    if not was_cut(response):
        return False
    text = response.text or ""
    return not text or (response.thought and not after_thought(text).strip())


LEAST = 8  # answers from which counts of prompt tokens say anything
PLAUSIBLE = 8.0  # characters a token over a whole run; English has 4 to 5, other scripts fewer
SPREAD = 32  # characters by which prompts must differ if their counts of tokens are to differ
BEYOND = 1.15  # times the largest count that a cut prompt must have had, by the others' characters a token


def cut_prompts(lengths: Sequence[int], tokens: Sequence[int]) -> str | None:
    """Say why it seems that prompts were cut before the model read them; None: nothing speaks for it.

    Either all counts are the same although the prompts differ, or several prompts share the largest count although,
    by the characters a token of the others, they should have clearly more; or there are too few tokens altogether.

    Args:
        lengths: Characters sent, per request.
        tokens: Prompt tokens that the endpoint counted for it.
    """
    if len(tokens) < LEAST:
        return None
    pairs = list(zip(lengths, tokens, strict=True))
    most = max(tokens)
    at_most = [length for length, n in pairs if n == most]
    others = [length / n for length, n in pairs if 0 < n < most]
    if len(at_most) == len(tokens):
        beyond = at_most
    elif len(others) >= LEAST // 2:
        ratio = statistics.median(others)
        beyond = [length for length in at_most if length > BEYOND * ratio * most]
    else:
        beyond = []
    # Prompts as long as each other, such as one question in several orders, have equal counts by right.
    if len(beyond) >= LEAST // 2 and max(at_most) - min(at_most) >= SPREAD:
        return (
            f"{len(beyond)} of {len(tokens)} prompts of {min(beyond)} to {max(beyond)} characters were counted as "
            f"{most} prompt tokens each"
        )
    if sum(lengths) > PLAUSIBLE * sum(tokens):
        return f"{sum(lengths):,} characters were sent and {sum(tokens):,} prompt tokens counted, which are too few"
    return None
