"""Published polls: shares of answers that stand in the items themselves, by country or of everybody."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import polars as pl

from mpta_pipeline.metrics.samples import groups as g
from mpta_pipeline.metrics.statistics.arrays import Floats, Ints

EVERYBODY = "all"
# Number of each row's entry in the poll, −1 for none.
ENTRY = "poll_entry"
# Dimensions whose groups are made of whole samples: a poll says nothing of other groups' answers.
OF_SAMPLES = ("country", "country_group", "cultural_zone")


@dataclass(frozen=True)
class Polls:
    """Shares of answers to the items of a poll.

    Attributes:
        items: Item ids, sorted.
        item: Item of each entry, from 0.
        sample: Country of each entry, or `EVERYBODY`.
        shares: (entries × K) shares of the options.
        n: Effective number of people behind each entry; nan where the poll does not tell.
    """

    items: list[str]
    item: Ints
    sample: list[str]
    shares: Floats
    n: Floats

    def entries(self, frame: pl.DataFrame) -> pl.Series:
        """Entry of each row: that of the person's country, else that of everybody, else −1.

        Args:
            frame: Rows with item_id and, where it is known, `sample`.
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


def covers(dimension: str) -> bool:
    """Whether a poll says what the groups of a dimension answered."""
    return all(base in OF_SAMPLES for base in g.bases(dimension))


def polls_of(items: pl.DataFrame | None) -> Polls | None:
    """The shares that the items' metadata carry as `shares` (and `n`), by country code or `all`; None without any."""
    if items is None or items.is_empty():
        return None
    published = items.filter(pl.col("metadata").str.contains('"shares"', literal=True)).sort("item_id")
    rows = [
        (item, sample, shares, (facts.get("n") or {}).get(sample))
        for item, facts in ((i, json.loads(m)) for i, m in published.select("item_id", "metadata").rows())
        for sample, shares in sorted(facts["shares"].items())
    ]
    if not rows:
        return None
    names = published.get_column("item_id").to_list()
    place = {name: i for i, name in enumerate(names)}
    shares = np.zeros((len(rows), max(len(r[2]) for r in rows)))
    for i, row in enumerate(rows):
        shares[i, : len(row[2])] = row[2]
    return Polls(
        names,
        np.array([place[r[0]] for r in rows], dtype=np.int64),
        [r[1] for r in rows],
        shares / shares.sum(axis=1, keepdims=True),
        np.array([np.nan if r[3] is None else float(r[3]) for r in rows]),
    )
