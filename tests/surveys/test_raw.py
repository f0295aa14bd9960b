"""A raw wave is the whole file, once: every column, kinds of missing answers, keys, weights, an immutable snapshot."""

import json
import struct

import numpy as np
import polars as pl
import pyreadstat
import pytest

from mpta_pipeline import surveys
from mpta_pipeline.core.errors import PolicyError, SurveyFileError
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.core.tables import VARIABLES, WAVES
from mpta_pipeline.surveys import opening, readers, readstat
from tests.factories import survey_files as make
from tests.shared_data import real

WVS, EVS = make.wvs_people(per_country=20), make.evs_people(per_country=20)


def _ingest(file, path, wave, layout, registry):
    return surveys.ingest(make.write(file, path), wave, layout, registry)


@pytest.mark.parametrize("suffix", [".sav", ".dta", ".csv"])
@pytest.mark.parametrize("codebook", ["wvs7", "wvs_ts", "joint", "evs2017"])
def test_answers_and_kinds_of_missing_answers_are_what_was_said(codebook, suffix, tmp_path, layout, registry):
    """In each producer's codes and each format: what people answered in, the same out. Zero is a value."""
    file = {
        "wvs7": make.wvs7(WVS),
        "wvs_ts": make.wvs_ts(WVS),
        "joint": make.joint(WVS, EVS),
        "evs2017": make.evs2017(EVS),
    }[codebook]
    path = make.write(file, tmp_path / f"x{suffix}")
    raw = surveys.ingest(path, surveys.recognize(path, registry).waves[0], layout, registry)
    said = {"wvs7": [WVS], "wvs_ts": [WVS], "joint": [EVS, WVS], "evs2017": [EVS]}[codebook]
    compared = 0
    for name, item in make.ITEMS.items():
        if codebook not in item.forms or (codebook == "joint" and name == "income_scale"):
            continue
        form = item.forms[codebook]
        native = [str(c) for c in form.values]
        for gap in form.absent:
            native.insert(gap, form.absent_as)
        found = surveys.cells(raw, form.variable)
        for cell, answer in zip(found.iter_rows(named=True), [a for p in said for a in p.answers[name]], strict=True):
            expected = answer if isinstance(answer, str) else native[answer]
            assert expected == (cell["missing"] or cell["code"]), (form.variable, cell, answer)
            compared += 1
    assert compared > 1500


def test_minus_five_differs_by_part_of_the_joint(tmp_path, layout, registry):
    """Section 1.4: multiple answers by mail in the EVS part, data not available in the WVS part."""
    raw = _ingest(make.joint(WVS, EVS), tmp_path / "x.sav", "joint-2017", layout, registry)
    found = surveys.cells(raw, "A009").with_columns(study=raw.data(["study"])["study"])
    kinds = found.filter(pl.col("code") == "-5").group_by("study").agg(pl.col("missing").unique()).sort("study")
    assert kinds.rows() == [(1, ["invalid"]), (2, ["not_available_release"])]


def test_matrix_design_and_mail_codes_of_evs(tmp_path, layout, registry):
    raw = _ingest(make.evs2017(EVS), tmp_path / "x.sav", "evs-5", layout, registry)
    kinds = dict(surveys.cells(raw, "v8").drop_nulls("missing").select("code", "missing").unique().iter_rows())
    assert kinds == {"-9": "not_asked", "-10": "invalid"}


def test_off_the_ballot_is_not_asked_and_filtered_is_not_applicable(tmp_path, layout, registry):
    """GSS writes .i for both: the ballot and the form tell which."""
    raw = _ingest(make.gss(), tmp_path / "x.dta", "gss-2018", layout, registry)
    design = raw.data(["ballot", "form"])
    for variable, off in (
        ("abany", design["ballot"] == 2),
        ("natspac", design["form"] == 2),
        ("natspacy", design["form"] == 1),
    ):
        found = surveys.cells(raw, variable)["missing"]
        assert found.filter(off).unique().to_list() == ["not_asked"]
        assert found.filter(~off).null_count() == (~off).sum()
    assert set(surveys.cells(raw, "divorce")["missing"].drop_nulls()) == {"not_applicable"}
    kinds = {
        v: surveys.cells(raw, v)["missing"].drop_nulls().unique().to_list()
        for v in ("age", "polviews", "happy", "class", "rincom16")
    }
    assert kinds == {
        "age": ["refused_or_no_answer"],
        "polviews": ["dont_know"],
        "happy": ["skipped_web"],
        "class": ["not_available_release"],
        "rincom16": ["dont_know"],
    }


def test_counts_of_norcs_2018_file(layout, registry):
    """Printed by NORC (marginals.csv): happy 701/336 of 2,344, trust 492 of 1,556 can trust, homosex 846 of 1,495."""
    raw = surveys.ingest(real("gss/GSS2018.dta"), "gss-2018", layout, registry)
    for variable, code, count, base in (
        ("happy", "1", 701, 2344),
        ("happy", "3", 336, 2344),
        ("trust", "1", 492, 1556),
        ("homosex", "4", 846, 1495),
    ):
        answers = surveys.cells(raw, variable).filter(pl.col("missing").is_null())["code"]
        assert ((answers == code).sum(), len(answers)) == (count, base), variable
    assert raw.data().width == 1065
    assert surveys.cells(raw, "abany").filter(pl.col("missing") == "not_asked").height == 774  # ballot 2
    assert raw.release["weight_name"] == "wtssall"  # and not `weight`, which is the body's


def test_the_waves_row_and_the_variable_table_keep_their_schema(tmp_path, layout, registry):
    raw = _ingest(make.wvs7(WVS), tmp_path / "x.sav", "wvs-7", layout, registry)
    row = pl.DataFrame([{k: raw.release[k] for k in WAVES.schema}], schema=WAVES.schema)
    assert WAVES.conform(row).row(0, named=True)["release_id"] == raw.release_id
    described = VARIABLES.conform(raw.variables).filter(pl.col("variable") == "Q57").row(0, named=True)
    assert described["missing_codes"] == ["-5..-1"]
    assert {"code": "1", "label": "Most people can be trusted"} in described["value_labels"]
    assert raw.data().columns == make.wvs7(WVS).frame.columns


def test_nothing_is_read_again_for_the_same_content(tmp_path, layout, registry, monkeypatch):
    path = make.write(
        make.wvs_ts(WVS, waves={6: make.make_people("wvs", {840: 2011}, per_country=20)}), tmp_path / "a.sav"
    )
    first = surveys.ingest(path, "wvs-7", layout, registry)
    monkeypatch.setattr(readers, "parts", lambda *_a, **_k: pytest.fail("the file was read again"))
    again = surveys.ingest(path.rename(tmp_path / "b.sav"), "wvs-7", layout, registry)
    assert again.release == first.release
    other = surveys.ingest(tmp_path / "b.sav", "wvs-6", layout, registry)  # written in the same reading
    assert other.release["n_respondents"] == 20


def test_a_new_release_supersedes_and_both_stay(tmp_path, layout, registry):
    old = _ingest(make.wvs7(WVS, version="5-0-0 (2022-12-14)"), tmp_path / "a.sav", "wvs-7", layout, registry)
    assert list(surveys.previous_releases(layout, "wvs-7").values()) == [[]]
    new = _ingest(make.wvs7(WVS), tmp_path / "b.sav", "wvs-7", layout, registry)
    (superseded,) = surveys.previous_releases(layout, "wvs-7").values()
    assert [release for release, _ in superseded] == [old.release["sha256"][:12]]
    assert surveys.load_raw(layout, "wvs-7").release_id == new.release_id
    assert surveys.load_raw(layout, "wvs-7", old.release_id).release["version"] == "5-0-0 (2022-12-14)"
    assert surveys.respondents(old)["respondent_id"].equals(surveys.respondents(new)["respondent_id"])


def test_chunks_of_any_size_make_the_same_wave(tmp_path, registry, monkeypatch):
    """Rows 21 and on are text in one chunk and numbers in the next: the tags stand in some rows only."""
    path = make.write(make.gss([2016, 2018]), tmp_path / "x.dta")
    whole = surveys.ingest(path, "gss-2018", Layout(tmp_path / "one"), registry).data()
    monkeypatch.setattr(readers, "CHUNK_CELLS", 25 * 7)
    parts = surveys.ingest(path, "gss-2018", Layout(tmp_path / "many"), registry).data()
    assert parts.equals(whole)
    assert parts.schema == whole.schema


def test_keys(tmp_path, layout, registry):
    """The key that WVS-7 has twice stays two people; ids do not depend on the release or on the row order."""
    file = make.wvs7(WVS, duplicate=True)
    raw = _ingest(file, tmp_path / "a.sav", "wvs-7", layout, registry)
    people = surveys.respondents(raw)
    assert people["respondent_id"].n_unique() == people.height == 82
    assert people.filter("key_repeated")["native_key"].to_list() == ["858069901", "858069901#2"]
    assert "858069901" in raw.source.key.duplicates
    turned = _ingest(file.with_frame(file.frame.reverse()), tmp_path / "b.sav", "wvs-7", layout, registry)
    assert set(surveys.respondents(turned)["respondent_id"]) == set(people["respondent_id"])
    assert people["weight"].to_list() == file.frame["W_WEIGHT"].to_list()


def test_a_repeated_id_within_an_early_wave_of_the_time_series(tmp_path, layout, registry):
    early = make.make_people("wvs", {840: 1995}, per_country=20)
    raw = _ingest(make.wvs_ts(WVS, waves={3: early}), tmp_path / "a.sav", "wvs-3", layout, registry)
    people = surveys.respondents(raw)
    assert people["key_repeated"].sum() == 2
    assert people["respondent_id"].n_unique() == 20


def test_body_weight_is_no_survey_weight(tmp_path, layout, registry):
    raw = _ingest(make.gss([2018]), tmp_path / "x.dta", "gss-2018", layout, registry)
    assert raw.release["weight_name"] == "wtssps"
    file = make.gss([2018])
    without = make.write(file.with_frame(file.frame.drop("wtssps", "wtssall")), tmp_path / "y.dta")
    assert surveys.recognize(without, registry).parts["gss-2018"].weight is None


@pytest.mark.parametrize(("weight", "name"), [("heavy", "W_WEIGHT"), (-0.7, "W_WEIGHT"), (0, None), (-4, None)])
def test_a_wrong_weight_is_not_taken_for_none(weight, name, tmp_path, registry):
    """A file without weights is unweighted; one with words or negative numbers for weights is left to the checks."""
    file = make.wvs7(WVS)
    path = tmp_path / "x.csv"
    file.frame.drop("S017", strict=False).with_columns(W_WEIGHT=pl.lit(weight)).write_csv(path)
    assert surveys.recognize(path, registry).parts["wvs-7"].weight == name


def test_a_wave_of_a_pooled_file_without_keys_holds_up_no_other(tmp_path, layout, registry):
    file = make.gss([2016, 2018])
    frame = file.frame.with_columns(id=pl.when(pl.col("year").cast(pl.Int64) == 2016).then(None).otherwise("id"))
    path = tmp_path / "x.csv"
    file.with_frame(frame).frame.write_csv(path)
    with pytest.raises(SurveyFileError, match="have no key"):
        surveys.ingest(path, "gss-2016", layout, registry)
    assert not (layout.raw / "gss-2016").exists()
    assert surveys.ingest(path, "gss-2018", layout, registry).wave == "gss-2018"


def test_closed_until_acknowledged_with_why_and_how(tmp_path, layout):
    path = make.write(make.evs2017(EVS), tmp_path / "x.sav")
    with pytest.raises(
        PolicyError, match=r"GESIS.*AI systems.*sources\.evs2017\.acknowledged.*state there who gave it"
    ):
        surveys.ingest(path, "evs-5", layout, surveys.load_sources())
    assert not (layout.raw / "evs-5").exists()


def test_policy_is_the_users_and_changes_without_reading_again(tmp_path, layout, registry):
    path = make.write(make.wvs7(WVS), tmp_path / "x.sav")
    assert surveys.ingest(path, "wvs-7", layout, registry).release["data_use"] == "local_only"
    config = tmp_path / "surveys.yaml"
    config.write_text("sources: {wvs7: {data_use: any}}", encoding="utf-8")
    allowed = surveys.load_sources(config)
    assert surveys.ingest(path, "wvs-7", layout, allowed).release["data_use"] == "any"
    assert surveys.load_raw(layout, "wvs-7").release["data_use"] == "any"
    config.write_text("sources: {wvs7: {use: false}}", encoding="utf-8")
    with pytest.raises(PolicyError, match="disabled"):
        surveys.ingest(path, "wvs-7", layout, surveys.load_sources(config))


def test_a_wave_that_the_file_does_not_hold(tmp_path, layout, registry):
    path = make.write(make.wvs7(WVS), tmp_path / "x.sav")
    with pytest.raises(SurveyFileError, match=r"does not hold wave wvs-6.*wvs-7"):
        surveys.ingest(path, "wvs-6", layout, registry)


def test_a_file_that_changes_while_it_is_read_leaves_nothing(tmp_path, layout, registry, monkeypatch):
    path = make.write(make.wvs7(WVS), tmp_path / "x.csv")
    parts = readers.parts

    def growing(*args, **options):
        written = parts(*args, **options)
        with path.open("a") as file:
            file.write(path.read_text().splitlines()[-1] + "\n")
        return written

    monkeypatch.setattr(readers, "parts", growing)
    with pytest.raises(SurveyFileError, match=r"changed while it was read|declares"):
        surveys.ingest(path, "wvs-7", layout, registry)
    assert not (layout.raw / "wvs-7").exists()


def test_text_dates_and_upper_case_names(tmp_path, layout, registry):
    """Names are found without regard to case; dates stay the numbers that they are; text stays text."""
    file = make.wvs7(WVS)
    frame = file.frame.rename({"Q57": "q57"}).with_columns(
        J_INTDATE=pl.lit("2018-06-01").str.to_date(), N_TOWN=pl.lit("Köln")
    )
    pyreadstat.write_sav(frame, tmp_path / "x.sav")
    raw = surveys.ingest(tmp_path / "x.sav", "wvs-7", layout, registry)
    assert raw.resolve("Q57") == "q57"
    assert surveys.cells(raw, "Q57").height == 80
    assert surveys.cells(raw, "N_TOWN")["code"].unique().to_list() == ["Köln"]
    assert raw.data(["J_INTDATE"])["J_INTDATE"].dtype.is_numeric()


def test_a_snapshot_without_its_record_was_never_complete(tmp_path, layout, registry):
    path = make.write(make.wvs7(WVS), tmp_path / "x.sav")
    raw = surveys.ingest(path, "wvs-7", layout, registry)
    (raw.folder / "release.json").unlink()
    again = surveys.ingest(path, "wvs-7", layout, registry)
    assert json.loads((again.folder / "release.json").read_text())["n_respondents"] == 80


def test_an_id_that_is_not_available_is_no_key(tmp_path, layout, registry):
    """Time series: where S007 is -4 throughout, S006 with wave and country is the key."""
    file = make.wvs_ts(WVS)
    file = file.with_frame(file.frame.with_columns(S007=pl.lit(-4, dtype=pl.Int64)))
    raw = _ingest(file, tmp_path / "x.sav", "wvs-7", layout, registry)
    people = surveys.respondents(raw)
    assert people["native_key"][0] == "7:840:1"
    assert people["respondent_id"].n_unique() == 80


def test_tags_among_numbers_of_either_system():
    """pyreadstat gives Stata's tags in lower case and those of SAS in upper case, as letters among numbers."""
    frame = readstat._frame(
        ["a", "b", "c"],
        {"a": [1, "A", 2.5, None], "b": [1.0, 2.0, None, 3.0], "c": ["x", "", "d", "e"]},
        {"c"},
        tagged=True,
    )
    assert frame.to_dict(as_series=False) == {
        "a": ["1", ".a", "2.5", None],
        "b": [1, 2, None, 3],
        "c": ["x", None, "d", "e"],
    }


def test_a_key_with_missing_codes_is_none(tmp_path, layout, registry):
    """W4 V3 is -5 'Missing' for 300 people: their ids would depend on what they answered. S007 tells them apart."""
    file = make.wvs6(make.make_people("wvs", {840: 2011}, per_country=30))
    number = pl.int_range(file.frame.height)
    frame = file.frame.with_columns(
        V3=pl.when(number < 6).then(-5).otherwise(pl.col("V3")), S007=number.cast(pl.Int64) - 20
    )
    labels = {**file.values, "V3": {-5: "Missing"}}
    path = tmp_path / "a.sav"
    raw = _ingest(make.replace(file, frame=frame, values=labels), path, "wvs-6", layout, registry)
    people = surveys.respondents(raw)
    assert people["native_key"].to_list() == [f"840:{k - 20}" for k in range(30)]
    assert raw.release["notes"] == ["V3 is missing for 6 respondent(s) of USA: it is not used as their key"]
    assert not raw.release["unstable_keys"]
    turned = frame.with_columns(V24=3 - pl.col("V24"))
    again = _ingest(make.replace(file, frame=turned, values=labels), tmp_path / "b.sav", "wvs-6", layout, registry)
    assert surveys.respondents(again)["respondent_id"].equals(people["respondent_id"])
    without = make.replace(file, frame=frame.drop("S007"), values=labels)
    assert _ingest(without, tmp_path / "c.sav", "wvs-6", layout, registry).release["unstable_keys"]


def test_what_is_no_measurement_is_an_empty_cell():
    """Stata's missing values with their bytes in the other order, of floats and doubles, from . to .z; and NaN."""
    backwards = [
        float(np.frombuffer((0x7F000000 + 0x800 * k).to_bytes(4, "little"), dtype=">f4")[0]) for k in range(27)
    ]
    backwards += [
        float(np.frombuffer((0x7FE0 * 2**48 + k * 2**40).to_bytes(8, "little"), dtype=">f8")[0]) for k in range(27)
    ]
    payload = float(np.frombuffer(bytes.fromhex("7ff8000000000d01"), dtype=">f8")[0])
    forwards = [2.0**127 * (1 + k / 4096) for k in range(27)]
    column = pl.Series("x", [*backwards, *forwards, payload, float("nan"), -backwards[0]])
    assert column.to_frame().select(readstat.measured(pl.col("x")))["x"].null_count() == len(column)
    kept = pl.Series("x", [0.0, -0.0, 1e-30, -1e-9, 0.077, 1e30, -2.0, 1e9])
    assert kept.to_frame().select(readstat.measured(pl.col("x")))["x"].to_list() == kept.to_list()


@pytest.mark.parametrize("form", ["dta", "sav", "csv"])
def test_missing_cells_of_a_float_column_are_none_in_every_format(form, tmp_path):
    """The producer's big-endian files hold 00 00 00 7f, and so do files converted from them."""
    path = tmp_path / f"x.{form}"
    frame = pl.DataFrame({"id": [1, 2, 3, 4], "index": [0.25, 1.7796490496925177e-43, None, 1.014]})
    if form == "csv":
        frame.write_csv(path)
    else:
        getattr(pyreadstat, f"write_{form}")(frame, path)
    with opening.opened(path) as file:
        data = pl.concat(readers.chunks(readers.describe(file)))
    assert data["index"].to_list() == [0.25, None, None, 1.014]


@pytest.mark.parametrize("order", ["<", ">"])
def test_missing_floats_of_a_stata_file_in_either_byte_order(order, tmp_path):
    """A file of release 114 with the bytes 00 00 00 7f, written here byte by byte."""

    def text(value, size):
        return value.encode().ljust(size, b"\0")

    head = struct.pack(f"{order}BBBxHi", 114, 1 if order == ">" else 2, 1, 1, 3) + text("", 81) + text("", 18)
    head += bytes([254]) + text("index", 33) + bytes(4) + text("%9.0g", 49) + text("", 33) + text("", 81) + bytes(5)
    missing = b"\0\0\0\x7f" if order == ">" else b"\x7f\0\0\0"
    path = tmp_path / "x.dta"
    path.write_bytes(head + struct.pack(f"{order}f", 0.25) + missing + struct.pack(f"{order}f", 0.0))
    with opening.opened(path) as file:
        data = pl.concat(readers.chunks(readers.describe(file)))
    assert data["index"].to_list() == [0.25, None, 0.0]
