"""Protects the recipe "Add a survey source": one YAML file, in the package or in a configuration folder, is enough."""

import gzip
import json
import shutil

import polars as pl
import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli, harmonize, surveys
from mpta_pipeline.core.errors import PolicyError
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.surveys import source_registry
from tests.cli.command_line import mpta

# As in CONTRIBUTING.md, "Add a survey source".
CLUB = """
codebook: club
family: club
lineage: club
title: Club survey {wave}
producer: The Club
licence: free to use
data_use: any
recognize:
  requires: [member, gender, trusts]
  value_labels:
    trusts: {"1": "(?i)can be trusted"}
waves: {variable: [when]}
key: {variables: [[member]]}
country: {constant: SWE}
year: [when]
weights: [{variable: w}]
missing:
  codes: {"9": refused_or_no_answer}
  declared_only: false
concepts:
  sex:
    variable: gender
    equivalence: identical
    pool: true
    options:
      - {code: 1, label: man, value: male, text: male}
      - {code: 2, label: woman, value: female, text: female}
  trust_general:
    variable: trusts
    equivalence: identical
    pool: true
    options:
      - {code: 1, label: can be trusted, value: trust, text: most people can be trusted}
      - {code: 2, label: be careful, value: careful, text: one needs to be very careful in dealing with people}
"""
PEOPLE = pl.DataFrame(
    {
        "member": [1, 2, 3, 4],
        "when": [2025] * 4,
        "gender": [1, 2, 2, 1],
        "trusts": [1, 2, 9, 1],
        "w": [0.5, 1.5, 1.0, 1.0],
    }
)
LABELS = {"gender": {1: "man", 2: "woman"}, "trusts": {1: "can be trusted", 2: "be careful", 9: "no answer"}}


def write_file(folder):
    import pyreadstat

    folder.mkdir(parents=True, exist_ok=True)
    pyreadstat.write_sav(PEOPLE, folder / "club.sav", variable_value_labels=LABELS)
    return folder / "club.sav"


def configured(folder, record=CLUB, name="club.yaml", policy="{}"):
    """A configuration folder with one source of its own; returns its `surveys.yaml`."""
    (folder / "sources").mkdir(parents=True, exist_ok=True)
    (folder / "sources" / name).write_text(record, encoding="utf-8")
    (folder / "surveys.yaml").write_text(policy, encoding="utf-8")
    return folder / "surveys.yaml"


def harmonized(registry, folder):
    path = write_file(folder / "files")
    raw = surveys.ingest(path, "club-2025", Layout(folder / "data"), registry)
    crosswalk = harmonize.load_crosswalk(sources=registry)
    frame = harmonize.harmonize(raw, crosswalk)
    checks = harmonize.check_wave(frame, raw, crosswalk)
    assert not [c.name for c in checks if not c.passed and c.severity == "error"]
    return frame.sort("native_key")


def check(frame):
    assert frame["sex"].to_list() == ["male", "female", "female", "male"]
    assert frame["trust_general"].to_list() == ["trust", "careful", None, "trust"]
    assert frame["trust_general__missing"].to_list() == [None, None, "refused_or_no_answer", None]
    assert frame["weight"].to_list() == [0.5, 1.5, 1.0, 1.0]
    assert frame["survey"].unique().to_list() == ["club"]


def test_one_file_in_the_configuration_folder(tmp_path):
    registry = surveys.load_sources(configured(tmp_path / "config"))
    assert registry.set_aside == ()
    check(harmonized(registry, tmp_path))


def test_one_file_in_the_package(tmp_path, monkeypatch):
    folder = shutil.copytree(source_registry._PACKAGED, tmp_path / "package")
    (folder / "club.yaml").write_text(CLUB, encoding="utf-8")
    monkeypatch.setattr(source_registry, "_PACKAGED", folder)
    source_registry.packaged_sources.cache_clear()
    try:
        (tmp_path / "surveys.yaml").write_text("{}")
        check(harmonized(surveys.load_sources(tmp_path / "surveys.yaml"), tmp_path))
    finally:
        source_registry.packaged_sources.cache_clear()


def test_a_record_that_replaces_a_packaged_one_is_used_and_named(tmp_path):
    packaged = surveys.packaged_sources()["gss"]
    text = (source_registry._PACKAGED / "gss.yaml").read_text(encoding="utf-8")
    changed = text.replace("data_use: any", "data_use: local_only")
    registry = surveys.load_sources(configured(tmp_path, changed, "gss.yaml"))
    assert (packaged.data_use, registry["gss"].data_use) == ("any", "local_only")
    assert registry.replaced == {"gss"}
    assert registry.own["gss"].file == tmp_path / "sources" / "gss.yaml"
    assert registry.record_version("gss") != surveys.packaged_sources().record_version("gss")


def test_a_broken_replacement_closes_its_source_and_stops_no_other(tmp_path):
    """The packaged record may allow what the broken one forbids."""
    registry = surveys.load_sources(configured(tmp_path, "codebook: gss\ndata_use: [", "gss.yaml"))
    refusal = registry.closed(registry["gss"])
    assert isinstance(refusal, PolicyError)
    assert "gss.yaml" in str(refusal)
    assert registry.permitted["gss"] == "local_only"
    assert registry.closed(registry["gss_extract"]) is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("    pool: true\n    options:\n      - {code: 1, label: man", "    poool: true\n    options:\n      - {code: 1, label: man", "concepts.sex.poool"),  # noqa: E501
        ("  sex:\n", "  sexx:\n", "concept that does not exist.*concepts.sexx.*sex"),
        ("value: male, text", "value: man, text", "not among the categories"),
    ],
)  # fmt: skip
def test_a_broken_row_is_set_aside_and_the_other_rows_count(tmp_path, old, new, says):
    assert old in CLUB
    registry = surveys.load_sources(configured(tmp_path / "config", CLUB.replace(old, new)))
    crosswalk = harmonize.load_crosswalk(sources=registry)
    (aside,) = crosswalk.set_aside
    assert aside.name == "sources/club.yaml"
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(str(aside))
    assert {rule.column for rule in crosswalk.rules["club"]} == {"trust_general"}


def test_a_deployment_reads_keeps_and_tells(tmp_path, world):
    """What was last read of a record that breaks stays in use, so that a slip of the keyboard changes no table."""
    configured(world.config, policy="sources: {gss_extract: {data_use: any}, club: {use: true}}")
    write_file(world.surveys)
    before = Deployment.from_env()
    assert "club-2025" in before.look().waves
    versions = [before.wave_version("club-2025"), before.harmonizing_version(before.wave_file("club-2025"))]
    configured(world.config, CLUB.replace("year: [when]", "year: [when"), policy="sources: {club: {use: true}}")
    now = Deployment.from_env()
    catalogue = now.look()
    assert {"club-2025", "gss_extract-2016", "gss_extract-2018"} <= set(catalogue.waves)
    assert "not YAML: line" in catalogue.problems["sources/club.yaml"]
    assert "Its last usable version stays in use" in catalogue.problems["sources/club.yaml"]
    assert [now.wave_version("club-2025"), now.harmonizing_version(now.wave_file("club-2025"))] == versions
    (world.config / "sources" / "club.yaml").unlink()
    (world.config / "surveys.yaml").write_text("{}")
    gone = Deployment.from_env()
    assert "club-2025" not in gone.look().waves or "club" not in gone.sources
    assert not list((gone.layout.records / "sources").glob("*.yaml"))


def test_an_edited_record_reads_its_file_again(tmp_path):
    """A release is read once, but by its source's record of today."""
    first = surveys.load_sources(configured(tmp_path / "config"))
    layout, path = Layout(tmp_path / "data"), write_file(tmp_path / "files")
    raw = surveys.ingest(path, "club-2025", layout, first)
    assert raw.release["weight_name"] == "w"
    stamp = (raw.folder / "data.parquet").stat().st_mtime_ns
    again = surveys.ingest(path, "club-2025", layout, first)
    assert (again.folder / "data.parquet").stat().st_mtime_ns == stamp, "not read again"
    second = surveys.load_sources(configured(tmp_path / "config", CLUB.replace("weights: [{variable: w}]\n", "")))
    assert surveys.ingest(path, "club-2025", layout, second).release["weight_name"] is None
    assert json.loads((raw.folder / "release.json").read_text())["record"] == second.record_version("club")


def test_records_and_what_is_set_aside_are_shown_where_a_person_looks(world):
    configured(world.config)
    configured(world.config, "codebook: [", "broken.yaml", policy="sources: {gss_extract: {data_use: any}}")
    (world.config / "concepts").mkdir()
    (world.config / "concepts" / "odd.yaml").write_text("concept: odd")
    shown = {}
    for command in ("surveys", "doctor"):
        done = mpta(world, command)
        shown[command] = done.stdout + done.stderr
    for text in shown.values():
        said = " ".join(text.split())
        assert "sources/broken.yaml" in said
        assert "not YAML: line" in said
        assert "concepts/odd.yaml" in said
    assert "own source club" in shown["surveys"]
    assert "gss_extract" in shown["surveys"], "the others are listed"


def test_a_description_knows_the_deployments_own_sources(world, tmp_path):
    configured(world.config, policy="sources: {gss_extract: {data_use: any}}")
    target = tmp_path / "club.json.gz"
    done = CliRunner().invoke(cli.app, ["describe", str(write_file(tmp_path)), str(target)])
    assert done.exit_code == 0, done.output
    described = json.loads(gzip.decompress(target.read_bytes()))
    states = {v["name"]: v["crosswalk"]["club-2025"] for v in described["variables"]}
    assert states["gender"] == {"state": "matched", "columns": ["sex"]}
    assert states["member"] == {"state": "identity"}
