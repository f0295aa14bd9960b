"""How small a difference in accuracy a design can find, before anything is asked.

The test of two proportions with the pooled variance under no difference (Fleiss, Levin and Paik 2003, section 4.2). A
person's answers are alike, and weights cost precision, so that `effective` answers count (Kish 1965).
"""

from __future__ import annotations

from statistics import NormalDist

_NORMAL = NormalDist()
POWER = 0.8
ALIKE = 0.05
"""Assumed intraclass correlation of a person's answers; `mpta plan` says so."""


def effective(people: float, answers_each: float, *, alike: float = ALIKE, weights: float = 1.0) -> float:
    """Independent answers that are worth as much as the answers of a group.

    Args:
        people: People in the group.
        answers_each: Answers per person.
        alike: Intraclass correlation of the answers of a person.
        weights: Design effect of the weights, 1 without weights.
    """
    return people * answers_each / ((1 + (max(answers_each, 1.0) - 1) * alike) * weights)


def power_of(difference: float, n_group: float, n_rest: float, *, level: float) -> float:
    """Power of the two-sided test for shares around one half, where the variance is largest.

    Args:
        difference: Difference of the shares, 0 to 1.
        n_group: Effective answers of the group.
        n_rest: Effective answers of everyone else.
        level: Level of the test.
    """
    low, high = 0.5 - difference / 2, 0.5 + difference / 2
    mean = (n_group * low + n_rest * high) / (n_group + n_rest)
    without = (mean * (1 - mean) * (1 / n_group + 1 / n_rest)) ** 0.5
    with_it = (low * (1 - low) / n_group + high * (1 - high) / n_rest) ** 0.5
    wanted = _NORMAL.inv_cdf(1 - level / 2) * without
    if with_it == 0:
        return 1.0 if difference > wanted else 0.0
    return _NORMAL.cdf((difference - wanted) / with_it) + _NORMAL.cdf((-difference - wanted) / with_it)


def detectable(n_group: float, n_rest: float, *, level: float, power: float = POWER) -> float | None:
    """The smallest difference of two shares that a test finds with this power; None if not even 1 is found.

    Args:
        n_group: Effective answers of the group.
        n_rest: Effective answers of everyone else.
        level: Level of the two-sided test.
        power: Probability to find the difference.
    """
    if n_group <= 0 or n_rest <= 0 or power_of(1.0, n_group, n_rest, level=level) < power:
        return None
    low, high = 0.0, 1.0
    for _ in range(50):  # to 1e-15
        middle = (low + high) / 2
        low, high = (low, middle) if power_of(middle, n_group, n_rest, level=level) >= power else (middle, high)
    return high
