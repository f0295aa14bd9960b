"""The release watch against a loopback server: what counts as new, what is fetched, and what is told instead."""

import base64
import hashlib
import threading

import httpx
import pytest
import yaml

from mpta_pipeline import surveys
from mpta_pipeline.core import downloads
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.surveys.release_watch import InUse, watch
from tests.factories.deployment import respondents, write_wave
from tests.factories.producer_site import serving_site

EXTRACT = InUse(waves=("gss_extract-2018",), sha256=("0" * 64,))


@pytest.fixture
def site():
    with serving_site() as server:
        yield server


@pytest.fixture
def layout(tmp_path, monkeypatch):
    monkeypatch.setenv("MPTA_SURVEY_DIR", str(tmp_path / "surveys"))
    monkeypatch.setenv("MPTA_DATA_DIR", str(tmp_path / "data"))
    return Layout.from_env()


@pytest.fixture
def release(tmp_path):
    """Bytes of a release of the extract, by year and number of respondents."""

    def make(year=2018, n=60):
        return write_wave(tmp_path / "made", respondents(year, n)).read_bytes()

    return make


def registry(tmp_path, codebook="gss_extract", **policy):
    path = tmp_path / "surveys.yaml"
    path.write_text(yaml.safe_dump({"sources": {codebook: policy}}))
    return surveys.load_sources(path)


def ask(found_registry, layout, used=EXTRACT, codebook="gss_extract"):
    found = watch(found_registry, layout, {codebook: used} if used else {}, pause=0.01)
    assert len(found) == 1
    return found[0]


def in_folder(layout):
    return sorted(p.name for p in layout.surveys.iterdir()) if layout.surveys.exists() else []


# --- the file's address: what counts as a change ----------------------------------------------------------------------


MANNERS = {
    "ETag": ({"ETag": '"one"'}, {"ETag": '"two"'}, True),
    "Last-Modified": (
        {"Last-Modified": "Mon, 02 Mar 2026 10:00:00 GMT"},
        {"Last-Modified": "Tue, 03 Nov 2026 10:00:00 GMT"},
        True,
    ),
    "length alone": ({}, {}, True),
    "weak ETag": ({"ETag": 'W/"one"'}, {"ETag": 'W/"two"'}, False),
}


@pytest.mark.parametrize("manner", MANNERS)
def test_a_changed_file_is_told_once_by_hand_until_another_one_is_dropped(site, layout, tmp_path, manner):
    before, after, site.length = MANNERS[manner]
    known = registry(tmp_path, watch=[{"file": f"{site.url}/gss.sav", "get_from": "https://example.org/data"}])
    site.body, site.headers = b"x" * 100, before
    assert ask(known, layout).outcome == "nothing_new", "what is there at the first look counts as known"
    assert ask(known, layout).outcome == "nothing_new"
    site.body, site.headers = b"x" * 120, after
    for _ in range(2):
        found = ask(known, layout)
        assert found.outcome == "new_release" and not found.good
        assert "download it by hand from https://example.org/data" in found.message
    assert in_folder(layout) == []
    dropped = InUse(waves=EXTRACT.waves, sha256=("1" * 64,))
    assert ask(known, layout, dropped).outcome == "nothing_new", "a person has dropped it"


def test_an_unchanged_file_costs_one_request_without_a_body(site, layout, tmp_path):
    known = registry(tmp_path, watch=[{"file": f"{site.url}/gss.sav"}])
    site.body, site.headers = b"x" * 100, {"ETag": '"one"'}
    ask(known, layout)
    ask(known, layout)
    assert [verb for verb, _, _ in site.requests] == ["HEAD", "HEAD"]
    assert site.asked("HEAD")[1]["If-None-Match"] == '"one"'


def test_a_server_without_head_is_asked_otherwise(site, layout, tmp_path):
    site.head, site.body, site.headers = False, b"x" * 100, {"ETag": '"one"'}
    known = registry(tmp_path, watch=[{"file": f"{site.url}/gss.sav"}])
    assert ask(known, layout).outcome == "nothing_new"
    site.headers = {"ETag": '"two"'}
    assert ask(known, layout).outcome == "new_release"


def test_an_address_that_says_nothing_by_which_to_tell_is_a_warning(site, layout, tmp_path):
    site.body, site.length = b"x", False
    known = registry(tmp_path, watch=[{"file": f"{site.url}/gss.sav"}])
    assert ask(known, layout).outcome == "cannot_tell"


# --- downloading ------------------------------------------------------------------------------------------------------


def test_what_may_be_fetched_lands_in_the_survey_folder_whole_and_recognized(site, layout, tmp_path, release):
    known = registry(tmp_path, download=True, watch=[{"file": f"{site.url}/GSS%20extract.sav", "save_as": "gss.sav"}])
    site.body, site.headers = release(), {"ETag": '"one"'}
    found = ask(known, layout)
    assert (found.outcome, found.file, in_folder(layout)) == ("downloaded", layout.surveys / "gss.sav", ["gss.sav"])
    assert found.file.read_bytes() == site.body
    assert list(surveys.recognize(found.file, known).waves) == ["gss_extract-2018"]
    assert ask(known, layout).outcome == "nothing_new"
    first = site.body
    site.body, site.headers = release(n=61), {"ETag": '"two"'}
    assert ask(known, layout).outcome == "downloaded"
    assert in_folder(layout) == ["gss.sav"], "our own earlier download is replaced"
    assert (layout.surveys / "gss.sav").read_bytes() not in (first, b"")


def test_a_file_that_a_person_dropped_is_never_written_over(site, layout, tmp_path, release):
    layout.surveys.mkdir(parents=True)
    (layout.surveys / "gss.sav").write_bytes(b"somebody's")
    known = registry(tmp_path, download=True, watch=[{"file": f"{site.url}/gss.sav"}])
    site.body, site.headers = release(), {"ETag": '"one"'}
    found = ask(known, layout)
    sha = hashlib.sha256(site.body).hexdigest()
    assert in_folder(layout) == [f"gss-{sha[:8]}.sav", "gss.sav"] and found.outcome == "downloaded"
    assert (layout.surveys / "gss.sav").read_bytes() == b"somebody's"


def test_the_file_that_is_in_use_already_is_not_put_there_again(site, layout, tmp_path, release):
    known = registry(tmp_path, download=True, watch=[{"file": f"{site.url}/gss.sav"}])
    site.body, site.headers = release(), {"ETag": '"one"'}
    used = InUse(waves=EXTRACT.waves, sha256=(hashlib.sha256(site.body).hexdigest(),))
    assert ask(known, layout, used).outcome == "nothing_new" and in_folder(layout) == []
    assert ask(known, layout, used).outcome == "nothing_new"
    assert len(site.asked("GET")) == 1


def test_a_broken_connection_is_gone_on_with_where_it_broke(site, layout, tmp_path, release):
    known = registry(tmp_path, download=True, watch=[{"file": f"{site.url}/gss.sav"}])
    site.body, site.headers, site.cut_at = release(), {"ETag": '"one"'}, 1000
    assert ask(known, layout).outcome == "downloaded"
    first, second = site.asked("GET")
    assert "Range" not in first and (second["Range"], second["If-Range"]) == ("bytes=1000-", '"one"')
    assert (layout.surveys / "gss.sav").read_bytes() == site.body


def test_a_partial_file_of_another_release_is_thrown_away(site, layout, tmp_path, release):
    known = registry(tmp_path, download=True, watch=[{"file": f"{site.url}/gss.sav"}])
    site.body, site.headers, site.cut_at = release(), {"ETag": '"one"'}, 1000
    assert watch(known, layout, {"gss_extract": EXTRACT}, attempts=1)[0].outcome == "unreachable"
    assert (layout.surveys / ".part-gss.sav").stat().st_size == 1000
    site.body, site.headers = release(n=61), {"ETag": '"two"'}
    assert ask(known, layout).outcome == "downloaded"
    assert (layout.surveys / "gss.sav").read_bytes() == site.body
    assert in_folder(layout) == ["gss.sav"], "nothing of the attempt is left"


@pytest.mark.parametrize("announced", ["Repr-Digest", "Digest", "pinned"])
def test_another_checksum_than_announced_is_refused_and_tried_again(site, layout, tmp_path, release, announced):
    good = release()
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    right = base64.b64encode(hashlib.sha256(good).digest()).decode()
    headers = {"Repr-Digest": "sha-256=:{}:", "Digest": "SHA-256={}"}
    address = {"file": f"{site.url}/gss.sav"}
    if announced == "pinned":
        address["sha256"] = hashlib.sha256(good).hexdigest()
        site.body, site.headers = good[:-1] + b"\x01", {"ETag": '"one"'}
    else:
        site.body, site.headers = good, {"ETag": '"one"', announced: headers[announced].format(wrong)}
    known = registry(tmp_path, download=True, watch=[address])
    found = ask(known, layout)
    assert found.outcome == "checksum_differs" and in_folder(layout) == []
    site.body, site.headers = good, {"ETag": '"one"'}
    if announced != "pinned":
        site.headers[announced] = headers[announced].format(right)
    assert ask(known, layout).outcome == "downloaded"


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b"", b"$FL2 cut off"])
def test_what_is_no_file_of_the_source_does_not_get_into_the_folder(site, layout, tmp_path, body):
    site.body, site.headers = body, {"ETag": '"one"'}
    known = registry(tmp_path, download=True, watch=[{"file": f"{site.url}/gss.sav"}])
    found = ask(known, layout)
    assert found.outcome == "not_its_file" and in_folder(layout) == []


def test_a_closed_source_is_asked_but_never_fetched(site, layout, tmp_path):
    site.body, site.headers = b"x", {"ETag": '"one"'}
    known = registry(tmp_path, "evs2017", download=True, watch=[{"file": f"{site.url}/ZA7500.sav"}])
    found = watch(known, layout, {})
    assert [f.outcome for f in found] == ["new_release"] and "is closed" in found[0].message
    assert site.asked("GET") == [] and in_folder(layout) == []


# --- a page -----------------------------------------------------------------------------------------------------------

PAGE = '<a href="#">WVS_Cross-National_Wave_7_csv_v{}.zip</a> <a>WVS_Cross-National_Wave_7_csv_v5_0.zip</a>'
PATTERN = r"(?i)wave[ _]7[^<>]{0,40}?v[ _.]?(?P<version>\d+[ _.]\d+)"
WVS = InUse(waves=("wvs-7",), versions=("6-0-0 (2024-04-30)",), sha256=("0" * 64,))


def page_registry(site, tmp_path, pattern=PATTERN):
    return registry(tmp_path, "wvs7", watch=[{"page": f"{site.url}/page?session=secret", "release": pattern}])


@pytest.mark.parametrize(
    ("version", "outcome"), [("6_0", "nothing_new"), ("6_1", "new_release"), ("10_0", "new_release")]
)
def test_the_newest_release_on_a_page_is_compared_with_the_file_in_use(site, layout, tmp_path, version, outcome):
    site.page = PAGE.format(version)
    found = ask(page_registry(site, tmp_path), layout, WVS, "wvs7")
    assert (found.outcome, found.release) == (outcome, version)
    assert "secret" not in found.message + found.address


def test_a_page_that_changed_its_form_is_a_warning_and_no_release_is_forgotten(site, layout, tmp_path):
    known, used = page_registry(site, tmp_path), InUse(waves=("wvs-7",), sha256=("0" * 64,))
    site.page = PAGE.format("6_0")
    assert ask(known, layout, used, "wvs7").outcome == "nothing_new"
    site.page = "<h1>Our new site</h1> <p>Data: please enable JavaScript</p>"
    found = ask(known, layout, used, "wvs7")
    assert found.outcome == "page_changed" and not found.good and "correct the pattern" in found.message
    site.page = PAGE.format("7_0")
    assert ask(known, layout, used, "wvs7").outcome == "new_release", "compared with what was seen before the change"
    assert ask(known, layout, used, "wvs7").outcome == "new_release", "told until a file was dropped"
    dropped = InUse(waves=("wvs-7",), sha256=("1" * 64,))
    assert ask(known, layout, dropped, "wvs7").outcome == "nothing_new"


# --- trouble ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 403, 500, 503])
def test_an_address_that_is_gone_is_told_and_keeps_nothing_from_the_others(site, layout, tmp_path, status):
    site.status = status
    with serving_site() as other:
        other.body, other.headers = b"x" * 10, {"ETag": '"one"'}
        known = registry(tmp_path, watch=[{"file": f"{site.url}/gss.sav"}, {"file": f"{other.url}/gss.sav"}])
        gone, fine = watch(known, layout, {"gss_extract": EXTRACT})
    assert gone.outcome == "unreachable" and str(status) in gone.message
    assert fine.outcome == "nothing_new"


def test_no_network_loses_nothing_that_was_seen(site, layout, tmp_path):
    known = registry(tmp_path, watch=[{"file": f"{site.url}/gss.sav"}])
    site.body, site.headers = b"x" * 10, {"ETag": '"one"'}
    ask(known, layout)
    memory = (layout.root / "watch.json").read_bytes()
    site.stop()
    found = ask(known, layout)
    assert found.outcome == "unreachable" and "cannot be reached" in found.message
    assert (layout.root / "watch.json").read_bytes() == memory


def test_a_server_that_does_not_answer_is_left(site, layout, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT", httpx.Timeout(0.3))
    site.hang = threading.Event()
    found = ask(registry(tmp_path, watch=[{"file": f"{site.url}/gss.sav"}]), layout)
    assert found.outcome == "unreachable" and "in time" in found.message


def test_a_memory_that_cannot_be_read_counts_as_none(site, layout, tmp_path):
    layout.root.mkdir(parents=True, exist_ok=True)
    (layout.root / "watch.json").write_text('{"x": ')
    site.body = b"x" * 10
    assert ask(registry(tmp_path, watch=[{"file": f"{site.url}/gss.sav"}]), layout).outcome == "nothing_new"


def test_only_sources_in_use_or_named_are_asked(site, layout, tmp_path):
    packaged = surveys.load_sources()
    assert watch(packaged, layout, {}) == [], "a study of the demo's extracts asks nobody"
    own = registry(tmp_path, watch=[{"file": f"{site.url}/gss.sav"}])
    assert len(watch(own, layout, {})) == 1
    assert watch(registry(tmp_path, use=False, watch=[{"file": f"{site.url}/x"}]), layout, {}) == []


def test_the_packaged_addresses_are_usable_and_only_gss_is_fetched():
    packaged = surveys.load_sources()
    with_address = {s.codebook for s in packaged if packaged.addresses(s)}
    assert with_address == {"gss", "wvs7", "wvs_ts", "evs2017", "evs_trend", "joint"}
    assert {s.codebook for s in packaged if packaged.may_download(s)} == {"gss"}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ({"file": "gss.norc.org/x.zip"}, "starts with http"),
        ({"file": "https://me:pw@example.org/x.zip"}, "user name or password"),
        ({"page": "https://example.org"}, "needed for a page"),
        ({"page": "https://example.org", "release": r"v(\d+)"}, "needs a group"),
        ({"page": "https://example.org", "release": "("}, "not a regular expression"),
        ({}, "either file or page"),
        ({"file": "https://example.org/x", "save_as": "../x.sav"}, "match pattern"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_when_read(tmp_path, address, message):
    with pytest.raises(ConfigError, match=message):
        registry(tmp_path, watch=[address])
