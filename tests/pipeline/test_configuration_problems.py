"""Protects what `mpta doctor` and `mpta plan` say of names that lead nowhere: before a run needs them."""

import copy
import json

import pytest
import yaml
from typer.testing import CliRunner

from mpta_pipeline import cli
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.study import load_study
from mpta_pipeline.pipeline.configuration_problems import configuration_problems
from mpta_pipeline.pipeline.deployment import Deployment
from tests.factories.deployment import STUDY, model


def set_in(document, path, value):
    """A copy of a document with one value replaced."""
    changed = copy.deepcopy(document)
    *way, last = path.split(".")
    inner = changed
    for part in way:
        inner = inner.setdefault(part, {})
    inner[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "meant"),
    [
        ("surveys", ["gss_extrac"], 'did you mean "gss_extract"'),
        ("panel.strata", ["sexx"], 'did you mean "sex"'),
        ("figures.dimensions", ["sex", "sex×age_bnad"], 'did you mean "age_band"'),
        ("figures.dimensions", ["contxt"], 'did you mean "context"'),
        ("traits.columns", ["sex", "abortion_por"], 'did you mean "abortion_poor"'),
        ("tasks.value_alignment.kind", "value_aligment", 'did you mean "value_alignment"'),
        ("tasks.value_alignment.options", {"colums": ["sex"]}, 'did you mean "columns"'),
        ("tasks.value_alignment.options", {"columns": ["abortion_por"]}, 'did you mean "abortion_poor"'),
        ("tasks.sample_myths.path", "nowhere.csv", "nowhere.csv"),
        ("figures.retest", "retest.csv", "figures.retest"),
        ("schedules.timezone", "Europe/Berln", "Europe/Berln"),
        ("tasks.value_alignment.elicitation", "option_logprob", "model loopback"),
    ],
)
def test_a_name_that_leads_nowhere_is_named_with_what_was_meant(world, path, value, meant):
    world.study(set_in(STUDY, path, value))
    (problem,) = configuration_problems(Deployment.from_env())
    assert meant in str(problem)


def test_a_retest_table_about_a_variable_of_the_survey_is_told_the_columns_that_there_are(world):
    """The table counts by harmonized columns; others were passed over without a word."""
    (world.config / "retest.csv").write_text("column,retest\nabortion_poor_gss,0.9\nabany,0.8\n")
    world.study(set_in(STUDY, "figures.retest", "retest.csv"))
    (problem,) = configuration_problems(Deployment.from_env())
    assert all(word in str(problem) for word in ("harmonized column", "abany", "retest.csv"))


def test_a_sound_configuration_has_no_problem_and_several_are_all_named(world):
    assert configuration_problems(Deployment.from_env()) == []
    world.study(set_in(set_in(STUDY, "panel.strata", ["sexx"]), "traits.columns", ["agee"]))
    assert len(configuration_problems(Deployment.from_env())) == 2


@pytest.mark.parametrize("name", ["study", "models", "surveys"])
def test_a_file_that_cannot_be_read_is_reported_once(world, name):
    (world.config / f"{name}.yaml").unlink()
    assert configuration_problems(Deployment.from_env()) == []
    found = json.loads(CliRunner().invoke(cli.app, ["doctor", "--json"]).stdout)["findings"]
    assert sum(not row["good"] for row in found if row["checked"] == f"{name}.yaml") == 1


def test_doctor_and_plan_show_them_and_doctor_fails(world):
    world.study(set_in(STUDY, "figures.dimensions", ["sex", "age_bnad"]))
    doctor = CliRunner().invoke(cli.app, ["doctor", "--json"])
    assert doctor.exit_code == 1
    wrong = [row for row in json.loads(doctor.stdout)["findings"] if not row["good"]]
    assert any("age_bnad" in row["message"] and row["checked"] == "figures.dimensions" for row in wrong)
    plan = json.loads(CliRunner().invoke(cli.app, ["plan", "--json"]).stdout)
    assert any("age_bnad" in message["text"] for message in plan["messages"] if message["level"] == "warning")


def test_doctor_names_a_paid_model_whose_price_is_unknown(world, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-0123456789abcdef")
    world.models({"away": model("https://model.example/v1") | {"key_env": "SOME_KEY"}})
    found = json.loads(CliRunner().invoke(cli.app, ["doctor", "--json"]).stdout)["findings"]
    assert any(row["checked"] == "model away" and "no `price`" in row["message"] for row in found)


@pytest.mark.parametrize(
    ("path", "value", "meant"),
    [
        ("panle", {"size": 3}, "panel"),
        ("panel.sise", 3, "size"),
        ("tasks.value_alignment.itmes", 3, "items"),
        ("conditions", ["persona", "no_personna"], "no_persona"),
        ("panel.allocation", "proportionl", "proportional"),
        ("styles", ["prosa"], "prose"),
    ],
)
def test_a_mistyped_key_or_word_of_the_study_is_refused_with_the_one_that_was_meant(world, path, value, meant):
    world.study(set_in(STUDY, path, value))
    with pytest.raises(ConfigError, match=f'did you mean "{meant}"'):
        load_study()


def test_a_model_that_is_not_registered_is_refused_with_the_one_that_was_meant(world):
    (world.config / "study.yaml").write_text(yaml.safe_dump(STUDY | {"models": ["loopbak"]}))
    with pytest.raises(ConfigError, match='did you mean "loopback"'):
        _ = Deployment.from_env().models
