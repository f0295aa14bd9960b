"""Sixty hostile files: each gives one clear message, leaves the store as it was, and holds up no other wave."""

import io
import random
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyreadstat
import pytest

from mpta_pipeline import surveys
from mpta_pipeline.core.errors import SurveyFileError
from mpta_pipeline.surveys import file_info, opening, survey_folders
from tests.factories import survey_files as make

pytestmark = pytest.mark.slow

PEOPLE = make.wvs_people(per_country=10)
WVS7 = make.wvs7(PEOPLE)
SUFFIXES = (".sav", ".zsav", ".dta", ".sas7bdat", ".csv", ".sav.zip")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A sound WVS-7 file in each format."""
    folder = tmp_path_factory.mktemp("good")
    return {s: make.write(WVS7, folder / f"x{s}").read_bytes() for s in SUFFIXES}


def _zip(files: dict[str, bytes], **options) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name) if options else name, content)
    return buffer.getvalue()


def _lying_zip() -> bytes:
    """An archive that announces 10 bytes where 300 MB come out."""
    content = bytearray(_zip({"x.csv": b"a,b\n" + b"0,0\n" * 50_000_000}))
    central = content.rfind(b"PK\x01\x02")
    content[central + 24 : central + 28] = struct.pack("<I", 10)
    return bytes(content)


def _csv(frame: pl.DataFrame) -> bytes:
    return frame.write_csv().encode()


def _biased(content: bytes, bias: float) -> bytes:
    """A .sav that says it is compressed, with codes that count from another number."""
    assert content[84:92] == struct.pack("<d", 100.0)
    compression = max(1, content[72])
    return content[:72] + struct.pack("<i", compression) + content[76:84] + struct.pack("<d", bias) + content[92:]


def _sav(frame: pl.DataFrame, **options) -> bytes:
    path = Path(options.pop("folder")) / "made.sav"
    pyreadstat.write_sav(frame, path, **options)
    return path.read_bytes()


def _written(frame: pl.DataFrame, suffix: str) -> bytes:
    """A labelled file of this frame."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        {".sav": pyreadstat.write_sav, ".dta": pyreadstat.write_dta}[suffix](frame, path)
        return path.read_bytes()


def _with_id(value: float | None) -> pl.DataFrame:
    """The file's rows, of which the fourth has this id."""
    fourth = pl.int_range(pl.len()) == 3
    return WVS7.frame.with_columns(
        D_INTERVIEW=pl.when(fourth).then(pl.lit(value, pl.Float64)).otherwise(pl.col("D_INTERVIEW").cast(pl.Float64))
    )


HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"
WIDE = pl.DataFrame({f"v{i}": [1] for i in range(10_000)})
TRUNCATED = [(suffix, share) for suffix in SUFFIXES for share in (0.02, 0.3, 0.55, 0.8, 0.97)]
CASES: dict[str, tuple[str, Callable[[dict[str, bytes]], bytes], str]] = {
    **{
        f"{suffix} ends at {share:.0%}": (
            suffix,
            lambda g, s=suffix, k=share: g[s][: int(len(g[s]) * k)],
            r"cannot be|ends early|truncated|not a valid|no rows|declares",
        )
        for suffix, share in TRUNCATED
    },
    "one byte short .sav": (".sav", lambda g: g[".sav"][:-1], r"cannot be read as sav"),
    "one byte short .sas7bdat": (".sas7bdat", lambda g: g[".sas7bdat"][:-1], r"cannot be read as sas7bdat|ends early"),
    "another bias .sav": (".sav", lambda g: _biased(g[".sav"], 99.0), r"bias is not 100.*99.*save it again"),
    "another bias .zsav": (".zsav", lambda g: _biased(g[".zsav"], 0.0), r"bias is not 100"),
    "one byte short .dta": (".dta", lambda g: g[".dta"][:-1], r"ends early"),
    "empty .sav": (".sav", lambda g: b"", r"is empty"),
    "empty .csv": (".csv", lambda g: b"", r"is empty"),
    "empty .zip": (".zip", lambda g: b"", r"is empty"),
    "one byte": (".dta", lambda g: b"<", r"suffix is dta"),
    "blank lines": (".csv", lambda g: b"\n\n\n", r"not a table"),
    "header only": (".csv", lambda g: g[".csv"].splitlines()[0] + b"\n", r"no rows"),
    "zeros": (".sav", lambda g: bytes(5000), r"suffix is sav"),
    "web page as .sav": (".sav", lambda g: HTML, r"is a web page.*download the file again"),
    "web page as .csv": (".csv", lambda g: b"\xef\xbb\xbf  " + HTML, r"is a web page"),
    "web page as .zip": (".zip", lambda g: HTML, r"cannot be unpacked"),
    "web page in a .zip": (".zip", lambda g: _zip({"x.dta": HTML}), r"is a web page"),
    ".sav named .dta": (".dta", lambda g: g[".sav"], r"suffix is dta, but its content is sav"),
    ".dta named .sav": (".sav", lambda g: g[".dta"], r"suffix is sav, but its content is dta"),
    ".dta named .csv": (".csv", lambda g: g[".dta"], r"suffix is csv, but its content is dta"),
    ".zip named .sav": (".sav", lambda g: g[".sav.zip"], r"its content is zip"),
    ".csv named .dta": (".dta", lambda g: g[".csv"], r"suffix is dta"),
    ".csv named .sas7bdat": (".sas7bdat", lambda g: g[".csv"], r"suffix is sas7bdat"),
    ".sav without suffix": ("", lambda g: g[".sav"], r"no suffix of a survey file"),
    "spreadsheet": (".xlsx", lambda g: _zip({"xl/workbook.xml": b"<x/>"}), r"no suffix of a survey file.*\.xlsx"),
    "R file": (".rds", lambda g: b"RDX3", r"no suffix of a survey file"),
    "pdf as .sav": (".sav", lambda g: b"%PDF-1.7 ...", r"its content is pdf"),
    "sas header alone": (
        ".sas7bdat",
        lambda g: bytes(12) + opening.SAS_MAGIC + bytes(4000),
        r"cannot be read as sas7bdat",
    ),
    "path that climbs out": (
        ".zip",
        lambda g: _zip({"../../x.sav": g[".sav"]}),
        r"a path outside of itself.*\.\./\.\./x\.sav",
    ),
    "path that climbs out, Windows": (".zip", lambda g: _zip({"..\\x.sav": g[".sav"]}), r"a path outside of itself"),
    "absolute path": (".zip", lambda g: _zip({"/etc/x.sav": g[".sav"]}), r"a path outside of itself"),
    "drive letter": (".zip", lambda g: _zip({"C:/x.sav": g[".sav"]}), r"a path outside of itself"),
    "climbing file beside a good one": (
        ".zip",
        lambda g: _zip({"x.sav": g[".sav"], "../y.txt": b""}),
        r"a path outside of itself",
    ),
    "zip bomb": (".zip", lambda g: _zip({"x.csv": b"a,b\n" + b"0,0\n" * 20_000_000}), r"unpacks to more than"),
    "lying zip": (".zip", lambda g: _lying_zip(), r"unpacks to more than|cannot be unpacked"),
    "two surveys in a zip": (
        ".zip",
        lambda g: _zip({"a.sav": g[".sav"], "b.dta": g[".dta"]}),
        r"exactly one.*a\.sav, b\.dta",
    ),
    "no survey in a zip": (".zip", lambda g: _zip({"readme.txt": b"hello"}), r"exactly one survey file"),
    "two zips in a zip": (
        ".zip",
        lambda g: _zip({"a.zip": g[".sav.zip"], "b.zip": g[".sav.zip"]}),
        r"exactly one survey file.*a\.zip, b\.zip",
    ),
    "zip in a zip in a zip": (".zip", lambda g: _zip({"a.zip": _zip({"b.zip": g[".sav.zip"]})}), r"exactly one survey"),
    "climbing file in an archive's archive": (
        ".zip",
        lambda g: _zip({"a.zip": _zip({"x.sav": g[".sav"], "../y.txt": b""})}),
        r"a path outside of itself",
    ),
    "empty file in a zip": (".zip", lambda g: _zip({"x.sav": b""}), r"suffix is sav"),
    "damaged zip": (".zip", lambda g: g[".sav.zip"][:60] + bytes(200) + g[".sav.zip"][260:], r"cannot be"),
    "10,000 columns": (".csv", lambda g: _csv(WIDE), r"more variables than any known survey.*10000"),
    "one column": (".csv", lambda g: b"a\n1\n2\n", r"not a table"),
    "names that differ in case": (
        ".csv",
        lambda g: g[".csv"].replace(b"Q57", b"q46", 1),
        r"upper and lower case.*Q46, q46|q46, Q46",
    ),
    "a name twice": (".csv", lambda g: g[".csv"].replace(b"Q57", b"Q46", 1), r"repeated or empty name.*Q46"),
    "a name of nothing": (".csv", lambda g: g[".csv"].replace(b"Q57", b"", 1), r"repeated or empty name"),
    "rows too long": (".csv", lambda g: g[".csv"].replace(b"\n", b",1,2,3\n", 3), r"not a valid CSV|truncated|CSV"),
    "binary csv": (".csv", lambda g: b"a,b\n\x00\x01\x02\x00", r"content is binary"),
    "date for a year": (
        ".csv",
        lambda g: _csv(WVS7.frame.with_columns(A_YEAR=pl.lit("2018-06-01"))),
        r"not a year.*2018-06-01",
    ),
    "text for a year": (
        ".csv",
        lambda g: _csv(WVS7.frame.with_columns(A_YEAR=pl.lit("'; drop table waves; --"))),
        r"not a year.*drop table",
    ),
    "text for a country": (
        ".csv",
        lambda g: _csv(WVS7.frame.with_columns(B_COUNTRY=pl.lit("Atlantis"))),
        r"not a country.*Atlantis",
    ),
    "text for a wave": (
        ".csv",
        lambda g: _csv(WVS7.frame.with_columns(A_WAVE=pl.lit("../../etc"))),
        r"does not name a wave",
    ),
    "control characters in a country": (
        ".csv",
        lambda g: _csv(WVS7.frame.with_columns(B_COUNTRY=pl.lit("\x1b[2J\x07"))),
        r"not a country.*\\x1b",
    ),
    "a header of 5 MB": (".csv", lambda g: b"a" * 5_000_000 + b"," + g[".csv"], r"not a table|not a valid CSV"),
    ".sav without rows": (".sav", lambda g: _written(WVS7.frame.clear(), ".sav"), r"variables but no rows"),
    ".dta without rows": (".dta", lambda g: _written(WVS7.frame.clear(), ".dta"), r"variables but no rows"),
    **{
        f"an id that is {what}": (".csv", lambda g, v=value: _csv(_with_id(v)), r"1 respondent\(s\) have no key")
        for what, value in (("no number", float("nan")), ("infinite", float("inf")), ("empty", None))
    },
    "one id for all": (
        ".csv",
        lambda g: _csv(WVS7.frame.with_columns(D_INTERVIEW=pl.lit(1))),
        r"no key that tells its respondents apart",
    ),
    "no key": (".csv", lambda g: _csv(WVS7.frame.drop("D_INTERVIEW")), r"no variable of the key.*D_INTERVIEW"),
}


def test_there_are_sixty_of_them():
    assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
def test_one_clear_message(name, good, registry, tmp_path, layout):
    suffix, content, message = CASES[name]
    path = tmp_path / f"dropped{suffix}"
    path.write_bytes(content(good))
    before = sorted(p.name for p in tmp_path.rglob("*"))
    with pytest.raises(SurveyFileError, match=message) as caught:
        surveys.ingest(path, "wvs-7", layout, registry)
    text = str(caught.value)
    assert "dropped" in text  # the file as the user knows it, not the copy in a temporary folder
    assert "Remedy:" in text
    assert text.isprintable()
    assert len(text) < 1500
    after = [p.name for p in tmp_path.rglob("*") if p.name not in ("data", "scratch") and ".lock" not in p.name]
    assert sorted(n for n in after if n != "raw") == before


def test_bytes_changed_at_random_never_take_the_process_along(good, registry, tmp_path):
    """The C library ends in a segmentation fault on some of these; the child dies, the next file is read."""
    rng = random.Random(20260)
    outcomes = set()
    for turn in range(24):
        damaged = bytearray(good[".sav"])
        for _ in range(6):
            damaged[rng.randrange(min(len(damaged), 6000))] = rng.randrange(256)
        path = tmp_path / "x.sav"
        path.write_bytes(damaged)
        try:
            surveys.recognize(path, registry)
            outcomes.add("read")
        except SurveyFileError as failure:
            outcomes.add("refused")
            assert str(path) in str(failure), turn
    assert "refused" in outcomes
    (tmp_path / "good.sav").write_bytes(good[".sav"])
    assert surveys.recognize(tmp_path / "good.sav", registry).waves == ("wvs-7",)


def test_a_variable_without_a_name_is_refused(good, registry, tmp_path, monkeypatch):
    """The reading library gives None for a name that a damaged header lacks; a campaign of 500 files found it."""
    from mpta_pipeline.surveys import readstat

    (tmp_path / "x.sav").write_bytes(good[".sav"])
    reply = readstat.Process.reply

    def nameless(self):
        found = reply(self)
        return found | {"names": [None, *found["names"][1:]]} if isinstance(found, dict) else found

    monkeypatch.setattr(readstat.Process, "reply", nameless)
    with pytest.raises(SurveyFileError, match=r"A variable has no name.*number 1.*Remedy"):
        surveys.recognize(tmp_path / "x.sav", registry)


def test_a_crash_of_the_reader_is_said_and_survived(good, registry, tmp_path, monkeypatch):
    """Protects the message itself: the child is ended while it works."""
    from mpta_pipeline.surveys import readstat

    (tmp_path / "x.sav").write_bytes(good[".sav"])
    ask = readstat.Process.ask

    def killed(self, *args, **options):
        self._child.kill()
        self._child.wait()
        ask(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(readstat.Process, "ask", killed)
        with pytest.raises(SurveyFileError, match="crashes the reading library"):
            surveys.recognize(tmp_path / "x.sav", registry)
    assert surveys.recognize(tmp_path / "x.sav", registry).waves == ("wvs-7",)


def test_labels_that_hold_anything(tmp_path, layout, registry):
    """SQL, control characters and a megabyte of text in labels: kept short and harmless, and the wave is right."""
    labels = {
        **WVS7.labels,
        "Q1": "x'); drop table respondents; --",
        "Q46": "bell \x07 escape \x1b[31m null-ish \x01 tab\tline\nend",
        "Q57": "long " + "y" * 1_000_000,
    }
    values = {**WVS7.values, "Q1": {1: "'; delete from waves; --", 2: "<script>alert(1)</script>"}}
    path = make.write(make.replace(WVS7, labels=labels, values=values), tmp_path / "x.sav")
    raw = surveys.ingest(path, "wvs-7", layout, registry)
    assert raw.label("Q1") == "x'); drop table respondents; --"
    assert raw.label("Q46").isprintable()
    assert len(raw.label("Q57")) <= file_info.MAX_LABEL
    assert raw.labels("Q1")["1"] == "'; delete from waves; --"
    assert surveys.cells(raw, "Q1").height == 40


def test_an_error_that_nobody_thought_of_is_one_files_problem(good, registry, tmp_path, monkeypatch):
    (tmp_path / "a.sav").write_bytes(good[".sav"])
    (tmp_path / "b.dta").write_bytes(good[".dta"])
    recognize = survey_folders.recognize

    def failing(path, sources):
        if path.name == "a.sav":
            raise ZeroDivisionError("an answer of respondent 7")
        return recognize(path, sources)

    monkeypatch.setattr(survey_folders, "recognize", failing)
    bad, sound = surveys.scan(tmp_path, registry, cache=tmp_path / "cache.json")
    assert sound.usable
    assert "ZeroDivisionError" in bad.problem
    assert "respondent 7" not in bad.problem


def test_other_waves_go_on(good, registry, tmp_path):
    """A folder with hostile files: each is a line with its problem, the good one is ready."""
    # Ids are looked at when the file is read, not when it is recognized.
    seen = [(name, case) for name, case in CASES.items() if "no key" not in case[2]]
    for name, (suffix, content, _) in seen[::6]:
        (tmp_path / f"{abs(hash(name))}{suffix}").write_bytes(content(good))
    (tmp_path / "good.sav").write_bytes(good[".sav"])
    states = surveys.scan(tmp_path, registry, cache=tmp_path / "cache.json")
    assert [s.path.name for s in states if s.usable] == ["good.sav"]
    assert all(s.problem for s in states if not s.usable)


def test_an_archive_that_was_packed_twice_is_read(good, registry, tmp_path):
    path = tmp_path / "portal.zip"
    path.write_bytes(_zip({"licence.pdf": b"%PDF", "data/F00011356.zip": good[".sav.zip"]}))
    assert surveys.recognize(path, registry).waves == ("wvs-7",)
