"""Protects the page of example prompts: made by the code, of an invented person, with every style and kind of task."""

from pathlib import Path

import pytest

from mpta_pipeline import tasks
from mpta_pipeline.personas import STYLES
from mpta_pipeline.tasks.example_prompts import BEGIN, END, invented_respondents, showcase
from tests.factories import small_survey

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/example-prompts.md"


@pytest.fixture(scope="module")
def text():
    return showcase()


def test_it_shows_every_style_and_kind_of_task(text):
    assert all(f"*{style}*" in text for style in STYLES)
    like = {"ethics_justice": "ethics_commonsense", "truthfulqa_binary": "truthfulqa_mc1, truthfulqa_mc2"}
    kinds = set(tasks.task_kinds().kinds)
    shown = {kind for kind in kinds if f"(`{kind}`" in text}
    assert shown | {k for one in shown for k in like.get(one, "").split(", ")} >= kinds
    assert text.startswith(BEGIN)
    assert text.endswith(END)


def test_it_says_the_same_each_time(text):
    assert showcase() == text


def test_the_page_shows_what_the_code_makes(text):
    page = PAGE.read_text(encoding="utf-8")
    section = page[page.index(BEGIN) : page.index(END) + len(END)]
    assert section == text, (
        "run python -m mpta_pipeline.tasks.example_prompts and put its output into docs/reference/example-prompts.md"
    )


def test_nobody_is_real():
    people, waves = invented_respondents(small_survey.crosswalk(), "alpha")
    assert people["respondent_id"].str.starts_with("invented-").all()
    assert waves["title"].to_list() == ["Invented"]
