"""Recognize responses that were cut off, and prompts that a server cut silently."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from mpta_pipeline.core.reasoning_text import after_thought
from mpta_pipeline.inference.providers.base import ModelResponse

CUT = frozenset(
    ("incomplete", "length", "max_output_tokens", "max_tokens", "model_context_window_exceeded", "model_length")
)
"""Finish reasons that mean that the token limit was reached (lower case)."""


def was_cut(response: ModelResponse) -> bool:
    """Return whether a response ended at the token limit."""
    return (response.finish_reason or "").lower() in CUT


def starved(response: ModelResponse) -> bool:
    """Return whether the token limit prevented an answer: the response is empty, or only a thought."""
    if not was_cut(response):
        return False
    text = response.text or ""
    return not text or (response.thought and not after_thought(text).strip())


LEAST = 8  # fewest responses from which counts of prompt tokens are judged
PLAUSIBLE = 8.0  # characters per token over a whole run; English has 4 to 5, other scripts fewer
SPREAD = 32  # characters by which prompts must differ for their token counts to differ
BEYOND = 1.15  # times the largest count that a cut prompt must have had, by the characters per token of the others


def cut_prompts(lengths: Sequence[int], tokens: Sequence[int]) -> str | None:
    """Return why prompts seem to have been cut before the model read them; None if nothing indicates it.

    Either all counts are equal although the prompts differ, or several prompts share the largest count although, by the
    characters per token of the others, they should have clearly more; or there are too few tokens altogether.

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
    # Prompts of equal length, such as one question in several orders, rightly have equal counts.
    if len(beyond) >= LEAST // 2 and max(at_most) - min(at_most) >= SPREAD:
        return (
            f"{len(beyond)} of {len(tokens)} prompts of {min(beyond)} to {max(beyond)} characters were counted as "
            f"{most} prompt tokens each"
        )
    if sum(lengths) > PLAUSIBLE * sum(tokens):
        return f"{sum(lengths):,} characters were sent and {sum(tokens):,} prompt tokens counted, which are too few"
    return None
