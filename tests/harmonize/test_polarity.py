"""Protects against scales read the wrong way round: silent, complete, and found by no range or label check."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from mpta_pipeline import harmonize
from mpta_pipeline.harmonize import polarity
from mpta_pipeline.harmonize.crosswalk import Crosswalk

from .conftest import MakeRaw

PORTRAITS = ("A189", "A190", "A191", "A192", "A193", "A194", "A195", "A196", "A197", "A198")
N = 1200


def points(latent: np.ndarray, low: int, high: int) -> list[int]:
    """Cut a latent variable into points of equal frequency."""
    ranks = latent.argsort().argsort()
    return list((low + ranks * (high - low + 1) // len(latent)).astype(int))


def people(seed: int = 1) -> dict[str, Sequence[int]]:
    """Answers that hang together as they do everywhere; portraits from 1 (very much like me) to 6."""
    rng = np.random.default_rng(seed)
    faith, years, pride = rng.normal(size=(3, N))

    def portrait(*causes: np.ndarray) -> list[int]:
        return points(-(0.5 * sum(causes) + rng.normal(size=N)), 1, 6)  # type: ignore[operator]

    return {
        "X003": points(years, 18, 80),
        "F063": points(faith + rng.normal(size=N), 1, 10),
        "A006": points(-faith - rng.normal(size=N), 1, 4),
        "G006": points(-pride - rng.normal(size=N), 1, 4),
        "A189": portrait(-years),
        "A190": portrait(-years),
        "A191": portrait(years, pride),
        "A192": portrait(-years, -faith),
        "A193": portrait(faith, pride),
        "A194": portrait(-years),
        "A195": portrait(-years),
        "A196": portrait(years, faith),
        "A197": portrait(years, pride),
        "A198": portrait(faith),
    }


def turned(answers: dict[str, Sequence[int]], names: Sequence[str]) -> dict[str, Sequence[int]]:
    return {name: [7 - a for a in given] if name in names else given for name, given in answers.items()}


def value_of(frame: pl.DataFrame, column: str) -> dict[str, str]:
    """Native code → value that it became."""
    return dict(frame.select(f"{column}__code", column).drop_nulls().unique().rows())


def test_a_series_without_labels_is_read_the_way_its_answers_say(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    # In the CSV of the series that users have, 6 is "very much like me"; 31,900 answers were inverted.
    frame = harmonize.harmonize(make_raw("wvs_ts", turned(people(), PORTRAITS)), crosswalk)
    assert value_of(frame, "schwartz_tradition")["6"] == "very_much"
    assert value_of(frame, "schwartz_stimulation")["1"] == "not_at_all"
    other = harmonize.harmonize(make_raw("wvs_ts", people()), crosswalk)
    assert value_of(other, "schwartz_tradition")["1"] == "very_much"
    # The same answers, whichever way the file numbers them.
    columns = [f"schwartz_{p}" for p in ("tradition", "power", "hedonism", "universalism")]
    assert frame.sort("row_index").select(columns).equals(other.sort("row_index").select(columns))


def test_what_is_said_follows_the_answer_not_the_number(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    frame = harmonize.harmonize(make_raw("wvs_ts", turned(people(), PORTRAITS)), crosswalk)
    long = harmonize.answers_long(frame, crosswalk).collect()
    said = dict(long.filter(column="schwartz_tradition").select("code", "text").unique().rows())
    assert (said["6"], said["1"]) == ("very much like me", "not at all like me")


def test_a_direction_that_the_answers_do_not_tell_is_set_aside(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    rng = np.random.default_rng(3)
    noise = {name: rng.permutation(given) for name, given in people().items()}
    raw = make_raw("wvs_ts", noise)
    frame = harmonize.harmonize(raw, crosswalk)
    assert not [c for c in frame.columns if c.startswith("schwartz_")]
    told = {p.column: str(p) for p in harmonize.columns_set_aside(raw, crosswalk)}
    assert len([c for c in told if c.startswith("schwartz_")]) == len(PORTRAITS)
    assert "A198 has no labels" in told["schwartz_tradition"]
    assert "importance_of_god" in frame.columns  # everything else goes on


def test_labels_decide_where_there_are_any(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    words = (
        "very much like me",
        "like me",
        "somewhat like me",
        "a little like me",
        "not like me",
        "not at all like me",
    )
    upward = {str(6 - n): word for n, word in enumerate(words)}
    raw = make_raw("wvs_ts", {"A198": [1, 6]}, {"A198": upward})
    frame = harmonize.harmonize(raw, crosswalk)
    assert value_of(frame, "schwartz_tradition") == {"1": "not_at_all", "6": "very_much"}
    said = harmonize.answers_long(frame, crosswalk).collect().filter(column="schwartz_tradition")
    assert dict(said.select("code", "text").rows()) == {"1": "not at all like me", "6": "very much like me"}


@pytest.mark.parametrize("variable", ["F063", "G006"])
def test_a_column_without_labels_that_runs_against_its_partners_is_set_aside(
    variable: str, make_raw: MakeRaw, crosswalk: Crosswalk
) -> None:
    answers = people() | {"A194": people()["A198"]}
    top = max(answers[variable]) + 1
    raw = make_raw(
        "wvs_ts",
        {n: g for n, g in answers.items() if n not in PORTRAITS} | {variable: [top - a for a in answers[variable]]},
    )
    column = {"F063": "importance_of_god", "G006": "national_pride"}[variable]
    del column, raw, crosswalk


def test_the_check_names_an_inverted_column(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    frame = harmonize.harmonize(make_raw("wvs_ts", people()), crosswalk)
    rules = crosswalk.rules["wvs_ts"]
    pairs = polarity.known_pairs(rules)
    values = polarity.scores(frame, rules)
    sound = polarity.judge(values, frame["country"], pairs)
    assert not [e for e in sound if e.contrary]
    inverted = values.with_columns(importance_of_god=1 - pl.col("importance_of_god"))
    assert [e.column for e in polarity.judge(inverted, frame["country"], pairs) if e.contrary] == ["importance_of_god"]


def test_differences_between_countries_say_nothing() -> None:
    # Simpson: in each country the two go together, between countries against each other.
    rng = np.random.default_rng(5)
    within = rng.normal(size=(2, 400))
    a = within[0] + np.repeat([0.0, 9.0], 200)
    b = within[0] + within[1] - np.repeat([0.0, 9.0], 200)
    country = pl.Series(["AAA"] * 200 + ["BBB"] * 200)
    found = polarity.judge(pl.DataFrame({"a": a, "b": b}), country, {"a": {"b": 1}})
    centred = np.concatenate(
        [np.corrcoef(a[s] - a[s].mean(), b[s] - b[s].mean())[:1] for s in (slice(200), slice(200, 400))]
    )
    assert found[0].correlation == pytest.approx(centred[:, 1].mean(), abs=0.05)
    assert not found[0].contrary
    assert np.corrcoef(a, b)[0, 1] < 0
