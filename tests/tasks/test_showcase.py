"""Protects the README's section: it is made by the code, of an invented person, and shows every style and task."""

from mpta_pipeline.personas import STYLES
from mpta_pipeline.tasks.showcase import invented_respondents, showcase
from tests.personas import fabricate


def test_it_shows_every_style_and_task_and_says_the_same_each_time():
    text = showcase()
    assert all(f"*{style}*" in text for style in STYLES)
    for task in ("value_alignment", "trait_inference", "sample_myths", "sample_stereotypes"):
        assert f"*{task}*" in text
    assert text.count("Answer with the letter of one option only.") == 4
    assert text == showcase()


def test_nobody_is_real():
    people, waves = invented_respondents(fabricate.crosswalk(), "alpha")
    assert people["respondent_id"].str.starts_with("invented-").all()
    assert waves["title"].to_list() == ["Invented"]
