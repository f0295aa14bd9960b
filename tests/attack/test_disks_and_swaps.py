"""A full disk, files that are swapped while they are read, and addresses that look local or lack their package."""

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from mpta_pipeline import surveys
from mpta_pipeline.core.errors import ConfigError, DiskFullError, SurveyFileError
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.pipeline import integrity
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.run_step import make
from mpta_pipeline.surveys import load_sources, opening, readers, survey_folders
from tests.cli.command_line import mpta
from tests.factories import survey_files
from tests.factories.deployment import respondents, write_wave
from tests.factories.model_calls import make_spec

FULL = Path("/dev/full")
NAMES = ("0.arrow", "survey.sav", "survey.csv", "cp1252.csv", "latin-1.csv", "utf-16.csv", "windows-1252.csv")
WAVE = "gss_extract-2016"


@pytest.fixture
def full_disk(monkeypatch, tmp_path):
    """A scratch folder in which every file that a reader writes lies on a full disk."""
    if not FULL.exists():
        pytest.skip("needs /dev/full")

    @contextmanager
    def scratch(layout=None):
        folder = tmp_path / "scratch"
        folder.mkdir(exist_ok=True)
        for name in NAMES:
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(FULL)
        yield folder

    for module in (opening, readers, surveys.snapshots):
        monkeypatch.setattr(module, "scratch", scratch)
    return scratch


@pytest.fixture(scope="module")
def wvs7():
    return survey_files.wvs7(survey_files.wvs_people(per_country=10))


@pytest.mark.parametrize("suffix", [".sav", ".zsav", ".dta", ".csv", ".sav.zip"])
def test_a_full_disk_is_told_as_one_and_the_file_is_not_blamed(suffix, wvs7, full_disk, tmp_path):
    path = survey_files.write(wvs7, tmp_path / f"x{suffix}")
    with pytest.raises(DiskFullError, match=r"The disk is full.*the file itself may be good.*Remedy: free space"):
        surveys.ingest(path, "wvs-7", Layout(tmp_path / "data"), load_sources())
    assert not list((tmp_path / "data").rglob("release.json"))


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, and how to give that disk another size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a disk of its own")
    try:
        yield folder, lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.usefixtures("finished")
def test_a_full_disk_below_dagsters_history_is_told_and_the_next_run_goes_on(world, server, small_disk):
    """The data folder has room: tables are stored although nothing of them could be told to Dagster."""
    home, resize = small_disk
    shutil.copy(world.config / "dagster.yaml", home)
    write_wave(world.surveys, respondents(2014))
    calls = server.calls
    for size in ("200k", "1m"):  # full while the history is begun, and while the run works
        resize(size)
        done = mpta(world, "run", "--until", "prompts", DAGSTER_HOME=str(home))
        assert done.returncode == 1 and "Traceback" not in done.stderr and "bug" not in done.stderr, done.stderr
        assert f"Dagster's history in {home} cannot be used" in done.stderr and "free space" in done.stderr
    resize("50m")
    done = mpta(world, "run", "--until", "prompts", DAGSTER_HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert not [f for f in integrity.check_all(Deployment.from_env(), "records") if not f.passed]
    assert server.calls == calls


def test_a_csv_that_needs_another_encoding_on_a_full_disk(full_disk, tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes("a,b\né,1\n".encode("cp1252"))
    with pytest.raises(DiskFullError), opening.opened(path):
        pass


def test_a_file_that_met_a_full_disk_is_looked_at_again(wvs7, tmp_path, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    survey_files.write(wvs7, folder / "x.sav.zip")
    with monkeypatch.context() as full:
        full.setattr(opening, "_LEFT_FREE", 1 << 60)
        (state,) = survey_folders.scan(folder, load_sources(), cache=tmp_path / "cache.json")
    assert state.status == "unusable" and "The disk is full" in state.problem
    (state,) = survey_folders.scan(folder, load_sources(), cache=tmp_path / "cache.json")
    assert state.status == "ready", "the problem was the disk's, and was not kept as the file's"


@pytest.mark.parametrize("how", ["renamed", "overwritten with its times set back"])
def test_a_file_that_is_swapped_while_it_is_read_and_put_back_is_not_kept(how, world, monkeypatch):
    """B's rows under A's checksum: both hashes, before and after, are those of A."""
    first = world.surveys / "wave_2016.sav"
    other = write_wave(world.root / "other", respondents(2016, seed=2), "b.sav")
    aside = world.root / "a.sav"
    deployment = Deployment.from_env()
    deployment.look()
    parts = readers.parts

    def swap(source: Path, target: Path) -> None:
        if how == "renamed":
            source.replace(target)
        else:
            shutil.copyfile(source, target)
            os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))

    def swapped(*args, **kwargs):
        swap(first, aside)
        swap(other, first)
        try:
            return parts(*args, **kwargs)
        finally:
            swap(aside, first)

    times = first.stat()
    with monkeypatch.context() as attack:
        attack.setattr(readers, "parts", swapped)
        with pytest.raises(SurveyFileError, match="changed while it was read"):
            make(deployment, "raw_wave", WAVE)
    make(deployment, "raw_wave", WAVE)
    read = surveys.load_raw(deployment.layout, WAVE).data(["educ"])["educ"]
    assert read.cast(float).to_list() == respondents(2016)["educ"].to_list()


def test_a_file_that_is_swapped_while_it_is_recognized_and_put_back_is_looked_at_again(world, monkeypatch):
    first = world.surveys / "wave_2016.sav"
    other = write_wave(world.root / "other", respondents(2014), "b.sav")
    look, aside = survey_folders._look, world.root / "a.sav"

    def swapped(path, registry):
        if path.name != first.name:
            return look(path, registry)
        first.replace(aside)
        other.replace(first)
        found = look(path, registry)
        first.replace(other)
        aside.replace(first)
        return found

    with monkeypatch.context() as attack:
        attack.setattr(survey_folders, "_look", swapped)
        assert "gss_extract-2014" not in Deployment.from_env().look().waves
    assert WAVE in Deployment.from_env().look().waves


@pytest.mark.parametrize("model", ["x:cloud", "x:CLOUD", "x:120b-Cloud", "X-CLOUD "])
def test_a_cloud_model_is_elsewhere_however_it_is_written(model):
    assert not make_spec("http://127.0.0.1:11434/v1", model=model).is_local


@pytest.mark.parametrize("scheme, package", [("s3", "s3fs"), ("gs", "gcsfs"), ("abfs", "adlfs"), ("nowhere", "")])
def test_an_object_store_without_its_package_is_a_message(scheme, package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"MPTA_DATA_URL.*Remedy: .*extra `scale`"):
        _ = Layout(tmp_path, f"{scheme}://bucket/prefix").store


def test_a_host_that_only_looks_local_is_elsewhere(world):
    for host in ("localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1x", "localhost-evil"):
        (world.config / "models.yaml").write_text(
            yaml.safe_dump({"models": {"m": {"provider": "openai", "model": "m", "base_url": f"http://{host}/v1"}}})
        )
        assert not Deployment.from_env().model("m").is_local, host
