"""Protects against items that cannot be asked: left out one by one with file, item and column, or the task refused."""

import json

import pytest

from mpta_pipeline import tasks
from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.study import Study, TaskConfig
from mpta_pipeline.core.tables import CONCEPTS, OPTIONS, RESPONDENTS
from mpta_pipeline.harmonize import Crosswalk


def build(kind, path, **options):
    gaps = tasks.Gaps()
    config = TaskConfig(kind=kind, path=path, options=options)
    items = tasks.build_items(
        "t",
        config,
        crosswalk=Crosswalk({}, CONCEPTS.empty(), OPTIONS.empty(), {}),
        respondents=RESPONDENTS.empty(),
        study=Study(name="x", tasks={"t": config}),
        gaps=gaps,
    )
    return items, gaps


FOUR = {"question": "{q}", "options": ["{a}", "{b}", "{c}", "{d}"], "gold": "k"}


def four(tmp_path, *rows):
    path = tmp_path / "x.csv"
    path.write_text("q,a,b,c,d,k\n" + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def test_an_empty_option_before_the_last_leaves_the_item_out(tmp_path):
    path = four(tmp_path, "one?,yes,no,,perhaps,2", "two?,yes,no,maybe,never,1")
    items, gaps = build("multiple_choice", path, **FOUR)
    assert items["question"].to_list() == ["two?"]
    (gap,) = gaps.found
    assert (gap.file, gap.column, gap.why) == (path, "options", "an option before the last is empty")


def test_empty_options_at_the_end_are_no_options(tmp_path):
    items, gaps = build("multiple_choice", four(tmp_path, "one?,yes,no,,,1", "two?,a,b,c,d,3"), **FOUR)
    assert sorted(items["options"].list.len()) == [2, 4]
    assert not gaps.found
    items, gaps = build("multiple_choice", four(tmp_path, "one?,yes,no,,,3", "two?,a,b,c,d,3"), **FOUR)
    assert (items.height, gaps.found[0].why) == (1, "its key is on no option")


@pytest.mark.parametrize(
    ("row", "column", "why"),
    [
        ("one?,yes,Yes ,no,never,0", "options", "two of its options are equal"),
        ("one?,yes,,,,0", "options", "it has fewer than two options"),
        (",yes,no,,,0", "question", "its question is empty"),
        ("one?,yes,no,c,d,9", "k", "the key '9' does not name one of its options"),
        ("one?,yes,no,c,d,", "k", "the key is empty"),
    ],
)
def test_what_is_wrong_with_an_item_is_named(tmp_path, row, column, why):
    items, gaps = build("multiple_choice", four(tmp_path, row, "two?,a,b,c,d,3"), **FOUR)
    assert items.height == 1
    assert [(g.column, g.why) for g in gaps.found] == [(column, why)]


def test_too_many_gaps_refuse_the_task_with_the_first(tmp_path):
    rows = [f"gap {i}?,yes,,no,,0" for i in range(3)] + [f"fine {i}?,a,b,c,d,1" for i in range(20)]
    with pytest.raises(TaskError, match=r"3 of 23 items .* more than 5%.*x\.csv, variable options"):
        build("multiple_choice", four(tmp_path, *rows), **FOUR)
    items, gaps = build("multiple_choice", four(tmp_path, *rows, *(f"more {i}?,a,b,c,d,1" for i in range(40))), **FOUR)
    assert (items.height, len(gaps.found)) == (60, 3)
    assert gaps.notes()["left_out"] == 3


@pytest.mark.parametrize("write", [repr, json.dumps])
def test_options_as_a_list_in_one_cell(tmp_path, write):
    path = tmp_path / "x.csv"
    quoted = [
        '"' + write(["a", "b"]).replace('"', '""') + '"',
        '"' + write(["c", "d", "e"]).replace('"', '""') + '"',
        "none",
    ]
    path.write_text("q,o,k\n" + "".join(f"q{i},{o},1\n" for i, o in enumerate(quoted)), encoding="utf-8")
    items, gaps = build("multiple_choice", path, question="{q}", options=["{o}"], gold="k")
    assert sorted(items["options"].to_list()) == [["a", "b"], ["c", "d", "e"]]
    assert (gaps.found[0].column, gaps.found[0].why) == ("o", "its options are not a list")


def test_truthfulqa_without_a_best_incorrect_answer(tmp_path):
    path = tmp_path / "TruthfulQA.csv"
    path.write_text(
        "Type,Category,Question,Best Answer,Best Incorrect Answer\nA,C,One?,right,\nA,C,Two?,right,wrong\n",
        encoding="utf-8",
    )
    items, gaps = build("truthfulqa_binary", path)
    assert items["question"].to_list() == ["Two?"]
    assert gaps.found[0].text() == "TruthfulQA.csv, item row 2 (One?), Best Incorrect Answer: it is empty"


def mc(*questions):
    return json.dumps([{"question": q, "mc1_targets": of, "mc2_targets": of} for q, of in questions])


def test_mc1_without_a_true_answer_is_left_out(tmp_path):
    path = tmp_path / "mc_task.json"
    path.write_text(mc(("One?", {"a": 0, "b": 0}), ("Two?", {"a": 1, "b": 0}), ("Three?", {"a": 1, "b": 1, "c": 0})))
    items, gaps = build("truthfulqa_mc1", path)
    assert items["question"].to_list() == ["Two?"]
    assert [(g.column, g.why) for g in gaps.found] == [
        ("mc1_targets", "none of its answers is true"), ("mc1_targets", "2 of its answers are true"),
    ]  # fmt: skip
    assert build("truthfulqa_mc2", path)[0].height == 2


def test_an_mc1_question_that_comes_twice_is_two_items_or_one(tmp_path):
    path = tmp_path / "mc_task.json"
    first, other = {"a": 1, "b": 0}, {"a": 0, "c": 1, "d": 0}
    path.write_text(mc(("One?", first), ("One?", other), ("One?", first)))
    items, gaps = build("truthfulqa_mc1", path)
    assert sorted(items["options"].list.len()) == [2, 3]
    assert items["item_id"].n_unique() == 2
    assert gaps.found[0].why == "it repeats an earlier item"
    path.write_text(mc(("One?", first)))
    assert set(build("truthfulqa_mc1", path)[0]["item_id"]) < set(items["item_id"])


def bbq_row(i, **change):
    row = {
        "example_id": i, "question_index": "1", "question_polarity": "neg", "context_condition": "ambig",
        "category": "Age",
        "answer_info": {"ans0": ["x", "old"], "ans1": ["y", "nonOld"], "ans2": ["z", "unknown"]},
        "additional_metadata": {"subcategory": "None", "stereotyped_groups": ["old"], "version": "a"},
        "context": "Two people.", "question": "Who?", "ans0": "The old man", "ans1": "The young man", "ans2": "Unknown",
        "label": 2,
    }  # fmt: skip
    return json.dumps(row | change) + "\n"


@pytest.mark.parametrize(
    ("change", "column"), [({"label": 3}, "label"), ({"ans1": ""}, "ans1"), ({"question": None}, "question")]
)
def test_a_row_of_bbq_that_cannot_be_asked(tmp_path, change, column):
    path = tmp_path / "Age.jsonl"
    path.write_text(bbq_row(0) + bbq_row(1, **change) + bbq_row(2))
    items, gaps = build("bbq", path)
    assert items.height == 2
    assert (gaps.found[0].column, gaps.found[0].file) == (column, path)
    assert "example_id 1" in gaps.found[0].item


def test_global_opinions_with_fewer_selections_than_options(tmp_path):
    path = tmp_path / "global_opinions.csv"
    path.write_text(
        "question,selections,options,source\n"
        """One?,"{'Chile': [0.5, 0.5]}","['a', 'b', 'c']",WVS\n"""
        """Two?,"{'Chile': [0.2, 0.3, 0.5]}","['a', 'b', 'c']",WVS\n""",
        encoding="utf-8",
    )
    items, gaps = build("global_opinions", path)
    assert items["question"].to_list() == ["Two?"]
    assert (
        gaps.found[0].text() == "global_opinions.csv, item row 2 (One?), selections: Chile has 2 shares for 3 options"
    )


def test_gaps_are_counted_where_a_person_looks():
    """Task card of the UI (record of the items), `mpta plan` and `mpta doctor`."""
    gaps = tasks.Gaps()
    gaps.leave_out(None, "one", "options", "two of its options are equal")
    assert gaps.notes() == {"left_out": 1, "left_out_items": "item one, options: two of its options are equal"}
