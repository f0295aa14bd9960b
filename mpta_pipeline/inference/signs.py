"""What replies give away about their model and endpoint: thinking, cut-off replies, prompts cut in silence.

Read beside the reply itself, from the JSON as it came, in the formats of all providers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CUT = frozenset(("length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"))
"""Finish reasons that mean: the limit of tokens was reached (lower case)."""
_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
_OPENS = re.compile(
    r"\s*(?:<(?:think|thinking|thought|reasoning|analysis|scratchpad|seed:think|reflection)\b[^>]*>|<\|channel\|?>\s*"
    r"(?:analysis|thought)|\[THINK\]|◁think▷|<\|START_THINKING\|>|<\|inner_prefix\|>|<\|begin_of_thought\|>)",
    re.IGNORECASE,
)
_CLOSES = re.compile(
    r"</(?:think|thinking|thought|reasoning|analysis|scratchpad|seed:think|reflection)>|<\|channel\|>\s*final|<channel\|>"
    r"|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<\|inner_suffix\|>|<\|end_of_thought\|>",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Signs:
    """What one reply gives away.

    Attributes:
        thought: The model thought before it answered.
        cut: The reply ended at the limit of tokens.
        empty: Beside a thought there is no text at all.
        finish: The finish reason as the provider says it.
        thought_tokens: Tokens of the thought, where the provider counts them.
    """

    thought: bool = False
    cut: bool = False
    empty: bool = False
    finish: str = ""
    thought_tokens: int = 0

    @property
    def starved(self) -> bool:
        """The limit of tokens left no room for an answer."""
        return self.cut and self.empty


NONE = Signs()


def signs(payload: Any) -> Signs:
    """Read the signs of a reply in the format of any provider; whatever else it is gives none."""
    try:
        if not isinstance(payload, Mapping):
            return NONE
        if payload.get("choices"):
            return _openai(payload)
        if payload.get("candidates"):
            return _gemini(payload)
        if isinstance(payload.get("content"), list):
            return _anthropic(payload)
    except (LookupError, TypeError, AttributeError, ValueError):
        pass
    return NONE


def _openai(payload: Mapping[str, Any]) -> Signs:
    choice = payload["choices"][0]
    message = choice.get("message") or {}
    content = message.get("content") if message else choice.get("text")
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content if part.get("type") != "thinking")
    details = (payload.get("usage") or {}).get("completion_tokens_details") or {}
    tokens = details.get("reasoning_tokens") or 0
    said = any(message.get(name) for name in _THOUGHT_FIELDS)
    return _of_text(content, said, int(tokens), str(choice.get("finish_reason") or ""))


def _gemini(payload: Mapping[str, Any]) -> Signs:
    first = payload["candidates"][0]
    parts = (first.get("content") or {}).get("parts") or []
    text = "".join(part.get("text", "") for part in parts if not part.get("thought"))
    tokens = (payload.get("usageMetadata") or {}).get("thoughtsTokenCount") or 0
    said = any(part.get("thought") for part in parts)
    return _of_text(text, said, int(tokens), str(first.get("finishReason") or ""))


def _anthropic(payload: Mapping[str, Any]) -> Signs:
    blocks = payload["content"]
    text = "".join(block.get("text", "") for block in blocks if block.get("type") == "text")
    said = any(block.get("type") in ("thinking", "redacted_thinking") for block in blocks)
    return _of_text(text, said, 0, str(payload.get("stop_reason") or ""))


def _of_text(text: Any, said: bool, tokens: int, finish: str) -> Signs:
    text = text if isinstance(text, str) else ""
    opens = _OPENS.match(text) is not None
    ends = [match.end() for match in _CLOSES.finditer(text)]
    answer = text[ends[-1] :] if ends else "" if opens else text
    thought = said or tokens > 0 or opens or bool(ends)
    return Signs(thought, finish.lower() in CUT, answer == "" or (thought and not answer.strip()), finish, tokens)


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
