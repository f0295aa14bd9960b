"""`mpta_pipeline.open` and `mpta_pipeline.score`: what a notebook gets, and what importing the package costs."""

import shutil
import subprocess
import sys
import textwrap

import duckdb
import polars as pl
import pytest

import mpta_pipeline
from mpta_pipeline import api, plots
from mpta_pipeline.core import tables
from mpta_pipeline.core.errors import ConfigError, MptaError

REPORTED = next(view for view in tables.VIEWS if view.name == "reported_estimates")
ANSWERS = """respondent_id,sex,question,options,answer,own_answer
p1,female,Is it so?,"[""yes"", ""no""]",yes,yes
p2,male,Is it so?,"[""yes"", ""no""]",no,yes
p3,female,Is it so?,"[""yes"", ""no""]",no,no
"""


@pytest.fixture(scope="module")
def world(finished, tmp_path_factory):
    """A deployment whose results have been published, for all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        made = finished.copy(tmp_path_factory.mktemp("api"), patch)
        (made.root / "answers.csv").write_text(ANSWERS, encoding="utf-8")
        yield made


@pytest.fixture
def study(world):
    return mpta_pipeline.open(world.data)


def test_every_table_is_a_polars_frame_with_its_declared_columns(study):
    methods = {
        "reported_estimates": REPORTED,
        "estimates": tables.SUBGROUP_METRICS,
        "pockets": tables.POCKETS,
        "comparison": tables.MODEL_COMPARISON,
        "personas": tables.PERSONAS,
        "prompts": tables.PROMPTS,
        "responses": tables.RESPONSES,
        "scores": tables.SCORES,
        "items": tables.ITEMS,
        "waves": tables.WAVES,
    }
    for method, table in methods.items():
        assert getattr(study, method)().columns == list(table.schema), method
    assert study.table("respondents").height == 120
    assert study.columns("pockets")["column"].to_list() == list(tables.POCKETS.schema)
    listed = study.tables()
    found, order = listed["table"].to_list(), [one.name for one in (*tables.PUBLISHED, *tables.VIEWS)]
    assert found == sorted(set(found), key=order.index)
    assert set(found) >= {table.name for table in methods.values()}
    assert listed.filter(table="scores")["rows"].item() == study.scores().height > 0


def test_filters_are_values_lists_of_values_or_null(study):
    everything = study.estimates()
    both = study.estimates(dimensions=["all", "sex"], metric="accuracy")
    assert both.equals(everything.filter(pl.col("dimensions").is_in(["all", "sex"]), pl.col("metric") == "accuracy"))
    assert set(study.estimates(weighted=False)["weighted"]) == {False}
    assert study.items(column=None)["column"].null_count() == study.items(column=None).height > 0
    assert study.prompts(order_id=[0])["order_id"].unique().to_list() == [0]
    assert study.pockets(model="loopback", confirmed=True).height <= study.pockets().height


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda study: study.estimates(modle="loopback"), ["modle", 'did you mean "model"?']),
        (lambda study: study.estimates(model="lopback"), ["lopback", 'did you mean "loopback"?']),
        (lambda study: study.scores(task=["value_aligment"]), ['did you mean "value_alignment"?']),
        (lambda study: study.estimates(metric="acuracy"), ['did you mean "accuracy"?']),
        (lambda study: study.waves(wave="gss_extract-2081"), ['did you mean "gss_extract-2018"?']),
        (lambda study: study.table("respondent"), ['did you mean "respondents"?']),
        (lambda study: study.sql("select * from nothing"), ["nothing", "Remedy"]),
        (lambda study: study.sql("create table mine (a int)"), ["read-only"]),
        (lambda study: study.trace("f_0000000000"), ["f_0000000000"]),
    ],
)
def test_a_name_that_nothing_has_is_refused_with_the_one_that_was_meant(study, ask, words):
    with pytest.raises(MptaError) as refused:
        ask(study)
    assert all(word in str(refused.value) for word in words), refused.value


def test_reported_estimates_are_one_row_each_and_plots_show_each(study):
    frame = study.reported_estimates(metric="accuracy", dimensions="sex")
    assert frame.select(REPORTED.key).is_unique().all() and frame.height > 0
    chart = study.plot_estimates(metric="accuracy", dimensions="sex").to_dict()
    (drawn,) = chart["datasets"].values()
    assert sorted(row["estimate"] for row in drawn) == sorted(frame["estimate"].drop_nulls())
    both = pl.concat([frame, frame.with_columns(model=pl.lit("other"))])
    marked = plots.estimates(frame.with_columns(control=pl.lit(True))).to_dict()
    assert {row["model"] for row in next(iter(marked["datasets"].values()))} == {"loopback (control)"}
    several = plots.estimates(both).to_dict()
    assert "yOffset" not in str(several), "Vega-Lite draws offsets of layers outside their row"
    (drawn,) = several["datasets"].values()
    assert len({(row["place"], row["line"]) for row in drawn}) == both.height, "each estimate has a line of its own"
    with pytest.raises(ConfigError, match="too many"):
        plots.estimates(pl.concat([frame] * (plots.MOST_ROWS // frame.height + 1)))
    with pytest.raises(ConfigError, match="no estimates to draw"):
        study.plot_estimates(metric="accuracy", subgroup="nobody")


def test_pockets_and_comparisons_are_drawn():
    numbers = {"difference": -0.2, "ci_low": -0.3, "ci_high": -0.1, "q_value": 0.01, "n_answers": 9, "n_personas": 9}
    shared = {"task": "t", "survey": "s", "condition": "persona", "p_value": 0.01, "mde": 0.1}
    pocket = {"model": "m", "outcome": "score", "subgroup": "female", "confirmed": True, "e_value": 30.0}
    drawn = plots.pockets(pl.DataFrame([numbers | shared | pocket | {"pocket_id": "p_1"}])).to_dict()
    assert "difference from everyone else" in str(drawn)
    pairs = [numbers | shared | {"metric": "accuracy", "model": a, "other_model": b} for a, b in ("mn", "nm")]
    (rows,) = plots.comparison(pl.DataFrame(pairs)).to_dict()["datasets"].values()
    assert [row["pair"] for row in rows] == ["m − n"], "each pair is drawn once"


def test_without_altair_the_message_says_what_to_install(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(ConfigError, match=r"\[plots\]"):
        study.plot_estimates(metric="accuracy")


def test_a_file_of_an_earlier_version_says_so(study, tmp_path):
    shutil.copy(study.file, tmp_path / "warehouse.duckdb")
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as con:
        con.execute("drop view reported_estimates")
    with pytest.raises(ConfigError, match="an earlier version published it"):
        mpta_pipeline.open(tmp_path).reported_estimates()


def test_an_empty_result_with_valid_names_is_empty(study):
    assert study.pockets(model="loopback", subgroup="nobody").is_empty()


def test_sql_and_trace(study):
    counted = study.sql("select count(*) as n from scores where model = $model", {"model": "loopback"})
    assert counted["n"].item() == study.scores().height
    one = study.estimates(metric="accuracy", dimensions="all", task="value_alignment")["estimate_id"][0]
    assert {"respondent_id", "variable", "native_code", "file_name"} <= set(study.trace(one).columns)


def test_where_nothing_was_published_the_message_says_so(tmp_path):
    with pytest.raises(ConfigError, match="no published results"):
        mpta_pipeline.open(tmp_path)


def test_the_published_file_alone_can_be_opened(world, study):
    alone = mpta_pipeline.open(world.data / "warehouse.duckdb")
    assert alone.estimates().equals(study.estimates())
    assert mpta_pipeline.open().file == study.file, "MPTA_DATA_DIR is the default"


def test_a_frame_and_a_file_are_scored_alike(world):
    of_file = mpta_pipeline.score(world.root / "answers.csv", by=["sex"])
    of_frame = mpta_pipeline.score(pl.read_csv(world.root / "answers.csv"), by=["sex"])
    value = of_file.estimates.filter(metric="accuracy", dimensions="all", baseline="")
    assert value["estimate"].item() == pytest.approx(2 / 3)
    assert of_frame.estimates.equals(of_file.estimates)
    reported = of_file.reported_estimates()
    assert reported.select(REPORTED.key).is_unique().all()
    assert reported.filter(metric="accuracy", dimensions="all")["chance"].item() == pytest.approx(0.5)
    assert of_file.plot_estimates(metric="accuracy", dimensions="sex").to_dict()["datasets"]
    assert of_file.comparison.is_empty() and of_file.pockets.columns == list(tables.POCKETS.schema)
    assert [path.name for path in of_file.write(world.root / "out.csv")] == ["out.csv"]


def test_answers_to_a_task_of_the_study_take_its_items(world, study):
    items = study.items(task="sample_myths").select("item_id", answer=pl.col("options").list.first())
    scored = mpta_pipeline.score(items, task="sample_myths")
    assert scored.items["task"].unique().to_list() == ["sample_myths"]
    assert scored.rules.min_personas == 5, "the study's rules count"
    with pytest.raises(ConfigError, match='did you mean "sample_myths"'):
        mpta_pipeline.score(items, task="sample_myth")
    with pytest.raises(ConfigError, match='did you mean "truthfulqa_mc1"'):
        mpta_pipeline.score(items, items="x.csv", kind="truthfulqa_mc11")


def test_the_preview_computes_nothing(world):
    headings = dict(mpta_pipeline.read_answers(world.root / "answers.csv").preview())
    assert {"Columns", "Will be computed"} <= set(headings)


@pytest.mark.parametrize("documented", [mpta_pipeline, api])
def test_the_documented_example_runs(world, monkeypatch, documented):
    monkeypatch.chdir(world.root)
    lines = documented.__doc__.splitlines()
    code = textwrap.dedent("\n".join(line for line in lines if line.startswith("    ") or not line))
    assert "mpta_pipeline.open" in code
    exec(code.replace('by=["region"]', 'by=["sex"]'), {})


def test_importing_the_package_is_cheap_and_the_api_knows_no_dagster(tmp_path):
    code = (
        "import sys, mpta_pipeline; mpta_pipeline.__version__\n"
        "heavy = {'polars', 'duckdb', 'numpy', 'dagster'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "mpta_pipeline.open, mpta_pipeline.score\n"
        "assert 'polars' in sys.modules and 'dagster' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_package_says_that_it_is_typed():
    from importlib.resources import files

    assert (files("mpta_pipeline") / "py.typed").is_file()
