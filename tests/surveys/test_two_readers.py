"""A .sav is decoded here, large other files are read by readstat-arrow, the rest by pyreadstat: the cells are the same.

Every file of every shape is cut into parts and read by all. What the others do not read, pyreadstat does; what it
refuses, readstat-arrow must not read.
"""

import datetime as dt
import random
import struct
from pathlib import Path

import numpy as np
import polars as pl
import pyreadstat
import pytest
from polars.testing import assert_frame_equal

from mpta_pipeline.core.errors import SurveyFileError
from mpta_pipeline.surveys import opening, packed_sav, readers, readstat
from tests.factories import skeletons
from tests.factories import survey_files as make
from tests.shared_data import FOLDER, needs

pytest.importorskip("readstat_arrow", reason="readstat-arrow is not installed: pyreadstat reads large files too")

WVS, EVS = make.wvs_people(per_country=12), make.evs_people(per_country=12)
FILES = {
    "wvs7": make.wvs7(WVS),
    "wvs7_inverted": make.wvs7_inverted(WVS),
    "wvs_ts": make.wvs_ts(WVS),
    "joint": make.joint(WVS, EVS),
    "evs2017": make.evs2017(EVS),
    "wvs6": make.wvs6(WVS),
    "gss": make.gss([2016, 2018]),
}
REAL = sorted(p for form in ("sav", "dta") for p in FOLDER.glob(f"gss*/*.{form}"))
N = 60
TEXTS = ["", "a", "abc  ", "  before", "é", "ñandú", "日本語", "tab\there", ".a", "NA", "-1", "x" * 200]


def _frame() -> pl.DataFrame:
    """Texts with spaces at either end, numbers of every size, dates before and after the calendar's own limits."""
    return pl.DataFrame(
        {
            "id": list(range(N)),
            "text": [TEXTS[k % len(TEXTS)] for k in range(N)],
            "code": ["9" if k % 4 == 0 else "ok" for k in range(N)],
            "part": [None if k % 7 == 0 else k / 3 for k in range(N)],
            "negative": [-(k % 12) for k in range(N)],
            "large": [2147483647.0 if k % 3 else 1e15 + k for k in range(N)],
            "whole": [float(k) for k in range(N)],
            "empty": pl.Series([None] * N, dtype=pl.Float64),
            "day": [dt.date(1500 + 9 * k, 1, 1 + k % 28) if k % 5 else None for k in range(N)],
            "moment": [dt.datetime(1900 + k, 2, 3, 4, 5, 6, 1000 * k) if k % 9 else None for k in range(N)],
            "hour": [dt.time(k % 24, 3, 9) for k in range(N)],
        }
    )


def _sav(path: Path, **options) -> Path:
    more = pl.DataFrame(
        {
            "endless": [float("inf") if k % 11 == 0 else 1.5 for k in range(N)],
            "long": [("é" * 300 + "end ") if k % 2 else "y" * 1999 for k in range(N)],
            "too_large": [1e300 * (k % 3) for k in range(N)],
        }
    )
    pyreadstat.write_sav(
        pl.concat([_frame(), more], how="horizontal"),
        path,
        missing_ranges={"negative": [{"lo": -11, "hi": -5}, -1], "id": [3, 7, 9], "code": ["9"]},
        column_labels={"id": "Číslo"},
        variable_value_labels={"negative": {-1.0: "No answer", 0.0: "Zero é"}},
        variable_format={"day": "ADATE10", "moment": "DATETIME23.2", "hour": "TIME8", "large": "DTIME20"},
        **options,
    )
    return path


def _dta(path: Path, version: int) -> Path:
    tags = pl.Series("tag", ["a" if k % 3 == 0 else "z" if k % 7 == 0 else float(k) for k in range(N)], dtype=pl.Object)
    whole = pl.Series("tag_of_whole", ["d" if k % 5 == 0 else k % 3 for k in range(N)], dtype=pl.Object)
    pyreadstat.write_dta(
        _frame().with_columns(tags, whole),
        path,
        version=version,
        missing_user_values={"tag": ["a", "z"], "tag_of_whole": ["d"]},
        variable_format={"day": "%td"},
    )
    return path


def _described(path: Path):
    with opening.opened(path) as file:
        return readers.describe(file)


def _read(read, info, folder: Path, size: int) -> list[tuple[str, pl.DataFrame]]:
    folder.mkdir()
    frames = [(part.name, pl.read_ipc(part.read_bytes())) for part in read(info, folder, info.names, size)]
    return [(name, frame) for name, frame in frames if frame.height]  # pyreadstat finds the end by reading nothing


def _same(path: Path, folder: Path, *sizes: int) -> None:
    info = _described(path)
    for size in sizes or ((info.rows or N) // 3 + 1,):
        by_object = _read(readers._read_in_turns, info, folder / f"{path.name}-{size}-turns", size)
        by_column = _read(readers._read_parts, info, folder / f"{path.name}-{size}-parts", size)
        assert [name for name, _ in by_object] == [name for name, _ in by_column]
        for (_, expected), (_, found) in zip(by_object, by_column, strict=True):
            assert_frame_equal(found, expected, check_exact=True)
        _same_decoded(info, by_object, folder / f"{path.name}-{size}-decoded", size)


def _same_decoded(info, by_object: list[tuple[str, pl.DataFrame]], folder: Path, size: int) -> bool:
    """Compare what `packed_sav` decodes; return whether it decodes the file."""
    if info.format != "sav" or info.rows is None or info.forced_encoding:
        return False
    folder.mkdir()
    decoded = readers._decode_parts(info, folder, info.names, size)
    if decoded is None:
        return False
    assert [path.name for path in decoded] == [name for name, _ in by_object]
    for name, expected in by_object:
        assert_frame_equal(pl.read_ipc((folder / name).read_bytes()), expected, check_exact=True)
    return True


@pytest.mark.parametrize("form", ["sav", "zsav", "dta"])
@pytest.mark.parametrize("name", FILES)
def test_the_surveys_files(name, form, tmp_path):
    _same(make.write(FILES[name], tmp_path / f"x.{form}"), tmp_path)


@pytest.mark.parametrize("form", ["x.dta", "big.dta", "x.sav"])
@pytest.mark.parametrize("name", skeletons.many())
def test_the_skeletons(name, form, tmp_path):
    path = skeletons.write(skeletons.load(name), tmp_path / form, rows=60, big_endian=form == "big.dta")
    _same(path, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("path", REAL or [FOLDER / "gss" / "GSS2018.dta"], ids=lambda path: path.name)
def test_the_producers_files(path, tmp_path):
    if not path.exists():
        pytest.skip("the producers' files are absent: set MPTA_SHARED_DATA to the folder that contains them")
    _same(path, tmp_path)


@pytest.mark.parametrize("how", [{}, {"row_compress": True}, {"compress": True}], ids=["plain", "packed", "zlib"])
def test_whatever_a_sav_holds(how, tmp_path):
    """Parts of one row, of all rows but one, and of more rows than there are."""
    _same(_sav(tmp_path / "x.sav", **how), tmp_path, 1, 7, N - 1, N + 1)


@pytest.mark.parametrize("how", [{}, {"row_compress": True}], ids=["plain", "packed"])
def test_an_ordinary_sav_is_decoded_without_readstat(how, tmp_path):
    """Texts, dates, fractions, empty and large numbers; a window of 50 words cuts blocks from their raw cells."""
    path = tmp_path / "x.sav"
    more = {
        "zero": [-0.0, 251.0, 152.0, -32768.0],
        "endless": [float("inf"), 1e300, 2.0, None],
        "tiny": [1e-40, 5e-324, 0.5, 7],
    }
    pyreadstat.write_sav(_frame().with_columns(**{k: pl.Series(v * (N // 4)) for k, v in more.items()}), path, **how)
    info = _described(path)
    for window, stretch in ((packed_sav.WINDOW, packed_sav.STRETCH), (50, 16), (packed_sav.WINDOW, 16)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(packed_sav, "WINDOW", window)
            patch.setattr(packed_sav, "STRETCH", stretch)
            for size in (7, N + 1):
                folder = tmp_path / f"{window}-{stretch}-{size}"
                folder.mkdir()
                by_object = _read(readers._read_in_turns, info, folder / "turns", size)
                assert _same_decoded(info, by_object, folder / "decoded", size)
    columns = packed_sav.frames(path, info.names, ["id"], {"text", "code"}, offset=41, limit=5, size=9)
    assert [column["id"].to_list() for column in columns] == [[41, 42, 43, 44, 45]]


def test_blocks_are_found_in_stretches_as_one_after_the_other():
    """Words of any kind, among them long runs in which no guess ever meets a block."""
    rng = np.random.default_rng(5)
    for length in (0, 3, 127, 128, 129, 1000, 5000):
        for most in (1, 2, 9):
            step = rng.integers(1, most + 1, length).astype(np.uint8)
            step[length // 3 : 2 * length // 3] = 2 if most > 1 else 1
            expected, at = np.zeros(length, dtype=bool), 0
            while at < length:
                expected[at] = True
                at += int(step[at])
            found, end = packed_sav._blocks(step)
            assert found.tolist() == expected.tolist(), (length, most)
            assert end == at


@pytest.mark.parametrize("how", [{}, {"row_compress": True}], ids=["plain", "packed"])
def test_the_decoder_leaves_damaged_files_to_readstat(how, tmp_path):
    """It never fails otherwise than by saying that a file is unusual; what it decodes has all rows."""
    rng = random.Random(18)
    path = tmp_path / "x.sav"
    pyreadstat.write_sav(_frame(), path, **how)
    names, whole = _described(path).names, path.read_bytes()
    decoded = 0
    for turn in range(150):
        content = bytearray(whole)
        for _ in range(1 + turn % 4):
            content[rng.randrange(len(content))] = rng.randrange(256)
        if turn % 5 == 0:
            del content[rng.randrange(len(content)) :]
        path.write_bytes(content)
        try:
            found = packed_sav.frames(path, names, names, {"text", "code"}, offset=0, limit=N, size=25)
            assert [len(columns["id"]) for columns in found] == [25, 25, 10]
            decoded += 1
        except packed_sav.UnusualError:
            pass
    assert 20 < decoded < 150


@pytest.mark.parametrize("version", [8, 10, 12, 13, 14, 15])
def test_whatever_a_dta_holds(version, tmp_path):
    _same(_dta(tmp_path / "x.dta", version), tmp_path, 7, N + 1)


@pytest.mark.parametrize("encoding", [b"CP850", b"ASCII"])
def test_another_encoding(encoding, tmp_path):
    path = _sav(tmp_path / "x.sav")
    content = path.read_bytes()
    assert content.count(b"UTF-8") == 1
    path.write_bytes(content.replace(b"UTF-8", encoding))
    _same(path, tmp_path, 20)


@pytest.mark.parametrize("rows", [-1, N])
def test_a_sav_that_does_not_say_how_many_rows_it_has(rows, tmp_path):
    path = _sav(tmp_path / "x.sav", row_compress=True)
    content = bytearray(path.read_bytes())
    content[80:84] = struct.pack("<i", rows)
    path.write_bytes(content)
    _same(path, tmp_path, 20)


def test_some_columns_in_another_order(tmp_path):
    info = _described(_sav(tmp_path / "x.sav"))
    names = ["hour", "text", "id"]
    found = [pl.read_ipc(part) for part in readers._read_parts(info, tmp_path, names, 25)]
    assert [frame.columns for frame in found] == [names] * 3
    assert sum(frame.height for frame in found) == N


def test_text_that_is_not_of_its_encoding_is_read_as_before(tmp_path):
    """Half a file in another encoding: the parts that hold such text are read in it, as ever."""
    content = _sav(tmp_path / "y.sav").read_bytes()
    start = content.index(struct.pack("<ii", 999, 0))
    place = content.index("ñandú".encode(), start + (len(content) - start) // 2)
    path = tmp_path / "x.sav"
    path.write_bytes(content[:place] + b"\xf1and\xfa  " + content[place + 7 :])
    info = _described(path)
    with pytest.raises(readstat.UnreadableError):
        _read(readers._read_parts, info, tmp_path / "parts", 25)
    (tmp_path / "all").mkdir()
    rows = pl.concat(pl.read_ipc(p) for p in readers.parts(info, tmp_path / "all", ["text"], cells=25))
    assert "ñandú" in rows["text"].to_list()
    assert rows.height == N


@pytest.mark.slow
def test_damaged_files(tmp_path):
    """Bytes changed, cut, put in and exchanged: the same cells, or pyreadstat decides. A crash ends only the child."""
    rng = random.Random(16)
    whole = [
        *(make.write(FILES[name], tmp_path / f"{name}.{form}") for name in ("wvs7", "gss") for form in ("sav", "dta")),
        _sav(tmp_path / "a.sav", row_compress=True),
        _sav(tmp_path / "b.zsav", compress=True),
        _dta(tmp_path / "c.dta", 14),
    ]
    outcomes = {"same": 0, "pyreadstat decides": 0, "refused": 0}
    for turn in range(90):
        source = rng.choice(whole)
        content = bytearray(source.read_bytes())
        match turn % 6:
            case 0:
                for _ in range(3):
                    content[rng.randrange(min(len(content), 6000))] = rng.randrange(256)
            case 1:
                for _ in range(20):
                    content[rng.randrange(len(content))] = rng.randrange(256)
            case 2:
                for _ in range(40):
                    content[rng.randrange(len(content) * 2 // 3, len(content))] = rng.choice([0, 101, 127, 253, 255])
            case 3:
                del content[rng.randrange(len(content) // 2, len(content)) :]
            case 4:
                place = rng.randrange(len(content))
                content[place:place] = rng.randbytes(rng.choice([1, 8, 32]))
            case _:
                a, b = rng.randrange(len(content) - 16), rng.randrange(len(content) - 16)
                content[a : a + 16], content[b : b + 16] = content[b : b + 16], content[a : a + 16]
        path = tmp_path / f"{turn}{source.suffix}"
        path.write_bytes(content)
        try:
            info = _described(path)
        except SurveyFileError:
            outcomes["refused"] += 1
            continue
        size = (info.rows or N) // 3 + 1
        try:
            found = _read(readers._read_parts, info, tmp_path / f"{turn}-parts", size)
        except readstat.UnreadableError:
            outcomes["pyreadstat decides"] += 1
            continue
        expected = _read(readers._read_in_turns, info, tmp_path / f"{turn}-turns", size)
        assert [name for name, _ in found] == [name for name, _ in expected], (turn, source.name)
        for (_, frame), (_, same) in zip(found, expected, strict=True):
            assert_frame_equal(frame, same, check_exact=True)
        outcomes["same"] += 1
    assert min(outcomes.values()) > 5, outcomes


def test_which_reader_reads(tmp_path, monkeypatch):
    """pyreadstat describes a file once. A .sav is decoded here; readstat-arrow reads large others, or pyreadstat."""
    asked: list[str] = []
    ask = readstat.Process.ask

    def noted(self, name, *args, **options):
        asked.append(name)
        ask(self, name, *args, **options)

    monkeypatch.setattr(readstat.Process, "ask", noted)
    path = make.write(FILES["wvs7"], tmp_path / "x.sav")
    info = _described(path)
    assert _described(path) is not None
    assert asked == ["describe"]
    cells = len(info.names) * 10
    decoded = [pl.read_ipc(p.read_bytes()) for p in readers.parts(info, tmp_path, cells=cells)]
    assert asked == ["describe"]
    monkeypatch.setattr(readers, "_decode_parts", lambda *_: None)
    asked.clear()
    (part,) = readers.parts(info, tmp_path)
    whole = pl.read_ipc(part.read_bytes())
    assert asked == ["read_rows"]
    asked.clear()
    pieces = [pl.read_ipc(p.read_bytes()) for p in readers.parts(info, tmp_path, cells=cells)]
    assert asked == ["read_parts", "read_parts"]
    assert pl.concat(pieces, how="vertical_relaxed").height == whole.height
    asked.clear()

    def killed(self, name, *args, **options):
        asked.append(name)
        if name == "read_parts":
            self._child.kill()
            self._child.wait()
        ask(self, name, *args, **options)

    monkeypatch.setattr(readstat.Process, "ask", killed)
    again = [pl.read_ipc(p.read_bytes()) for p in readers.parts(info, tmp_path, cells=cells)]
    assert set(asked) == {"read_parts", "read_rows"}
    for frame, same, mine in zip(again, pieces, decoded, strict=True):
        assert_frame_equal(frame, same, check_exact=True)
        assert_frame_equal(mine, same, check_exact=True)


@needs(FOLDER / "gss" / "GSS2018.dta")
def test_tags_of_the_producer_are_all_there(tmp_path):
    """Every letter of NORC's own file, counted in pyreadstat's objects."""
    path = FOLDER / "gss" / "GSS2018.dta"
    info = _described(path)
    rows = pl.concat(
        (frame for _, frame in _read(readers._read_parts, info, tmp_path / "parts", 800)), how="vertical_relaxed"
    )
    data, _ = pyreadstat.read_dta(path, user_missing=True, output_format="dict", usecols=["polviews", "age", "relig"])
    for name in ("polviews", "age", "relig"):
        letters = sorted(f".{cell}" for cell in data[name] if isinstance(cell, str))
        assert sorted(rows[name].drop_nulls().to_frame().filter(pl.col(name).str.starts_with("."))[name]) == letters
        assert letters


def test_numbers_at_the_edges_of_their_types(tmp_path):
    edges = [-129, -128, 127, 128, 32767, 32768, -32769, 2**31 - 1, 2**31, 2**53, 2**53 + 2, 0.1, -0.0, 1e-40, 2.0**127]
    frame = pl.DataFrame({f"v{k}": [float(edge), 1.0, None, 0.0] for k, edge in enumerate(edges)})
    frame = frame.with_columns(pl.Series("small", np.array([1, 2, 3, 4], dtype=np.int8)))
    pyreadstat.write_sav(frame, tmp_path / "x.sav")
    pyreadstat.write_dta(frame, tmp_path / "x.dta")
    for form in ("sav", "dta"):
        _same(tmp_path / f"x.{form}", tmp_path, 1, 3)


def test_types_and_cells_of_a_part():
    """What both readers share, against what is written here: the narrowest whole type, and what is no measurement."""
    cells = {
        "tiny": [1.0, -0.0, None],
        "small": [127.0, 128.0, None],
        "middle": [32767.0, -32769.0, None],
        "large": [2.0**53, 1.0, None],
        "fraction": [0.5, 1.0, None],
        "not_a_number": [float("nan"), 3.0, None],
        "backwards": [1.78e-43, 1e30, None],
        "beyond": [2.0**127, -32768.0, None],
        "endless": [float("inf"), 1.0, None],
        "none": [None, None, None],
    }
    frame = readstat._frame(list(cells), cells, set(), tagged=False)
    assert [str(dtype) for dtype in frame.dtypes] == (
        ["Int8", "Int16", "Int32", "Int64", "Float64", "Int8", "Float64", "Int16", "Float64", "Int8"]
    )
    assert frame.to_dict(as_series=False) == {
        **{name: cells[name] for name in ("tiny", "small", "middle", "large", "fraction", "endless", "none")},
        "not_a_number": [None, 3, None],
        "backwards": [None, 1e30, None],
        "beyond": [None, -32768, None],
    }
