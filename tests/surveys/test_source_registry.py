"""The records of the sources hold together, and the user's configuration is checked."""

import re

import pytest

from mpta_pipeline import surveys
from mpta_pipeline.core.errors import ConfigError


def test_records_are_complete():
    registry = surveys.load_sources()
    assert {s.codebook for s in registry} >= {"gss", "wvs7", "wvs_ts", "evs2017", "evs_trend", "joint", "gss_extract"}
    for source in registry:
        assert source.licence and source.producer
        assert source.crosswalk or source.note
        assert not {w.variable for w in source.weights} & set(source.not_weights)
    assert registry["gss"].not_weights == ("weight",)


@pytest.mark.parametrize("codebook", ["evs2017", "evs_trend", "joint"])
def test_sources_with_the_archives_terms_are_closed_and_local(codebook):
    """GESIS, 04.02.2026: no processing by AI systems unless excepted; for the Joint that is an open question."""
    registry = surveys.load_sources()
    refusal = str(registry.closed(registry[codebook]))
    assert f"sources.{codebook}.acknowledged" in refusal
    assert "AI systems" in refusal
    assert registry.data_use(registry[codebook]) == "local_only"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sources: {gzz: {use: true}}", r"source that does not exist.*sources\.gzz.*use one of"),
        ("sources: {gss: {data_use: everywhere}}", r"sources\.gss\.data_use.*everywhere"),
        ("sources: {gss: {data-use: any}}", r"sources\.gss\.data-use"),
        ("directories: 3", "directories"),
        ("sources: [", "not YAML"),
    ],
)
def test_a_wrong_configuration_names_its_key(tmp_path, text, message):
    path = tmp_path / "surveys.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        surveys.load_sources(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing: nowhere", "missing convention that does not exist.*nowhere"),
        ("waves: {}", "either constant or variable"),
        ("recognize: {requires: [a], labels: {a: '('}}", "not a regular expression"),
        ("weight: wtssall", "there is no such key"),
        ("year: [b]\nyear: [c]", "the key year occurs twice"),
        ("codebook: y", "named after its codebook.*name the file y.yaml"),
        ("title: [", "not YAML: line"),
    ],
)
def test_a_wrong_record_is_set_aside_and_names_its_key(tmp_path, change, message):
    record = {
        "codebook": "codebook: x", "family": "family: x", "lineage": "lineage: x", "title": "title: x",
        "producer": "producer: x", "licence": "licence: x", "data_use": "data_use: any",
        "recognize": "recognize: {requires: [a]}", "waves": "waves: {constant: '1'}",
        "key": "key: {variables: [[a]]}", "country": "country: {constant: USA}", "year": "year: [b]",
        "missing": "missing: none",
    }  # fmt: skip
    record[change.partition(":")[0]] = change
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "x.yaml").write_text("\n".join(record.values()), encoding="utf-8")
    config = tmp_path / "surveys.yaml"
    config.write_text("sources: {x: {use: true}}")
    registry = surveys.load_sources(config)
    assert "x" not in registry
    assert "gss" in registry
    (aside,) = registry.set_aside
    assert aside.name == "sources/x.yaml"
    assert re.search(message, str(aside))
