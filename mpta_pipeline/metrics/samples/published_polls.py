"""Read published polls: shares of answers that are stored with the items, by country or for everyone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from mpta_pipeline.metrics.statistics.arrays import Floats, Ints

EVERYBODY = "all"
# Column with the number of each row's entry in the poll, −1 for none.
ENTRY = "poll_entry"


@dataclass(frozen=True)
class Polls:
    """Shares of answers to the items of a poll.

    Attributes:
        items: Item ids, sorted.
        item: Item of each entry, from 0.
        sample: Country of each entry, or `EVERYBODY`.
        shares: (entries × K) shares of the options.
        n: Effective number of people behind each entry; nan if the poll does not report it.
    """

    items: list[str]
    item: Ints
    sample: list[str]
    shares: Floats
    n: Floats

    def entries(self, frame: pl.DataFrame) -> pl.Series:
        """Find the entry of each row: that of the person's country, else that of everyone, else −1.

        Args:
            frame: Rows with item_id and, if it is known, `sample`.
        """
        known = pl.DataFrame(
            {
                "item_id": [self.items[i] for i in self.item],
                "sample": self.sample,
                "entry": np.arange(len(self.item)),
            }
        )
        everybody = known.filter(pl.col("sample") == EVERYBODY).select("item_id", pl.col("entry").alias("of_all"))
        sample = pl.col("sample").cast(pl.String) if "sample" in frame.columns else pl.lit("")
        rows = frame.select("item_id", sample.alias("sample"))
        rows = rows.join(known, on=["item_id", "sample"], how="left", maintain_order="left")
        rows = rows.join(everybody, on="item_id", how="left", maintain_order="left")
        return rows.select(pl.coalesce("entry", "of_all").fill_null(-1).cast(pl.Int64).alias(ENTRY)).to_series()


def polls_of(items: pl.DataFrame | None) -> Polls | None:
    """Read the published shares in the items' column `poll`, by country code or for `all`; None without any."""
    if items is None or items.is_empty():
        return None
    rows = (
        items.select("item_id", "poll")
        .drop_nulls("poll")
        .explode("poll")
        .unnest("poll")
        .sort("item_id", "sample")
        .with_columns(pl.col("item_id").rank("dense").cast(pl.Int64).alias("place") - 1)
    )
    if rows.is_empty():
        return None
    shares = np.zeros((rows.height, int(str(rows["shares"].list.len().max()))))
    for i, row in enumerate(rows["shares"].to_list()):
        shares[i, : len(row)] = row
    return Polls(
        rows["item_id"].unique(maintain_order=True).to_list(),
        rows["place"].to_numpy(),
        rows["sample"].to_list(),
        shares / shares.sum(axis=1, keepdims=True),
        rows["n"].fill_null(np.nan).to_numpy(),
    )
