"""Log-probabilities of the options' letters, from the candidates at the answer's first token."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from mpta_pipeline.core.reasoning_text import LONGEST, after_thought
from mpta_pipeline.inference.requests import LETTERS
from mpta_pipeline.inference.response_fields import Token

# "A", " A", "A)", "(A", "A.", "**A", "Ġ A": one letter with brackets or marks around it. A small "a" is the article.
_LETTER = re.compile(r"[\s(\[*\"'`Ġ▁]*([A-Z])[\s)\].:,*\"'`]*")
_OPENING = re.compile(r"[\s(\[{*_\"'`<#>]*")
# What may follow an answer's last token: special tokens and white space.
_NOTHING = re.compile(r"(?:\s|<[^<>\n]{1,40}>|\[/?[A-Z_]{1,30}\])*")
NEGLIGIBLE = 0.01
CERTAIN = 1.05  # candidates that sum to more than this are scores of another kind
IMPOSSIBLE = 0.01  # a log-probability above 0 by more than rounding


@lru_cache(maxsize=4096)
def _place(token: str) -> int:
    """Return the place of the letter that a token spells; a place beyond all options if it spells none."""
    match = _LETTER.fullmatch(token)
    return len(LETTERS) if match is None else LETTERS.index(match[1])


def letters_of(
    tokens: Sequence[Token], text: str, k: int, *, thought: bool = False
) -> tuple[list[float] | None, float | None]:
    """Return the log-probabilities of the letters at the token with which the answer begins.

    Servers list the tokens of the whole output, including a thought; some list only the first. So the tokens are
    searched for the answer; if they cannot be aligned with it, none are used.

    Args:
        tokens: The output's tokens in order, each with its candidates.
        text: The response's text.
        k: Number of options.
        thought: The response has a thought apart from its text.

    Returns:
        `letter_logprobs` if the answer begins with the token of a letter, else None; and the probability of the `k`
        letters in all at the answer's first token, None if it is unknown.
    """
    token = answer_token(tokens, text, thought=thought)
    if token is None or not token.candidates or not _possible(token.candidates):
        return None, None
    share = sum(math.exp(p) for name, p in dict.fromkeys(token.candidates) if _place(name) < k)
    vector = letter_logprobs(token.candidates, k) if _place(token.text) < k else None
    return vector, min(share, 1.0)


def _possible(listed: Sequence[tuple[str, float]]) -> bool:
    """Return whether these can be log-probabilities of one token: none above 0, and a sum of at most 1."""
    if any(not logprob < IMPOSSIBLE for _, logprob in listed):
        return False
    return sum(math.exp(logprob) for _, logprob in dict.fromkeys(listed)) <= CERTAIN


def answer_token(tokens: Sequence[Token], text: str, *, thought: bool = False) -> Token | None:
    """Return the token with which the answer begins, after opening brackets and quotes; None if it is unclear."""
    if len(text) > LONGEST:
        return None
    answer = after_thought(text).strip()
    if not answer or not tokens:
        return None
    thought = thought or answer != text.strip()
    if not any(token.text for token in tokens):
        # Some servers list the candidates of the first token and not the tokens themselves.
        chosen = [name for name, _ in tokens[0].candidates if name.strip() and answer.startswith(name.strip())]
        return None if thought or not chosen else Token(max(chosen, key=len), tokens[0].candidates)
    pieces = [token.text.replace("Ġ", " ").replace("▁", " ").replace("Ċ", "\n") for token in tokens]
    joined = "".join(pieces)
    start = joined.rfind(answer)
    if start < 0 or not _NOTHING.fullmatch(joined, start + len(answer)):
        listed = joined.strip()
        if thought or not listed or not answer.startswith(listed):
            return None
        start = len(joined) - len(joined.lstrip())
    elif thought and joined[:start].strip() and not after_thought(joined).lstrip().startswith(answer):
        return None  # no finished thought precedes it: the letter may belong to the thought
    end = 0
    for token, piece in zip(tokens, pieces, strict=True):
        end += len(piece)
        if end > start and not _OPENING.fullmatch(piece, max(start - (end - len(piece)), 0)):
            return Token(piece, token.candidates)
    return None


def letter_logprobs(candidates: Iterable[tuple[str, float]], k: int) -> list[float] | None:
    """Return the natural log-probability of each of the `k` letters in shown order.

    The probabilities of a letter's spellings ("A", " A", "A)") are added. A letter that is not among the candidates is
    at most as likely as the least likely candidate, and as the probability that the candidates leave. It gets that
    bound if the missing letters could have at most 1 % of the probability of the letters found. Otherwise there is no
    result, because values would have to be invented, and the response's text counts.

    Args:
        candidates: Token and log-probability.
        k: Number of options.

    Returns:
        `k` values, or None if no letter is among the candidates, too much could be missing, or a value is invalid.
    """
    listed = list(dict.fromkeys(candidates))  # some servers list the sampled token twice
    if not _possible(listed):
        return None
    seen = [0.0] * k
    for token, logprob in listed:
        if (place := _place(token)) < k:
            seen[place] += math.exp(logprob)
    total = sum(seen)
    missing = [place for place in range(k) if seen[place] <= 0.0]
    if total <= 0.0:
        return None
    if missing:
        rest = 1.0 - sum(math.exp(logprob) for _, logprob in listed)
        bound = max(min(rest, math.exp(min(logprob for _, logprob in listed))), 1e-12)
        if bound * len(missing) > NEGLIGIBLE * total:
            return None
        for place in missing:
            seen[place] = bound
    return [math.log(p) for p in seen]
