"""Protects the example study over real files: it stays valid, and says which folder it misses."""

from pathlib import Path

import pytest

from mpta_pipeline import tasks
from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.study import load_study
from tests.factories.task_tables import made

EXAMPLE = Path(__file__).resolve().parents[2] / "dagster_home" / "examples" / "study_gss.yaml"
FROM_FILES = ("truthfulqa", "bbq", "normad")


@pytest.fixture(scope="module")
def study():
    return load_study(EXAMPLE)


def test_it_holds_no_path_of_a_machine(study):
    assert set(study.tasks) == {"value_alignment", "trait_inference", *FROM_FILES}
    for config in study.tasks.values():
        assert config.path is None or not config.path.is_absolute()


@pytest.mark.parametrize("name", FROM_FILES)
def test_a_folder_that_is_not_named_is_asked_for(study, world, monkeypatch, name):
    monkeypatch.delenv("MPTA_BENCHMARKS", raising=False)
    facts = {"crosswalk": world.crosswalk, "respondents": world.people, "study": study}
    with pytest.raises(TaskError, match="MPTA_BENCHMARKS") as raised:
        tasks.build_items(name, study.tasks[name], **facts)
    assert "export MPTA_BENCHMARKS=" in str(raised.value)
    assert tasks.item_file_version(study.tasks[name]) == "absent"


def test_with_the_files_it_comes_to_prompts(study, world, benchmarks, monkeypatch):
    """BBQ's three files, TruthfulQA's 790 questions, NormAd's sample; all checks of the prompts asset hold."""
    monkeypatch.setenv("MPTA_BENCHMARKS", str(benchmarks))
    panel = study.panel.model_copy(update={"size": 24, "strata": ("sex", "age_band")})
    small = study.model_copy(update={"panel": panel, "surveys": None})
    few = made(world.people, world.crosswalk, small, names=FROM_FILES)
    assert {name: few.items[name].height for name in FROM_FILES} == {"truthfulqa": 790, "bbq": 480, "normad": 5}
    assert set(few.items["bbq"]["category"]) == {"Age", "Disability_status", "Religion"}
    for name in FROM_FILES:
        assert [c.name for c in tasks.check_prompts(few.prompts[name]) if not c.passed] == []
