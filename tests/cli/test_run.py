"""`mpta run` as a user meets it: one command from survey files to the report, budgets, models, a kill."""

import os
import shutil
import signal
import subprocess
import sys
import time

import dagster as dg
import polars as pl

from mpta_pipeline.core.provenance import read_record
from mpta_pipeline.core.storage import Layout
from tests.cli.command_line import mpta, published, tables
from tests.factories.deployment import World, respondents, write_wave


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
    assert "0 table(s) built" in again.stdout
    assert tables(world) == before


def test_killed_half_way_and_started_again_it_ends_with_the_same_tables(world, server, tmp_path):
    whole = World(tmp_path / "whole", server.url)
    # Copied: a .sav file holds the second in which it was written.
    shutil.copytree(world.surveys, whole.surveys, dirs_exist_ok=True)
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


def test_a_broken_file_is_named_and_the_others_go_on(world, server):
    (world.surveys / "broken.sav").write_bytes(b"$FL2 this is no survey")
    (world.surveys / "page.dta").write_text("<html>log in first</html>")
    done = mpta(world, "run")
    assert "broken.sav" in done.stderr and "page.dta" in done.stderr
    assert Layout.from_env().report.exists()
    listed = mpta(world, "surveys")
    assert listed.returncode == 0
    assert "gss_extract" in listed.stdout and "broken.sav" in listed.stderr


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
    assert "not sent: the budget of 1 US dollars is reached" in done.stderr
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


def test_until_stops_there(world, server):
    done = mpta(world, "run", "--until", "prompts")
    assert done.returncode == 0, done.stderr
    assert server.calls == 0
    assert Layout.from_env().table("prompts", "value_alignment").exists()
    plan = mpta(world, "plan")
    assert plan.returncode == 0 and "loopback" in plan.stdout


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
    assert "warning: talker" in done.stdout, "while requests are sent"
    assert "name none of the options" in done.stdout
    assert "0% of" in done.stderr
    assert "must not be quoted" in done.stderr
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
