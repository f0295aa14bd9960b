"""The whole thread: from a survey file to a published subgroup figure, and back by hand."""

import math
import shutil
import warnings

import dagster as dg
import duckdb
import polars as pl
import pytest

from mpta_pipeline import definitions
from mpta_pipeline.core.tables import PUBLISHED
from mpta_pipeline.orchestration.command_runs import Runner
from mpta_pipeline.pipeline import graph
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.publication import warehouse
from tests.factories.deployment import STUDY, World, respondents, serving, write_wave
from tests.shared_data import gss_file, needs

GSS_2018 = gss_file(2018)


def run(world):
    """The thread in this process."""
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    deployment = Deployment.from_env()
    with dg.instance_for_test(temp_dir=str(world.config)) as instance:
        outcome = Runner(deployment, definitions.build(deployment), instance).run()
        assert outcome.failures == {}
        found = instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION))
        evaluated = [e.event_log_entry.dagster_event.event_specific_data for e in found]
    return deployment, evaluated


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A deployment that has run once: its project and its evaluated checks."""
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        world = World(tmp_path_factory.mktemp("thread"), server.url)
        for name, value in world.environment.items():
            patch.setenv(name, value)
        for year in (2016, 2018):
            write_wave(world.surveys, respondents(year))
        yield run(world)


def accuracy_by_hand(con, cell):
    """Order-balanced accuracy in plain Python: mean over (persona, item) of the key's share among the best options.

    An order counts with its probabilities, or, where its text is another letter than theirs, with the option picked.
    One that cannot be read counts as wrong.
    """
    rows = con.execute(
        """
        select s.respondent_id, s.item_id, s.gold_idx, s.p_vec, s.pred_idx, s.status, s.k_options, s.weight
        from scores as s
        join groups as g using (respondent_id, survey)
        where s.task = ? and s.condition = ? and (? = 'all' or g.sex = ?)
        order by all
        """,
        [cell["task"], cell["condition"], cell["subgroup"], cell["subgroup"]],
    ).fetchall()
    pairs = {}
    for persona, item, gold, p_vec, picked, status, k, weight in rows:
        mass = None if status != "ok" else p_vec or [float(option == picked) for option in range(k)]
        pairs.setdefault((persona, item), []).append((gold, mass, weight))
    hits, weights = [], []
    for answers in pairs.values():
        read = [mass for _, mass, _ in answers if mass]
        mean = [math.fsum(of_option) / len(read) for of_option in zip(*read, strict=True)]
        best = [option for option, share in enumerate(mean) if share >= max(mean) - 1e-9]
        hits.append((answers[0][0] in best) / max(len(best), 1) * len(read) / len(answers))
        weights.append(answers[0][2] if cell["weighted"] else 1.0)
    estimate = math.fsum(h * w for h, w in zip(hits, weights, strict=True)) / math.fsum(weights)
    return estimate, len(rows), len({p for p, _ in pairs})


@pytest.mark.parametrize("task", ["value_alignment", "sample_myths"])
def test_three_published_cells_are_recomputed_by_hand_from_scores(finished, task):
    with duckdb.connect(str(finished[0].layout.warehouse), read_only=True) as con:
        assert {t.name for t in PUBLISHED} <= {
            n for (n,) in con.execute("select table_name from duckdb_tables()").fetchall()
        }
        cells = (
            con.sql(
                "select * from subgroup_metrics where metric = 'accuracy' and baseline = '' and condition = 'persona'"
                " and dimensions in ('all', 'sex') and not weighted"
            )
            .pl()
            .filter(pl.col("task") == task)
            .to_dicts()
        )
        assert len(cells) == 3
        for cell in cells:
            estimate, n_answers, n_personas = accuracy_by_hand(con, cell)
            assert cell["estimate"] == pytest.approx(estimate, abs=1e-12), cell["subgroup"]
            assert (cell["n_answers"], cell["n_personas"]) == (n_answers, n_personas)


def test_declared_checks_are_those_that_the_domain_returns(finished):
    evaluated = finished[1]
    by_asset = {}
    for check in evaluated:
        by_asset.setdefault(check.asset_key.to_user_string(), {})[check.check_name] = check
    declared = {name: table.checks for name, table in graph.TABLES.items() if table.checks}
    assert set(by_asset) == set(declared)
    for asset, checks in declared.items():
        assert set(by_asset[asset]) == set(checks)
        assert all(found.passed for name, found in by_asset[asset].items() if not checks[name].advisory)
    # A name that the domain does not return would be declared and never looked at.
    looked = {c.check_name for c in evaluated if c.metadata["examined"].value > 0}
    assert looked >= {"schema", "unique_keys", "weights", "respondents_known", "gold_position_uniform"}


def test_a_figure_is_traced_to_file_variable_and_row(finished):
    deployment = finished[0]
    persona = pl.read_parquet(deployment.layout.table("panel"))["respondent_id"][0]
    text = warehouse.trace(deployment.layout, persona).text()
    assert "wave_20" in text and "abany" in text
    figure = warehouse.trace(
        deployment.layout, "loopback/value_alignment/gss_extract/accuracy/persona/sex/female"
    ).text()
    assert "wave_20" in figure


@needs(GSS_2018)
def test_the_same_thread_runs_on_norcs_own_file_with_its_weights(world):
    for path in world.surveys.iterdir():
        path.unlink()
    shutil.copy(GSS_2018, world.surveys / "anything.dta")
    world.study(STUDY | {"panel": {"size": 40, "strata": ["sex", "age_band"]}})
    deployment, _ = run(world)
    waves = deployment.waves().to_dicts()
    assert [(w["wave"], w["n_respondents"], w["weight_name"]) for w in waves] == [("gss-2018", 2348, "wtssall")]
    with duckdb.connect(str(world.data / "warehouse.duckdb"), read_only=True) as con:
        cells = (
            con.sql(
                "select * from subgroup_metrics where metric = 'accuracy' and baseline = '' and condition = 'persona'"
                " and dimensions in ('all', 'sex') and task = 'value_alignment'"
            )
            .pl()
            .to_dicts()
        )
        assert {c["weighted"] for c in cells} == {True, False}, "weighted and unweighted side by side"
        for cell in cells:
            assert cell["estimate"] == pytest.approx(accuracy_by_hand(con, cell)[0], abs=1e-12)
        # NORC's published count: 701 of 2,344 very happy in 2018.
        happy = con.sql(
            "select count(*) filter (where happiness_gss = 'very'), count(happiness_gss) from respondents"
        ).fetchall()
    assert happy == [(701, 2344)]
