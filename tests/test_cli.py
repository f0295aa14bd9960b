"""The command line as a user meets it: one command from files to figures, messages instead of stack traces, a kill."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import dagster as dg
import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.provenance import read_record
from mpta_pipeline.core.storage import Layout
from tests.factories.deployment import World, respondents, write_wave


def mpta(world, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "mpta_pipeline.cli", *arguments],
        env=os.environ | world.environment | {"COLUMNS": "160"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def tables(world):
    """Bytes of every stored table."""
    return {
        str(p.relative_to(world.data)): p.read_bytes()
        for p in sorted(world.data.rglob("*.parquet"))
        if "ledger" not in p.parts and ".tmp" not in p.name
    }


def test_one_command_goes_from_files_to_figures_and_again_asks_nothing(world, server):
    done = mpta(world, "run")
    assert done.returncode == 0, done.stderr
    assert "report.html" in done.stdout
    layout = Layout.from_env()
    assert layout.report.exists() and layout.warehouse.exists()
    figures = pl.read_parquet(layout.table("subgroup_metrics", "loopback", "value_alignment"))
    assert {"all", "sex"} <= set(figures["dimensions"])
    calls, before = server.calls, tables(world)
    assert max(server.asked.values()) == 1
    again = mpta(world, "run")
    assert again.returncode == 0, again.stderr
    assert server.calls == calls, "nothing is asked twice"
    assert "0 table(s) made" in again.stdout
    assert tables(world) == before


def test_killed_half_way_and_started_again_it_ends_with_the_same_tables(world, server, tmp_path):
    whole = World(tmp_path / "whole", server.url)
    for year in (2016, 2018):
        write_wave(whole.surveys, respondents(year))
    assert mpta(whole, "run").returncode == 0
    needed = server.calls
    server.asked.clear()
    server.delay = 0.02
    process = subprocess.Popen(
        [sys.executable, "-m", "mpta_pipeline.cli", "run"],
        env=os.environ | world.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while server.calls < needed // 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    in_flight = 16
    assert 0 < server.calls < needed + in_flight, "it was not killed half-way"
    server.delay = 0.0
    done = mpta(world, "run")
    assert done.returncode == 0, done.stderr
    assert server.calls <= needed + in_flight, "asked twice at most what was in flight"
    with dg.DagsterInstance.from_config(str(world.config)) as instance:
        left = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    assert left == [], "the killed run would count as in progress for ever, and the daemon would wait for it"
    mine, other = tables(world), tables(whole)
    assert mine.keys() == other.keys()
    assert [name for name in mine if mine[name] != other[name]] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--models", "nobody"], ["models.yaml", "nobody", "loopback"]),
        (["run", "--tasks", "nothing"], ["study.yaml", "nothing", "sample_myths"]),
        (["run", "--until", "never"], ["--until", "never", "prompts"]),
        (["trace", "nonsense"], ["nonsense", "Remedy"]),
    ],
)
def test_a_slip_is_one_message_with_the_remedy(world, arguments, words):
    done = mpta(world, *arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    message = " ".join(done.stderr.split())
    assert all(word in message for word in words), message


def test_a_broken_file_is_named_and_the_others_go_on(world, server):
    (world.surveys / "broken.sav").write_bytes(b"$FL2 this is no survey")
    (world.surveys / "page.dta").write_text("<html>log in first</html>")
    done = mpta(world, "run")
    assert "broken.sav" in done.stderr and "page.dta" in done.stderr
    assert Layout.from_env().report.exists()
    listed = mpta(world, "surveys")
    assert listed.returncode == 0
    assert "gss_extract" in listed.stdout and "broken.sav" in listed.stdout


def test_an_endpoint_that_is_down_is_named_and_other_models_go_on(world, server):
    from tests.factories.deployment import model

    down = model("http://127.0.0.1:9/v1") | {"timeouts": {"connect": 1, "patience": 1}, "attempts": 1}
    world.models({"down": down, "loopback": model(server.url)})
    done = mpta(world, "run")
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr and "Remedy" in done.stderr
    assert Layout.from_env().table("subgroup_metrics", "loopback", "value_alignment").exists()


def test_a_run_spends_no_more_than_its_budget_on_all_models(world, server):
    from tests.factories.deployment import model

    price = {"price": {"input": 100.0, "output": 100.0}}
    world.models({name: model(server.url) | price | {"model": name, "max_tokens": 2} for name in ("one", "two")})
    done = mpta(world, "run", "--budget", "1")
    assert "not asked: the budget of 1 US dollars is reached" in done.stdout, done.stderr
    records = [read_record(path) for path in Layout.from_env().root.glob("tables/responses/*/*.parquet")]
    spent = sum(r.notes.get("cost_usd", 0.0) for r in records)
    assert 0 < spent <= 1.0
    assert any(r.notes.get("left") for r in records)
    first = server.calls
    assert first == sum(r.notes["asked"] for r in records)
    assert mpta(world, "run").returncode == 0
    assert server.calls > first and set(server.by_model) == {"one", "two"}, "what was left is asked"
    assert max(server.asked.values()) == 1


def test_models_asks_the_named_one_and_taking_an_entry_out_deletes_nothing(world, server):
    from tests.factories.deployment import model

    assert mpta(world, "run").returncode == 0
    one, layout = {"loopback": model(server.url)}, Layout.from_env()
    before, first = tables(world), server.by_model.copy()
    both = one | {"guest": model(server.url) | {"model": "guest"}}
    world.models(both)
    assert mpta(world, "run", "--models", "guest").returncode == 0
    assert server.by_model - first == {"guest": sum(first.values())}, "only the new one is asked"
    responses = [path for path in before if "responses" in path]
    assert responses and all(tables(world)[path] == before[path] for path in responses)
    all_of_it, asked = tables(world), server.calls
    of_guest = {path: content for path, content in all_of_it.items() if "guest" in path}
    world.models(one)
    done = mpta(world, "run")
    assert done.returncode == 0, done.stderr
    assert of_guest and of_guest.items() <= tables(world).items()
    for text in (layout.report.read_text(), *(str(r) for r in published(layout))):
        assert "guest" not in text.split()
    world.models(both)
    done = mpta(world, "run")
    assert done.returncode == 0, done.stderr
    assert server.calls == asked
    assert tables(world) == all_of_it
    assert {model for (model,) in published(layout)} == {"loopback", "guest"}


def published(layout):
    """The models whose figures are in the warehouse."""
    with duckdb.connect(str(layout.warehouse), read_only=True) as con:
        return con.sql("select distinct model from subgroup_metrics").fetchall()


def test_until_stops_there(world, server):
    done = mpta(world, "run", "--until", "prompts")
    assert done.returncode == 0, done.stderr
    assert server.calls == 0
    assert Layout.from_env().table("prompts", "value_alignment").exists()
    plan = mpta(world, "plan")
    assert plan.returncode == 0 and "loopback" in plan.stdout


def test_export_writes_what_the_policy_lets_out_and_nothing_else(world, server, tmp_path):
    """One command, both formats; what surveys.yaml forbids since the personas were made stays on this machine."""
    early = mpta(world, "export", str(tmp_path / "early"))
    assert early.returncode == 1 and "mpta run --until panel" in early.stderr
    assert mpta(world, "run", "--until", "panel").returncode == 0
    done = mpta(world, "export", str(tmp_path / "hub"))
    assert done.returncode == 0, done.stderr
    table = pl.read_parquet(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet")
    assert f"{table.height:,} personas" in done.stdout
    assert "licence" in table.select("traits").explode("traits").unnest("traits").columns
    assert (tmp_path / "hub" / "README.md").read_text().startswith("---\n")
    done = mpta(world, "export", str(tmp_path / "old"), "--format", "reference_json", "--panel")
    assert done.returncode == 0, done.stderr
    records = json.loads((tmp_path / "old" / "personas.json").read_text())
    assert len(records) == pl.read_parquet(Layout.from_env().table("panel")).height
    assert "?" in records[0]["data"][-1]["question"]
    policy = world.config / "surveys.yaml"
    policy.write_text("sources:\n  gss_extract: {data_use: local_only}\n")
    kept = mpta(world, "export", str(tmp_path / "none"))
    assert kept.returncode == 1 and "gss_extract" in kept.stderr and "Remedy" in kept.stderr
    assert not (tmp_path / "none").exists()


def test_a_key_is_written_nowhere(world, server):
    from tests.factories.deployment import model

    secret = "sk-very-secret-0123456789"
    world.models({"loopback": model(server.url) | {"key_env": "LOOPBACK_KEY"}})
    done = mpta(world, "run", LOOPBACK_KEY=secret)
    assert done.returncode == 0, done.stderr
    held = [p for p in world.root.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]
    assert held == []
    assert secret not in done.stdout + done.stderr
    without = mpta(world, "run", "--models", "loopback")
    assert secret not in without.stdout + without.stderr


def test_init_writes_what_is_absent_and_doctor_says_what_is_wrong(tmp_path, server):
    folder = tmp_path / "new"
    place = {"MPTA_CONFIG_DIR": str(folder), "MPTA_DATA_DIR": str(tmp_path / "data"), "DAGSTER_HOME": ""}
    world = World(tmp_path / "other", server.url)
    world.models({"keyed": {"provider": "openai", "model": "m", "key_env": "NOT_SET_ANYWHERE"}})
    refused = mpta(world, "plan", **place)
    assert refused.returncode == 1 and "mpta init" in refused.stderr and "Traceback" not in refused.stderr
    done = mpta(world, "init", **place)
    assert done.returncode == 0, done.stderr
    assert {p.name for p in folder.iterdir()} == {"study.yaml", "models.yaml", "surveys.yaml", "dagster.yaml"}
    (folder / "models.yaml").write_text((world.config / "models.yaml").read_text())
    again = mpta(world, "init", **place)
    assert "left as it is" in again.stdout and "NOT_SET_ANYWHERE" in (folder / "models.yaml").read_text()
    said = mpta(world, "doctor", **place)
    assert said.returncode == 1 and "wrong model keyed: set NOT_SET_ANYWHERE" in said.stdout
    assert "no wave yet" in said.stdout and "good  study.yaml" in said.stdout
    (folder / "models.yaml").write_text("models: {a: [")
    said = mpta(world, "doctor", **place)
    assert "wrong models.yaml: A configuration file is not YAML" in said.stdout and "good  study.yaml" in said.stdout


def test_a_folder_that_cannot_be_written_is_a_message(world):
    (world.root / "file").write_text("no folder")
    done = mpta(world, "run", MPTA_DATA_DIR=str(world.root / "file" / "data"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr and "Remedy: see that the folder can be written" in done.stderr


def test_the_report_is_published_anew_without_a_question(world, server):
    refused = mpta(world, "report")
    assert refused.returncode == 1 and "There are no figures yet" in refused.stderr
    assert mpta(world, "run").returncode == 0
    calls = server.calls
    Layout.from_env().report.unlink()
    done = mpta(world, "report")
    assert done.returncode == 0, done.stderr
    assert Layout.from_env().report.exists() and server.calls == calls


def test_ctrl_c_ends_with_a_message_and_the_next_run_goes_on(world, server):
    server.delay = 0.05
    # A shell in the background ignores the signal, and a child would inherit that.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{listening}; from mpta_pipeline.cli import main; main()", "run"],
        env=os.environ | world.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 200
    while server.calls < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    server.delay = 0.0
    assert process.returncode == 130 and "Stopped." in said and "Traceback" not in said, said
    done = mpta(world, "run")
    assert done.returncode == 0, done.stderr
    assert max(server.asked.values()) <= 2 and sum(n - 1 for n in server.asked.values()) <= 16


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


def test_a_run_of_one_model_and_task_leaves_the_next_run_alone(world, server):
    """The first model was made in a run of one partition; the command's next run was then cancelled by its end."""
    from tests.factories.deployment import model

    world.models({name: model(server.url) | {"model": name} for name in ("m1", "m2")})
    first = mpta(world, "run", "--models", "m1", "--tasks", "value_alignment")
    assert first.returncode == 0, first.stderr
    rest = mpta(world, "run")
    assert rest.returncode == 0, rest.stderr
    assert "Cancelled" not in rest.stdout + rest.stderr
    assert {m: n > 0 for m, n in server.by_model.items()} == {"m1": True, "m2": True}


def test_replies_that_name_no_option_are_a_warning_in_terminal_check_and_report(world, monkeypatch):
    from tests.factories.deployment import model
    from tests.factories.provider_server import Answer, chat
    from tests.factories.provider_server import Server as Anything

    with Anything(lambda r: Answer(body=chat("I see. Let me think."))).running() as talker:
        world.models({"talker": model(talker.url)})
        done = mpta(world, "run")
    assert "warning talker" in done.stdout
    assert "name none of the options" in done.stdout, "while it is asked"
    assert "0% of" in done.stdout
    assert "must not be quoted" in done.stdout
    assert "name one of the options: 0.0" in (world.data / "report.html").read_text()
    with dg.DagsterInstance.from_config(str(world.config)) as instance:
        key = dg.AssetCheckKey(dg.AssetKey("scores"), "replies_readable")
        record = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)[0]
        assert record.status.value == "FAILED"


def test_a_model_that_answers_nothing_ends_with_a_code_and_its_words(world, server):
    from tests.factories.deployment import model
    from tests.factories.provider_server import Answer, openai_error
    from tests.factories.provider_server import Server as Anything

    said = "`temperature` and `top_p` cannot both be specified for this model."
    with Anything(lambda r: Answer(400, openai_error(said))).running() as strict:
        world.models({"strict": model(strict.url), "loopback": model(server.url)})
        done = mpta(world, "run")
        assert len(strict.log) <= 5, "both tasks together"
    assert done.returncode == 1
    assert said in done.stderr
    assert server.by_model["loopback"] > 0


def test_models_are_probed_and_the_ui_shows_what_was_found(world, server):
    assert mpta(world, "run", "--until", "prompts").returncode == 0
    done = mpta(world, "models", "--probe")
    assert done.returncode == 0, done.stderr
    for words in (
        "letters",
        "candidates",
        "whole options",
        "thinking",
        "structured",
        "context",
        "price",
        "speed",
        "sent",
    ):
        assert words in done.stdout
    with dg.DagsterInstance.from_config(str(world.config)) as instance:
        records = instance.fetch_observations(
            dg.AssetRecordsFilter(asset_key=dg.AssetKey("model_card"), asset_partitions=["loopback"]), limit=1
        ).records
        assert "probe: letters" in records[0].asset_observation.metadata
    from tests.factories.deployment import model

    world.models({"down": model("http://127.0.0.1:9/v1")})
    down = mpta(world, "models", "--probe")
    assert down.returncode == 1
    assert "no connection" in down.stdout


def test_until_a_wave_is_about_the_waves_alone(world):
    """A run that ends before the personas says nothing of them, also where there is no wave."""
    for path in world.surveys.iterdir():
        path.unlink()
    none = mpta(world, "run", "--until", "harmonized_wave")
    assert none.returncode == 1
    assert "failed survey files" in none.stderr and "failed personas" not in none.stderr
    write_wave(world.surveys, respondents(2016))
    done = mpta(world, "run", "--until", "harmonized_wave")
    assert (done.returncode, done.stderr) == (0, "")
    assert Layout.from_env().harmonized("gss_extract-2016").exists()
