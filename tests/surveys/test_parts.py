"""A wave made of several files: joined where their countries differ, a question of releases where they are the same."""

import os

import polars as pl
import pytest

from mpta_pipeline import harmonize, surveys
from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.pipeline import run_step
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.stored import read
from mpta_pipeline.surveys import readers
from tests.factories import skeletons
from tests.factories import survey_files as make

pytestmark = pytest.mark.slow

CROSSWALK = harmonize.load_crosswalk()
PEOPLE = make.wvs_people(per_country=30)


def _of(*countries, version="6-0-0 (2024-04-30)", keep=lambda frame: frame):
    """The file of some countries, as the producer gives them: without A_WAVE."""
    file = make.wvs7(PEOPLE, version=version)
    frame = file.frame.filter(pl.col("B_COUNTRY").is_in(countries)).drop("A_WAVE")
    return file.with_frame(keep(frame))


def _drop(file, path, at):
    """Put a file into the survey folder, dropped at that second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    make.write(file, path)
    os.utime(path, (at, at))
    return path


@pytest.fixture
def deployment(tmp_path, monkeypatch):
    """A deployment without models: from the survey folder to the prompts."""
    monkeypatch.setenv("MPTA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("MPTA_CONFIG_DIR", str(tmp_path / "config"))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "study.yaml").write_text(
        "name: parts\nsurveys: [wvs]\npanel: {size: 400, strata: []}\ntraits: {min: 1}\n"
        "tasks: {value_alignment: {kind: value_alignment, items: 60}}\n",
        encoding="utf-8",
    )
    (tmp_path / "config" / "surveys.yaml").write_text("{}\n", encoding="utf-8")
    (tmp_path / "config" / "models.yaml").write_text("models: {}\n", encoding="utf-8")
    return Deployment.from_env()


def _made(deployment, wave="wvs-7"):
    """Bring the wave, the personas and the prompts up to date; what they are then."""
    deployment.look()
    run_step.make(deployment, "raw_wave", wave)
    record = run_step.make(deployment, "harmonized_wave", wave).record
    run_step.make(deployment, "survey_changelog", wave)
    run_step.make(deployment, "personas")
    run_step.make(deployment, "panel")
    run_step.make(deployment, "items", "value_alignment")
    run_step.make(deployment, "prompts", "value_alignment")
    return record, read(deployment, "personas"), read(deployment, "prompts", "value_alignment")


def test_three_country_files_dropped_one_after_the_other(deployment, monkeypatch):
    """One wave with three countries; whoever was there stays as they were, and only new prompts are to be asked."""
    folder = deployment.layout.surveys
    _drop(_of(840), folder / "usa.dta", 100)
    _, first, _ = _made(deployment)
    read = readers.parts
    seen = []
    monkeypatch.setattr(readers, "parts", lambda info, *a, **k: seen.append(info.path.name) or read(info, *a, **k))
    _drop(_of(484), folder / "mexico.sav", 50)  # an older file takes nothing from a newer one of another country
    _, second, before = _made(deployment)
    _drop(_of(276), folder / "germany.csv", 200)
    record, third, prompts = _made(deployment)
    assert "usa.dta" not in seen  # what was read is not read again
    assert sorted(third["country"].unique()) == ["DEU", "MEX", "USA"]
    assert third.height == 90
    known = third.filter(pl.col("country").is_in(["USA", "MEX"]))
    assert known.sort("respondent_id").equals(second.sort("respondent_id"))
    assert known.filter(pl.col("country") == "USA").sort("respondent_id").equals(first.sort("respondent_id"))
    new = prompts.join(before, on="content_hash", how="anti")
    assert set(before["content_hash"]) <= set(prompts["content_hash"])
    assert set(new.join(third, on="respondent_id")["country"]) == {"DEU"}
    assert len(record.notes["parts"]) == 3
    waves = deployment.waves()
    assert sorted(waves["file_name"]) == ["germany.csv", "mexico.sav", "usa.dta"]
    assert sorted(c for found in waves["countries"] for c in found) == ["DEU", "MEX", "USA"]


def test_a_country_is_replaced_and_removed_and_the_others_stay(deployment):
    folder = deployment.layout.surveys
    _drop(_of(840), folder / "usa.dta", 100)
    _drop(_of(484), folder / "mexico.dta", 100)
    _, before, _ = _made(deployment)
    newer = _of(
        484,
        version="7-0-0 (2026-01-01)",
        keep=lambda f: f.with_columns(
            Q46=pl.when(pl.int_range(pl.len()) == 4).then(5 - pl.col("Q46").clip(1, 4)).otherwise("Q46")
        ),
    )
    _drop(newer, folder / "mexico new.dta", 90)  # the version decides, not the day
    _, after, _ = _made(deployment)
    usa = pl.col("country") == "USA"
    assert after.filter(usa).equals(before.filter(usa))
    assert set(after["respondent_id"]) == set(before["respondent_id"])
    log = read(deployment, "survey_changelog", "wvs-7")
    assert set(log.filter(pl.col("change") == "changed")["variable"]) == {"Q46", "version"}
    assert log.filter(pl.col("change").is_in(["added", "removed"])).is_empty()
    (folder / "usa.dta").unlink()
    _, left, _ = _made(deployment)
    assert left["country"].unique().to_list() == ["MEX"]
    assert left.equals(after.filter(~usa))


def test_a_file_with_a_faulty_weight_keeps_no_other_country_out(deployment):
    folder = deployment.layout.surveys
    _drop(_of(840), folder / "usa.sav", 100)
    _drop(
        _of(
            484,
            keep=lambda f: f.with_columns(
                W_WEIGHT=pl.when(pl.int_range(pl.len()) == 3).then(-5.0).otherwise("W_WEIGHT")
            ),
        ),
        folder / "mexico.sav",
        100,
    )
    record, personas, _ = _made(deployment)
    assert personas["country"].unique().to_list() == ["USA"]
    ((name, message),) = record.notes["left_out"].items()
    assert name == "mexico.sav"
    assert "W_WEIGHT" in message and "mexico.sav" in message


def test_the_catalogue_tells_each_part(tmp_path, registry):
    folder = tmp_path / "in"
    _drop(_of(840, 484, 276), folder / "pooled.sav", 100)
    _drop(_of(484, version="7-0-0 (2026-01-01)"), folder / "mexico.sav", 90)
    _drop(_of(909), folder / "britain.sav", 90)
    _drop(make.wvs_ts(PEOPLE), folder / "series.sav", 500)
    _drop(_of(840), folder / "usa.sav", 10)
    states = surveys.scan(folder, registry, cache=tmp_path / "c.json")
    found = {f.state.path.name: f for f in surveys.assign(states)}
    assert {n: (f.role, f.countries) for n, f in found.items()} == {
        "pooled.sav": ("used", ("DEU", "USA")),
        "mexico.sav": ("used", ("MEX",)),
        "britain.sav": ("used", ("GBR",)),
        "series.sav": ("check", ()),
        "usa.sav": ("superseded", ()),
    }
    assert found["pooled.sav"].reason == (
        "one of 3 files of the wave: DEU, USA are read from it; MEX is taken from mexico.sav, the newer release "
        "(7-0-0 (2026-01-01))"
    )
    assert "added later" in found["usa.sav"].reason


def test_ids_do_not_depend_on_which_countries_a_file_holds(tmp_path, layout, registry):
    pooled = surveys.ingest(make.write(_of(840, 484, 276), tmp_path / "pooled.sav"), "wvs-7", layout, registry)
    own = surveys.ingest(make.write(_of(484), tmp_path / "mexico.sav"), "wvs-7", layout, registry)
    some = surveys.respondents(surveys.limited(pooled, ["MEX"]))
    assert some["respondent_id"].equals(surveys.respondents(own)["respondent_id"])
    assert some["row_index"].to_list() == list(range(30))
    assert surveys.cells(surveys.limited(pooled, ["MEX"]), "Q46").equals(surveys.cells(own, "Q46"))


@pytest.mark.parametrize("form", ["x.dta", "big.dta", "x.sav", "x.csv", "x.csv.zip"])
@pytest.mark.parametrize("name", skeletons.many())
def test_every_skeleton_gets_in(name, form, tmp_path, layout, registry):
    skeleton = skeletons.load(name)
    path = skeletons.write(skeleton, tmp_path / form, rows=150, big_endian=form == "big.dta")
    found = surveys.recognize(path, registry)
    by_name = {v["name"].upper(): v for v in skeleton.variables}
    alpha = next((by_name[n] for n in ("B_COUNTRY_ALPHA", "COUNTRY_ALPHA") if n in by_name), None)
    countries = {c for part in found.parts.values() for c in part.countries}
    assert countries == (set(alpha["counts"]) if alpha else {"CHL"} if "Chile" in name else countries)
    assert len(found.waves) == (7 if "us_time_series" in name else 1) or "WV" not in name
    wave = found.waves[-1]
    raw = surveys.ingest(path, wave, layout, registry)
    people = surveys.respondents(raw)
    assert people["respondent_id"].n_unique() == people.height == found.parts[wave].rows
    frame = harmonize.harmonize(raw, CROSSWALK)
    assert frame.height == people.height
    assert sum(name.endswith("__missing") for name in frame.columns) > 100
    if form != "big.dta":
        return
    # Answers drawn one by one fit no published figure and hang together with nothing; all else must hold.
    checks = harmonize.check_wave(frame, raw, CROSSWALK)
    wrong = {c.name for c in checks if not c.passed and c.severity == "error"}
    assert wrong <= {"published_marginals", "battery_signs", "weight_sums"}


def test_a_negative_weight_is_told_with_file_variable_and_value(deployment):
    keep = pl.when(pl.int_range(pl.len()) == 3).then(-0.5).otherwise("W_WEIGHT")
    _drop(_of(484, keep=lambda f: f.with_columns(W_WEIGHT=keep)), deployment.layout.surveys / "mexico.sav", 100)
    with pytest.raises(MptaError, match=r"1 respondent.*negative weight.*mexico\.sav.*W_WEIGHT.*-0\.5"):
        _made(deployment)


def test_a_missing_code_for_a_weight_is_told_with_file_variable_and_value(deployment):
    keep = pl.when(pl.int_range(pl.len()) == 3).then(-5.0).otherwise("W_WEIGHT")
    _drop(_of(484, keep=lambda f: f.with_columns(W_WEIGHT=keep)), deployment.layout.surveys / "mexico.sav", 100)
    with pytest.raises(MptaError, match=r"1 respondent\(s\) without weight \(W_WEIGHT is -5.*mexico\.sav"):
        _made(deployment)


def test_what_was_harmonized_before_is_taken_over(deployment, monkeypatch):
    folder = deployment.layout.surveys
    _drop(_of(840), folder / "usa.sav", 100)
    _made(deployment)
    seen = []
    make_frame = harmonize.harmonize
    monkeypatch.setattr(
        harmonize, "harmonize", lambda raw, c: seen.append(raw.release["file_name"]) or make_frame(raw, c)
    )
    _drop(_of(484), folder / "mexico.sav", 100)
    record, _, _ = _made(deployment)
    assert seen == ["mexico.sav"]
    whole = read(deployment, "harmonized_wave", "wvs-7")
    deployment.layout.harmonized("wvs-7").unlink()
    run_step.make(deployment, "harmonized_wave", "wvs-7")
    again = read(deployment, "harmonized_wave", "wvs-7")
    assert again.select(sorted(again.columns)).equals(whole.select(sorted(whole.columns)))
    assert sorted(record.notes["parts"]) == sorted(deployment.waves()["release_id"])
