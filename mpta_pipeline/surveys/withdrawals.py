"""Respondents who withdrew: the list of their hashed ids, and raw snapshots without their rows.

The list is stored with the partitions. Rows of those on the list are removed from a raw snapshot when it is loaded, if
it was written, or copied to this machine, before they withdrew. The survey file itself is never changed.
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
        waves: Hashed respondent id → the waves that held the respondent at the time.
        days: Hashed respondent id → day of the withdrawal.
    """

    waves: Mapping[str, tuple[str, ...]]
    days: Mapping[str, str]

    @property
    def version(self) -> str:
        """Version of the whole list; empty if nobody withdrew."""
        return digest(*sorted(self.waves), length=12) if self.waves else ""

    def version_of(self, wave: str) -> str:
        """Version of the entries of the list that concern a wave; empty if there are none."""
        concerned = sorted(h for h, waves in self.waves.items() if wave in waves)
        return digest(*concerned, length=12) if concerned else ""

    def holds(self, respondent_ids: pl.Series) -> pl.Series:
        """Which of some respondent ids are on the list."""
        if not self.waves:
            return pl.Series("withdrawn", [False] * respondent_ids.len(), dtype=pl.Boolean)
        return hashed(respondent_ids).is_in(list(self.waves)).alias("withdrawn")


def hashed(respondent_ids: pl.Series) -> pl.Series:
    """Respondent ids as they are hashed in the list."""
    frame = respondent_ids.alias("id").to_frame()
    return hash_rows(frame, ["id"], key="withdrawn", length=HASH_LENGTH)


def list_path(layout: Layout) -> Path:
    """Path of the list."""
    return layout.store / "withdrawn.json"


def load_withdrawals(layout: Layout) -> Withdrawals:
    """The list of those who withdrew; empty if the file is absent.

    Raises:
        ConfigError: The list cannot be read. It is never treated as empty, because that would restore withdrawn
            respondents.
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
            remedy="restore the file from a copy; nothing is read without it, so that no withdrawn respondent returns",
        ) from None


def add_withdrawal(layout: Layout, respondent_id: str, waves: Sequence[str], on: date) -> Withdrawals:
    """Add a respondent to the list. One who is on it keeps the day, and the waves are added."""
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
    """Remove those on the list from a snapshot, and return its new release record.

    The rows go to a new file. The keys of those who stay go to another, because repeated keys were numbered with all
    rows that share them. The release record is written last and names both, so that a concurrent reader sees either
    the old or the new snapshot.

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
