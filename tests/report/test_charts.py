"""Axes are round and hold what is drawn; marks are told by shape, not by colour alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpta_pipeline.report import charts, phrases

VALUES = st.lists(st.floats(-5, 5), min_size=1, max_size=8)


@given(VALUES)
def test_the_axis_holds_every_value_and_ticks_lie_on_it(values: list[float]) -> None:
    axis = charts.Axis.over(values, share=False)
    assert axis.low <= min(values) + 1e-9
    assert axis.high >= max(values) - 1e-9
    assert axis.high > axis.low
    assert 2 <= len(axis.ticks()) <= 8
    assert all(axis.low - 1e-9 <= t <= axis.high + 1e-9 for t in axis.ticks())


def test_the_axis_of_a_proportion_does_not_leave_its_bounds() -> None:
    axis = charts.Axis.over([0.97, 0.99], share=True, within=(0.0, 1.0))
    assert axis.high <= 1.0


def test_nothing_known_still_gives_an_axis() -> None:
    assert charts.Axis.over([None, float("nan")], share=True).high == 1.0


def test_values_beyond_the_axis_are_drawn_at_its_edge() -> None:
    axis = charts.Axis(0.0, 1.0, share=True)
    assert axis.x(-3) == charts.EDGE
    assert axis.x(9) == charts.WIDTH - charts.EDGE


def test_a_strip_escapes_its_words_and_draws_what_is_known_only() -> None:
    axis = charts.Axis(0.0, 1.0, share=True)
    drawn = charts.strip(axis, estimate=None, low=None, high=None, marks={"chance": None}, words='<"&>')
    assert "<title>&lt;&#34;&amp;&gt;</title>" in drawn
    assert "circle" not in drawn
    assert "mark" not in drawn


def test_marks_differ_in_shape() -> None:
    shapes = {str(charts.mark(name, 12.0)).split(' d="')[1] for name in charts.MARKS}
    assert len(shapes) == len(charts.MARKS)


@pytest.mark.parametrize(
    ("value", "options", "text"),
    [
        (0.1234, {"share": True}, "12.3 %"),
        (-0.0123, {"share": True, "signed": True}, "−1.2"),
        (0.0123, {"share": True, "signed": True}, "+1.2"),
        (-0.0001, {"share": True, "signed": True}, "0.0"),
        (0.12345, {"share": False}, "0.123"),
        (None, {"share": True}, "–"),
        (float("nan"), {"share": True}, "–"),
    ],
)
def test_numbers(value: float | None, options: dict[str, bool], text: str) -> None:
    assert phrases.number(value, **options) == text


def test_other_words() -> None:
    assert phrases.interval(0.1, 0.2, share=True) == "[10.0, 20.0]"
    assert phrases.interval(None, 0.2, share=True) == ""
    assert phrases.count(1234567) == "1\u202f234\u202f567"
    assert (phrases.q(0.0004), phrases.q(0.04), phrases.q(None)) == ("< .001", ".040", "–")
    assert (phrases.listed([]), phrases.listed(["a"]), phrases.listed(["a", "b", "c"])) == ("none", "a", "a, b and c")
    assert (phrases.letter(1), phrases.letter(27), phrases.letter(None)) == ("a", "27", "–")
    assert phrases.opening("Jensen–Shannon distance") == "Jensen–Shannon distance"
