"""`mpta init`, `mpta doctor` and `mpta ui`: from nothing to a deployment that works."""

import json
import os
import socket

import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.pipeline import configuration_schemas
from tests.cli.command_line import mpta
from tests.factories.deployment import World


def test_init_writes_what_is_absent_and_doctor_says_what_is_wrong(tmp_path, server):
    folder = tmp_path / "new"
    place = {"MPTA_CONFIG_DIR": str(folder), "MPTA_DATA_DIR": str(tmp_path / "data"), "DAGSTER_HOME": ""}
    world = World(tmp_path / "other", server.url)
    world.models({"keyed": {"provider": "openai", "model": "m", "key_env": "NOT_SET_ANYWHERE"}})
    refused = mpta(world, "plan", **place)
    assert refused.returncode == 1 and "mpta init" in refused.stderr and "Traceback" not in refused.stderr
    done = mpta(world, "init", **place)
    assert done.returncode == 0, done.stderr
    files = {"study.yaml", "models.yaml", "surveys.yaml"}
    assert {p.name for p in folder.iterdir()} == files | {"dagster.yaml", *map(configuration_schemas.file_name, files)}
    (folder / "models.yaml").write_text((world.config / "models.yaml").read_text())
    again = mpta(world, "init", **place)
    assert "kept as it is" in again.stdout and "NOT_SET_ANYWHERE" in (folder / "models.yaml").read_text()
    said = mpta(world, "doctor", **place)
    assert said.returncode == 1 and "wrong model keyed: set NOT_SET_ANYWHERE" in said.stdout
    assert "no wave yet" in said.stdout and "good  study.yaml" in said.stdout
    (folder / "models.yaml").write_text("models: {a: [")
    said = mpta(world, "doctor", **place)
    assert "wrong models.yaml: A configuration file is not YAML" in said.stdout and "good  study.yaml" in said.stdout


def test_the_ui_opens_the_history_that_every_other_command_writes(world, tmp_path, monkeypatch):
    home, started = tmp_path / "elsewhere", []
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setattr("os.execv", lambda executable, words: started.append(os.environ["DAGSTER_HOME"]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert CliRunner().invoke(cli.app, ["ui", "--port", str(port)]).exit_code == 0
    assert started == [str(home)]


def test_the_ui_on_a_taken_port_ends_with_a_message(world):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = CliRunner().invoke(cli.app, ["ui", "--port", str(taken.getsockname()[1])])
    assert isinstance(done.exception, ConfigError) and "choose another port" in str(done.exception)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "no.such.host.invalid"], "no such host name"),
        (["--host", "203.0.113.7"], "cannot listen there"),
        (["--port", "99999"], "65535"),
    ],
)
def test_the_ui_where_it_cannot_listen_ends_with_a_message(world, words, said, monkeypatch):
    monkeypatch.setattr("os.execv", lambda *words: pytest.fail("it was started"))
    done = CliRunner().invoke(cli.app, ["ui", *words])
    assert done.exit_code and said in f"{done.output} {done.exception}"


def test_the_ui_says_where_it_is_as_json_before_it_starts(world, monkeypatch):
    started = []
    monkeypatch.setattr("os.execv", lambda executable, words: started.append(words))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = CliRunner().invoke(cli.app, ["ui", "--port", str(port), "--json", "--quiet"])
    assert json.loads(done.stdout)["address"] == f"http://127.0.0.1:{port}"
    assert started[0][-2:] == ["--log-level", "warning"]
