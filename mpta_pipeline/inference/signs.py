"""What replies give away about their model and endpoint: cut-off replies, and prompts cut in silence."""

from __future__ import annotations

from collections.abc import Sequence

from mpta_pipeline.inference.providers.base import Reply
from mpta_pipeline.thought import after_thought

CUT = frozenset(
    ("incomplete", "length", "max_output_tokens", "max_tokens", "model_context_window_exceeded", "model_length")
)
"""Finish reasons that mean: the limit of tokens was reached (lower case)."""


def was_cut(reply: Reply) -> bool:
    """Whether a reply ended at the limit of tokens."""
    return (reply.finish_reason or "").lower() in CUT


def starved(reply: Reply) -> bool:
    """Whether the limit of tokens left no room for an answer: there is none, or only a thought."""
    if not was_cut(reply):
        return False
    text = reply.text or ""
    return not text or (reply.thought and not after_thought(text).strip())


LEAST = 8  # answers from which counts of prompt tokens say anything
PLAUSIBLE = 8.0  # characters a token over a whole run; English has 4 to 5, other scripts fewer
SPREAD = 32  # characters by which prompts must differ if their counts of tokens are to differ


def cut_prompts(lengths: Sequence[int], tokens: Sequence[int]) -> str | None:
    """Say why it seems that prompts were cut before the model read them; None: nothing speaks for it.

    Args:
        lengths: Characters sent, per request.
        tokens: Prompt tokens that the endpoint counted for it.
    """
    if len(tokens) < LEAST:
        return None
    most = max(tokens)
    at_most = [length for length, n in zip(lengths, tokens, strict=True) if n == most]
    if len(at_most) >= LEAST and len(set(at_most)) >= LEAST // 2 and max(at_most) - min(at_most) >= SPREAD:
        return (
            f"{len(at_most)} of {len(tokens)} prompts of {min(at_most)} to {max(at_most)} characters were counted as "
            f"{most} prompt tokens each"
        )
    total = sum(tokens)
    if total and sum(lengths) / total > PLAUSIBLE:
        return f"{sum(lengths):,} characters were sent and {total:,} prompt tokens counted, which are too few for them"
    return None
