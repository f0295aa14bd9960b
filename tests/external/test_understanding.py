"""Protects what is understood of other people's files: codes, counting, weights, groups, probabilities, sides."""

import json
import math

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli, external
from mpta_pipeline.core.errors import ConfigError, MptaError, ValidationError
from mpta_pipeline.core.tables import GOLD, SCORES
from mpta_pipeline.external import Known, Reading

pytestmark = pytest.mark.slow


def written(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(path)
    else:
        pl.DataFrame(rows, infer_schema_length=None).write_csv(path)
    return path


def scored(path, *, people=None, known=None, **said):
    given = external.load(path, people=people, known=known, reading=Reading(**said))
    return given, external.compute(given, by=tuple(said.get("by", ())))


def estimate(results, metric="accuracy", column="estimate", **where):
    where = {"dimensions": "all", "baseline": "", "weighted": False, **where}
    return results.estimates.filter(metric=metric, **where).item(0, column)


def people_and_answers(codes, *, n=40, right=0.5, seed=0, shift=0, kind=float):
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        for item, options in codes.items():
            own = int(rng.choice(options))
            said = own if rng.uniform() < right else int(rng.choice(options))
            rows.append(
                {
                    "respondent_id": f"p{i}",
                    "sex": "fm"[i % 2],
                    "item": item,
                    "answer": kind(said + shift),
                    "own_answer": own,
                }
            )
    return rows


# --- codes and what numbers count from ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [int, float, str])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_codes_are_matched_as_codes_whatever_writes_them(tmp_path, kind, suffix):
    rows = people_and_answers({"trust": [1, 2, 3], "spend": [1, 2, 3, 4, 5]}, kind=kind)
    _, results = scored(written(tmp_path / f"a{suffix}", rows))
    assert estimate(results) == pytest.approx(np.mean([float(r["answer"]) == r["own_answer"] for r in rows]))
    assert estimate(results, "parse_rate") == 1


def test_an_item_whose_codes_never_meet_is_set_aside_and_said(tmp_path):
    """Three items of a published study have codes 4, 5 of people and 1, 2 of the models: .05 of accuracy."""
    met = people_and_answers({"trust": [1, 2, 3]})
    rows = met + people_and_answers({"colath": [4, 5]}, shift=-3)
    given, results = scored(written(tmp_path / "a.csv", rows))
    assert estimate(results) == pytest.approx(np.mean([r["answer"] == r["own_answer"] for r in met]))
    (aside,) = given.left_out
    assert (aside.what, aside.n, aside.examples) == ("items", 1, ("colath",))
    assert "options 4, 5" in aside.text()
    assert "recode" in aside.text()


def test_an_item_on_which_model_and_people_never_agree_on_a_code_is_set_aside(tmp_path):
    rows = people_and_answers({"trust": [1, 2, 3]}) + [
        {**r, "answer": r["answer"] - 3, "options": "1|2|4|5"} for r in people_and_answers({"colath": [4, 5]})
    ]
    given, results = scored(written(tmp_path / "a.jsonl", [{**r, "options": r.get("options", "1|2|3")} for r in rows]))
    assert given.left_out[0].examples == ("colath",)
    assert "codes may differ" in given.left_out[0].why
    assert estimate(results, column="n_items") == 1


def test_a_model_that_refuses_everything_is_not_set_aside(tmp_path):
    rows = [
        {**r, "answer": f"As a model number {i}, I have no view"}
        for i, r in enumerate(people_and_answers({"t": [1, 2]}))
    ]
    given, results = scored(written(tmp_path / "a.csv", rows))
    assert not given.left_out
    assert estimate(results) == 0
    assert any("40 answers refuse the question" in note for note in given.notes)
    assert estimate(results, "refusal_rate") == 1


COLOURS = ["red", "green", "blue", "grey"]


def quiz(pick, *, n=24, **more):
    return [
        {"item_id": f"q{i}", "choices": COLOURS, "label": COLOURS[i % 4], "pred": pick(i), **more} for i in range(n)
    ]


@pytest.mark.parametrize(
    ("write", "start"),
    [
        (lambda k: k, 0),
        (lambda k: k + 1, 1),
        (lambda k: float(k + 1), 1),
        (lambda k: "ABCD"[k], None),
        (lambda k: f"({'abcd'[k]})", None),
        (lambda k: f"{'ABCD'[k]}. {COLOURS[k]}", None),
        (lambda k: COLOURS[k].upper(), None),
    ],
)
def test_every_way_to_name_an_option(tmp_path, write, start):
    given, results = scored(written(tmp_path / "a.jsonl", quiz(lambda i: write(i % 4 if i % 3 else (i + 1) % 4))))
    assert estimate(results) == pytest.approx(2 / 3)
    assert (start is None) or any(f"count options from {start}" in note for note in given.notes)


def test_numbers_from_one_whose_last_option_nobody_chose_are_not_read_from_nought(tmp_path):
    path = written(tmp_path / "a.jsonl", quiz(lambda i: i % 3 + 1))
    with pytest.raises(ValidationError, match=r"is unclear .* no number is 0 .*pred.*|is unclear"):
        scored(path)
    assert estimate(scored(path, count_from=1)[1]) == pytest.approx(np.mean([i % 3 == i % 4 for i in range(24)]))


def test_the_key_says_what_the_answers_count_from(tmp_path):
    rows = [{**r, "label": i % 4 + 1} for i, r in enumerate(quiz(lambda i: i % 3 + 1))]
    assert estimate(scored(written(tmp_path / "a.jsonl", rows))[1]) == pytest.approx(
        np.mean([i % 3 == i % 4 for i in range(24)])
    )


def test_answer_beside_prediction_may_be_the_key(tmp_path):
    rows = [{"item_id": f"q{i}", "choices": COLOURS, "answer": i % 4, "prediction": 0} for i in range(8)]
    path = written(tmp_path / "a.jsonl", rows)
    with pytest.raises(ValidationError, match="--columns answer=prediction,key=answer"):
        scored(path)
    assert estimate(scored(path, columns={"answer": "prediction", "key": "answer"})[1]) == 0.25


def test_options_of_a_question_that_all_people_answer_alike(tmp_path):
    rows = [
        {"respondent_id": f"p{i}", "item": q, "answer": a, "own_answer": o}
        for i in range(6)
        for q, a, o in (("a", "yes", "no" if i % 2 else "yes"), ("b", "no", "yes"))
    ]
    given, results = scored(written(tmp_path / "a.csv", rows))
    assert estimate(results) == 0.25
    assert estimate(results, "parse_rate") == 1
    assert any("one answer of all people" in note for note in given.notes)


def test_letters_to_items_in_our_own_order_need_the_order_that_was_shown(tmp_path):
    items = tmp_path / "TruthfulQA.csv"
    items.write_text(
        "Type,Category,Question,Best Answer,Best Incorrect Answer\n"
        + "".join(f"A,C,Question {i}?,right {i},wrong {i}\n" for i in range(8)),
        encoding="utf-8",
    )
    known = external.known_items(items)
    rows = [{"question": f"Question {i}?", "answer": "A"} for i in range(8)]
    with pytest.raises(ValidationError, match="order in which they were shown is unknown"):
        scored(written(tmp_path / "a.csv", rows), known=known)
    with pytest.raises(ValidationError, match="order in which they were shown is unknown"):
        scored(
            written(tmp_path / "p.jsonl", [{**r, "answer": None, "probabilities": [1, 0]} for r in rows]), known=known
        )
    shown = [{**r, "options": [f"right {i}", f"wrong {i}"]} for i, r in enumerate(rows)]
    assert estimate(scored(written(tmp_path / "s.jsonl", shown), known=known)[1]) == 1
    as_shares = [{"question": r["question"], "options": r["options"], "probabilities": [0.9, 0.1]} for r in shown]
    assert estimate(scored(written(tmp_path / "t.jsonl", as_shares), known=known)[1]) == 1


# --- probabilities --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "write",
    [
        lambda p: p,
        json.dumps,
        lambda p: f"[{p[0]} {p[1]}]",
        lambda p: {"yes": p[0], "no": p[1]},
        lambda p: {"B": p[1], "A": p[0]},
        lambda p: str({"no": p[1], "yes": p[0]}),
    ],
    ids=["list", "JSON", "numpy", "by text", "by letter", "Python"],
)
def test_every_way_to_write_probabilities(tmp_path, write):
    rows = [
        {
            "item_id": "a",
            "respondent_id": f"p{i}",
            "options": ["yes", "no"],
            "own_answer": "yes",
            "probabilities": write(p),
        }
        for i, p in enumerate([(0.8, 0.2), (0.3, 0.7), (0.5, 0.5), (0.5, 0.5)])
    ]
    rows.append({**rows[0], "item_id": "b", "own_answer": "no"})
    _, results = scored(written(tmp_path / "a.jsonl", rows))
    # A tie is worth a half in every accuracy.
    for metric in ("accuracy", "accuracy_strict", "accuracy_answered"):
        assert estimate(results, metric) == pytest.approx((1 + 0 + 0.5 + 0.5 + 0) / 5)


def test_probabilities_in_a_column_each_and_logarithms(tmp_path):
    rows = [{"item_id": f"q{i}", "options": "x|y", "key": "xy"[i % 2], "p_a": 0.9, "p_b": 0.1} for i in range(4)]
    assert estimate(scored(written(tmp_path / "a.csv", rows))[1]) == 0.5
    rows = [
        {"item_id": f"q{i}", "options": "x|y", "key": "x", "logprobs": [math.log(0.6), math.log(0.2)]} for i in range(4)
    ]
    given, results = scored(written(tmp_path / "a.jsonl", rows))
    assert estimate(results, "brier") == pytest.approx(2 * 0.25**2)
    assert any("natural logarithms" in note for note in given.notes)


def test_probabilities_that_are_no_numbers_are_left_out_and_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    line = (
        '{{"item_id": "a", "respondent_id": "p{}", "options": ["yes", "no"], '
        '"own_answer": "{}", "probabilities": {}}}\n'
    )
    path.write_text(
        line.format(1, "yes", "[0.9, 0.1]") + line.format(2, "no", "[NaN, 0.5]") + line.format(3, "no", "[0, 0]"),
        encoding="utf-8",
    )
    given, results = scored(path)
    assert estimate(results) == 1
    assert estimate(results, "error_rate") == pytest.approx(2 / 3)
    assert (given.left_out[0].what, given.left_out[0].n) == ("lists of probabilities", 2)


@pytest.mark.parametrize(
    ("p", "says"),
    [([0.5], "one number per option"), ([1.5, -0.5], "below 0"), ({"yes": 0.5, "maybe": 0.5}, "no option")],
)
def test_probabilities_of_no_option_are_refused(tmp_path, p, says):
    row = {"item_id": "a", "options": ["yes", "no"], "key": "yes", "probabilities": p}
    with pytest.raises(ValidationError, match=says):
        scored(written(tmp_path / "a.jsonl", [row]))


# --- weights, groups, failed requests -------------------------------------------------------------------------------


def weighted(weights):
    rows = people_and_answers({"trust": [1, 2, 3], "happy": [1, 2]}, n=len(weights), kind=int)
    return [{**r, "weight": weights[int(r["respondent_id"][1:])]} for r in rows]


def test_a_missing_weight_takes_a_person_out_of_weighted_estimates_only_and_is_said(tmp_path):
    given, results = scored(written(tmp_path / "a.csv", weighted([2.0] * 39 + [None])))
    assert estimate(results, column="n_personas") == 40
    assert estimate(results, column="n_personas", weighted=True) == 39
    assert any("2 answers of 1 people have no weight" in note for note in given.notes)


def test_weights_that_are_all_nought_are_refused(tmp_path):
    with pytest.raises(ValidationError, match="weight above 0"):
        scored(written(tmp_path / "a.csv", weighted([0] * 20)))


@pytest.mark.parametrize("column", ["category", "kind", "options_shown", "wave_name", "gold_idx", "context"])
def test_a_group_may_have_any_name(tmp_path, column):
    rows = [
        {**{k: v for k, v in r.items() if k != "sex"}, column: r["sex"]}
        for r in people_and_answers({"trust": [1, 2, 3]})
    ]
    path = written(tmp_path / "a.csv", rows)
    said = {"columns": {"own_answer": "own_answer"}, "by": (column,)}
    _, results = scored(path, **said)
    found = results.estimates.filter(pl.col("dimensions").str.starts_with(column), metric="accuracy", baseline="")
    by_hand = {g: np.mean([r["answer"] == r["own_answer"] for r in rows if r[column] == g]) for g in "fm"}
    assert dict(found.select("subgroup", "estimate").iter_rows()) == pytest.approx(by_hand)


def test_crossed_groups(tmp_path):
    rows = [
        {**r, "age": "old" if int(r["respondent_id"][1:]) % 4 < 2 else "young"}
        for r in people_and_answers({"t": [1, 2]})
    ]
    _, results = scored(written(tmp_path / "a.csv", rows), by=("sex×age",))
    found = results.estimates.filter(metric="accuracy", baseline="", dimensions="sex×age")
    assert found["subgroup"].to_list() == ["f×old", "f×young", "m×old", "m×young"]
    assert found["n_answers"].sum() == len(rows)


@pytest.mark.parametrize("column", ["respondent_id", "survey", "model", "item_id", "condition"])
def test_what_groups_nobody_is_refused_with_a_sentence(tmp_path, column):
    rows = [{"survey": "s", "model": "m", "condition": "persona", **r} for r in people_and_answers({"t": [1, 2]})]
    rows = [{("item_id" if k == "item" else k): v for k, v in r.items()} for r in rows]
    with pytest.raises(ValidationError, match=r"grouped by|never pooled"):
        scored(written(tmp_path / "a.csv", rows), by=(column,))


def test_only_failed_requests_end_with_a_message_and_status_1(tmp_path, capsys, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("item_id,respondent_id,answer,own_answer\na,p1,,yes\na,p2,,no\n", encoding="utf-8")
    monkeypatch.setattr("mpta_pipeline.cli.failures._silence_libraries", lambda: None)  # for the other tests' sake
    monkeypatch.setattr("sys.argv", ["mpta", "score", str(path)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    assert "failed requests" in capsys.readouterr().err


def test_groups_of_the_file_beside_those_of_a_task(tmp_path):
    rows = people_and_answers({"trust": [1, 2, 3]}, kind=int)
    first = external.load(written(tmp_path / "a.csv", rows))
    groups = first.groups.with_columns(pl.lit("USA").alias("country"))
    known = Known(first.items, first.gold, groups)
    rules = external.compute(first).rules.model_copy(update={"dimensions": ("country", "sex×education_3")})
    given = external.load(tmp_path / "a.csv", known=known, reading=Reading(by=("sex",), columns={"item_id": "item"}))
    results = external.compute(given, by=("sex",), rules=rules)
    assert {"country", "sex", "all"} <= set(results.estimates["dimensions"])
    assert given.gold.equals(GOLD.conform(first.gold))


# --- the people's side ----------------------------------------------------------------------------------------------


def by_person(rows, column):
    wide = {}
    for r in rows:
        wide.setdefault(r["respondent_id"], {"pid": r["respondent_id"], "sex": r["sex"]})[r["item"]] = r[column]
    return list(wide.values())


def test_a_column_per_question_beside_peoples_own_file(tmp_path):
    rows = people_and_answers({"trust": [1, 2, 3], "happy": [1, 2, 3, 4]}, kind=int)
    long = scored(written(tmp_path / "a.csv", rows), by=("sex",))[1]
    own = written(tmp_path / "human.csv", by_person(rows, "own_answer"))
    model = written(
        tmp_path / "llm.csv", [{k: v for k, v in r.items() if k != "sex"} for r in by_person(rows, "answer")]
    )
    given, results = scored(model, people=own, by=("sex",))
    for metric in ("accuracy", "mae_n", "tv", "w1n"):
        assert estimate(results, metric) == pytest.approx(estimate(long, metric))
        assert estimate(results, metric, dimensions="sex", subgroup="f") == pytest.approx(
            estimate(long, metric, dimensions="sex", subgroup="f")
        )
    assert any("2 questions have a column each" in note for note in given.notes)


def test_two_columns_per_question(tmp_path):
    rows = people_and_answers({"trust": [1, 2, 3], "happy": [1, 2]}, kind=int)
    wide = [
        {
            "id": a["pid"],
            **{f"{q}_human": a[q] for q in ("trust", "happy")},
            **{f"{q}_llm": b[q] for q in ("trust", "happy")},
        }
        for a, b in zip(by_person(rows, "own_answer"), by_person(rows, "answer"), strict=True)
    ]
    _, results = scored(written(tmp_path / "a.csv", wide))
    assert estimate(results) == pytest.approx(np.mean([r["answer"] == r["own_answer"] for r in rows]))


def test_published_shares_stand_for_people(tmp_path):
    shares = {"f": (0.2, 0.3, 0.5), "m": (0.6, 0.3, 0.1)}
    poll = [
        {"item_id": "q", "option": o, "share": s, "n": 200, "sex": g}
        for g, of in shares.items()
        for o, s in zip(("low", "mid", "high"), of, strict=True)
    ]
    answers = [
        {"item_id": "q", "respondent_id": f"a{i}", "sex": "fm"[i % 2], "answer": ("low", "mid")[i % 4 // 2]}
        for i in range(40)
    ]
    given, results = scored(
        written(tmp_path / "a.csv", answers), people=written(tmp_path / "poll.csv", poll), by=("sex",), ordered=True
    )
    assert given.gold.height == 400
    assert estimate(results, "tv", dimensions="sex", subgroup="f") == pytest.approx(0.5)
    assert estimate(results, "w1n", dimensions="sex", subgroup="m") == pytest.approx(
        (abs(0.5 - 0.6) + abs(1 - 0.9)) / 2
    )
    # Everybody's most frequent answer is `low` (.4).
    assert estimate(results) == 0.5


def test_published_shares_that_do_not_add_up_are_refused(tmp_path):
    poll = written(
        tmp_path / "poll.csv",
        [{"item_id": "q", "option": "a", "share": 0.2}, {"item_id": "q", "option": "b", "share": 0.5}],
    )
    answers = written(tmp_path / "a.csv", [{"item_id": "q", "respondent_id": "p", "answer": "a"}])
    with pytest.raises(ValidationError, match="add up neither to 1 nor to 100"):
        scored(answers, people=poll)


def test_answers_of_the_people_among_those_of_models(tmp_path):
    rows = people_and_answers({"trust": [1, 2, 3]}, kind=int)
    stacked = [
        {"respondent_id": r["respondent_id"], "item_id": "trust", "model": m, "answer": r[c], "options": "1|2|3"}
        for r in rows
        for m, c in (("human", "own_answer"), ("gpt", "answer"))
    ]
    given, results = scored(written(tmp_path / "a.csv", stacked))
    assert given.frame["model"].unique().to_list() == ["gpt"]
    assert estimate(results) == pytest.approx(np.mean([r["answer"] == r["own_answer"] for r in rows]))


def test_numbers_are_compared_as_numbers(tmp_path):
    rng = np.random.default_rng(2)
    own = rng.normal(50, 10, 80).round(2)
    said = (own + 5 + rng.normal(0, 2, 80)).round(2)
    rows = [
        {"respondent_id": f"p{i}", "item_id": "thermometer", "answer": x, "own_answer": y, "sex": "fm"[i % 2]}
        for i, (x, y) in enumerate(zip(said, own, strict=True))
    ]
    _, results = scored(written(tmp_path / "a.csv", rows), by=("sex",))
    row = results.numeric.filter(item_id="thermometer", dimensions="all").row(0, named=True)
    assert row["difference"] == pytest.approx(float(np.mean(said - own)))
    assert row["ci_low"] < 5 < row["ci_high"]
    assert row["mae_n"] == pytest.approx(float(np.abs(said - own).mean() / (own.max() - own.min())))
    assert row["pearson"] == pytest.approx(float(np.corrcoef(said, own)[0, 1]))
    assert set(results.numeric["subgroup"]) == {"all", "f", "m"}


# --- everything at once ---------------------------------------------------------------------------------------------


def test_a_folder_gets_tables_and_report(tmp_path):
    rows = [{**r, "model": m} for r in people_and_answers({"trust": [1, 2, 3], "happy": [1, 2]}) for m in ("a", "b")]
    path = written(tmp_path / "a.csv", rows)
    done = CliRunner().invoke(cli.app, ["score", str(path), "--by", "sex", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "tie group" in done.output
    assert "pocket" in done.output.lower()
    scores = SCORES.conform(pl.read_parquet(tmp_path / "out" / "scores.parquet"))
    assert scores.height == len(rows)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "a.csv" in page


def test_an_unknown_format_is_refused_before_anything_is_computed(tmp_path):
    with pytest.raises(ConfigError, match="--out"):
        CliRunner().invoke(cli.app, ["score", "nowhere.csv", "--out", "a.xlsx"], catch_exceptions=False)


def test_look_says_what_was_understood(tmp_path):
    rows = people_and_answers({"trust": [1, 2, 3]}) + people_and_answers({"colath": [4, 5]}, shift=-3)
    rows[0]["answer"] = None
    given = external.load(written(tmp_path / "a.csv", [{**r, "note": "x"} for r in rows]))
    text = {heading: "\n".join(lines) for heading, lines in external.look(given, ("sex",))}
    assert "item: which question was answered (item_id)" in text["Columns"]
    assert "not used: sex, note" in text["Columns"]
    assert "40 of 40 answers have a key" in text["Answers"]
    assert "answer: empty in 1 of 40 rows" in text["Missing"]
    assert "colath" in text["Items whose answers never match their options"]
    assert "everything by sex" in text["Will be computed"]


@pytest.mark.parametrize(("seed", "n"), [(0, 100_000), (1, 10_000), (2, 10_000)])
def test_many_rows_of_personas(tmp_path, seed, n):
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "respondent_id": [f"p{i // 50}" for i in range(n)],
            "item_id": [f"q{i % 50}" for i in range(n)],
            "own_answer": rng.integers(1, 6, n),
            "sex": ["fm"[i // 50 % 2] for i in range(n)],
            "weight": np.repeat(rng.uniform(0.5, 2, n // 50), 50),
        }
    )
    answer = {
        0: pl.col("own_answer").alias("answer"),
        1: pl.when(pl.int_range(pl.len()) % 50 == 0).then(None).otherwise("own_answer").alias("answer"),
        2: pl.lit("[0.1,0.1,0.5,0.2,0.1]").alias("probabilities"),
    }[seed]
    if seed == 2:
        frame = frame.with_columns(pl.lit("1|2|3|4|5").alias("options"))
    path = tmp_path / "a.parquet"
    frame.with_columns(answer).write_parquet(path)
    given, results = scored(path, by=("sex",) if seed == 0 else ())
    expected = 1 if seed < 2 else float((frame["own_answer"] == 3).mean())
    assert estimate(results) == pytest.approx(expected)
    assert results.scores.height == n
    assert external.look(given)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "sep=;\nitem_id;answer;key\nq1;ja;ja\nq2;nein;ja\n"),
        ("a.csv", "\ufeffitem_id,answer,key\r\nq1,ja,ja\r\nq2,nein,ja\r\n"),
        ("a.tsv", "item_id\tanswer\tkey\nq1\tja\tja\nq2\tnein\tja\n"),
        ("a.csv", ",item_id,answer,key\n0,q1,ja,ja\n1,q2,nein,ja\n"),
        (
            "a.json",
            '[{"item_id": "q1", "answer": "ja", "key": "ja"}, {"item_id": "q2", "answer": "nein", "key": "ja"}]',
        ),
        (
            "a.json",
            '{"results": [{"item_id": "q1", "answer": "ja", "key": "ja"}, '
            '{"item_id": "q2", "answer": "nein", "key": "ja"}]}',
        ),
        (
            "a.json",
            '{"item_id": {"0": "q1", "1": "q2"}, "answer": {"0": "ja", "1": "nein"}, "key": {"0": "ja", "1": "ja"}}',
        ),
    ],
    ids=["Excel", "byte order mark", "tabs", "row numbers", "records", "inside an object", "by columns"],
)
def test_files_as_programs_write_them(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text.encode())
    frame = external.read(path).with_columns(pl.lit("ja|nein").alias("options"))
    given = external.from_table(frame, path)
    assert estimate(external.compute(given)) == 0.5


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"item_id": "q", "answer": "a"}], "options of the questions"),
        ([{"item_id": "q", "answer": "a", "options": "a|b"}], "no answer has a key|key to be scored"),
        ([{"question": "q", "reply": "a"}], "column of answers"),
        ([{"answer": "a", "own_answer": "b"}], "which item"),
        ([{"item_id": "q", "answer": "a", "options": "a|b", "key": k} for k in "ab"], "several keys"),
        (
            [{"item_id": "q", "answer": "a", "key": "a", "options": o} for o in ("a|b", "a|c")],
            "differ from those of its item",
        ),
    ],
)
def test_what_cannot_be_told_is_refused_with_a_remedy(tmp_path, rows, says):
    with pytest.raises(MptaError, match=f"(?i){says}") as failure:
        scored(written(tmp_path / "a.csv", rows))
    assert failure.value.remedy


def test_distributions_of_people_and_model_in_one_row(tmp_path):
    """OpinionQA: qkey, references with a last option for refusals, ordinal, D_H and D_M by attribute and group."""
    rows = [
        {"qkey": "SAFECRIME", "question": "How safe?", "references": "['Very', 'Somewhat', 'Not', 'Refused']",
         "ordinal": "[3.0, 2.0, 1.0]", "D_H": json.dumps(h), "D_M": json.dumps(m), "attribute": "SEX", "group": g}
        for g, h, m in (("Female", [0.1, 0.5, 0.4], [0.2, 0.3, 0.5]), ("Male", [0.5, 0.5, 0.0], [0.5, 0.5, 0.0]))
    ]  # fmt: skip
    _, results = scored(written(tmp_path / "a.csv", rows), by=("group",))
    # metrics.md 4.1: Σ|F − G| over the steps, divided by the range.
    assert estimate(results, "w1n", dimensions="group", subgroup="Female") == pytest.approx((0.1 + 0.1) / 2)
    assert estimate(results, "tv", dimensions="group", subgroup="Female") == pytest.approx(0.2)
    assert estimate(results, "tv", dimensions="group", subgroup="Male") == pytest.approx(0)


def test_selections_by_country_beside_the_models_probabilities(tmp_path):
    row = {"question": "Good?", "options": "['a', 'b']", "model_probs": [0.9, 0.1],
           "selections": "defaultdict(<class 'list'>, {'Chile': [0.5, 0.5], 'Peru': [0.9, 0.1]})"}  # fmt: skip
    given, results = scored(written(tmp_path / "a.jsonl", [row]), by=("country",))
    assert estimate(results, "js", dimensions="country", subgroup="Chile") == pytest.approx(0.3831, abs=5e-5)
    assert estimate(results, "js", dimensions="country", subgroup="Peru") == pytest.approx(0)
    assert any("country is taken as one persona" in note for note in given.notes)


def test_several_files_without_a_model_are_models_by_their_names(tmp_path):
    rows = people_and_answers({"trust": [1, 2, 3]}, kind=int)
    own = written(tmp_path / "human.csv", by_person(rows, "own_answer"))
    other = [{**r, "answer": r["own_answer"]} for r in rows]
    files = [
        written(tmp_path / f"{name}.csv", [{k: v for k, v in p.items() if k != "sex"} for p in by_person(of, "answer")])
        for name, of in (("gpt", rows), ("claude", other))
    ]
    given = external.together([external.load(path, people=own) for path in files])
    found = external.compute(given).estimates.filter(metric="accuracy", dimensions="all", baseline="")
    assert dict(found.select("model", "estimate").iter_rows()) == pytest.approx(
        {"claude": 1, "gpt": np.mean([r["answer"] == r["own_answer"] for r in rows])}
    )


def test_ids_that_a_table_with_gaps_wrote_as_fractions(tmp_path):
    own = written(tmp_path / "human.csv", [{"pid": float(i), "trust": i % 2 + 1, "happy": i % 2 + 1} for i in range(6)])
    model = written(tmp_path / "llm.csv", [{"pid": i, "trust": i % 2 + 1, "happy": 1} for i in range(6)])
    assert estimate(scored(model, people=own)[1]) == 0.75


def test_an_export_of_qualtrics(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        'pid,trust_human,trust_llm\nWho,"Trust, human","Trust, model"\n'
        '"{""ImportId"":""QID1""}","{""ImportId"":""QID2""}","{""ImportId"":""QID3""}"\np1,yes,yes\np2,no,yes\n',
        encoding="utf-8",
    )
    assert estimate(scored(path)[1]) == 0.5


def test_a_column_that_says_whether_people_or_a_model_answered(tmp_path):
    rows = [{"respondent_id": f"p{i}", "item": "trust", "source": s, "answer": a}
            for i in range(8) for s, a in (("GSS", i % 2 + 1), ("gpt-4o", 1))]  # fmt: skip
    given, results = scored(written(tmp_path / "a.csv", rows))
    assert estimate(results) == 0.5
    assert estimate(results, column="model") == "gpt-4o"
    assert any("people's own answers" in note for note in given.notes)


def test_how_sure_an_answer_is_is_no_list_of_probabilities(tmp_path):
    rows = [
        {"item_id": f"q{i}", "options": "a|b", "answer": "a", "key": "ab"[i % 2], "probability": 0.9} for i in range(6)
    ]
    given, results = scored(written(tmp_path / "a.csv", rows))
    assert estimate(results) == 0.5
    assert "probability" in given.unused


def test_labels_that_never_meet_say_why_nothing_is_left(tmp_path):
    own = ("Strongly agree", "Disagree")
    rows = [
        {"respondent_id": f"p{i}", "item": "q", "answer": "Largely in favour", "own_answer": own[i % 2]}
        for i in range(40)
    ]
    path = written(tmp_path / "a.csv", rows)
    with pytest.raises(
        ValidationError, match=r"No answer is left.*answers Largely in favour; options Disagree, Strongly agree"
    ):
        scored(path)
    assert dict(external.look(external.load(path)))["Items whose answers never match their options"][0].startswith("q ")


def test_the_personas_effect_is_shown(tmp_path):
    rows = [{"respondent_id": p, "item_id": f"q{j}", "answer": "yes" if p else "no", "options": "yes|no", "key": "yes"}
            for j in range(6) for p in ("p1", "p2", "p3", None)]  # fmt: skip
    done = CliRunner().invoke(cli.app, ["score", str(written(tmp_path / "a.csv", rows))])
    assert "persona's effect" in " ".join(done.output.split())
    assert "+1.0000" in done.output


def test_sentences_are_read_as_replies(tmp_path):
    said = [
        "The answer is B.",
        "Answer: (B)",
        "I would say green, since grass is green.",
        "ANSWER: C",
        "I cannot answer that.",
    ]
    rows = [{"item_id": f"q{i}", "choices": COLOURS, "label": "green", "response": text} for i, text in enumerate(said)]
    given, results = scored(written(tmp_path / "a.jsonl", rows))
    assert estimate(results) == pytest.approx(3 / 5)
    assert any("sentences, read like the responses" in note for note in given.notes)
