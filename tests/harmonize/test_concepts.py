"""Protects the packaged crosswalk as a whole: complete against the specification, and fit to be said to a person."""

from __future__ import annotations

import csv
import json
import re

import polars as pl

from mpta_pipeline.harmonize.crosswalk import Crosswalk
from mpta_pipeline.surveys import packaged_sources
from tests.shared_data import REFERENCE_CROSSWALK, WVS_CODEBOOK, present

NAMES = {"WVS7": "wvs7", "WVS_TS": "wvs_ts", "JOINT": "joint", "EVS2017": "evs2017", "GSS": "gss"}


def test_each_concept_says_of_each_reference_source_what_it_has(crosswalk: Crosswalk) -> None:
    reference = {source.codebook for source in packaged_sources() if source.reference}
    assert reference == set(NAMES.values())
    found = crosswalk.concepts.group_by("concept").agg(pl.col("codebook").unique())
    for concept, codebooks in found.rows():
        assert reference <= set(codebooks), concept


def test_every_row_of_the_specification_is_there() -> None:
    from mpta_pipeline.harmonize import load_crosswalk

    reference = present(REFERENCE_CROSSWALK)
    crosswalk = load_crosswalk()
    rows = {
        (concept, codebook): set()
        for concept, codebook in crosswalk.concepts.select("concept", "codebook").unique().rows()
    }
    for concept, codebook, variable in crosswalk.concepts.select("concept", "codebook", "variable").rows():
        rows[concept, codebook].add(variable.lower())
    # Variables that the specification names and the crosswalk leaves out, each for the reason in its concept's file.
    missing = []
    for row in csv.DictReader(reference.read_text(encoding="utf-8").splitlines()):
        key = row["concept"], NAMES[row["source"]]
        assert key in rows, key
        first = re.split(r"[ /(+]", row["variable"].strip())[0].lower()
        if first and row["equivalence"] not in ("absent", "n/a") and first not in rows[key]:
            missing.append((*key, row["variable"]))
    assert len(missing) <= 12, missing


def test_not_equivalent_sources_share_no_column(crosswalk: Crosswalk) -> None:
    pooled = crosswalk.concepts.filter("pool")
    assert not set(pooled["equivalence"]) & {"not_equivalent", "absent", "n/a", "country_specific"}
    others = crosswalk.concepts.filter(
        ~pl.col("pool") & pl.col("column").is_not_null() & (pl.col("column") != "country")
    )
    assert not set(pooled["column"]) & set(others["column"])


def test_statements_speak_to_a_person(crosswalk: Crosswalk) -> None:
    said = crosswalk.concepts.filter(pl.col("column").is_not_null() & (pl.col("domain") != "design"))
    assert said.filter(~pl.col("statement").str.contains(r"^Your? ")).is_empty()
    assert said.filter(pl.col("statement").str.count_matches(r"\{answer\}") != 1).is_empty()
    assert said.filter(~pl.col("question").str.contains(r"[?.:]$")).is_empty()


def test_options_of_an_ordinal_scale_have_places_in_order(crosswalk: Crosswalk) -> None:
    scored = crosswalk.options.filter(pl.col("score").is_not_null())
    assert scored["score"].is_between(0, 1).all()
    # One value has one place, whatever the code.
    assert scored.group_by("column", "value").agg(pl.col("score").n_unique()).filter(pl.col("score") > 1).is_empty()


def test_codes_said_alike_stand_at_one_position(crosswalk: Crosswalk) -> None:
    places = crosswalk.options.group_by("column", "codebook", "text").agg(pl.col("position").n_unique())
    assert places.filter(pl.col("position") > 1).is_empty()


def test_scales_say_their_poles(crosswalk: Crosswalk) -> None:
    text = crosswalk.options.filter(column="justifiable_abortion", codebook="wvs7", code="7")["text"].item()
    assert text == "7 on a scale from 1 (never justifiable) to 10 (always justifiable)"


def test_every_question_of_wvs_7_has_a_concept(crosswalk: Crosswalk) -> None:
    # The official tables print them all. What has none: lists of a country (parties, degrees, religions in detail) and
    # regional organizations one by one, which Q82 holds together.
    asked = {v for v in json.loads(present(WVS_CODEBOOK).read_text(encoding="utf-8")) if re.match(r"Q\d", v)}
    lacking = asked - {v for r in crosswalk.rules["wvs7"] for v in r.variables}
    assert {v for v in lacking if re.fullmatch(r"Q\d+R?|Q\d+_3", v)} == set()
    assert len(lacking) <= 24, sorted(lacking)
