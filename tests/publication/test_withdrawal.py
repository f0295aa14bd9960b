"""Withdrawal: after it and the next run nothing that is stored holds the respondent, and nobody else is asked again."""

import json
from datetime import date

import dagster as dg
import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from mpta_pipeline import cli, inference, personas, surveys
from mpta_pipeline.core.errors import ConfigError, MptaError
from mpta_pipeline.orchestration.event_log import purge
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.run_step import make
from mpta_pipeline.pipeline.stored import read, stacked
from mpta_pipeline.publication import withdrawal
from tests.factories.deployment import STUDY, respondents, write_wave
from tests.plain_run import bring_up_to_date

TODAY = date(2026, 11, 23)


@pytest.fixture(scope="module")
def withdrawn(finished, tmp_path_factory):
    """A deployment that has run, one of whose panel withdrew, and that has run again."""
    with pytest.MonkeyPatch.context() as patch:
        world, server = finished.copy(tmp_path_factory.mktemp("forget"), patch), finished.server
        world.study(STUDY | {"conditions": ["persona", "no_persona", "shuffled_any", "group"]})
        # A superseded release holds the respondent, too.
        changed = respondents(2016).with_columns(educ=pl.when(pl.col("id") <= 5).then(12.0).otherwise("educ"))
        write_wave(world.surveys, changed)
        deployment, _ = bring_up_to_date()
        # Somebody whose traits stand in another one's prompt, as the control of shuffled personas shows them.
        prompts = stacked(deployment, "prompts")
        shown = prompts.filter(
            pl.col("respondent_id") != pl.col("shown_respondent_id"), pl.col("wave") == "gss_extract-2016"
        )
        who = shown["shown_respondent_id"].sort()[0]
        persona = read(deployment, "personas").filter(pl.col("respondent_id") == who)
        facts = {
            "who": who,
            "wave": persona["wave"][0],
            "text": personas.render(persona, style="prose", framing="you_are")[0],
            "stored before": len(withdrawal.tables_with(deployment.layout, who)),
            "others' prompts": prompts.filter(
                pl.col("respondent_id") != who, pl.col("shown_respondent_id").ne_missing(pl.lit(who))
            ),
            "spent": server.calls,
        }
        found = withdrawal.find(deployment.layout, deployment.sources, who)
        outcome = withdrawal.forget(deployment.layout, deployment.sources, deployment.models, found, on=TODAY)
        facts["stored at once"] = withdrawal.tables_with(deployment.layout, who)
        facts["asked before"] = server.asked.copy()
        deployment, made = bring_up_to_date()
        facts["asked"] = server.asked.copy()
        yield deployment, facts, outcome, made


def test_no_stored_file_holds_the_respondent_or_their_persona(withdrawn):
    deployment, facts, outcome, _ = withdrawn
    assert facts["stored before"] >= 6, "the respondent was everywhere before"
    assert facts["stored at once"] == [], "rows go at once, not only with the next run"
    assert {"harmonized", "gold", "groups", "personas", "prompts", "responses", "scores"} <= set(outcome.rows)
    assert outcome.answers["loopback"] > 0
    for text in (facts["who"], facts["text"]):
        assert withdrawal.tables_with(deployment.layout, text) == []
    with duckdb.connect(str(deployment.layout.warehouse), read_only=True) as con:
        for (table,) in con.execute("select table_name from duckdb_tables()").fetchall():
            rows = con.execute(f'select count(*) from "{table}" as t where t::varchar like ?', [f"%{facts['who']}%"])
            assert rows.fetchone() == (0,), table


def test_every_snapshot_is_without_the_row_and_the_others_keep_their_ids(withdrawn):
    deployment, facts, _, _ = withdrawn
    snapshots = list(deployment.layout.raw.glob("gss_extract-2016/*/release.json"))
    assert len(snapshots) == 2, "the superseded release is looked through, too"
    for path in snapshots:
        raw = surveys.load_raw(deployment.layout, "gss_extract-2016", path.parent.name)
        people = surveys.respondents(raw)
        assert raw.release["n_respondents"] == raw.data().height == people.height == 59
        assert facts["who"] not in people["respondent_id"]
    other = surveys.load_raw(deployment.layout, "gss_extract-2018")
    assert surveys.respondents(other).height == 60


def test_only_what_depends_on_the_wave_is_made_again_and_nobody_else_is_asked_again(withdrawn):
    deployment, facts, _, made = withdrawn
    assert {n for n in made if n.startswith(("raw_wave", "harmonized_wave"))} == {
        f"raw_wave|{facts['wave']}",
        f"harmonized_wave|{facts['wave']}",
    }
    asked = facts["asked"] - facts["asked before"]
    prompts = stacked(deployment, "prompts")
    new = prompts.join(facts["others' prompts"], on="content_hash", how="anti")
    assert sum(asked.values()) == new["content_hash"].n_unique()
    assert all(facts["asked"][text] == 1 for text in asked), "what is asked now was never asked before"
    assert bring_up_to_date()[1] == []


def test_the_answers_that_others_share_stay(withdrawn):
    deployment, facts, _, _ = withdrawn
    shared = facts["others' prompts"].filter(pl.col("condition") == "no_persona")
    spec = deployment.models["loopback"]
    held = inference.responses(spec, shared, deployment.layout.ledger("loopback"))
    assert held.height == shared.height


def test_a_new_release_does_not_bring_them_back(withdrawn, tmp_path):
    deployment, facts, _, _ = withdrawn
    path = write_wave(tmp_path, respondents(2016).with_columns(pl.lit(9.0).alias("educ")))
    raw = surveys.ingest(path, "gss_extract-2016", deployment.layout, deployment.sources)
    assert facts["who"] not in surveys.respondents(raw)["respondent_id"]
    assert withdrawal.tables_with(deployment.layout, facts["who"]) == []


def test_withdrawing_again_says_so_and_does_the_rest(withdrawn):
    deployment, facts, _, _ = withdrawn
    again = withdrawal.find(deployment.layout, deployment.sources, facts["who"])
    outcome = withdrawal.forget(deployment.layout, deployment.sources, deployment.models, again, on=date(2027, 1, 1))
    assert outcome.again and outcome.rows == {} and outcome.waves == ("gss_extract-2016",)
    listed = json.loads((deployment.layout.root / "withdrawn.json").read_text())["respondents"]
    assert [entry["on"] for entry in listed.values()] == ["2026-11-23"], "the day of the first withdrawal stays"
    assert facts["who"] not in str(listed)


# --- smaller promises, without a run --------------------------------------------------------------------------------


@pytest.fixture
def read_wave(world):
    deployment = Deployment.from_env()
    deployment.look()
    make(deployment, "raw_wave", "gss_extract-2016")
    return deployment


def test_a_respondent_is_found_by_wave_and_own_number(read_wave):
    by_number = withdrawal.find(read_wave.layout, read_wave.sources, "gss_extract-2016:7")
    by_key = withdrawal.find(read_wave.layout, read_wave.sources, "gss_extract-2016:2016:7")
    by_id = withdrawal.find(read_wave.layout, read_wave.sources, by_number.id)
    assert by_number == by_key == by_id and by_id.native_keys == ("2016:7",)


@pytest.mark.parametrize("identifier", ["r_0123456789abcdef", "gss_extract-2016:999", "nonsense", "gss_extract-1999:7"])
def test_nobody_of_that_name_is_an_error_with_the_remedy(read_wave, identifier):
    with pytest.raises(MptaError, match=r"own key.*gss-2018:317"):
        withdrawal.find(read_wave.layout, read_wave.sources, identifier)


def test_a_list_that_cannot_be_read_stops_reading_and_never_counts_as_empty(read_wave):
    (read_wave.layout.root / "withdrawn.json").write_text("{")
    with pytest.raises(ConfigError, match="no withdrawn respondent returns"):
        surveys.load_raw(read_wave.layout, "gss_extract-2016")


def test_a_repeated_key_keeps_its_numbers_when_one_of_its_rows_goes(world):
    frame = pl.concat(
        [respondents(2016), respondents(2016, 1, seed=2, first_id=9), respondents(2016, 1, seed=3, first_id=9)]
    )
    write_wave(world.surveys, frame)
    deployment = Deployment.from_env()
    deployment.look()
    raw = surveys.ingest(world.surveys / "wave_2016.sav", "gss_extract-2016", deployment.layout, deployment.sources)
    before = surveys.respondents(raw)
    three = before.filter("key_repeated").sort("native_key")
    assert three["native_key"].to_list() == ["2016:9", "2016:9#2", "2016:9#3"]
    found = withdrawal.find(deployment.layout, deployment.sources, three["respondent_id"][0])
    withdrawal.forget(deployment.layout, deployment.sources, deployment.models, found, on=TODAY)
    after = surveys.respondents(surveys.load_raw(deployment.layout, "gss_extract-2016"))
    assert (
        after["respondent_id"].to_list()
        == before.filter(pl.col("respondent_id") != found.id)["respondent_id"].to_list()
    )
    found = withdrawal.find(deployment.layout, deployment.sources, three["respondent_id"][1])
    withdrawal.forget(deployment.layout, deployment.sources, deployment.models, found, on=TODAY)
    after = surveys.respondents(surveys.load_raw(deployment.layout, "gss_extract-2016"))
    assert after.filter("key_repeated")["native_key"].to_list() == ["2016:9#3"]


def test_the_command_asks_first_and_says_what_went_and_what_is_left_to_the_user(read_wave):
    make(read_wave, "harmonized_wave", "gss_extract-2016")
    before = pl.read_parquet(read_wave.layout.harmonized("gss_extract-2016"))
    refused = CliRunner().invoke(cli.app, ["forget", "gss_extract-2016:7", "--no-run"], input="n\n")
    assert refused.exit_code != 0 and not (read_wave.layout.root / "withdrawn.json").exists()
    done = CliRunner().invoke(cli.app, ["forget", "gss_extract-2016:7", "--yes", "--no-run"])
    assert done.exit_code == 0, done.output
    assert "rows of harmonized" in done.output and "survey file was not changed" in " ".join(done.output.split())
    after = pl.read_parquet(read_wave.layout.harmonized("gss_extract-2016"))
    assert after.height == before.height - 1 and "2016:7" not in after["native_key"]


def test_previews_in_the_event_log_go_with_the_runs_that_made_them(world):
    @dg.asset
    def shows():
        return dg.MaterializeResult(metadata={"one persona": dg.MetadataValue.md("You are r_withdrawn.")})

    @dg.asset
    def other():
        return dg.MaterializeResult(metadata={"rows": 3})

    with dg.instance_for_test(temp_dir=str(world.config)) as instance:
        kept = dg.materialize([other], instance=instance)
        gone = dg.materialize([shows], instance=instance)
        assert purge(instance, ["r_withdrawn", "somebody else"]) == 1
        assert [r.run_id for r in instance.get_runs()] == [kept.run_id] and gone.run_id != kept.run_id
        assert purge(instance, ["r_withdrawn"]) == 0
        left = instance.get_latest_materialization_event(shows.key).asset_materialization
        assert left.metadata == {} and left.tags["dagster/data_version"], "it still counts as made"
        assert not [p for p in world.config.rglob("*.db") if b"r_withdrawn" in p.read_bytes()]
