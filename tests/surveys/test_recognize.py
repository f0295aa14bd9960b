"""A file is what is in it: every producer's structure in every format, under names that say nothing."""

from pathlib import Path

import polars as pl
import pyreadstat
import pytest

from mpta_pipeline import harmonize, surveys
from mpta_pipeline.core.errors import SurveyFileError
from mpta_pipeline.surveys import opening, readers
from tests.factories import survey_files as make
from tests.shared_data import real

WVS, EVS = make.wvs_people(per_country=20), make.evs_people(per_country=20)
EARLIER = {
    3: make.make_people("wvs", {840: 1995}, per_country=20),
    6: make.make_people("wvs", {840: 2011}, per_country=20),
}
FILES = {
    "wvs7": (make.wvs7(WVS), ["wvs-7"], "W_WEIGHT"),
    "wvs_ts": (make.wvs_ts(WVS, waves=EARLIER), ["wvs-3", "wvs-6", "wvs-7"], "S017"),
    "wvs_w6": (make.wvs6(EARLIER[6]), ["wvs-6"], "V258"),
    "joint": (make.joint(WVS, EVS), ["joint-2017"], "gwght"),
    "evs2017": (make.evs2017(EVS), ["evs-5"], "gweight"),
    "evs_trend": (
        make.evs_trend({4: make.make_people("evs", {276: 2008}, per_country=20), 5: EVS}),
        ["evs-4", "evs-5"],
        "S017",
    ),
    "gss": (make.gss([2016, 2018, 2021]), ["gss-2016", "gss-2018", "gss-2021"], "wtssps"),
}


@pytest.mark.parametrize("suffix", [".sav", ".zsav", ".dta", ".csv", ".sav.zip", ".dta.zip"])
@pytest.mark.parametrize("codebook", FILES)
def test_by_content_in_every_format(codebook, suffix, registry, tmp_path):
    if codebook == "gss" and "sav" in suffix:
        pytest.skip("the synthetic GSS is made with Stata's tags")
    file, waves, weight = FILES[codebook]
    found = surveys.recognize(make.write(file, tmp_path / f"download (3){suffix}"), registry)
    assert (found.codebook, list(found.waves)) == (codebook, waves)
    assert {p.weight for p in found.parts.values()} == {weight}
    assert sum(p.rows for p in found.parts.values()) == file.frame.height


def test_version_doi_countries_and_years_are_read_from_the_rows(registry, tmp_path):
    found = surveys.recognize(make.write(FILES["wvs7"][0], tmp_path / "x.sav"), registry)
    assert (found.version, found.doi) == ("6-0-0 (2024-04-30)", "doi.org/10.14281/18241.24")
    part = found.parts["wvs-7"]
    assert part.countries == ("DEU", "GBR", "MEX", "USA")  # 909, Northern Ireland, is no code of ISO 3166-1
    assert part.years == (2017, 2018, 2022)


@pytest.mark.parametrize(
    ("semicolon", "encoding"), [(True, "utf-8"), (False, "utf-8-sig"), (True, "cp1252"), (False, "utf-16")]
)
def test_csv_delimiters_and_encodings(registry, tmp_path, layout, semicolon, encoding):
    file = make.wvs7(WVS)
    file = file.with_frame(file.frame.with_columns(N_TOWN=pl.lit("Köln, Nord")))
    path = make.write(file, tmp_path / "x.csv", semicolon=semicolon, encoding=encoding)
    raw = surveys.ingest(path, "wvs-7", layout, registry)
    assert raw.data(["N_TOWN"])["N_TOWN"].unique().to_list() == ["Köln, Nord"]
    assert bool(raw.release["notes"]) == (encoding in ("cp1252", "utf-16"))


@pytest.mark.parametrize(
    ("label", "encoding", "note"),
    [
        # A format that declares none is taken for cp1252, which has no 9d; the last encoding has every byte.
        ("Ești mulțumit”", "utf-8", "read as utf-8"),
        ("Sehr gl\x9dcklich", "iso-8859-1", "read as iso-8859-1"),
        ("Très heureux", "cp1252", None),
    ],
)
def test_label_encodings_that_a_stata_file_does_not_declare(registry, tmp_path, label, encoding, note):
    file, path = make.wvs7(WVS), tmp_path / "x.dta"
    marked = "~" * len(label.encode(encoding))
    pyreadstat.write_dta(file.frame, path, version=10, variable_value_labels={"Q46": {1: marked}})
    path.write_bytes(path.read_bytes().replace(marked.encode(), label.encode(encoding)))
    with opening.opened(path) as opened:
        info = readers.describe(opened)
    said = [v.value_labels["1"] for v in info.variables if v.name == "Q46"]
    assert said == [label.replace("\x9d", " ")]
    assert [note in n for n in info.notes] == ([True] if note else [])


def test_an_encoding_that_a_file_declares_wrongly_is_told_and_not_fatal(registry, tmp_path):
    file, path = make.wvs7(WVS), tmp_path / "x.sav"
    make.write(file.with_frame(file.frame.with_columns(N_TOWN=pl.lit("Zürich"))), path)
    content = path.read_bytes()
    assert content.count(b"UTF-8") == 1
    for declared in (b"ASCII", b"UTF-8"):
        broken = content if declared != b"UTF-8" else content.replace("Zürich".encode(), b"Z\xfcrich ")
        path.write_bytes(broken.replace(b"UTF-8", declared))
        with opening.opened(path) as opened:
            (town,) = pl.concat(readers.chunks(readers.describe(opened), ["N_TOWN"]))["N_TOWN"].unique()
        assert town == "Zürich"


def test_labels_in_the_header_and_na_texts_of_a_csv(registry, tmp_path, layout):
    """NA is an empty cell among numbers and Namibia among texts; 007 is a name."""
    frame = make.wvs7(WVS).frame
    odd = frame.with_columns(
        pl.col("Q57").cast(pl.String).replace("-1", "NA"),
        C_COW_ALPHA=pl.when(pl.col("B_COUNTRY") == 840).then(pl.lit("US")).otherwise(pl.lit("NA")),
        I_PSU=pl.lit("007"),
    ).rename({"Q57": "Q57: Most people can be trusted"})
    path = tmp_path / "x.csv"
    odd.write_csv(path)
    raw = surveys.ingest(path, "wvs-7", layout, registry)
    assert raw.label("Q57") == "Most people can be trusted"
    assert surveys.cells(raw, "Q57").filter(pl.col("code").is_null()).height == frame.filter(pl.col("Q57") == -1).height
    assert set(raw.data(["C_COW_ALPHA", "I_PSU"]).rows()) == {("NA", "007"), ("US", "007")}


@pytest.mark.parametrize("suffix", [".sav", ".dta", ".csv"])
def test_inverted_scales_are_refused_with_the_remedy(registry, tmp_path, suffix):
    """Trap 18: the same file with reversed codes would turn every answer around."""
    path = make.write(make.wvs7_inverted(WVS), tmp_path / f"wvs{suffix}")
    with pytest.raises(SurveyFileError, match=r"inverted scales.*Q1P.*download the regular file"):
        surveys.recognize(path, registry)


def test_inverted_copies_beside_the_regular_variables_do_no_harm(registry, tmp_path):
    file = make.wvs7(WVS)
    both = file.with_frame(file.frame.with_columns(pl.col("Q1", "Q46", "Q57", "Q69").name.suffix("P")))
    assert surveys.recognize(make.write(both, tmp_path / "x.sav"), registry).codebook == "wvs7"


def test_a_file_of_two_sources_is_refused(registry, tmp_path):
    """The integrated values survey is a merge by users: EVS and WVS rows in one file are neither."""
    ts, trend = FILES["wvs_ts"][0], FILES["evs_trend"][0]
    merged = pl.concat([ts.frame, trend.frame.with_columns(S002VS=pl.lit(5))], how="diagonal_relaxed")
    with pytest.raises(
        SurveyFileError, match=r"matches no known survey.*not (wvs_ts: S002EVS has code|evs_trend: S001 has code 2)"
    ):
        surveys.recognize(make.write(ts.with_frame(merged), tmp_path / "ivs.csv"), registry)


def test_a_wave_file_without_labels_and_its_wave_is_known_by_its_year(registry, tmp_path):
    """The waves share names, V214 is sex in two of them: the variable of the year is a year in one wave alone."""
    path = tmp_path / "x.csv"
    make.wvs6(EARLIER[6]).frame.drop("V1").write_csv(path)
    assert surveys.recognize(path, registry).codebook == "wvs_w6"


def test_a_file_that_fits_two_sources_is_refused(tmp_path):
    record = (
        "codebook: {0}\nfamily: {0}\nlineage: {0}\ntitle: Poll\nproducer: us\nlicence: ours\ndata_use: any\n"
        "recognize: {{requires: [member, mood]}}\nwaves: {{variable: [when]}}\nkey: {{variables: [[member]]}}\n"
        "country: {{constant: SWE}}\nyear: [when]\nmissing: none\n"
    )
    (tmp_path / "sources").mkdir()
    for name in ("club", "guild"):
        (tmp_path / "sources" / f"{name}.yaml").write_text(record.format(name), encoding="utf-8")
    path = tmp_path / "x.csv"
    pl.DataFrame({"member": [1, 2], "mood": [0, 1], "when": [2025, 2025]}).write_csv(path)
    with pytest.raises(SurveyFileError, match="matches several sources: club, guild"):
        surveys.recognize(path, surveys.load_sources(_with_sources(tmp_path)))


def test_another_wave_with_the_names_of_the_seventh_is_not_taken_for_it(registry, tmp_path):
    frame = make.wvs7(WVS).frame.with_columns(A_WAVE=pl.lit(8, dtype=pl.Int64))
    with pytest.raises(SurveyFileError, match=r"does not name a wave.*A_WAVE.*8"):
        surveys.recognize(make.write(make.wvs7(WVS).with_frame(frame), tmp_path / "x.sav"), registry)


def test_category_codes_in_factor_order_are_not_norcs(registry, tmp_path):
    """socviz's gss_lon has NORC's names and other codes."""
    found = surveys.recognize(real("gss_lon/gss_lon_2016.sav"), registry)
    assert found.codebook == "gss_lon"
    assert not found.source.crosswalk
    file = make.gss()
    turned = make.replace(file, values={**file.values, "sex": {1: "female", 2: "male"}})
    with pytest.raises(SurveyFileError, match="not gss: code 1 of sex is labelled otherwise"):
        surveys.recognize(make.write(turned, tmp_path / "x.dta"), registry)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("A_YEAR", 20180601, "not a year.*A_YEAR.*20180601"),
        ("B_COUNTRY", 9999, "not a country of ISO 3166-1.*B_COUNTRY.*9999"),
        ("A_YEAR", None, "not a year.*A_YEAR.*empty"),
    ],
)
def test_cells_that_name_no_year_or_country(registry, tmp_path, column, value, message):
    file = make.wvs7(WVS)
    frame = file.frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(value).otherwise(pl.col(column)).alias(column)
    )
    with pytest.raises(SurveyFileError, match=message):
        surveys.recognize(make.write(file.with_frame(frame), tmp_path / "x.sav"), registry)


def _with_sources(folder):
    """The configuration of a deployment whose own sources lie in `sources/` of the folder."""
    (folder / "surveys.yaml").write_text("{}", encoding="utf-8")
    return folder / "surveys.yaml"


def test_an_own_source_is_one_yaml_file(tmp_path):
    """Adding a survey changes no code."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "club.yaml").write_text(
        "codebook: club\nfamily: club\nlineage: club\ntitle: Club poll {wave}\nproducer: us\nlicence: ours\n"
        "data_use: any\nrecognize: {requires: [member, mood, when]}\nwaves: {variable: [when]}\n"
        "key: {variables: [[member]]}\ncountry: {constant: SWE}\nyear: [when]\nmissing: none\n",
        encoding="utf-8",
    )
    path = tmp_path / "poll.csv"
    pl.DataFrame({"member": [1, 2], "mood": [0, 1], "when": [2025, 2025]}).write_csv(path)
    found = surveys.recognize(path, surveys.load_sources(_with_sources(tmp_path)))
    assert (found.waves, found.title) == (("club-2025",), "Club poll 2025")


def test_real_files(registry):
    expected = {
        "gss/GSS2016.dta": ("gss-2016", 2867, "wtssall"),
        "gss/GSS2018.dta": ("gss-2018", 2348, "wtssall"),
        "gss/GSS2021.dta": ("gss-2021", 4032, "wtssps"),
        "gss/GSS2024.dta": ("gss-2024", 3309, "wtssps"),
        "gss_rerelease/GSS2010_r1.dta": ("gss-2010", 2044, "wtssall"),
        "gss_rerelease/GSS2010_r2.dta": ("gss-2010", 2044, "wtssall"),
    }
    for name, (wave, rows, weight) in expected.items():
        part = surveys.recognize(real(name), registry).parts[wave]
        assert (part.rows, part.weight, part.countries) == (rows, weight, ("USA",)), name
    assert "read as cp1252" in surveys.recognize(real("gss/GSS2021.dta"), registry).notes[0]


def test_nothing_is_taken_from_the_name(registry, tmp_path):
    path = tmp_path / "GSS2018.csv"
    pl.DataFrame({"a": [1], "b": [2]}).write_csv(path)
    with pytest.raises(SurveyFileError, match="none of the variables that identify one"):
        surveys.recognize(Path(path), registry)


def test_a_time_series_that_carries_the_waves_of_the_evs_too_is_known_by_its_study(tmp_path, registry):
    """Releases differ in which columns of the common dictionary they keep: S001 says that all are WVS."""
    ts = make.wvs_ts(WVS)
    more = ts.with_frame(ts.frame.with_columns(S001=pl.lit(2), S002EVS=pl.lit(-4)))
    assert surveys.recognize(make.write(more, tmp_path / "ts.csv"), registry).codebook == "wvs_ts"


def _first_years(year: int) -> pl.DataFrame:
    """A GSS file of an early year, as NORC publishes it: few variables; ballots begin in 1988, strata in 1975."""
    n = 60
    codes = {
        "wrkstat": 8, "marital": 5, "sex": 2, "race": 3, "degree": 4, "relig": 5, "happy": 3, "health": 4, "cappun": 2,
        "attend": 8, "class_": 4, "region": 9, "satfin": 3,
    }  # fmt: skip
    frame = pl.DataFrame(
        {
            "year": [year] * n,
            "id_": list(range(1, n + 1)),
            "age": [18 + k for k in range(n)],
            "educ": [k % 21 for k in range(n)],
            "hompop": [1 + k % 16 for k in range(n)],  # one household of 16
            "formwt": [1.0] * n,
            "sample": [1] * n,
            **{name: [1 + (k * 7 + len(name)) % top for k in range(n)] for name, top in codes.items()},
        }
    )
    if year >= 1975:
        frame = frame.with_columns(
            wtssall=pl.lit(1.1), vstrat=1400 + pl.int_range(n) // 10, vpsu=1 + pl.int_range(n) % 2
        )
    return frame if year < 1988 else frame.with_columns(ballot=1 + pl.int_range(n) % 3, version=1 + pl.int_range(n) % 6)


GSS_YEARS = [
    1972, 1973, 1974, 1975, 1976, 1977, 1978, 1980, 1982, 1983, 1984, 1985, 1986, 1987, 1988, 1989, 1990, 1991, 1993,
    1994, 1996, 1998, 2000, 2002, 2004, 2006, 2008, 2010, 2012, 2014, 2016, 2018, 2021, 2022, 2024,
]  # fmt: skip


@pytest.mark.parametrize("year", GSS_YEARS)
def test_every_year_of_the_gss_gets_in(year, registry, layout, tmp_path):
    path = tmp_path / "x.dta"
    labels = {
        "sex": {1: "male", 2: "female"},
        "race": {1: "white", 2: "black", 3: "other"},
        "happy": {1: "very happy", 2: "pretty happy", 3: "not too happy"},
        "cappun": {1: "favor", 2: "oppose"},
    }
    pyreadstat.write_dta(
        _first_years(year).rename({"class_": "class"}),
        path,
        column_labels={"year": "gss year for this respondent"},
        variable_value_labels=labels,
    )
    found = surveys.recognize(path, registry)
    assert (found.codebook, list(found.waves)) == ("gss", [f"gss-{year}"])
    raw = surveys.ingest(path, f"gss-{year}", layout, registry)
    assert raw.release["weight_name"] == ("wtssall" if year >= 1975 else None)
    frame = harmonize.harmonize(raw, harmonize.load_crosswalk())
    assert frame.height == 60
    assert frame["happiness_3"].null_count() == 0 if "happiness_3" in frame.columns else True
    checks = harmonize.check_wave(frame, raw, harmonize.load_crosswalk())
    assert [c.name for c in checks if not c.passed and c.severity == "error"] == []


@pytest.mark.parametrize(
    ("drop", "used"),
    [
        (["B_COUNTRY"], "B_COUNTRY_ALPHA"),
        (["A_WAVE"], None),
        (["A_YEAR"], None),
        (["Q260", "Q262"], None),
        (["W_WEIGHT"], None),
    ],
)
def test_a_part_of_the_file_of_wave_seven_is_known_too(drop, used, registry, tmp_path):
    """Files of single countries have no A_WAVE; a file that somebody left columns out of is still of its wave."""
    file = make.wvs7(WVS)
    frame = file.frame.drop([d for d in drop if d in file.frame.columns]).with_columns(J_INTDATE=pl.lit(20180312))
    for rename in (str, str.lower):
        path = tmp_path / "x.csv"
        frame.rename(rename).write_csv(path)
        found = surveys.recognize(path, registry)
        assert list(found.waves) == ["wvs-7"]
        assert found.parts["wvs-7"].countries == ("DEU", "GBR", "MEX", "USA") if used is None else True


def test_the_wave_of_a_date_that_ends_like_a_year(registry, tmp_path):
    """202012 is December 2020, not a survey of 2012; 8402006 is the USA in 2006."""
    frame = make.wvs7(WVS).frame.drop("A_YEAR").with_columns(FW_END=pl.lit(202012))
    path = tmp_path / "x.csv"
    frame.drop("J_INTDATE", strict=False).write_csv(path)
    assert surveys.recognize(path, registry).parts["wvs-7"].years == (2020,)


def test_codes_of_the_correlates_of_war_are_read_as_such(registry, tmp_path):
    """Their AUS is Austria, AUL Australia: 305 and 900."""
    frame = make.wvs7(WVS).frame.drop("B_COUNTRY", "B_COUNTRY_ALPHA")
    for name, codes in (("C_COW_ALPHA", ["AUS", "AUL"]), ("C_COW_NUM", [305, 900])):
        column = pl.Series(name, [codes[k % 2] for k in range(frame.height)])
        path = tmp_path / "x.csv"
        frame.drop("C_COW_ALPHA", "C_COW_NUM", strict=False).with_columns(column).write_csv(path)
        assert surveys.recognize(path, registry).parts["wvs-7"].countries == ("AUS", "AUT")


def test_a_time_series_whose_first_waves_were_surveys_of_both_studies(registry, tmp_path):
    """The USA in waves 1 and 2 have S001 = 1; rows of the EVS beyond them make it another file."""
    ts = make.wvs_ts(WVS, waves={1: make.make_people("wvs", {840: 1982}, per_country=20)})
    early = pl.col("S002VS") == 1
    both = ts.frame.with_columns(S001=pl.when(early).then(1).otherwise(pl.col("S001")))
    path = tmp_path / "x.csv"
    both.write_csv(path)
    assert list(surveys.recognize(path, registry).waves) == ["wvs-1", "wvs-7"]
    both.with_columns(S001=pl.lit(1)).write_csv(path)
    with pytest.raises(SurveyFileError, match=r"row\(s\) are respondents of the EVS"):
        surveys.recognize(path, registry)
    wave_from = ts.frame.with_columns(S024=pl.col("S003") * 10 + pl.col("S002VS")).drop("S002VS")
    wave_from.write_csv(path)
    assert list(surveys.recognize(path, registry).waves) == ["wvs-1", "wvs-7"]


def test_a_country_code_that_the_file_labels_as_another_country(registry, tmp_path):
    """Early releases numbered countries themselves: their 8 is Spain, ISO's is Albania."""
    file = make.wvs6(EARLIER[6])
    own = make.replace(
        file,
        frame=file.frame.with_columns(V2=pl.lit(8, dtype=pl.Int64)),
        values={**file.values, "V2": {8: "Spain"}},
    )
    with pytest.raises(SurveyFileError, match=r"labels a country code Spain, which is ALB.*V2.*8"):
        surveys.recognize(make.write(own, tmp_path / "x.sav"), registry)


EVS_WAVES = make.evs_trend({4: make.make_people("evs", {276: 2008}, per_country=20), 5: EVS})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.rename({"S002EVS": "S002VS"}), "respondents of the EVS"),
        (
            lambda f: f.rename({"S002EVS": "S002VS"}).drop("S001"),
            "wave 4 has the year 2008, the fieldwork was 1999 to 2004",
        ),
        (lambda f: f.rename({"S002EVS": "S002VS"}).with_columns(S001=pl.lit(2)), "wave 4 has the year 2008"),
        (
            lambda f: f.rename({"S002EVS": "S002VS"}).filter(pl.col("S020") > 2010).drop("S001"),
            "wave 5 has the year 20",
        ),
        (lambda f: f.drop("S002EVS"), "respondents of the EVS"),
        (lambda f: f.drop("S002EVS").filter(pl.col("S020") > 2010), "respondents of the EVS"),
        (lambda f: f.drop("S002EVS", "S001"), "wave 4 has the year 2008"),
    ],
)
def test_a_trend_file_of_the_evs_does_not_pass_as_the_series_of_the_wvs(change, said, registry, tmp_path):
    file = EVS_WAVES.with_frame(change(EVS_WAVES.frame))
    with pytest.raises(SurveyFileError, match=f"not wvs_ts: .*{said}"):
        surveys.recognize(make.write(file, tmp_path / "x.csv"), registry)


def test_the_first_waves_of_the_series_are_the_wvs_s_though_their_study_is_1(registry, tmp_path):
    """The USA of waves 1 and 2 are of both studies; a part of the series without S002VS has S002EVS below zero."""
    file = make.wvs_ts(WVS)
    second = {"S001": 1, "S002VS": 2, "S020": 1990, "S024": 8402, "S025": 8401990}
    frame = file.frame.with_columns(pl.lit(v, dtype=pl.Int64).alias(name) for name, v in second.items())
    for change in (frame, frame.drop("S002VS").with_columns(S002EVS=pl.lit(-4, dtype=pl.Int64))):
        found = surveys.recognize(make.write(file.with_frame(change), tmp_path / "x.csv"), registry)
        assert (found.codebook, found.waves) == ("wvs_ts", ("wvs-2",))


@pytest.mark.parametrize("slips", [0, 3])
def test_a_few_years_out_of_the_fieldwork_keep_no_series_out(slips, registry, tmp_path):
    file = make.wvs_ts(WVS)
    years = pl.when(pl.int_range(pl.len()) < slips).then(1999).otherwise("S020").cast(pl.Int64)
    found = surveys.recognize(
        make.write(file.with_frame(file.frame.with_columns(S020=years)), tmp_path / "x.csv"), registry
    )
    assert found.waves == ("wvs-7",)


SEXES = [
    ("Hombre", "Mujer"),
    ("Masculino", "Femenino"),
    ("Homme", "Femme"),
    ("Masculin", "Féminin"),
    ("Männlich", "Weiblich"),
]


@pytest.mark.parametrize(("man", "woman"), SEXES)
def test_a_national_file_with_labels_in_its_language(man, woman, registry, tmp_path, layout):
    """Recognized; what its labels say is understood or set aside, and its sexes are not turned round."""
    file = make.wvs7(WVS)
    path = make.write(make.replace(file, values={**file.values, "Q260": {1: man, 2: woman}}), tmp_path / "x.sav")
    found = harmonize.harmonize(surveys.ingest(path, "wvs-7", layout, registry), harmonize.load_crosswalk())
    assert set(found.select("sex__code", "sex").drop_nulls().rows()) == {("1", "male"), ("2", "female")}
    turned = make.replace(file, values={**file.values, "Q260": {1: woman, 2: man}})
    with pytest.raises(SurveyFileError, match="code 1 of Q260 is labelled otherwise"):
        surveys.recognize(make.write(turned, tmp_path / "turned.sav"), registry)
