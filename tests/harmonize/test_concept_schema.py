"""Protects the concept format: a wrong file is refused with file and key, and YAML's own surprises stay out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mpta_pipeline.core.errors import CrosswalkError
from mpta_pipeline.harmonize import Crosswalk, load_crosswalk
from mpta_pipeline.harmonize.value_labels import LabelPattern, normal_label
from mpta_pipeline.surveys import packaged_sources

GOOD = """
concept: tea
domain: value
scale: ordinal
label: liking of tea
question: How much do you like tea?
statement: You like tea {answer}.
categories: [no, yes]
sources:
  - codebook: gss
    variable: tea
    equivalence: identical
    pool: true
    options:
      - {code: 1, label: yes, value: yes, text: a lot}
      - {code: 2, label: no, value: no, text: not at all}
absent: {wvs7: not asked, wvs_ts: not asked, joint: not asked, evs2017: not asked}
"""


def load(tmp_path: Path, text: str, name: str = "tea.yaml") -> Crosswalk:
    """Compile the concepts of a folder, without rows of the packaged sources: these belong to other concepts."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    registry = packaged_sources()
    bare = {source.codebook: source.model_copy(update={"concepts": {}}) for source in registry}
    return load_crosswalk(tmp_path, sources=replace(registry, sources=bare))


def test_yes_and_no_are_words(tmp_path: Path) -> None:
    crosswalk = load(tmp_path, GOOD)
    assert crosswalk.options["value"].to_list() == ["yes", "no"]
    assert crosswalk.options["score"].to_list() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("codebook: gss\n", "codebook: gss\n    colour: red\n", "colour"),
        ("equivalence: identical", "equivalence: same", "equivalence"),
        ("categories: [no, yes]", "categories: [no, maybe]", "not among the categories"),
        ("code: 2", "code: 1", "stands twice"),
        ("{answer}", "very much", "{answer}"),
        ("question: How much do you like tea?\n", "", "question is needed"),
        ("absent: {wvs7: not asked, ", "absent: {", "no row for wvs7"),
        ("label: yes,", "label: /(yes/,", "not a regular expression"),
        ("label: yes,", "label: true,", "a label is a text"),
        ("equivalence: identical", "equivalence: not_equivalent", "cannot be pooled"),
        ("value: yes, text: a lot", "value: Yes!, text: a lot", "value"),
        ("concept: tea", "concept: coffee", "named after its concept"),
        ("sources:", "sources: [", "not YAML"),
        ("reveals", "reveals", ""),
        ("categories: [no, yes]", "categories: [no, yes]\nreveals: [tea_things]", "unknown group"),
        ("    variable: tea\n", "", "variable is needed"),
        ("absent: {", "absent: {gss: twice, ", "under sources and under absent"),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_key(tmp_path: Path, old: str, new: str, says: str) -> None:
    if not says:
        return
    with pytest.raises(CrosswalkError) as refusal:
        load(tmp_path, GOOD.replace(old, new, 1))
    assert says in str(refusal.value)
    assert "tea.yaml" in str(refusal.value)


def test_two_concepts_cannot_fill_one_column(tmp_path: Path) -> None:
    (tmp_path / "chai.yaml").write_text(
        GOOD.replace("concept: tea", "concept: chai").replace("pool: true", "column: tea"), encoding="utf-8"
    )
    with pytest.raises(CrosswalkError, match="belongs to two concepts"):
        load(tmp_path, GOOD)


def test_sources_that_are_not_pooled_share_no_column(tmp_path: Path) -> None:
    text = GOOD.replace("    pool: true\n", "")
    crosswalk = load(tmp_path, text)
    assert crosswalk.concepts["column"].drop_nulls().to_list() == ["tea_gss"]


def test_the_digest_of_a_codebook_changes_with_its_rows_only(tmp_path: Path) -> None:
    before = load(tmp_path, GOOD)
    after = load(tmp_path, GOOD.replace("text: a lot", "text: very much"))
    assert before.digest("gss") != after.digest("gss")
    assert before.digest("wvs7") == after.digest("wvs7")


@pytest.mark.parametrize(
    ("pattern", "label", "fits"),
    [
        ("very happy", "1. Very  Happy", True),
        ("very happy", "not very happy", False),
        ("/^very/", "(1) very happy", True),
        ("don't know", "Don\u2019t know.", True),
        (["no", "nope"], "NOPE", True),
        ("/(?<!dis)agree strongly/", "disagree strongly", False),
        ("10", "10", True),
        ("-1", "-1", True),
    ],
)
def test_labels_are_compared_without_the_accidents_of_a_release(pattern: object, label: str, fits: bool) -> None:
    parsed = LabelPattern.parse(pattern)
    assert isinstance(parsed, LabelPattern)
    assert parsed.accepts(label) is fits


def test_numbering_alone_is_no_numbering() -> None:
    assert normal_label("2-3 times a month") == "2-3 times a month"
    assert normal_label("3 - sometimes") == "sometimes"
