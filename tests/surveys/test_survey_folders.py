"""What lies in the survey folders, and which file gives each wave."""

import os
from pathlib import Path

from mpta_pipeline import surveys
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.surveys import survey_folders
from tests.factories import survey_files as make

WVS, EVS = make.wvs_people(per_country=20), make.evs_people(per_country=20)


def _scan(folder: Path, registry, **options):
    return surveys.scan(folder, registry, cache=folder.parent / "cache.json", **options)


def test_every_file_has_a_state_and_none_stops_the_others(tmp_path, registry):
    folder = tmp_path / "in"
    folder.mkdir()
    make.write(make.wvs7(WVS), folder / "a.sav")
    make.write(make.evs2017(EVS), folder / "b.dta")
    (folder / "c.dta").write_bytes(b"nonsense")
    (folder / "notes.md").write_text("mine")
    (folder / "codebook.pdf").write_bytes(b"%PDF")
    (folder / "d.rds").write_bytes(b"RDX3")
    make.write(make.wvs7(WVS), folder / "e.sav").rename(folder / "no_suffix")
    states = {s.path.name: s for s in _scan(folder, surveys.load_sources())}
    assert {n: s.status for n, s in states.items()} == {
        "a.sav": "ready",
        "b.dta": "closed",
        "c.dta": "unusable",
        "d.rds": "unusable",
        "no_suffix": "unusable",
    }
    assert states["b.dta"].recognition.waves == ("evs-5",)
    assert "sources.evs2017.acknowledged" in states["b.dta"].problem
    assert "use one of .sav" in states["no_suffix"].problem
    assert {s.path.name: s.status for s in _scan(folder, registry)}["b.dta"] == "ready"


def test_what_was_seen_is_remembered_until_it_changes(tmp_path, registry, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    path = make.write(make.wvs7(WVS), folder / "a.sav")
    first = _scan(folder, registry)
    looked = []
    look = survey_folders._look
    monkeypatch.setattr(survey_folders, "_look", lambda p, r: looked.append(p) or look(p, r))
    assert _scan(folder, registry) == first
    assert looked == []
    make.write(make.wvs7(make.wvs_people(per_country=21)), path)
    os.utime(path, (1, 1))
    assert _scan(folder, registry)[0].sha256 != first[0].sha256
    assert looked == [path]
    (tmp_path / "cache.json").write_text("{broken")
    assert len(_scan(folder, registry)) == 1


def test_a_file_that_is_still_being_copied_is_left_for_the_next_look(tmp_path, registry, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    path = make.write(make.wvs7(WVS), folder / "a.sav")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    look = survey_folders._look

    def meanwhile(file, sources):
        """The copy goes on while the file is looked at."""
        seen = look(file, sources)
        path.write_bytes(whole)
        return seen

    with monkeypatch.context() as patch:
        patch.setattr(survey_folders, "_look", meanwhile)
        (state,) = _scan(folder, registry)
    assert state.status == "unusable" and "still being written" in state.problem
    (state,) = _scan(folder, registry)
    assert state.status == "ready"


def test_folders_that_are_absent_and_several_folders(tmp_path, registry):
    (tmp_path / "one").mkdir()
    (tmp_path / "two" / "deep").mkdir(parents=True)
    make.write(make.wvs7(WVS), tmp_path / "two" / "deep" / "a.sav")
    found = surveys.scan([tmp_path / "none", tmp_path / "one", tmp_path / "two"], registry, cache=tmp_path / "c.json")
    assert [s.path.name for s in found] == ["a.sav"]
    config = tmp_path / "surveys.yaml"
    config.write_text("directories: [two]", encoding="utf-8")
    listed = surveys.folders(Layout(tmp_path / "data"), surveys.load_sources(config))
    assert listed[1] == tmp_path / "two"


def test_one_lineage_gives_a_wave_and_the_others_serve_as_checks(tmp_path, registry):
    """WVS-7 stands in its own file and in the time series, EVS 2017 in its own and the trend: no one counts twice."""
    folder = tmp_path / "in"
    folder.mkdir()
    make.write(make.wvs7(WVS), folder / "w7.sav")
    make.write(make.wvs_ts(WVS, waves={6: make.make_people("wvs", {840: 2011})}), folder / "ts.sav")
    make.write(make.wvs6(make.make_people("wvs", {840: 2011})), folder / "w6.sav")
    make.write(make.evs2017(EVS), folder / "evs.sav")
    make.write(make.evs_trend({4: make.make_people("evs", {276: 2008}), 5: EVS}), folder / "trend.sav")
    roles = {(w.wave, w.state.path.name): w.role for w in surveys.assign(_scan(folder, registry))}
    assert roles == {
        ("wvs-7", "w7.sav"): "used",
        ("wvs-7", "ts.sav"): "check",
        ("wvs-6", "ts.sav"): "used",
        ("wvs-6", "w6.sav"): "check",
        ("evs-5", "evs.sav"): "used",
        ("evs-5", "trend.sav"): "check",
        ("evs-4", "trend.sav"): "used",
    }


def test_the_newest_release_is_used(tmp_path, registry):
    folder = tmp_path / "in"
    folder.mkdir()
    make.write(make.wvs7(WVS), folder / "a.sav")
    make.write(make.wvs7(WVS, version="10-0-0 (2031-01-01)"), folder / "b.sav")
    make.write(make.wvs7(WVS, version="5-0-0 (2022-12-14)"), folder / "c.sav")
    make.write(make.wvs7(WVS), folder / "a copy.sav")
    roles = {w.state.path.name: (w.role, w.reason) for w in surveys.assign(_scan(folder, registry))}
    assert roles["b.sav"] == ("used", "the whole wave is read from it")
    assert {name for name, (role, _) in roles.items() if role == "superseded"} == {"a.sav", "a copy.sav", "c.sav"}


def test_a_closed_source_gives_no_wave(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    make.write(make.joint(WVS, EVS), folder / "joint.sav")
    assert surveys.assign(_scan(folder, surveys.load_sources())) == []
