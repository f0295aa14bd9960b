"""What a new release changed: people, answers, labels, names and coverage, each told apart."""

import polars as pl
import pyreadstat

from mpta_pipeline import surveys
from tests.factories import survey_files as make
from tests.shared_data import real

WVS = make.wvs_people(per_country=20)


def _releases(new, tmp_path, layout, registry, old=None):
    path = make.write(old or make.wvs7(WVS), tmp_path / "old.sav")
    before = surveys.ingest(path, "wvs-7", layout, registry)
    after = surveys.ingest(make.write(new, tmp_path / "new.sav"), "wvs-7", layout, registry)
    return surveys.diff_releases(before, after)


def _changes(changelog):
    return {
        (r["change"], r["variable"], r["native_key"]): (r["old"], r["new"]) for r in changelog.iter_rows(named=True)
    }


def test_the_same_answers_in_another_file_change_nothing(tmp_path, layout, registry):
    new = make.wvs7(WVS)
    assert _releases(new.with_frame(new.frame.reverse()), tmp_path, layout, registry).is_empty()


def test_each_kind_of_change_is_told_apart(tmp_path, layout, registry):
    old = make.wvs7(WVS)
    # Someone answered "1" on each of these variables; that someone is changed below.
    first = {v: old.frame.filter(pl.col(v) == 1)["D_INTERVIEW"][0] for v in ("Q46", "Q57")}
    gone = old.frame["D_INTERVIEW"][-1]
    someone = old.frame.filter(pl.col("Q165") == -1)["D_INTERVIEW"][0]
    frame = old.frame.filter(pl.col("D_INTERVIEW") != gone).with_columns(
        Q46=pl.when(pl.col("D_INTERVIEW") == first["Q46"]).then(2).otherwise(pl.col("Q46")),
        Q57=pl.when(pl.col("D_INTERVIEW") == first["Q57"]).then(-5).otherwise(pl.col("Q57")),
        Q165=pl.when(pl.col("D_INTERVIEW") == someone).then(2).otherwise(pl.col("Q165")),
        Q182=pl.when(pl.col("Q182") > 0).then(11 - pl.col("Q182")).otherwise(pl.col("Q182")),
        Q69=pl.when(pl.col("Q69") == -1).then(-2).otherwise(pl.col("Q69")),
    )
    newcomer = frame.head(1).with_columns(D_INTERVIEW=pl.lit(840079999, dtype=pl.Int64))
    frame = pl.concat([frame, newcomer]).rename({"Q240": "Q240A"}).with_columns(Q999=pl.lit(1, dtype=pl.Int64))
    new = make.replace(
        old,
        frame=frame,
        labels={
            **old.labels,
            "Q1": "Important in life: Friends",
            "Q45": "FUTURE changes: greater respect for authority",
        },
        values={**old.values, "Q28": {**old.values["Q28"], 1: "Disagree strongly"}},
        declared=tuple("Q240A" if v == "Q240" else v for v in old.declared),
    )
    found = _changes(_releases(new, tmp_path, layout, registry))
    assert found["removed", "", str(gone)] == (None, None)
    assert found["added", "", "840079999"] == (None, None)
    assert found["changed", "Q46", str(first["Q46"])] == ("1", "2")
    assert found["blanked", "Q57", str(first["Q57"])] == ("1", "not_available_release")
    assert found["filled", "Q165", str(someone)] == ("dont_know", "2")
    assert found["recoded", "Q182", ""][0].startswith("1, 10, 2")  # a flipped scale is one row, not one a respondent
    assert {c for (c, v, _) in found if v == "Q69"} == {"changed"}  # the answer stays missing, its reason changed
    assert found["renamed", "Q240A", ""] == ("Q240", "Q240A")
    assert found["coverage", "Q999", ""] == (None, "80")
    assert found["label", "Q1", ""] == ("Important in life: Family", "Important in life: Friends")
    assert found["label", "Q28", ""] == ("1=Agree strongly", "1=Disagree strongly")
    assert not any(v == "Q45" for (_, v, _) in found)  # upper case is no change of a label


def test_norcs_first_and_second_release_of_2010(layout, registry):
    """Known of these files: the same 2,044 people, two variables renamed, 59 shared variables with changed values.

    The letters of the tagged missings are other ones in the second release for every variable: that is no change.
    """
    r1 = surveys.ingest(real("gss_rerelease/GSS2010_r1.dta"), "gss-2010", layout, registry)
    r2 = surveys.ingest(real("gss_rerelease/GSS2010_r2.dta"), "gss-2010", layout, registry)
    log = surveys.diff_releases(r1, r2)
    assert log.filter(pl.col("change").is_in(["added", "removed"])).is_empty()
    renamed = log.filter(pl.col("change") == "renamed").select("old", "new")
    assert sorted(renamed.rows()) == [("letin1", "letin1a"), ("supervis", "suprvsjb")]
    changed = set(log.filter(pl.col("change").is_in(["changed", "blanked", "filled", "recoded"]))["variable"])
    # Counted elsewhere: as pyreadstat gives the two files without their tags, 59 variables differ.
    plain = [
        pl.DataFrame(
            {k.lower(): v for k, v in pyreadstat.read_dta(path, output_format="dict")[0].items()}, strict=False
        )
        for path in (real("gss_rerelease/GSS2010_r1.dta"), real("gss_rerelease/GSS2010_r2.dta"))
    ]
    one, two = (f.with_columns(pl.selectors.float().fill_nan(None)).sort("id") for f in plain)
    differ = {c for c in set(one.columns) & set(two.columns) if not one[c].equals(two[c].cast(one[c].dtype))}
    assert len(differ) == 59
    # Two of them went from code 9, which the label called no answer, to .n: nobody's answer changed.
    assert differ - changed == {"mode", "scinews3"}
    assert set(surveys.respondents(r1)["respondent_id"]) == set(surveys.respondents(r2)["respondent_id"])


def test_numbers_of_another_format_are_the_same_numbers(tmp_path, layout, registry):
    """.077 of an SPSS file is .07699999958 in a Stata file, whose floats have four bytes."""
    file = make.wvs7(WVS)
    index = pl.Series("Y012", [(k % 90) / 90 * 1.014 for k in range(file.frame.height)])
    exact = file.with_frame(file.frame.with_columns(index))
    single = file.with_frame(file.frame.with_columns(index.cast(pl.Float32).cast(pl.Float64)))
    assert _releases(single, tmp_path, layout, registry, old=exact).is_empty()
    off = file.with_frame(file.frame.with_columns(index + 0.001))
    changed = _releases(off, tmp_path, layout, registry, old=exact)
    assert set(changed["variable"]) == {"Y012"}
