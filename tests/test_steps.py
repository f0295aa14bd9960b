"""Making what is stored, step by step, where a person has a say."""

import re

import polars as pl
import pytest
import yaml

from mpta_pipeline.errors import ValidationError
from mpta_pipeline.orchestration import steps
from mpta_pipeline.orchestration.project import Project
from mpta_pipeline.provenance import Node
from mpta_pipeline.storage import read_parquet
from tests.world import respondents, write_wave

WAVE = "gss_extract-2016"


def test_a_release_that_changes_much_is_held_until_a_person_accepts_it(world):
    def read_again() -> Project:
        project = Project.from_env()
        project.look()
        steps.make_raw_wave(project, WAVE)
        return project

    write_wave(world.surveys, respondents(2016))
    project = read_again()
    steps.make_harmonized_wave(project, WAVE)
    before = read_parquet(project.layout.harmonized(WAVE))

    write_wave(world.surveys, respondents(2016).with_columns(educ=pl.lit(12.0)))
    project = read_again()
    with pytest.raises(ValidationError, match="release_changes") as held:
        steps.make_harmonized_wave(project, WAVE)
    assert read_parquet(project.layout.harmonized(WAVE)).equals(before), "the last good table stays"

    said = re.search(r"surveys\.yaml: (.*)\.$", str(held.value))
    assert said, held.value
    advice = yaml.safe_load("{" + said[1] + "}")  # the remedy's own words, pasted
    (world.config / "surveys.yaml").write_text(yaml.safe_dump(advice))
    project = Project.from_env()
    assert not steps.is_current(project, Node("harmonized_wave", WAVE))
    record, checks = steps.make_harmonized_wave(project, WAVE)
    assert steps.is_current(project, Node("harmonized_wave", WAVE))
    assert "release_changes" in record.notes["warnings"]
    assert next(c for c in checks if c.name == "release_changes").metadata["accepted"] == "why so much may change"
