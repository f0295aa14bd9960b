"""A message must name file, variable, value and remedy, and be one line whatever the value holds."""

from mpta_pipeline.core.errors import SurveyFileError


def test_the_message_names_what_where_and_remedy():
    error = SurveyFileError("A code has no place", file="w.sav", variable="Q1", value=7, remedy="map it")
    assert str(error) == "A code has no place (file w.sav, variable Q1, value '7'). Remedy: map it."


def test_hostile_values_are_escaped_and_cut():
    text = str(SurveyFileError("p", value="a\nb\x1b[31m" + "x" * 10_000, remedy="r"))
    assert "\n" not in text and "\x1b" not in text and len(text) < 300


def test_nothing_is_said_of_what_does_not_apply():
    assert str(SurveyFileError("p", remedy="r")) == "p. Remedy: r."
