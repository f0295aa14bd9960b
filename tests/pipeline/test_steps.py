"""Making what is stored, step by step, where a person has a say."""

import hashlib
import re
from dataclasses import replace

import polars as pl
import pytest
import yaml

from mpta_pipeline import tasks
from mpta_pipeline.cli import study_state
from mpta_pipeline.cli.result import Result
from mpta_pipeline.core.errors import TaskError
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.core.storage import read_parquet
from mpta_pipeline.pipeline import status
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.run_step import make
from mpta_pipeline.pipeline.staleness import is_current
from mpta_pipeline.pipeline.stored import read
from mpta_pipeline.tasks.item_files import Download
from mpta_pipeline.tasks.kinds import truthfulqa
from tests.factories.deployment import STUDY, respondents, write_wave
from tests.plain_run import bring_up_to_date

WAVE = "gss_extract-2016"


def test_a_release_that_changes_much_is_held_until_a_person_accepts_it(world):
    def read_again() -> Deployment:
        deployment = Deployment.from_env()
        deployment.look()
        make(deployment, "raw_wave", WAVE)
        return deployment

    write_wave(world.surveys, respondents(2016))
    deployment = read_again()
    make(deployment, "harmonized_wave", WAVE)
    before = read_parquet(deployment.layout.harmonized(WAVE))

    write_wave(world.surveys, respondents(2016).with_columns(educ=pl.lit(12.0)))
    deployment = read_again()
    record, checks, _ = make(deployment, "harmonized_wave", WAVE)
    assert read_parquet(deployment.layout.harmonized(WAVE)).equals(before), "the last good table stays"
    assert is_current(deployment, Node("harmonized_wave", WAVE)), "it waits for a person, and is not tried again"
    (held,) = (c for c in checks if not c.passed and c.name == "release_in_use")
    assert held.metadata["respondents held"] == held.metadata["respondents in use"] == 60
    assert held.metadata["in use"] == before["release_id"].unique().to_list() != [held.metadata["held"]]
    assert set(held.metadata["release_changes"]["columns_changed"]) == {"education_years_gss"}
    assert "is held" in held.description and "stays in use" in held.description

    said = re.search(r"surveys\.yaml: (.*)\.$", held.description)
    assert said, held.description
    assert said[1] in held.metadata["how to accept"]
    advice = yaml.safe_load("{" + said[1] + "}")  # the remedy's own words, pasted
    (world.config / "surveys.yaml").write_text(yaml.safe_dump(advice))
    deployment = Deployment.from_env()
    assert not is_current(deployment, Node("harmonized_wave", WAVE))
    record, checks, _ = make(deployment, "harmonized_wave", WAVE)
    assert is_current(deployment, Node("harmonized_wave", WAVE))
    assert "release_changes" in record.notes["warnings"]
    assert next(c for c in checks if c.name == "release_changes").metadata["accepted"] == "why so much may change"


def test_an_item_file_is_downloaded_into_the_data_folder_and_a_closed_network_says_where_to_put_it(world, monkeypatch):
    """The option `download` of a task in study.yaml, from the step that the asset runs."""
    content = b"Type,Category,Question,Best Answer,Best Incorrect Answer\nAdversarial,Myths,Is it so?,No,Yes\n"
    pinned = hashlib.sha256(content).hexdigest()
    file = replace(truthfulqa.FILE, downloads=(Download("http://127.0.0.1:9/TruthfulQA.csv", pinned),))
    kinds = tasks.task_kinds()
    changed = replace(kinds.kinds["truthfulqa_binary"], file=file)
    kinds = replace(kinds, kinds=kinds.kinds | {changed.name: changed})
    monkeypatch.setattr("mpta_pipeline.tasks.kind_registry.task_kinds", lambda config=None: kinds)
    study = yaml.safe_load((world.config / "study.yaml").read_text())
    study["tasks"]["myths"] = {"kind": "truthfulqa_binary", "options": {"download": True}}
    (world.config / "study.yaml").write_text(yaml.safe_dump(study))
    deployment = Deployment.from_env()
    deployment.look()
    make(deployment, "raw_wave", WAVE)
    make(deployment, "harmonized_wave", WAVE)

    with pytest.raises(TaskError, match="cannot be downloaded") as raised:
        make(deployment, "items", "myths")
    place = re.search(r"\(file ([^,]*TruthfulQA\.csv)", str(raised.value))
    assert place, raised.value
    target = deployment.layout.item_files / pinned[:12] / "TruthfulQA.csv"
    assert place[1] == str(target)
    assert "http://127.0.0.1:9/TruthfulQA.csv" in str(raised.value)
    target.write_bytes(content)  # put where the message says
    make(deployment, "items", "myths")
    assert read(deployment, "items", "myths")["question"].to_list() == ["Is it so?"]


@pytest.mark.usefixtures("finished")
def test_a_task_without_questions_is_set_aside_and_the_others_go_on(world):
    """No wave has the concept: `mpta run` ended with an error, and the report did not say that the task is missing."""
    arms = {"old": {"fields": {"what": "a"}}, "new": {"fields": {"what": "b"}}}
    nothing = {"kind": "value_alignment", "options": {"columns": ["happiness"]}, "arms": arms, "control": "old"}
    world.study(STUDY | {"tasks": STUDY["tasks"] | {"nothing": nothing}})
    deployment, made = bring_up_to_date()
    assert "scores|loopback|nothing" in made and "report" in made
    assert read(deployment, "items", "nothing").is_empty() and read(deployment, "scores", "loopback|nothing").is_empty()
    (waits,) = [one for one in status.waiting(deployment) if one.what == "set aside"]
    assert waits.subject == "nothing" and "remove the task" in waits.message
    assert "nothing is set aside" in (world.data / "report.html").read_text(encoding="utf-8")
    result = Result()
    study_state.add_without_items(result, deployment)
    assert result.ok and "nothing is set aside" in str(result.parts)
