"""Follows CONTRIBUTING's recipe for a task kind: one file, in the package or in a configuration folder."""

import shutil
import sys
from textwrap import dedent

import polars as pl
import pytest

from mpta_pipeline import metrics, personas, tasks
from mpta_pipeline.core.configuration import templates
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.core.study import EstimateRules, TaskConfig
from mpta_pipeline.external import known_items
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.tasks import kinds
from mpta_pipeline.tasks.example_prompts import showcase
from tests.factories import small_survey
from tests.factories.task_tables import answered

YAML = """\
title: "Density: is one thing heavier than water?"
file:
  name: density.csv
  address: https://example.org/density
  licence: CC0
  pattern: "*.csv"
structure:
  question: "Is {thing} heavier than water?"
  options: [yes, no]
  gold: answer
  gold_values: {heavier: 0, lighter: 1}
  category: "{group}"
example:
  files:
    density.csv: |
      thing,answer,group
      gold,heavier,metal
"""
PYTHON = dedent('''
    """Sums: does the model add?"""

    import polars as pl

    from mpta_pipeline.tasks.task_kind import Example, ItemRequest, TaskKind


    def sum_items(request: ItemRequest) -> pl.DataFrame:
        """One item per sum."""
        return pl.DataFrame(
            {
                "item_id": [f"sum_{n}" for n in range(request.option("most", 3))],
                "question": [f"What is {n} + 1?" for n in range(request.option("most", 3))],
            }
        ).with_columns(
            pl.col("item_id").alias("cluster_id"),
            pl.lit(["more", "less"]).alias("options"),
            pl.lit(["more", "less"]).alias("option_values"),
            pl.lit(0, pl.Int64).alias("gold_idx"),
            pl.lit(False).alias("ordinal"),
            pl.lit("CC0").alias("licence"),
        )


    KINDS = (TaskKind("sums", "Sums: does the model add?", sum_items, options={"most": "Sums"}, example=Example()),)
''')
CSV = "thing,answer,group\niron,heavier,metal\ncork,lighter,wood\nlead,heavier,metal\n"


@pytest.fixture
def package_folder(tmp_path, monkeypatch):
    """A folder that counts as part of the package's own kinds."""
    folder = tmp_path / "kinds"
    folder.mkdir()
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(folder)])
    yield folder
    sys.modules.pop(f"{kinds.__name__}.sums", None)


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """The folder of a deployment's own kinds."""
    folder = tmp_path / "config" / "task_kinds"
    folder.mkdir(parents=True)
    monkeypatch.setenv("MPTA_CONFIG_DIR", str(folder.parent))
    return folder


@pytest.fixture(params=["package_folder", "own_folder"])
def folder(request):
    return request.getfixturevalue(request.param)


def asked(config):
    """Items, prompts, scores and estimates of a task, from invented people to the end."""
    people, crosswalk = small_survey.respondents(20), small_survey.crosswalk()
    study = small_survey.study(tasks={"new": config}, panel={"size": 8, "strata": []})
    frame = personas.build_personas(people, crosswalk, study, small_survey.waves(people))
    groups = personas.derived_dimensions(people, ("sex",), crosswalk)
    panel = personas.draw_panel(frame, groups, study.panel, study.seed)
    items = tasks.build_items("new", study.tasks["new"], crosswalk=crosswalk, respondents=people, study=study)
    gold = tasks.build_gold("new", study.tasks["new"], items, crosswalk=crosswalk, respondents=people)
    prompts = tasks.build_prompts("new", study, items=items, gold=gold, panel=panel, personas=frame)
    scores = tasks.score(prompts, items, answered(prompts, "A"))
    rules = EstimateRules(dimensions=("sex",), bootstrap=50)
    return items, prompts, scores, metrics.compute_estimates(scores, groups, gold, rules=rules, items=items)


def test_a_yaml_file_is_a_kind(folder, tmp_path):
    (folder / "density.yaml").write_text(YAML)
    (tmp_path / "density.csv").write_text(CSV)
    items, prompts, scores, estimates = asked({"kind": "density", "path": str(tmp_path / "density.csv")})
    assert items.sort("question")["gold_idx"].to_list() == [1, 0, 0]
    assert set(items["kind"]) == {"density"} and set(items["scoring"]) == {"key"}
    assert all(check.passed for check in tasks.check_prompts(prompts))
    # "A" is the key in one of the two orders.
    assert scores["score"].mean() == pytest.approx(0.5)
    accuracy = estimates.filter(metric="accuracy", dimensions="all", baseline="", condition="persona", weighted=False)
    assert accuracy["estimate"].to_list() == pytest.approx([0.5] * accuracy.height)
    assert set(estimates.filter(dimensions="category")["subgroup"]) <= {"metal", "wood"}
    shown = "Is gold heavier than water?" in showcase()
    assert shown == (folder.name == "kinds"), "the documentation shows the example of a kind of the package"
    known = known_items(tmp_path / "density.csv", kind="density")
    assert known.items.height == 3, "mpta score reads its file"


def test_a_python_file_is_a_kind(folder):
    (folder / "sums.py").write_text(PYTHON)
    items, prompts, scores, estimates = asked({"kind": "sums", "options": {"most": 2}})
    assert items.height == 2 and prompts["user"].str.contains("+ 1", literal=True).all()
    assert scores["score"].mean() == pytest.approx(0.5)
    assert "accuracy" in set(estimates["metric"])
    assert ("What is 0 + 1?" in showcase()) == (folder.name == "kinds")


def test_an_edit_of_a_kind_makes_its_tasks_anew(own_folder, tmp_path):
    (own_folder / "density.yaml").write_text(YAML)
    (tmp_path / "density.csv").write_text(CSV)
    config = TaskConfig(kind="density", path=tmp_path / "density.csv")
    before = tasks.item_file_version(config)
    (own_folder / "density.yaml").write_text(YAML.replace("heavier than", "much heavier than"))
    assert tasks.item_file_version(config) != before
    assert "much heavier" in asked({"kind": "density", "path": str(config.path)})[0]["question"][0]


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("density.yaml", YAML.replace("gold: answer", "golden: answer"), "structure.gold"),
        ("density.yaml", "title: [", "density.yaml"),
        ("density.py", "raise RuntimeError('not yet')", "RuntimeError: not yet"),
        ("density.py", "KINDS = 3", "KINDS"),
        ("bbq.yaml", YAML, "already a task kind bbq"),
    ],
)
def test_a_broken_file_sets_only_itself_aside(own_folder, name, text, names):
    (own_folder / name).write_text(text)
    (own_folder / "sums.py").write_text(PYTHON)
    registry = tasks.task_kinds()
    assert {"sums", "bbq", "value_alignment"} <= set(registry.kinds)
    (aside,) = registry.set_aside
    assert aside.name == f"task_kinds/{name}"
    assert names in str(aside)
    if name.startswith("density"):
        with pytest.raises(ConfigError, match="no such kind of task") as raised:
            tasks.kind_of("t", TaskConfig(kind="density"))
        assert names in str(raised.value), "whoever uses the kind is told why it is not there"


def test_the_deployment_names_what_is_set_aside(own_folder, tmp_path):
    """`mpta doctor` and the UI show it."""
    shutil.copy(next(path for path in templates() if path.name == "surveys.yaml"), own_folder.parent)
    (own_folder / "density.py").write_text("KINDS = 3")
    deployment = Deployment(Layout(tmp_path / "data"), own_folder.parent)
    assert [aside.name for aside in deployment.set_aside] == ["task_kinds/density.py"]


def test_kinds_of_one_deployment_are_not_those_of_another(own_folder, tmp_path):
    (own_folder / "density.yaml").write_text(YAML)
    assert "density" in tasks.task_kinds().kinds
    assert "density" not in tasks.task_kinds(tmp_path / "other").kinds
    assert pl.Series(list(tasks.task_kinds().files)).to_list() == ["density"]
