"""The ledger's promises: what was appended is there, what was torn is not, and no compaction or kill loses any."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from mpta_pipeline.core.errors import ModelError
from mpta_pipeline.inference import ledger as ledger_module
from mpta_pipeline.inference.ledger import RECORD, Ledger


def record(key: str, at: int = 1, **values):
    return {"request_hash": key, "asked_at": at, "attempts": 1, "latency": 0.5, **values}


def write(folder: Path, *records) -> None:
    with Ledger(folder).writer() as writer:
        for one in records:
            writer.append(one)


def test_an_answer_is_read_back_as_written(tmp_path: Path):
    given = record("a" * 32, text="Ａ\u2028\n\x00", option_logprobs=[-0.1, -2.5], prompt_tokens=4, cost=0.25)
    write(tmp_path, given)
    found = Ledger(tmp_path).read()
    assert found.schema == RECORD
    assert {name: value for name, value in found.row(0, named=True).items() if value is not None} == given


def test_parts_of_earlier_versions_are_read_verified_and_merged(tmp_path: Path, monkeypatch):
    """They lack the columns that came later; what was paid for before stays answered."""
    monkeypatch.setattr(ledger_module, "COMPACT_AT", 1)
    later = ["letter_share", "thought"]
    for i in range(9):
        write(tmp_path, record(f"{i:032x}", i, text=f"answer {i}", letter_share=0.5))
        for part in tmp_path.glob("part-0-*.parquet") if i == 0 else ():
            old = pl.read_parquet(part).drop(later)
            part.unlink()
            Ledger(tmp_path)._store_part(old, "part-0-00000001")
    ledger = Ledger(tmp_path)
    assert list(tmp_path.glob("part-1-*.parquet"))
    assert ledger.read().sort("request_hash")["letter_share"].to_list() == [None, *[0.5] * 8]
    assert ledger.verify().damaged == ()
    assert ledger.settled(pl.Series([f"{i:032x}" for i in range(9)])).answered.len() == 9


def test_damage_is_not_merged_into_a_part_with_a_checksum_that_fits_it(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(ledger_module, "COMPACT_AT", 1)
    monkeypatch.setattr(ledger_module, "MERGE_AT", 3)
    for i in range(2):
        write(tmp_path, record(f"{i:032x}", i, text=f"answer {i}"))
    damaged = min(tmp_path.glob("part-0-*.parquet"))
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(ModelError, match=damaged.name):
        write(tmp_path, record(f"{2:032x}", 2, text="answer 2"))
    assert damaged.exists() and not list(tmp_path.glob("part-1-*.parquet"))
    damaged.unlink()
    assert sorted(Ledger(tmp_path).read()["text"]) == ["answer 1", "answer 2"]


@pytest.mark.parametrize("cut", [1, 5, 12, 40])
def test_a_torn_tail_is_dropped_and_the_rest_kept(tmp_path: Path, cut: int):
    write(tmp_path, *(record(f"{i:032x}", text=f"answer {i}") for i in range(10)))
    log = next(tmp_path.glob("*.log"))
    log.write_bytes(log.read_bytes()[:-cut])
    ledger = Ledger(tmp_path)
    assert ledger.read().height == (10 if cut == 1 else 9)  # only the line's end was lost: the record is whole
    assert ledger.dropped == (0 if cut == 1 else 1)
    write(tmp_path, record("f" * 32, text="later"))
    assert "later" in Ledger(tmp_path).read()["text"].to_list(), "a new segment is not glued to a torn one"


def test_a_damaged_record_in_the_middle_is_dropped_alone(tmp_path: Path):
    write(tmp_path, *(record(f"{i:032x}", text=f"answer {i}") for i in range(10)))
    log = next(tmp_path.glob("*.log"))
    log.write_bytes(log.read_bytes().replace(b"answer 4", b"answer 7"))
    ledger = Ledger(tmp_path)
    assert sorted(ledger.read()["text"]) == [f"answer {i}" for i in range(10) if i != 4]
    assert ledger.dropped == 1


def test_an_answer_beats_an_error_and_the_later_answer_an_earlier(tmp_path: Path):
    key = "a" * 32
    write(tmp_path, record(key, 1, error="HTTP 400"), record(key, 2, text="first"), record(key, 3, text="second"))
    write(tmp_path, record(key, 4, error="HTTP 500"))
    assert Ledger(tmp_path).read()["text"].to_list() == ["second"]
    settled = Ledger(tmp_path).settled(pl.Series([key, "b" * 32]))
    assert settled.answered.to_list() == [key]
    assert settled.failed.is_empty()


def test_compaction_changes_nothing_but_the_files(tmp_path: Path):
    for i in range(20):
        write(
            tmp_path,
            *(record(f"{i:016x}{j:016x}", i, text=f"{i}-{j}", option_logprobs=[-1.0], cost=0.5) for j in range(5)),
        )
        Ledger(tmp_path).compact()
    ledger = Ledger(tmp_path)
    assert not list(tmp_path.glob("*.log"))
    assert len(list(tmp_path.glob("part-*"))) < 10, "parts are merged by level"
    assert ledger.read().sort("request_hash")["text"].to_list() == [f"{i}-{j}" for i in range(20) for j in range(5)]
    assert ledger.totals()["cost"] == 50.0
    assert ledger.totals()["answers"] == 100


def test_a_kill_between_part_and_removal_counts_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, record("a" * 32, text="x", cost=1.0))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            Ledger(tmp_path).compact()
    ledger = Ledger(tmp_path)
    assert list(tmp_path.glob("*.log"))
    assert list(tmp_path.glob("part-*"))
    assert ledger.read().height == 1
    assert ledger.totals()["cost"] == 1.0


def test_two_runs_of_a_model_take_turns(tmp_path: Path):
    with Ledger(tmp_path).writer(), pytest.raises(ModelError, match="Another run"), Ledger(tmp_path).writer(wait=0.2):
        pass


def test_an_append_outlives_a_kill_at_once(tmp_path: Path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom mpta_pipeline.inference.ledger import Ledger\n"
        "with Ledger(Path(sys.argv[1])).writer() as w:\n"
        " for i in range(50): w.append({'request_hash': f'{i:032x}', 'text': 'x', 'asked_at': i})\n"
        " print('written', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    assert Ledger(tmp_path).read().height == 50
    with Ledger(tmp_path).writer(wait=1):  # the lock went with the process
        pass


def test_a_million_answers_are_looked_up_in_seconds(tmp_path: Path):
    """10 million are measured by the benchmark; this guards the way it is done: columns, not lines."""
    n = 200_000
    keys = pl.select(pl.int_range(n).cast(pl.String).str.zfill(32).alias("request_hash")).to_series()
    part = pl.DataFrame({"request_hash": keys}).with_columns(
        *(pl.lit(None, dtype=t).alias(c) for c, t in RECORD.items() if c != "request_hash")
    )
    tmp_path.mkdir(exist_ok=True)
    for i in range(5):
        part.with_columns(pl.concat_str(pl.lit(str(i)), pl.col("request_hash").str.slice(1))).write_parquet(
            tmp_path / f"part-0-{i:08d}.parquet"
        )
    began = time.monotonic()
    settled = Ledger(tmp_path).settled(keys)
    assert settled.answered.len() == n
    assert time.monotonic() - began < 10
    assert ledger_module.COMPACT_AT >= 10_000


def test_dropped_answers_are_in_no_file_and_what_they_cost_stays_on_the_books(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(ledger_module, "COMPACT_AT", 10)
    write(tmp_path, *(record(f"{n:032x}", text=f"old {n}", cost=1.0) for n in range(20)))
    write(tmp_path, *(record(f"{n:032x}", text=f"new {n}", cost=1.0) for n in range(20, 25)))
    gone = pl.Series([f"{n:032x}" for n in (3, 22)] + ["f" * 32])
    spent = Ledger(tmp_path).totals()["cost"]
    assert Ledger(tmp_path).drop(gone, reason="withdrawn") == 2
    kept = Ledger(tmp_path).read().filter(pl.col("error").is_null())
    assert kept.height == 23 and not kept["request_hash"].is_in(gone.to_list()).any()
    assert Ledger(tmp_path).totals()["cost"] == spent
    for path in tmp_path.iterdir():
        text = str(pl.read_parquet(path).rows()) if path.suffix == ".parquet" else path.read_text()
        assert "'old 3'" not in text and "new 22" not in text, path.name
    assert Ledger(tmp_path).drop(gone, reason="withdrawn") == 0, "dropping again finds nothing"
    assert Ledger(tmp_path).totals()["cost"] == spent


def test_verifying_tells_damage_from_a_line_that_a_kill_cut_off(tmp_path: Path, monkeypatch):
    write(tmp_path, record("a" * 32, text="A"), record("b" * 32, text="B"))
    log = next(tmp_path.glob("*.log"))
    whole = log.read_bytes()
    log.write_bytes(whole[:-9])
    cut = Ledger(tmp_path).verify()
    assert (cut.records, cut.torn, cut.damaged) == (1, 1, ())
    log.write_bytes(whole.replace(b'"A"', b'"C"'))
    assert len(Ledger(tmp_path).verify().damaged) == 1, "a changed answer does not match its checksum"
    log.write_bytes(whole)
    Ledger(tmp_path).drop(pl.Series(["b" * 32]), reason="withdrawn")
    part = next(tmp_path.glob("part-*.parquet"))
    good = part.read_bytes()
    assert Ledger(tmp_path).verify().damaged == ()
    flipped = bytearray(good)
    # The last byte of the first column's dictionary, which holds the requests.
    flipped[pq.read_metadata(part).row_group(0).column(0).data_page_offset - 1] ^= 1
    part.write_bytes(flipped)
    assert len(Ledger(tmp_path).verify().damaged) == 1, "a flipped bit of a part is found"


def test_a_flipped_bit_anywhere_in_a_part_gives_no_wrong_answer(tmp_path: Path):
    write(tmp_path, *(record(f"{i:032x}", text=f"answer {i}", cost=0.5) for i in range(20)))
    Ledger(tmp_path).compact()
    part = next(tmp_path.glob("part-*"))
    whole = part.read_bytes()
    for place in range(0, len(whole), 97):
        flipped = bytearray(whole)
        flipped[place] ^= 4
        part.write_bytes(flipped)
        with pytest.raises(ModelError, match=rf"damaged.*{part.name}.*sent again"):
            Ledger(tmp_path).read()
        assert len(Ledger(tmp_path).verify().damaged) == 1
    part.write_bytes(whole)
    assert Ledger(tmp_path).read().height == 20
