"""Sentences about accuracy and about the effect of the persona, as terminal, UI and report print them."""

from __future__ import annotations

BETTER, NO_BETTER, WORSE, UNDECIDED = "better", "no better", "worse", "too few people or questions to decide"
"""Verdicts on a panel of personas beside asking once about the group."""
_CHANCE = {1: "better than chance", 0: "not better than chance", -1: "worse than chance"}
_MODE = {
    1: "better than always giving the most frequent answer",
    0: "not better than always giving the most frequent answer",
    -1: "worse than always giving the most frequent answer",
}


def accuracy_verdict(low: float | None, high: float | None, *, chance: float | None, mode: float | None) -> str:
    """How accuracy compares with the baselines that need no model.

    The interval is compared with each baseline on the same answers: wholly above, wholly below, or neither.

    Args:
        low: Lower end of the interval of accuracy; None if there is no interval.
        high: Upper end.
        chance: Accuracy of even guessing; None if it is not known.
        mode: Accuracy of always giving the most frequent answer; None if it is not known.
    """
    if low is None or high is None:
        return "too few people or questions to decide"
    above_chance, above_mode = (None if b is None else (low > b) - (high < b) for b in (chance, mode))
    if above_mode is None:
        return "no baseline to compare with" if above_chance is None else _CHANCE[above_chance]
    if above_chance is None or above_mode > 0:
        return _MODE[above_mode]
    return f"{_CHANCE[above_chance]}{', but ' if above_chance > 0 else ' and '}{_MODE[above_mode]}"


def effect_verdict(
    effect: float | None, *, p_value: float | None, q_value: float | None, mde: float | None, level: float
) -> str:
    """What showing the persona changes; empty if no effect was tested.

    Args:
        effect: Accuracy with the persona less accuracy without it.
        p_value: p-value of the effect.
        q_value: p-value corrected for the number of tests.
        mde: Smallest effect that would probably have been found.
        level: Level of tests.
    """
    if effect is None or q_value is None:
        return ""
    change, way = _points(effect), "help" if effect > 0 else "harm"
    if q_value <= level:
        return f"showing the persona {way}s by {change}"
    if p_value is not None and p_value <= level:
        return f"showing the persona may {way} by {change}, but with this many comparisons it may be chance"
    found = "no effect of showing the persona was found"
    if mde is None:
        return found
    if mde >= 1:
        return f"{found} (with so few people or questions, hardly any effect could be found)"
    return f"{found} (a change of {_points(mde)} or more would probably have been found)"


def rival_verdict(low: float | None, high: float | None, *, q_value: float | None, level: float) -> str:
    """How a panel of personas compares with asking the model once about the group.

    Args:
        low: Lower end of the interval of the panel's gain; None if there is no interval.
        high: Upper end.
        q_value: p-value of the gain, corrected for the number of groups.
        level: Level of tests.
    """
    if low is None or high is None or q_value is None:
        return UNDECIDED
    if q_value <= level and low > 0:
        return BETTER
    return WORSE if q_value <= level and high < 0 else NO_BETTER


def _points(difference: float) -> str:
    return f"{abs(difference) * 100:.1f} points"
