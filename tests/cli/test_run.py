"""`mpta run` as a user meets it: one command from survey files to the report, budgets, models, a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import dagster as dg
import polars as pl
import pytest

from mpta_pipeline.core.provenance import read_record
from mpta_pipeline.core.storage import Layout
from tests.cli.command_line import mpta, mpta_process, published, tables
from tests.factories.deployment import model, respondents, write_wave


def test_one_command_goes_from_files_to_figures_and_again_asks_nothing(world, server):
    done = mpta_process(world, "run")
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
    assert "0 table(s) built" in again.stdout
    assert tables(world) == before


def test_killed_half_way_and_started_again_it_ends_with_the_same_tables(world, server, finished):
    """The server is that of the finished deployment, which nobody killed."""
    whole, needed = finished.world, sum(finished.asked.values())
    shutil.rmtree(world.data)
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


@pytest.mark.usefixtures("finished")
def test_a_broken_file_is_named_and_the_others_go_on(world, server):
    layout = Layout.from_env()
    layout.report.unlink()
    layout.harmonized("gss_extract-2018").unlink()
    (world.surveys / "broken.sav").write_bytes(b"$FL2 this is no survey")
    (world.surveys / "page.dta").write_text("<html>log in first</html>")
    done = mpta(world, "run")
    assert "broken.sav" in done.stderr and "page.dta" in done.stderr
    assert layout.report.exists() and layout.harmonized("gss_extract-2018").exists()
    listed = mpta(world, "surveys")
    assert listed.returncode == 0
    assert "gss_extract" in listed.stdout and "broken.sav" in listed.stderr


@pytest.mark.usefixtures("finished")
def test_an_endpoint_that_is_down_is_named_and_other_models_go_on(world, server):
    figures = Layout.from_env().table("subgroup_metrics", "loopback", "value_alignment")
    figures.unlink()
    down = model("http://127.0.0.1:9/v1") | {"timeouts": {"connect": 1, "patience": 1}, "attempts": 1}
    world.models({"down": down, "loopback": model(server.url)})
    done = mpta(world, "run")
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr and "Remedy" in done.stderr
    assert figures.exists()


@pytest.mark.usefixtures("finished")
def test_a_run_spends_no_more_than_its_budget_on_all_models(world, server):
    price = {"price": {"input": 200.0, "output": 200.0}}
    world.models({name: model(server.url) | price | {"model": name, "max_tokens": 2} for name in ("one", "two")})
    done = mpta(world, "run", "--tasks", "value_alignment", "--budget", "1", "--until", "responses")
    assert "not sent: the budget of 1 US dollars is reached" in done.stderr
    folder = Layout.from_env().root / "tables" / "responses"
    records = [read_record(path) for name in ("one", "two") for path in (folder / name).glob("*.parquet")]
    spent = sum(r.notes.get("cost_usd", 0.0) for r in records)
    assert 0 < spent <= 1.0
    assert any(r.notes.get("left") for r in records)
    first = server.by_model["one"] + server.by_model["two"]
    assert first == sum(r.notes["asked"] for r in records)
    assert mpta(world, "run", "--tasks", "value_alignment", "--until", "responses").returncode == 0
    assert server.by_model["one"] + server.by_model["two"] > first, "what was left is asked"
    assert server.by_model["one"] and server.by_model["two"]
    assert max(server.asked.values()) == 1


@pytest.mark.usefixtures("finished")
def test_models_asks_the_named_one_and_taking_an_entry_out_deletes_nothing(world, server):
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


def test_until_stops_there(world, server):
    """As JSON, where everything else on standard output would show; in a process, where libraries first load."""
    done = mpta_process(world, "run", "--until", "prompts", "--json")
    assert done.returncode == 0, done.stderr
    assert server.calls == 0
    document = json.loads(done.stdout)
    assert "prompts|value_alignment" in document["built"] and document["failures"] == {}
    assert "prompts" in done.stderr, "progress"
    assert Layout.from_env().table("prompts", "value_alignment").exists()
    plan = mpta(world, "plan")
    assert plan.returncode == 0 and "loopback" in plan.stdout
    assert json.loads(mpta(world, "plan", "--json").stdout)["plan"][0]["model"] == "loopback"


@pytest.mark.usefixtures("finished")
def test_a_key_is_written_nowhere(world, server):
    secret = "sk-very-secret-0123456789"
    world.models({"keyed": model(server.url) | {"model": "keyed", "key_env": "LOOPBACK_KEY"}})
    done = mpta(world, "run", LOOPBACK_KEY=secret)
    assert done.returncode == 0, done.stderr
    assert server.by_model["keyed"] > 0
    held = [p for p in world.root.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]
    assert held == []
    assert secret not in done.stdout + done.stderr
    without = mpta(world, "run", "--models", "keyed")
    assert secret not in without.stdout + without.stderr


@pytest.mark.usefixtures("finished")
def test_a_run_of_one_model_and_task_leaves_the_next_run_alone(world, server):
    """The first model was made in a run of one partition; the command's next run was then cancelled by its end."""
    world.models({name: model(server.url) | {"model": name} for name in ("m1", "m2")})
    first = mpta(world, "run", "--models", "m1", "--tasks", "value_alignment", "--until", "scores")
    assert first.returncode == 0, first.stderr
    rest = mpta(world, "run", "--until", "scores")
    assert rest.returncode == 0, rest.stderr
    assert "Cancelled" not in rest.stdout + rest.stderr
    assert server.by_model["m1"] and server.by_model["m2"]


@pytest.mark.usefixtures("finished")
def test_replies_that_name_no_option_are_a_warning_in_terminal_check_and_report(world, monkeypatch):
    from tests.factories.deployment import model
    from tests.factories.provider_server import Answer, chat
    from tests.factories.provider_server import Server as Anything

    with Anything(lambda r: Answer(body=chat("I see. Let me think."))).running() as talker:
        world.models({"talker": model(talker.url)})
        done = mpta(world, "run")
    assert "warning: talker" in done.stdout, "while requests are sent"
    assert "name none of the options" in done.stdout
    assert "0% of" in done.stderr
    assert "must not be quoted" in done.stderr
    assert "name one of the options: 0.0" in (world.data / "report.html").read_text()
    with dg.DagsterInstance.from_config(str(world.config)) as instance:
        key = dg.AssetCheckKey(dg.AssetKey("scores"), "replies_readable")
        record = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)[0]
        assert record.status.value == "FAILED"


@pytest.mark.usefixtures("finished")
def test_a_model_that_answers_nothing_ends_with_a_code_and_its_words(world, server):
    from tests.factories.deployment import model
    from tests.factories.provider_server import Answer, openai_error
    from tests.factories.provider_server import Server as Anything

    said = "`temperature` and `top_p` cannot both be specified for this model."
    with Anything(lambda r: Answer(400, openai_error(said))).running() as strict:
        world.models({"strict": model(strict.url), "other": model(server.url) | {"model": "other"}})
        done = mpta(world, "run")
        assert len(strict.log) <= 5, "both tasks together"
    assert done.returncode == 1
    assert said in done.stderr
    assert server.by_model["other"] > 0


def test_until_a_wave_is_about_the_waves_alone(world):
    """A run that ends before the personas says nothing of them, also where there is no wave."""
    for path in world.surveys.iterdir():
        path.unlink()
    none = mpta(world, "run", "--until", "harmonized_wave")
    assert none.returncode == 1
    assert "error: failed survey files" in none.stderr and "failed personas" not in none.stderr
    write_wave(world.surveys, respondents(2016))
    done = mpta(world, "run", "--until", "harmonized_wave")
    assert (done.returncode, done.stderr) == (0, "")
    assert Layout.from_env().harmonized("gss_extract-2016").exists()
