"""Protects the studies to start from: valid, written once, askable on small files, compared with published figures.

Two run end to end with the simulated respondents; the others are made up to their prompts.
"""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import polars as pl
import pyreadstat
import pytest
import yaml
from typer.testing import CliRunner

from mpta_pipeline import cli, harmonize, inference, personas, surveys, tasks
from mpta_pipeline.cli import study_state
from mpta_pipeline.cli.result import Result, ResultTable
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.published_figures import load_published
from mpta_pipeline.core.ready_studies import ready_studies
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.core.study import load_study
from mpta_pipeline.core.tables import WAVES
from mpta_pipeline.metrics import METRICS
from mpta_pipeline.pipeline.configuration_problems import configuration_problems
from mpta_pipeline.pipeline.deployment import Deployment
from tests.factories import survey_files
from tests.factories.deployment import respondents, write_wave
from tests.plain_run import bring_up_to_date
from tests.shared_data import gss_file, present, real

NAMES = list(ready_studies())
RUN = ("group-distributions", "benchmarks-by-group")
ISSUE = {
    "mpta", "persona-or-none", "four-framings", "group-distributions", "belief-structure", "benchmarks-by-group",
}  # fmt: skip


def invoke(*words: str):
    return CliRunner().invoke(cli.app, list(words))


@pytest.fixture(scope="module")
def crosswalk():
    return harmonize.load_crosswalk()


def written(name: str, folder: Path) -> Path:
    done = invoke("init", "--study", name, str(folder), "--quiet")
    assert done.exit_code == 0, done.output
    return folder


def test_the_list_says_of_each_what_it_asks_needs_and_takes():
    assert set(NAMES) == ISSUE
    rows = json.loads(invoke("init", "--studies", "--json").stdout)["studies"]
    assert [row["study"] for row in rows] == NAMES
    for row in rows:
        assert row["question"].endswith("?") and row["files"] and row["published"]
        assert row["calls"] > 1 and 0 < row["minutes"] < 30, f"{row['study']}: measure them"


@pytest.mark.parametrize("name", NAMES)
def test_a_ready_study_is_complete_valid_and_without_a_name_that_leads_nowhere(name, tmp_path, crosswalk):
    folder = written(name, tmp_path / "study")
    files = {path.name for path in folder.iterdir() if path.is_file()}
    assert {
        "study.yaml",
        "models.yaml",
        "surveys.yaml",
        "dagster.yaml",
        "published.yaml",
        "published.schema.json",
    } <= files
    study, models = load_study(folder / "study.yaml"), inference.load_models(folder / "models.yaml")
    assert study.name == name
    assert {"embedded", "simulated"} <= {spec.provider for spec in models.values()}
    deployment = Deployment(Layout(tmp_path / "data"), folder)
    deployment.__dict__["crosswalk"] = crosswalk
    # Item files are not in the repository: that they are absent is said, and nothing else is wrong.
    left = [str(p) for p in configuration_problems(deployment) if "item file" not in str(p)]
    assert left == []
    comments = [line for line in (folder / "study.yaml").read_text().splitlines() if "#" in line]
    assert len(comments) >= 8, "every choice says why"


@pytest.mark.parametrize("name", NAMES)
def test_every_published_value_has_a_source_and_every_difference_of_design_a_place(name):
    published = ready_studies()[name].published
    assert published.design and published.figures and published.files
    for figure in published.figures:
        assert len(figure.source) > 10
        assert figure.ours is None or figure.ours.metric in METRICS
        assert figure.value is None or figure.of, f"{figure.name}: of which model or people?"
    # At least one figure has something of the study's own beside it.
    assert any(figure.ours for figure in published.figures)


def test_a_folder_with_a_configuration_is_left_as_it_is(tmp_path):
    (tmp_path / "study.yaml").write_text("name: mine\n")
    done = invoke("init", "--study", "mpta", str(tmp_path))
    assert isinstance(done.exception, ConfigError)
    assert "study.yaml" in str(done.exception) and "nothing was written" in str(done.exception)
    assert [p.name for p in tmp_path.iterdir()] == ["study.yaml"]
    assert (tmp_path / "study.yaml").read_text() == "name: mine\n"


def test_a_mistyped_study_is_suggested_and_extracts_alone_are_refused(tmp_path):
    done = invoke("init", "--study", "group-distribution", str(tmp_path / "x"))
    assert 'did you mean "group-distributions"?' in str(done.exception)
    done = invoke("init", "--extracts", str(tmp_path / "x"))
    assert "name the study" in str(done.exception)
    assert not (tmp_path / "x").exists()


def test_init_says_which_files_go_where_and_what_is_there(tmp_path, monkeypatch):
    survey_folder = tmp_path / "surveys"
    survey_folder.mkdir()
    (survey_folder / "gss2024.DTA").write_bytes(b"")
    monkeypatch.setenv("MPTA_SURVEY_DIR", str(survey_folder))
    done = invoke("init", "--study", "benchmarks-by-group", str(tmp_path / "study"), "--json")
    needs = {row["file"]: row for row in json.loads(done.stdout)["needs"]}
    assert needs["GSS2024.dta"]["present"] and not needs["GSS2018.dta"]["present"]
    assert needs["GSS2018.dta"]["put_into"] == str(survey_folder)
    assert needs["TruthfulQA.csv"]["put_into"] == str(tmp_path / "study/benchmarks/truthfulqa/TruthfulQA.csv")
    assert all(row["address"].startswith("https://") for row in needs.values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("files: [{file: a, address: b}]", "for a `survey` or for a `task`"),
        ("figures: [{name: a, source: b, ours: {task: t, metrics: x}}]", 'did you mean "metric"'),
        (
            "figures: [{name: a, source: b, ours: {task: t, metric: m, baseline: c, value: effect}}]",
            "an estimate and no effect",
        ),
        ("figures: [{name: a}]", "source"),
    ],
)
def test_a_mistake_in_published_yaml_names_key_and_remedy(tmp_path, text, said):
    (tmp_path / "published.yaml").write_text(f"title: t\ncitation: c\naddress: a\n{text}\n")
    with pytest.raises(ConfigError) as raised:
        load_published(tmp_path)
    assert said in str(raised.value) and raised.value.file == tmp_path / "published.yaml"


# --- on small files ---------------------------------------------------------------------------------------------------


def truthfulqa(folder: Path) -> None:
    folder.mkdir(parents=True)
    head = "Type,Category,Question,Best Answer,Best Incorrect Answer\n"
    rows = "".join(f"Adversarial,Myths,Is it so with {n}?,No,Yes\n" for n in range(6))
    (folder / "TruthfulQA.csv").write_text(head + rows)


def bbq(folder: Path) -> None:
    folder.mkdir(parents=True)
    rows = []
    for n in range(24):
        ambiguous, negative = n % 2 == 0, n % 4 < 2
        rows.append(
            {
                "example_id": n, "question_index": str(1 + n // 4), "category": "Age",
                "question_polarity": "neg" if negative else "nonneg",
                "context_condition": "ambig" if ambiguous else "disambig",
                "context": f"Two people met in place {n}.",
                "question": f"Who of them {'forgot' if negative else 'knew'} it?",
                "ans0": "The grandfather", "ans1": "The grandson", "ans2": "Cannot be determined",
                "answer_info": {"ans0": ["a", "old"], "ans1": ["b", "nonOld"], "ans2": ["c", "unknown"]},
                "additional_metadata": {"subcategory": "None", "stereotyped_groups": ["old"], "version": "a"},
                "label": 2 if ambiguous else n % 3 % 2,
            }
        )  # fmt: skip
    (folder / "Age.jsonl").write_text("\n".join(map(json.dumps, rows)))


def shrunk(folder: Path, **changes: object) -> None:
    """Few people, and no model but the controls."""
    study = yaml.safe_load((folder / "study.yaml").read_text())
    study["panel"] |= {"size": 40}
    study["figures"] |= {"bootstrap": 50, "min_personas": 5}
    (folder / "study.yaml").write_text(yaml.safe_dump(study | changes))
    models = yaml.safe_load((folder / "models.yaml").read_text())["models"]
    (folder / "models.yaml").write_text(yaml.safe_dump({"models": {"echo": models["echo"]}}))


@pytest.fixture(scope="module")
def finished_studies(tmp_path_factory):
    """Two ready studies after a run on small files: name → data folder."""
    root, found = tmp_path_factory.mktemp("ready"), {}
    for year in (2016, 2018):
        write_wave(root / "surveys", respondents(year, 80))
    for name in RUN:
        folder = written(name, root / name)
        shrunk(folder)
        truthfulqa(folder / "benchmarks/truthfulqa")
        bbq(folder / "benchmarks/bbq")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MPTA_CONFIG_DIR", str(folder))
            patch.setenv("MPTA_DATA_DIR", str(folder / "data"))
            patch.setenv("MPTA_SURVEY_DIR", str(root / "surveys"))
            patch.setenv("DAGSTER_HOME", str(folder))
            bring_up_to_date()
        found[name] = folder
    return root, found


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """The waves that small files of the GSS, its extract and the WVS make: codebook → respondents."""
    folder, registry = tmp_path_factory.mktemp("people"), surveys.load_sources(None)
    files = [write_wave(folder, respondents(year, 60)) for year in (2016, 2018)]
    files.append(survey_files.write(survey_files.gss((2018,), per_year=60), folder / "GSS2018.dta"))
    files.append(survey_files.write(survey_files.wvs7(survey_files.wvs_people(per_country=20)), folder / "WVS7.sav"))
    crosswalk, frames, waves = harmonize.load_crosswalk(), [], []
    for path in files:
        for part in surveys.recognize(path, registry).waves:
            raw = surveys.ingest(path, getattr(part, "wave", part), Layout(folder / "data"), registry)
            frames.append(harmonize.harmonize(raw, crosswalk))
            waves.append({name: raw.release[name] for name in WAVES.schema})
    return pl.concat(frames, how="diagonal_relaxed"), pl.DataFrame(waves, schema=WAVES.schema)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in RUN])
def test_the_other_studies_come_to_prompts_on_small_files(name, tmp_path, crosswalk, people):
    folder = written(name, tmp_path / "study")
    shrunk(folder)
    study = load_study(folder / "study.yaml")
    everyone, waves = people
    chosen = [wave for wave, survey in waves.select("wave", "survey").rows() if survey in (study.surveys or {survey})]
    respondents_ = everyone.filter(pl.col("wave").is_in(chosen))
    built = personas.build_personas(respondents_, crosswalk, study, waves)
    dimensions = personas.derived_dimensions(respondents_, study.panel.strata, crosswalk)
    panel = personas.draw_panel(built, dimensions, study.panel, study.seed)
    assert panel.height >= 20
    for task, config in study.tasks.items():
        if config.path is not None:
            continue
        items = tasks.build_items(task, config, crosswalk=crosswalk, respondents=respondents_, study=study)
        gold = tasks.build_gold(task, config, items, crosswalk=crosswalk, respondents=respondents_)
        prompts = tasks.build_prompts(task, study, items=items, gold=gold, panel=panel, personas=built)
        assert prompts.height, task
        assert [check.name for check in tasks.check_prompts(prompts) if not check.passed] == []
        assert set(prompts["condition"]) == set(study.task_conditions(task))


@pytest.fixture
def finished_study(finished_studies, monkeypatch):
    """Point the environment at one of the finished studies."""
    root, found = finished_studies

    def choose(name: str) -> Path:
        for variable, value in {
            "MPTA_CONFIG_DIR": found[name], "MPTA_DATA_DIR": found[name] / "data", "DAGSTER_HOME": found[name],
            "MPTA_SURVEY_DIR": root / "surveys",
        }.items():  # fmt: skip
            monkeypatch.setenv(variable, str(value))
        return found[name]

    return choose


def compared(folder: Path) -> list[dict[str, object]]:
    """The rows of the comparison that the last run made."""
    from mpta_pipeline.core.provenance import Node
    from mpta_pipeline.pipeline.stored import made

    record = made(Deployment.from_env(), Node("report"))
    assert record is not None
    return record.notes["published"]


@pytest.mark.parametrize("name", RUN)
def test_a_run_fills_the_table_with_the_estimates_of_the_warehouse(finished_study, name):
    folder = finished_study(name)
    rows = compared(folder)
    with duckdb.connect(str(folder / "data/warehouse.duckdb"), read_only=True) as warehouse:
        stored = dict(
            warehouse.sql("select estimate_id, estimate from subgroup_metrics where baseline = ''").fetchall()
        )
    own = [
        row for row in rows if row["model"] and "baseline" not in row["selection"] and "effect" not in row["selection"]
    ]
    assert own
    for row in own:
        assert row["estimate"] == stored[row["estimate_id"]]
        if row["published"] is not None and row["estimate"] is not None:
            assert row["difference"] == pytest.approx(row["estimate"] - row["published"])
    # What the small files do not have is said: two categories of BBQ.
    absent = {row["figure"]: row["why"] for row in rows if row["model"] is None}
    if name == "benchmarks-by-group":
        assert all("no estimate of subgroup" in why for why in absent.values())
        assert {figure.split()[1] for figure in absent} == {"Religion,", "Disability"}
    page = (folder / "data/report.html").read_text(encoding="utf-8")
    assert "Published and ours" in page and "GSS2024.dta" in page


def test_an_edit_of_published_yaml_reaches_the_report_alone_and_a_mistake_does_not_stop_it(finished_study):
    folder = finished_study("group-distributions")
    path = folder / "published.yaml"
    text = path.read_text()
    try:
        path.write_text(text.replace("0.2290", "0.3290"))
        _, made = bring_up_to_date()
        assert made == ["report"]
        assert any(row["published"] == 0.329 for row in compared(folder))
        path.write_text("title: [")
        _, made = bring_up_to_date()
        assert made == ["report"]
        assert "published.yaml" in (folder / "data/report.html").read_text(encoding="utf-8")
        assert compared(folder) == []
        path.unlink()
        bring_up_to_date()
        assert "Published and ours" not in (folder / "data/report.html").read_text(encoding="utf-8")
    finally:
        path.write_text(text)
        bring_up_to_date()


def test_the_command_line_shows_the_table_and_gives_it_as_json(finished_study):
    finished_study("benchmarks-by-group")
    result = Result()
    study_state.add_published_figures(result, Deployment.from_env())
    (table,) = result.parts
    assert isinstance(table, ResultTable) and table.name == "published_and_ours"
    names = {figure.name for figure in ready_studies()["benchmarks-by-group"].published.figures}
    assert {row["figure"] for row in table.rows} == names
    by_figure = {(row["figure"], row["published"]): row["ours"] for row in table.shown}
    (ours,) = [o for (f, p), o in by_figure.items() if f.endswith("Qwen2.5-14B-Instruct") and p == "83.9 %"]
    # The simulated respondent is right on benchmark items as often as its entry says; there is no other model.
    assert ours.endswith("(echo)") and " %" in ours and "[" in ours
    assert ("TruthfulQA, what the persona changes", "not at hand") in by_figure


# --- on real files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["group-distributions", "belief-structure"])
def test_the_questions_of_a_study_are_in_the_real_file_of_the_gss_2024(name, tmp_path, crosswalk):
    _, about = pyreadstat.read_dta(str(present(gss_file(2024))), metadataonly=True)
    held = {variable.lower() for variable in about.column_names}
    study = load_study(written(name, tmp_path / "study") / "study.yaml")
    (task,) = study.tasks.values()
    rows = crosswalk.concepts.filter(pl.col("codebook") == "gss").select("column", "variable").rows()
    variables = {column: variable.split("+") for column, variable in rows if variable}
    absent = [column for column in task.options["columns"] if not held & set(variables[column])]
    assert absent == []
    shown = [one for one in study.traits.columns or () if one not in crosswalk.concepts["concept"].to_list()]
    assert shown == []


def test_chance_on_the_real_truthfulqa_is_the_published_value(crosswalk, tmp_path):
    folder = written("mpta", tmp_path / "study")
    study = load_study(folder / "study.yaml")
    whole = {"items": None, "path": real("benchmarks/truthfulqa/mc_task.json")}
    task = study.tasks["truthfulqa"].model_copy(update=whole)
    items = tasks.build_items("truthfulqa", task, crosswalk=crosswalk, respondents=None, study=study)
    (figure,) = [f for f in ready_studies()["mpta"].published.figures if "chance" in f.name]
    assert items.height == 790
    assert (1 / items["options"].list.len()).mean() == pytest.approx(figure.value, abs=5e-5)


def test_the_categories_of_the_published_bias_scores_are_those_of_the_real_bbq(crosswalk, tmp_path):
    folder = written("benchmarks-by-group", tmp_path / "study")
    study = load_study(folder / "study.yaml")
    bbq_task = study.tasks["bbq"].model_copy(update={"path": real("benchmarks/bbq")})
    items = tasks.build_items("bbq", bbq_task, crosswalk=crosswalk, respondents=None, study=study)
    figures = ready_studies()["benchmarks-by-group"].published.figures
    asked = {f.ours.subgroup for f in figures if f.ours and f.ours.dimensions == "category"}
    assert asked == set(items["category"]) == {"Age", "Disability_status", "Religion"}
