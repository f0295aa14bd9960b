"""Large steps in jobs: how many there are, what they are told, and who hears of them."""

import pytest

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.pipeline import part_jobs
from mpta_pipeline.pipeline.part_jobs import PartJobs, jobs_of


@pytest.mark.parametrize(
    ("parts", "chunks", "expected"),
    [
        (None, 1, 1),
        (None, 31, 1),  # not two million prompts
        (None, 32, 2),
        (None, 256, 16),
        (None, 4096, 32),
        ("auto", 64, 4),
        ("8", 256, 8),
        ("8", 3, 3),
        ("1", 256, 1),
        ("1", 0, 1),
    ],
)
def test_the_number_of_jobs_follows_from_the_chunks_that_are_missing(monkeypatch, parts, chunks, expected):
    monkeypatch.delenv("MPTA_PARTS", raising=False)
    if parts is not None:
        monkeypatch.setenv("MPTA_PARTS", parts)
    assert jobs_of(chunks) == expected


@pytest.mark.parametrize("parts", ["0", "-1", "many", "1.5"])
def test_a_number_of_jobs_that_is_none_is_refused(monkeypatch, parts):
    monkeypatch.setenv("MPTA_PARTS", parts)
    with pytest.raises(ConfigError, match=r"MPTA_PARTS.*1 for no jobs"):
        jobs_of(100)


def test_jobs_have_the_name_of_their_work_and_the_command_of_their_part():
    jobs = PartJobs(Node("scores", "org/my model|value_alignment"), 8, 256, "0123")
    assert jobs.name == PartJobs(jobs.node, 8, 200, "0123").name, "also when some chunks are there already"
    assert jobs.name != PartJobs(jobs.node, 8, 256, "4567").name
    assert jobs.name.startswith("mpta-scores-") and len(jobs.name) < 50
    assert jobs.command('"$I"') == "chunks scores --task value_alignment --model 'org/my model' --part \"$I\"/8"
    assert PartJobs(Node("prompts", "t"), 2, 32, "").command("1") == "chunks prompts --task t --part 1/2"


def test_everybody_who_listens_hears_of_jobs():
    heard: list[tuple[str, str, bool]] = []
    with part_jobs.heard_by(lambda text, warning: heard.append(("terminal", text, warning))):
        with part_jobs.heard_by(lambda text, warning: heard.append(("log", text, warning))):
            part_jobs.say("one")
        part_jobs.say("two", warning=True)
    part_jobs.say("three")
    assert heard == [("terminal", "one", False), ("log", "one", False), ("terminal", "two", True)]


def test_without_a_cluster_no_step_is_cut(monkeypatch):
    monkeypatch.delenv("MPTA_CLUSTER", raising=False)
    assert part_jobs.cluster() is None and part_jobs.cluster_name() == ""
    assert part_jobs.expected_jobs(None, Node("scores", "m|t")) == 1
    monkeypatch.setenv("MPTA_CLUSTER", "ray")
    assert part_jobs.cluster_name() == "Ray"
    assert part_jobs.expected_jobs(None, Node("responses", "m|t")) == 1, "requests are never sent in parts"
