"""Respondents who withdrew: the list of them, by hashed ids, and raw waves without them.

The list lies with the partitions. A raw snapshot is the file as read, less those on the list: their rows are taken out
whenever a snapshot is loaded that was written, or copied to this machine, before they withdrew. The survey file
itself is the producer's and is never changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.hashing import digest, hash_rows
from mpta_pipeline.core.provenance import checksum
from mpta_pipeline.core.storage import Layout, read_text, write_checked_json, write_json, write_parquet

HASH_LENGTH = 32


@dataclass(frozen=True)
class Withdrawals:
    """Who withdrew.

    Attributes:
        waves: Hashed respondent id → the waves that held the respondent on withdrawal.
        days: Hashed respondent id → day of the withdrawal.
    """

    waves: Mapping[str, tuple[str, ...]]
    days: Mapping[str, str]

    @property
    def version(self) -> str:
        """Version of the whole list; empty: nobody withdrew."""
        return digest(*sorted(self.waves), length=12) if self.waves else ""

    def version_of(self, wave: str) -> str:
        """Version of the part of the list that concerns a wave; empty: it held nobody who withdrew."""
        concerned = sorted(h for h, waves in self.waves.items() if wave in waves)
        return digest(*concerned, length=12) if concerned else ""

    def holds(self, respondent_ids: pl.Series) -> pl.Series:
        """Which of some respondent ids are on the list."""
        if not self.waves:
            return pl.Series("withdrawn", [False] * respondent_ids.len(), dtype=pl.Boolean)
        return hashed(respondent_ids).is_in(list(self.waves)).alias("withdrawn")


def hashed(respondent_ids: pl.Series) -> pl.Series:
    """Respondent ids as the list holds them."""
    frame = respondent_ids.alias("id").to_frame()
    return hash_rows(frame, ["id"], key="withdrawn", length=HASH_LENGTH)


def list_path(layout: Layout) -> Path:
    """Where the list lies."""
    return layout.store / "withdrawn.json"


def load_withdrawals(layout: Layout) -> Withdrawals:
    """The list of those who withdrew; an absent one is empty.

    Raises:
        ConfigError: The list cannot be read. It is never taken for empty: that would bring people back.
    """
    path = list_path(layout)
    try:
        entries = json.loads(read_text(path))["respondents"]
        return Withdrawals(
            {h: tuple(entry["waves"]) for h, entry in entries.items()}, {h: entry["on"] for h, entry in entries.items()}
        )
    except FileNotFoundError:
        return Withdrawals({}, {})
    except (ValueError, KeyError, TypeError) as failure:
        raise ConfigError(
            f"The list of respondents who withdrew cannot be read ({type(failure).__name__})",
            file=path,
            remedy="put back a copy of it; without the list nothing can be read, lest somebody comes back",
        ) from None


def add_withdrawal(layout: Layout, respondent_id: str, waves: Sequence[str], on: date) -> Withdrawals:
    """Put a respondent on the list; one who is there already keeps the day and gets further waves."""
    known = load_withdrawals(layout)
    name = hashed(pl.Series([respondent_id]))[0]
    held = {**known.waves, name: tuple(sorted({*known.waves.get(name, ()), *waves}))}
    days = {**known.days, name: known.days.get(name, on.isoformat())}
    entries = {h: {"waves": list(held[h]), "on": days[h]} for h in sorted(held)}
    write_json({"respondents": entries}, list_path(layout))
    return Withdrawals(held, days)


def rewrite_snapshot(
    folder: Path, release: Mapping[str, Any], people: pl.DataFrame, data: pl.DataFrame, listed: Withdrawals
) -> dict[str, Any]:
    """Take those on the list out of a snapshot; returns its release record as it is now.

    The rows go to a new file, the keys of those who stay to another (a repeated key is numbered by the rows that share
    it), and the release record, written last, names both: whoever reads meanwhile sees the old or the new snapshot.

    Args:
        folder: The snapshot.
        release: Its release record.
        people: `respondents` of the snapshot.
        data: Its rows, in the same order.
        listed: Who withdrew.
    """
    gone = listed.holds(people["respondent_id"])
    record = {**release, "withdrawals": listed.version}
    if gone.any():
        names = {"data_file": f"data-{listed.version}.parquet", "keys_file": f"keys-{listed.version}.parquet"}
        write_parquet(data.filter(~gone), folder / names["data_file"])
        write_parquet(people.filter(~gone).select("native_key", "key_repeated"), folder / names["keys_file"])
        kept = ["variables.parquet", *names.values()]
        record |= names | {
            "checksums": {name: checksum(folder / name) for name in kept},
            "n_respondents": data.height - int(gone.sum()),
            "withdrawn": int(release.get("withdrawn", 0)) + int(gone.sum()),
        }
    write_checked_json(record, folder / "release.json")
    files = {"variables.parquet", "release.json", record.get("data_file", "data.parquet"), record.get("keys_file")}
    for path in folder.glob("*.parquet"):
        if path.name not in files:
            path.unlink()
    return record
