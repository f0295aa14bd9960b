"""Prompts that are read part by part, because together they would not fit into memory.

Only the hashes of their requests are held for all parts. Texts are read again for the requests that have no response,
and records of the ledger are spread over the parts in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from mpta_pipeline.core.hashing import short_hashes
from mpta_pipeline.core.storage import write_parquet
from mpta_pipeline.core.tables import RESPONSES
from mpta_pipeline.inference.ledger import Ledger
from mpta_pipeline.inference.models import ModelSpec
from mpta_pipeline.inference.requests import request_hashes, unique_requests

_KEY = ("request_hash", "elicitation", "data_use", "survey")


@dataclass(frozen=True)
class PromptParts:
    """The prompts of a model in parts.

    Attributes:
        spec: The model.
        parts: Each reads the PROMPTS rows of one part.
        settled: Hashes (`short_hashes`) of the requests of further parts that are not read, because each of their
            requests has a response.
    """

    spec: ModelSpec
    parts: Sequence[Callable[[], pl.DataFrame]]
    settled: pl.Series = field(default_factory=lambda: pl.Series([], dtype=pl.UInt64))

    def further(self, requests: pl.DataFrame) -> int:
        """How many requests only the parts have that are not read.

        Args:
            requests: The requests of the others.
        """
        return self.settled.len() - int(self.settled.is_in(short_hashes(requests["request_hash"]).implode()).sum())

    def requests(self, keys: Path | None = None) -> pl.DataFrame:
        """One row per request: `_KEY` and the first part that has it, in the order of the parts.

        Args:
            keys: Folder to write what `PartResponses` needs of each part.
        """
        found = []
        if not self.parts:
            schema = {"request_hash": pl.String, "elicitation": pl.String, "data_use": pl.String, "survey": pl.String}
            return pl.DataFrame(schema={**schema, "part": pl.UInt32})
        for number, read in enumerate(self.parts):
            prompts = read()
            prompts = prompts.with_columns(request_hashes(self.spec, prompts))
            if keys is not None:
                write_parquet(prompts.select("task", "prompt_id", "request_hash"), _keys_of(keys, number))
            part = unique_requests(self.spec, prompts).select(_KEY)
            found.append(part.with_columns(pl.lit(number, pl.UInt32).alias("part")))
        # If equal texts come from sources with different data use, the stricter use counts, as within a part.
        return (
            pl.concat(found)
            .group_by("request_hash", maintain_order=True)
            .agg(
                pl.col("elicitation").first(),
                pl.col("data_use").max(),
                pl.col("survey").drop_nulls().first(),
                pl.col("part").first(),
            )
        )

    def complete(self, requests: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Rows of `requests` with the texts, as `unique_requests` of all parts has them, one part after the other."""
        return map(self.texts, self.by_part(requests))

    @staticmethod
    def by_part(requests: pl.DataFrame) -> list[pl.DataFrame]:
        """Rows of `requests`, divided by the part that has their texts."""
        return requests.sort("part", maintain_order=True).partition_by("part", maintain_order=True)

    def texts(self, requests: pl.DataFrame) -> pl.DataFrame:
        """Requests of one part with their texts, in the order of the part.

        Raises:
            ReplacedError: The prompts were made again since.
        """
        texts = unique_requests(self.spec, self.parts[int(requests["part"][0])]())
        wanted = requests.select("request_hash", "data_use", "survey")
        own = texts.drop("data_use", "survey").join(wanted, on="request_hash", maintain_order="left")
        return own.select(texts.columns)


class PartResponses:
    """The responses of a ledger to prompts in parts.

    Args:
        parts: The prompts.
        ledger: The model's ledger folder.
        folder: Where `PromptParts.requests` wrote its keys, with room for the records.
    """

    def __init__(self, parts: PromptParts, ledger: Path, folder: Path) -> None:
        self._spec, self._folder, self._records = parts.spec, folder, folder / "records"
        wanted = [
            pl.read_parquet(_keys_of(folder, number), columns=["request_hash"])
            .unique()
            .with_columns(pl.lit(number, pl.UInt32).alias("part"))
            for number in range(len(parts.parts))
        ]
        self._ledger = Ledger(ledger)
        self.records = self._ledger.height()
        """Number of records of the ledger; any that come meanwhile are not counted."""
        if wanted:
            self._ledger.spread(pl.concat(wanted), self._records)

    def read(self, number: int) -> pl.DataFrame:
        """RESPONSES of one part, as `responses` gives them."""
        keyed = pl.read_parquet(_keys_of(self._folder, number))
        records = self._ledger.spread_part(self._records, number)
        columns = [c for c in RESPONSES.schema if c in records.columns]
        frame = keyed.join(records.select(columns), on="request_hash", how="inner")
        return RESPONSES.conform(frame.with_columns(model=pl.lit(self._spec.name)).select(list(RESPONSES.schema)))

    def asked(self, number: int) -> int:
        """The number of prompts of one part."""
        return int(pl.scan_parquet(_keys_of(self._folder, number)).select(pl.len()).collect().item())


def _keys_of(folder: Path, number: int) -> Path:
    return folder / f"keys-{number}.parquet"
