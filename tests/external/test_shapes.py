"""Protects the shapes in which others hand over answers: missing codes, commas, packed files, mappings, PSUs."""

import gzip
import json
import random
from zipfile import ZipFile

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli, external
from mpta_pipeline.core.errors import ValidationError
from mpta_pipeline.external.numeric_answers import numeric_estimates
from tests.external.test_understanding import estimate, scored, written


def likert(missing, *, n=60, models=(1, 2, 3, 4, 5), people=(1, 2, 3, 4, 5)):
    rng = random.Random(3)
    return [
        {
            "respondent_id": f"p{i}",
            "item_id": item,
            "answer": str(rng.choice(models)),
            "own_answer": str(rng.choice(list(people) * 3 + list(missing))),
        }
        for i in range(n)
        for item in ("q1", "q2")
    ]


# --- codes for no answer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [("98", "99"), ("8", "9"), ("77", "88"), ("-1", "-9"), (".", ".a", "NA"), ("999",)])
@pytest.mark.parametrize("apart", [False, True])
def test_codes_for_no_answer_are_no_steps_of_the_scale(tmp_path, missing, apart):
    rows = likert(missing)
    if apart:
        people = written(tmp_path / "people.csv", [{k: r[k] for k in r if k != "answer"} for r in rows])
        mine = [{k: r[k] for k in r if k != "own_answer"} for r in rows]
        given, results = scored(written(tmp_path / "a.csv", mine), people=people)
    else:
        given, results = scored(written(tmp_path / "a.csv", rows))
    told = [r for r in rows if r["own_answer"] not in missing]
    assert given.items["options"].to_list() == [list("12345")] * 2
    assert estimate(results) == pytest.approx(np.mean([r["answer"] == r["own_answer"] for r in told]))
    off = [abs(int(r["answer"]) - int(r["own_answer"])) / 4 for r in told]
    assert estimate(results, "mae_n") == pytest.approx(np.mean(off))
    assert sum(aside.n for aside in given.left_out) == len(rows) - len(told)
    if missing[0] != ".":
        assert any(f"q1: {missing[-1] if missing[0] == '-1' else missing[0]}" in note for note in given.notes)


@pytest.mark.parametrize(
    ("people", "models"),
    [
        ((-2, -1, 0, 1, 2), (-2, -1, 0, 1, 2)),  # both ends of a scale
        ((1, 2, 3, 4, 5, 8, 9), (1, 5, 8, 9)),  # models give these codes too
        ((1, 5, 9), (1, 5)),  # a scale with gaps of its own
        ((0, 1, 2, 3, 4, 5, 6, 7), (1, 2)),  # no gap
        ((18, 40, 66, 77), (40, 66)),  # ages
    ],
)
def test_codes_of_a_scale_stay(tmp_path, people, models):
    given, _ = scored(written(tmp_path / "a.csv", likert((), people=people, models=models)))
    assert given.items["options"].to_list() == [[str(code) for code in sorted(people)]] * 2


def test_codes_for_no_answer_are_no_numbers(tmp_path):
    rng = np.random.default_rng(1)
    rows = [
        {"respondent_id": f"p{i}", "item_id": "score", "answer": round(rng.uniform(1, 5), 2), "own_answer": own}
        for i, own in enumerate([*np.round(rng.uniform(1, 5, 40), 2), -99.0, 99.0])
    ]
    _, results = scored(written(tmp_path / "a.csv", rows))
    row = results.numeric.filter(item_id="score").row(0, named=True)
    assert row["mean_people"] == pytest.approx(np.mean([r["own_answer"] for r in rows[:40]]))
    assert row["n_people"] == 40


# --- letters and numbers without an order ---------------------------------------------------------------------------


def test_numbers_for_texts_that_nobody_put_in_order_are_refused(tmp_path):
    rows = [
        {"respondent_id": f"p{i}", "item_id": "q", "answer": i % 2, "own_answer": ("disagree", "agree")[i % 2]}
        for i in range(20)
    ]
    with pytest.raises(ValidationError, match="order in which they were shown is unknown"):
        external.load(written(tmp_path / "a.csv", rows))
    _, results = scored(written(tmp_path / "b.csv", [{**r, "options": "disagree|agree"} for r in rows]))
    assert estimate(results) == 1


@pytest.mark.parametrize("word", ["refused", "Refusal", "REFUSED.", "declined to answer", "Prefer not to say"])
@pytest.mark.parametrize("options", [("1", "2"), ("yes", "no")])
def test_a_refusal_in_a_word_is_a_refusal(tmp_path, word, options):
    rows = [
        {
            "respondent_id": f"p{i}",
            "item_id": "q",
            "answer": word if i % 4 == 0 else options[0],
            "own_answer": options[i % 2],
        }
        for i in range(20)
    ]
    _, results = scored(written(tmp_path / "a.csv", rows))
    assert estimate(results, "refusal_rate") == 0.25


# --- files ----------------------------------------------------------------------------------------------------------


def test_decimal_commas_of_a_spreadsheet_are_numbers(tmp_path):
    rows = [
        {
            "respondent_id": f"p{i}",
            "item_id": "q",
            "options": "yes|no",
            "p_A": p,
            "p_B": 1 - p,
            "own_answer": own,
            "weight": w,
        }
        for i, (p, own, w) in enumerate([(0.75, "yes", 0.5), (0.25, "yes", 1.25), (0.5, "no", 0.0), (0.125, "no", 2.0)])
    ]
    plain = written(tmp_path / "a.csv", rows)
    german = tmp_path / "b.csv"
    text = plain.read_text().replace(",", ";").replace(".", ",")
    german.write_text(text, encoding="utf-8-sig")
    (_, one), (_, two) = scored(plain), scored(german)
    for metric, weighted in (("accuracy", False), ("accuracy", True), ("brier", False)):
        assert estimate(one, metric, weighted=weighted) == estimate(two, metric, weighted=weighted)
    assert estimate(two, weighted=True) == pytest.approx((0.5 * 1 + 0 + 0 + 2.0 * 1) / 3.75)


def test_lists_with_commas_stay_in_a_file_of_semicolons(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('item_id;options;answer;key;note\nq1;"yes|no";yes;yes;1,2,3\nq2;"yes|no";no;yes;2,5\n', "utf-8")
    frame = external.read(path)
    assert frame["note"].to_list() == ["1,2,3", "2,5"]


def test_packed_tables_are_read(tmp_path):
    plain = written(tmp_path / "a.csv", likert(()))
    packed, archive = tmp_path / "a.csv.gz", tmp_path / "a.zip"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    with ZipFile(archive, "w") as made:
        made.write(plain, "folder/a.csv")
        made.writestr("__MACOSX/folder/._a.csv", "x")
        made.writestr("readme.md", "x")
    expected = estimate(scored(plain)[1])
    assert estimate(scored(packed)[1]) == estimate(scored(archive)[1]) == expected
    with ZipFile(archive, "a") as made:
        made.write(plain, "b.csv")
    with pytest.raises(ValidationError, match="contains 2 tables"):
        external.load(archive)
    packed.write_bytes(b"no gzip")
    with pytest.raises(ValidationError, match="cannot be read"):
        external.load(packed)


def test_a_line_with_too_many_fields_is_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("item_id,answer,key\nq1,yes,yes\nq2,As an AI, I cannot say.,no\n", "utf-8")
    with pytest.raises(ValidationError, match="line 3 has 4 fields and the header 3"):
        external.load(path)


# --- OpinionQA, SimBench --------------------------------------------------------------------------------------------


def test_opinionqa_answers_of_people_and_models(tmp_path):
    rows = [
        {
            "qkey": "SAFE",
            "references": ["Very", "Somewhat", "Not", "Refused"],
            "ordinal": [3, 2, 1],
            "human_resp": ("Very", "Not", "Refused", "Somewhat")[i % 4],
            "model_resp": "ABC"[i % 3],
            "respondent": f"r{i}",
        }
        for i in range(24)
    ]
    given, results = scored(written(tmp_path / "a.jsonl", rows))
    told = [r for r in rows if r["human_resp"] != "Refused"]
    right = [r["references"]["ABC".index(r["model_resp"])] == r["human_resp"] for r in told]
    assert estimate(results) == pytest.approx(np.mean(right))
    assert given.items["ordinal"].all()
    assert [aside.n for aside in given.left_out] == [6]


def test_mappings_of_shares_are_by_name_and_not_by_place(tmp_path):
    """SimBench: people's and the model's shares as mappings, each in an order of its own."""
    rows = [
        {
            "input_template": f"Question {i}? (A) yes (B) no",
            "human_answer": {"A": 0.7, "B": 0.3},
            "Response_Distribution": {"B": 0.4, "A": 0.6},
            "Model": "m",
        }
        for i in range(4)
    ]
    _, results = scored(written(tmp_path / "a.jsonl", rows))
    assert estimate(results, "tv") == pytest.approx(0.1)
    rows[0]["Response_Distribution"] = {"C": 0.4, "A": 0.6}
    with pytest.raises(ValidationError, match="belongs to no option"):
        external.load(written(tmp_path / "b.jsonl", rows))


def test_a_question_with_two_shares_of_people_is_refused(tmp_path):
    rows = [
        {"qkey": "q", "options": ["yes", "no"], "D_H": [p, 1 - p], "D_M": [0.5, 0.5], "group": g}
        for p, g in ((0.2, "f"), (0.6, "m"))
    ]
    path = written(tmp_path / "a.jsonl", rows)
    with pytest.raises(ValidationError, match="different shares of people"):
        external.load(path)
    _, results = scored(path, by=("group",))
    assert estimate(results, "tv", dimensions="group", subgroup="f") == pytest.approx(0.3)


# --- the survey's design --------------------------------------------------------------------------------------------


def gss(*, strata=10, per_unit=6):
    """Units 1 and 2 in every stratum, as the GSS numbers them; people of a unit answer alike."""
    rng = random.Random(9)
    rows = []
    for stratum in range(strata):
        for unit in (1, 2):
            own, said = "yes", rng.choice(("yes", "no"))
            rows += [
                {"yearid": f"{stratum}-{unit}-{i}", "item_id": q, "options": "yes|no", "answer": said,
                 "own_answer": own,
                 "vstrat": stratum,
                 "vpsu": unit, "sex": "fm"[i % 2]}
                for i in range(per_unit)
                for q in range(12)
            ]  # fmt: skip
    return rows


def test_sampling_units_are_those_of_their_stratum_and_widen_errors(tmp_path):
    rows = gss()
    given, clustered = scored(written(tmp_path / "a.csv", rows))
    assert given.groups["psu"].n_unique() == 20
    drop = [{k: v for k, v in r.items() if k not in ("vstrat", "vpsu")} for r in rows]
    _, alone = scored(written(tmp_path / "b.csv", drop))
    assert estimate(clustered) == estimate(alone)
    wide = estimate(clustered, column="ci_high") - estimate(clustered, column="ci_low")
    narrow = estimate(alone, column="ci_high") - estimate(alone, column="ci_low")
    assert wide > 1.3 * narrow


def test_numbers_are_clustered_by_sampling_unit():
    rng = np.random.default_rng(2)
    off = np.repeat(rng.normal(0, 1, 8), 5)
    rows = pl.DataFrame(
        {
            "item_id": "score",
            "model": "m",
            "respondent_id": [f"p{i}" for i in range(40)],
            "answer": [f"{3 + d}" for d in off],
            "own_answer": [f"{x}" for x in 3 + rng.normal(0, 0.01, 40)],
        }
    )
    groups = rows.select("respondent_id", pl.lit("none").alias("survey"), pl.lit("1").alias("stratum")).with_columns(
        psu=pl.Series([f"1/{i // 5}" for i in range(40)])
    )
    clustered = numeric_estimates(rows, None, groups, ()).filter(item_id="score").row(0, named=True)
    alone = numeric_estimates(rows, None, groups.drop("psu", "stratum"), ()).filter(item_id="score").row(0, named=True)
    d = rows["answer"].cast(pl.Float64).to_numpy() - rows["own_answer"].cast(pl.Float64).to_numpy()
    se = d.reshape(8, 5).mean(axis=1).std(ddof=1) / np.sqrt(8)
    assert (clustered["ci_high"] - clustered["difference"]) == pytest.approx(2.364624 * se, rel=1e-5)
    assert (alone["ci_high"] - alone["difference"]) == pytest.approx(2.022691 * d.std(ddof=1) / np.sqrt(40), rel=1e-5)


def test_the_command_says_nothing_of_unused_members_and_computes_nothing_of_nothing(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"item_id": f"q{i}", "options": ["yes", "no"], "p_a": 0.7, "p_b": 0.3, "key": "yes"} for i in range(3)]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    said = CliRunner().invoke(cli.app, ["score", str(path), "--look"]).output
    assert "p_a, p_b: a probability per option" in said
    assert "not used" not in said
    never = [
        {"respondent_id": f"p{i}", "item_id": "q", "answer": ("yes", "no")[i % 2], "own_answer": 1 + i % 2}
        for i in range(30)
    ]
    said = CliRunner().invoke(cli.app, ["score", str(written(tmp_path / "b.csv", never)), "--look"]).output
    assert "nothing: no answer is left" in said


def test_the_report_says_what_was_left_out_and_nothing_of_option_orders(tmp_path):
    rows = [{**r, "weight": 1.5, "wave": "1"} for r in likert(("98", "99"))]
    path, out = written(tmp_path / "a.csv", rows), tmp_path / "out"
    done = CliRunner().invoke(cli.app, ["score", str(path), "--out", str(out)])
    assert "These estimates are unweighted" in done.output
    page = (out / "report.html").read_text("utf-8")
    assert "the person gave no own answer" in page
    assert "(e.g. q1: 98, 99)" in page
    assert "in several orders" not in page
    assert "people of none" not in page


def test_models_are_compared_by_sampling_unit(tmp_path):
    rows = [
        {**r, "model": m, "answer": r["answer"] if m == "a" else ("yes", "no")[r["item_id"] % 2]}
        for r in gss()
        for m in "ab"
    ]
    drop = [{k: v for k, v in r.items() if k not in ("vstrat", "vpsu")} for r in rows]
    _, clustered = scored(written(tmp_path / "a.csv", rows))
    _, alone = scored(written(tmp_path / "b.csv", drop))

    def width(results):
        row = results.comparison.filter(metric="accuracy", model="a", other_model="b").row(0, named=True)
        return row["ci_high"] - row["ci_low"]

    assert width(clustered) > 1.1 * width(alone)


def test_a_model_that_is_always_wrong_in_words_counts(tmp_path):
    """All people say yes and the model says no: that is no difference of codes."""
    rows = [
        {"respondent_id": f"p{i}", "item_id": q, "options": "yes|no", "answer": "no", "own_answer": own}
        for i in range(30)
        for q, own in (("q1", "yes"), ("q2", "no"))
    ]
    given, results = scored(written(tmp_path / "a.csv", rows))
    assert estimate(results) == 0.5
    assert not given.left_out
