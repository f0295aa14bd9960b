"""`mpta status` and `mpta open`: what is there, what is out of date and why, what waits, and where to look."""

import copy
import json
import socket

import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.pipeline import graph, status
from tests.factories.deployment import STUDY, model, respondents, write_wave


def shown(*words):
    """A command's output as JSON."""
    done = CliRunner().invoke(cli.app, [*words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_every_setting_of_the_graph_has_words():
    for name, setting in graph.SETTINGS.items():
        assert setting.version is None or name in status.CHANGED or setting.keys, name


@pytest.mark.usefixtures("finished")
def test_a_finished_study_is_up_to_date_and_nothing_waits(world):
    told = shown("status")
    assert told["outdated"] == told["waiting"] == told["to_send"] == []
    assert told["waves"] == ["gss_extract-2016", "gss_extract-2018"] and told["panel"] == 12
    assert told["report"] == str(Layout.from_env().report)
    said = CliRunner().invoke(cli.app, ["status"]).output
    assert "Everything is up to date." in said and "Nothing waits for you." in said


def test_a_new_folder_says_what_to_do(world):
    for path in world.surveys.iterdir():
        path.unlink()
    done = CliRunner().invoke(cli.app, ["status"])
    assert done.exit_code == 0 and "mpta demo" in done.output and "not made yet" in done.output


@pytest.mark.usefixtures("finished")
def test_status_says_what_is_stale_and_why(world, server):
    study = copy.deepcopy(STUDY)
    study["figures"]["min_personas"] = 6
    study["tasks"]["sample_myths"]["items"] = 3
    world.study(study)
    told = {(row["table"], row["why"]) for row in shown("status")["outdated"]}
    assert ("subgroup_metrics", "the rules of estimates changed") in told
    assert ("items", "the task or its item file changed") in told
    assert not any(table == "personas" for table, _ in told)
    (items,) = [row for row in shown("status")["outdated"] if row["table"] == "items"]
    assert items["partitions"] == ["sample_myths"], "only what changed"
    world.study(STUDY | {"seed": 7})
    told = {row["table"]: row["why"] for row in shown("status")["outdated"]}
    assert "study.yaml changed (one of" in told["panel"] and "seed" in told["panel"]
    said = CliRunner().invoke(cli.app, ["status"]).output
    assert "follows if their content changes: " in said.replace("\n", " ")


@pytest.mark.usefixtures("finished")
def test_status_shows_what_waits_and_what_would_be_sent(world, server):
    paid = model(server.url) | {"model": "paid", "price": {"input": 100.0, "output": 100.0}}
    away = model("http://model.example/v1") | {"model": "away"}
    world.models({"loopback": model(server.url), "paid": paid, "away": away})
    before = server.calls
    told = shown("status")
    waits = {row["subject"]: row for row in told["waiting"]}
    assert waits["paid on value_alignment"]["what"] == "approval" and waits["paid on value_alignment"]["dollars"] > 0
    sent = {(row["model"], row["task"]): row for row in told["to_send"]}
    assert sent["paid", "value_alignment"]["requests"] == waits["paid on value_alignment"]["requests"]
    assert sent["paid", "value_alignment"]["dollars"] == waits["paid on value_alignment"]["dollars"]
    assert sent["away", "sample_myths"]["dollars"] is None
    (world.surveys / "broken.sav").write_bytes(b"$FL2 this is no survey")
    CliRunner().invoke(cli.app, ["run", "--until", "prompts"])
    assert any(row["what"] == "set aside" and row["subject"] == "broken.sav" for row in shown("status")["waiting"])
    assert server.calls == before, "nothing is sent"


@pytest.mark.usefixtures("finished")
def test_status_changes_nothing(world):
    def files():
        return {path: path.stat().st_mtime_ns for path in world.root.rglob("*") if path.is_file()}

    write_wave(world.surveys, respondents(2014))
    before = files()
    shown("status")
    assert files() == before


@pytest.mark.usefixtures("finished")
def test_open_gives_the_address_and_starts_a_browser_where_there_is_one(world, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    for variable in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(variable, raising=False)
    told = shown("open")
    assert told["address"] == Layout.from_env().report.as_uri() and told["opened"] is False and opened == []
    assert "open this address yourself" in CliRunner().invoke(cli.app, ["open"]).output
    monkeypatch.setenv("BROWSER", "firefox")
    assert shown("open")["opened"] is True and opened == [Layout.from_env().report.as_uri()]
    assert shown("open", "docs")["address"].endswith(("index.html", "index.md"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert shown("open", "ui", "--port", port)["address"] == f"http://127.0.0.1:{port}"


def test_open_says_what_is_missing(world):
    for words, remedy in {("open",): "mpta run", ("open", "ui", "--port", "1"): "mpta ui"}.items():
        done = CliRunner().invoke(cli.app, list(words))
        assert isinstance(done.exception, ConfigError) and remedy in str(done.exception)
    done = CliRunner().invoke(cli.app, ["open", "reprot"])
    assert 'did you mean "report"' in str(done.exception)
