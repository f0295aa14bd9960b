"""What an answer's first token says about the options: log-probabilities of their letters."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import lru_cache

from mpta_pipeline.inference.requests import LETTERS

# "A", " A", "A)", "(A", "A.", "**A", "Ġ A": one letter with brackets or marks around it. A small "a" is the article.
_LETTER = re.compile(r"[\s(\[*\"'`Ġ▁]*([A-Z])[\s)\].:,*\"'`]*")
NEGLIGIBLE = 0.01
IMPOSSIBLE = 0.01  # a log-probability above 0 by more than rounding


@lru_cache(maxsize=4096)
def _place(token: str) -> int:
    """Place of the letter that a token spells; beyond every list of options if it spells none."""
    match = _LETTER.fullmatch(token)
    return len(LETTERS) if match is None else LETTERS.index(match[1])


def letter_logprobs(candidates: Iterable[tuple[str, float]], k: int) -> list[float] | None:
    """Natural log-probability of each of the `k` letters in shown order, from candidates (token, log-probability).

    Spellings of a letter ("A", " A", "A)") are summed in probability. A letter that is not among the candidates is at
    most as likely as the least of them, and as all that they leave over: it gets that bound where the letters that
    are missing could hold no more than 1 % of the probability of the letters seen; otherwise there is no vector,
    because one would have to be invented, and the reply's text counts.

    Returns:
        `k` values, or None where no letter is among the candidates, too much could be missing, or a value is none.
    """
    listed = list(candidates)
    if any(not logprob < IMPOSSIBLE for _, logprob in listed):
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
