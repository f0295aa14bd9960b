"""A file described without its respondents, as a report of a fault needs it and a test can be made from it."""

import gzip
import json

import polars as pl
import pyreadstat
import pytest

from mpta_pipeline import harmonize, surveys
from mpta_pipeline.surveys import describe_file, write_description
from tests.factories import skeletons
from tests.factories import survey_files as make

PEOPLE = make.wvs_people(per_country=40)


@pytest.mark.parametrize("suffix", [".sav", ".dta", ".csv", ".sav.zip"])
def test_nothing_in_it_is_about_a_single_respondent(suffix, tmp_path):
    file = make.wvs7(PEOPLE)
    words = [f"my own word {k % 2}" if k < 9 else "none" for k in range(file.frame.height)]
    frame = file.frame.with_columns(
        WORDS=pl.Series(words), O1_LONGITUDE=pl.int_range(file.frame.height).cast(pl.Float64) / 7 + 13.123456
    )
    path = make.write(file.with_frame(frame), tmp_path / f"x{suffix}")
    described = describe_file(path)
    by_name = {v["name"]: v for v in described["variables"]}
    assert (described["file"], described["rows"]) == (path.name, frame.height)
    assert all(n == "1-4" or n >= 5 for v in by_name.values() for n in v.get("counts", {}).values())
    assert by_name["Q57"]["counts"]["1"] == (frame["Q57"] == 1).sum()
    assert set(by_name["WORDS"]["counts"]) == {"none", "my own word 0"}  # what four people wrote is nobody's code
    longitude = by_name["O1_LONGITUDE"]
    assert (longitude["values"], longitude["min"]) == (frame.height, 13.0)  # the westernmost place is one person's
    if suffix != ".csv":
        assert by_name["Q57"]["label"] == "Most people can be trusted"


def test_it_makes_a_file_of_the_same_structure(tmp_path, registry):
    path = make.write(make.wvs7(PEOPLE), tmp_path / "x.dta")
    target = write_description(describe_file(path), tmp_path / "x.dta.json.gz")
    assert json.loads(gzip.decompress(target.read_bytes()))["rows"] == len(PEOPLE)
    again = skeletons.write(skeletons.load(str(target)), tmp_path / "again.dta", big_endian=True)
    found, first = surveys.recognize(again, registry), surveys.recognize(path, registry)
    assert (found.codebook, found.waves, found.version) == (first.codebook, first.waves, first.version)
    tags = [describe_file(p)["variables"] for p in (path, again)]
    assert [v.get("tags", {}).keys() for v in tags[0]] == [v.get("tags", {}).keys() for v in tags[1]]
    assert any("tags" in v for v in tags[0])
    labels = [pyreadstat.read_dta(p, metadataonly=True)[1].column_names_to_labels for p in (path, again)]
    assert labels[0] == labels[1]
    assert target.read_bytes() == write_description(describe_file(path), tmp_path / "y.json.gz").read_bytes()


def test_what_the_crosswalk_makes_of_each_variable_stands_beside_it(tmp_path, layout, registry):
    file = make.wvs7(PEOPLE)
    strange = make.replace(
        file,
        frame=file.frame.with_columns(Q999=pl.lit(1)),
        values={**file.values, "Q46": {1: "Purple", 2: "Green", 3: "Red", 4: "Blue"}},
    )
    raw = surveys.ingest(make.write(strange, tmp_path / "x.sav"), "wvs-7", layout, registry)
    states = harmonize.variable_states(raw, harmonize.load_crosswalk())
    assert states["Q57"]["state"] == "matched" and states["Q57"]["columns"]
    assert states["Q46"]["state"] == "set aside" and "Purple" in " ".join(states["Q46"]["why"])
    assert states["D_INTERVIEW"]["state"] == states["W_WEIGHT"]["state"] == "identity"
    assert states["Q999"] == {"state": "unknown"}


def test_how_near_a_file_is_to_each_source(tmp_path, registry):
    file = make.wvs7(PEOPLE)
    lost = [c for c in file.frame.columns if "COUNTRY" in c or "COW" in c]
    path = make.write(file.with_frame(file.frame.drop(lost)), tmp_path / "x.csv")
    first, second, *_ = surveys.explain(path, registry)
    assert first.codebook == "wvs7"
    assert first.reasons == ("lacks any of B_COUNTRY_ALPHA/B_COUNTRY/C_COW_ALPHA/C_COW_NUM",)
    assert second.share < first.share < 1
    whole = surveys.explain(make.write(file, tmp_path / "y.csv"), registry)
    assert (whole[0].codebook, whole[0].reasons) == ("wvs7", ())
