"""A damaged snapshot is never read: the error names the file, and reading the survey file again mends it."""

import contextlib
import json
import random
import shutil

import pytest

from mpta_pipeline import surveys
from mpta_pipeline.core.errors import DamagedError, SurveyFileError
from mpta_pipeline.core.provenance import Node, record_path, store
from mpta_pipeline.core.storage import Layout, read_checked_json, write_checked_json
from mpta_pipeline.pipeline import integrity
from mpta_pipeline.pipeline.deployment import Deployment
from tests.factories import survey_files as make
from tests.plain_run import bring_up_to_date

pytestmark = pytest.mark.slow

FILES = ("data.parquet", "variables.parquet", "release.json", "current.json")


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """A wave that was read: layout, survey file, registry."""
    folder = tmp_path_factory.mktemp("read")
    (folder / "surveys.yaml").write_text("{}")
    registry, layout = surveys.load_sources(folder / "surveys.yaml"), Layout(folder / "data")
    path = make.write(make.wvs7(make.wvs_people(per_country=20)), folder / "x.sav")
    surveys.ingest(path, "wvs-7", layout, registry)
    return layout, path, registry


def used(layout, registry):
    """All that is read of a wave."""
    for raw in surveys.load_parts(layout, "wvs-7", registry=registry):
        raw.verify()
        yield raw.data(), raw.variables, surveys.respondents(raw), dict(raw.release)


@pytest.mark.parametrize("name", FILES)
def test_every_flip_is_seen_told_and_mended(read, name):
    layout, path, registry = read
    waves = layout.table("raw_wave", "wvs-7")
    (before,) = used(layout, registry)
    folder = next(layout.raw.glob("wvs-7/*/release.json")).parent
    target = folder.parent / name if name == "current.json" else folder / name
    rng = random.Random(name)
    for _ in range(25):
        store(before[1], waves, Node("raw_wave", "wvs-7"), {})
        whole = target.read_bytes()
        flip(target, rng.randrange(len(whole) * 8))
        if name.endswith(".json") and _same(target, whole):
            target.write_bytes(whole)  # white space, or the way a letter is written
            continue
        with pytest.raises((DamagedError, SurveyFileError), match=name.replace(".", r"\.")) as told:
            list(used(layout, registry))
        assert "mpta run" in str(told.value)
        assert not record_path(waves).exists(), "the next run reads the survey file again"
        (mended,) = surveys.ingest_parts([surveys.PartFile(path)], "wvs-7", layout, registry)
        assert name != "current.json" or "damaged" in " ".join(mended.release["notes"])
        (after,) = used(layout, registry)
        assert all(a.equals(b) for a, b in zip(before[:3], after[:3], strict=True))
        assert after[3] == before[3]


def _same(path, whole):
    try:
        return json.loads(path.read_bytes()) == json.loads(whole)
    except ValueError:
        return False


def test_a_file_that_is_gone_counts_as_damaged(read):
    layout, path, registry = read
    (raw,) = surveys.load_parts(layout, "wvs-7", registry=registry)
    (raw.folder / "data.parquet").unlink()
    with pytest.raises(DamagedError, match=r"data\.parquet.*x\.sav"):
        raw.data()
    surveys.ingest(path, "wvs-7", layout, registry)
    assert raw.data().height


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("lost", ["", "current.json", "*/release.json", "*"])
def test_snapshots_that_were_deleted_are_made_again_from_the_survey_file(world, server, lost):
    deployment = Deployment.from_env()
    calls, harmonized = server.calls, deployment.layout.harmonized("gss_extract-2016")
    before = harmonized.read_bytes()
    for path in (deployment.layout.raw / "gss_extract-2016").glob(lost) if lost else [deployment.layout.raw]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert [f for f in integrity.check_all(deployment, "snapshots") if not f.passed]
    record_path(harmonized).unlink()  # something makes it read the raw wave
    for _ in range(1 if (deployment.layout.raw / "gss_extract-2018").exists() else 2):
        with contextlib.suppress(DamagedError):
            bring_up_to_date()
    bring_up_to_date()
    assert harmonized.read_bytes() == before
    assert server.calls == calls, "nothing was asked again"


def test_a_snapshot_of_before_there_were_checksums_is_read(read):
    layout, path, registry = read
    (raw,) = surveys.load_parts(layout, "wvs-7", registry=registry)
    release = read_checked_json(raw.folder / "release.json")
    old = {name: value for name, value in release.items() if name not in ("checksums", "record")}
    (raw.folder / "release.json").write_text(json.dumps(old))
    stamp = (raw.folder / "data.parquet").stat().st_mtime_ns
    again = surveys.ingest(path, "wvs-7", layout, registry)
    assert again.data().height == raw.data().height
    assert (raw.folder / "data.parquet").stat().st_mtime_ns == stamp, "not read again"
    write_checked_json(release, raw.folder / "release.json")


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"parts": 3}', '{"parts": [{"release": 1}]}', '{"a": ', '{"release": {}}']
)
def test_a_list_of_releases_that_is_none_is_made_again(read, text):
    layout, path, registry = read
    (layout.raw / "wvs-7" / "current.json").write_text(text)
    with pytest.raises(DamagedError, match=r"current\.json"):
        surveys.load_parts(layout, "wvs-7", registry=registry)
    raw = surveys.ingest(path, "wvs-7", layout, registry)
    assert "which release this one superseded is not known" in raw.release["notes"][-1]
    assert surveys.load_parts(layout, "wvs-7", registry=registry)[0].release["notes"] == raw.release["notes"][:-1]


def test_a_wave_whose_source_has_no_record_says_so(read):
    layout, _, registry = read
    without = surveys.SourceRegistry({"gss": registry["gss"]}, registry.conventions)
    with pytest.raises(SurveyFileError, match=r"wvs7\.yaml"):
        surveys.load_parts(layout, "wvs-7", registry=without)
