"""Read the shares that a model states for described groups: answers under the condition `group`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from mpta_pipeline.core.described_groups import named_groups, of_groups
from mpta_pipeline.metrics.statistics.arrays import Floats


@dataclass(frozen=True)
class DirectEstimates:
    """Shares that the model states for groups, averaged over option orders and repeats.

    Attributes:
        frame: survey, dimensions, subgroup, item_id, option, share, replies (readable ones behind it).
    """

    frame: pl.DataFrame

    @classmethod
    def read(cls, scores: pl.DataFrame) -> DirectEstimates | None:
        """Read the answers about groups; None if there are none that state shares."""
        rows = of_groups(scores).filter(pl.col("p_vec").is_not_null() & (pl.col("status") == "ok"))
        if rows.is_empty():
            return None
        frame = (
            rows.select("survey", "item_id", "p_vec", **named_groups(pl.col("respondent_id")))
            .with_columns(pl.int_ranges(pl.col("p_vec").list.len()).alias("option"))
            .explode("p_vec", "option")
            .group_by("survey", "dimensions", "subgroup", "item_id", "option")
            .agg(pl.col("p_vec").mean().alias("share"), pl.len().alias("replies"))
        )
        return cls(frame.sort("survey", "dimensions", "subgroup", "item_id", "option"))

    @classmethod
    def joined(cls, parts: Sequence[pl.DataFrame]) -> DirectEstimates | None:
        """Join the frames of chunks, each with all answers about some groups; None without any."""
        if not parts:
            return None
        return cls(pl.concat(parts).sort("survey", "dimensions", "subgroup", "item_id", "option"))

    def shares(self, survey: str, dimension: str, *, subgroups: list[str], items: list[str], width: int) -> Floats:
        """(subgroups × items × width) stated shares, 0 beyond an item's options; nan where none are stated."""
        found = np.full((len(subgroups), len(items), width), np.nan)
        slot, place = ({name: i for i, name in enumerate(names)} for names in (subgroups, items))
        mine = self.frame.filter(
            pl.col("survey") == survey,
            pl.col("dimensions") == dimension,
            pl.col("subgroup").is_in(subgroups),
            pl.col("item_id").is_in(items),
            pl.col("option") < width,
        )
        if mine.is_empty():
            return found
        owner = mine["subgroup"].replace_strict(slot, return_dtype=pl.Int64).to_numpy()
        item = mine["item_id"].replace_strict(place, return_dtype=pl.Int64).to_numpy()
        found[owner, item] = 0.0
        found[owner, item, mine["option"].to_numpy()] = mine["share"].to_numpy()
        return found
