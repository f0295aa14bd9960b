"""Leave out items that cannot be asked, and reject a task in which too many are missing.

An item is left out if its question is empty, an option before the last is empty, fewer than two options are left, two
options are equal, or its key matches no option. Empty options at the end do not count as options. A task continues
without up to `FEW` items, or `SHARE` of them, whichever is more; beyond that it is rejected.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from mpta_pipeline.core.errors import TaskError

FEW, SHARE = 2, 0.05


class NoItemsError(TaskError):
    """No wave of the study has a question that the task can ask. A run sets the task aside; the others go on."""


@dataclass(frozen=True)
class Gap:
    """An item that was left out.

    Attributes:
        file: Its file; None for items made from the survey.
        item: Its id, or its position in the file.
        column: Column or field that is wrong.
        why: What is wrong, as a clause.
    """

    file: Path | None
    item: str
    column: str
    why: str

    def text(self) -> str:
        """The gap in one sentence."""
        where = f"{self.file.name}, " if self.file is not None else ""
        return f"{where}item {self.item}, {self.column}: {self.why}"


@dataclass
class Gaps:
    """Collects what of a task's files is left out while the items are made.

    Attributes:
        found: Items that cannot be asked. Too many of them reject the task.
        not_used: What else of the files the pipeline does not use, or uses differently, in sentences.
    """

    found: list[Gap] = field(default_factory=list)
    not_used: list[str] = field(default_factory=list)

    def leave_out(self, file: Path | None, item: object, column: str, why: str) -> None:
        """Note an item that is left out."""
        self.found.append(Gap(file, str(item), column, why))

    def check(self, name: str, kept: int) -> None:
        """Reject the task if too many items are missing.

        Raises:
            TaskError: More than `FEW` items and more than `SHARE` of them, or all, were left out.
        """
        n = len(self.found)
        if not n or (kept and n <= max(FEW, SHARE * (n + kept))):
            return
        first = self.found[0]
        raise TaskError(
            f"{n} of {n + kept} items of task {name} cannot be asked, which is more than {SHARE:.0%}; the first: "
            f"{first.why}",
            file=first.file,
            variable=first.column,
            value=first.item,
            remedy="complete these items in the file, or get it again; up to "
            f"{FEW} items, or {SHARE:.0%}, would be left out and counted",
        )

    def notes(self, most: int = 5) -> dict[str, object]:
        """Notes for the record of the items: how many were left out and the first of them; all that is not used."""
        notes: dict[str, object] = {"not_used": list(self.not_used)} if self.not_used else {}
        if not self.found:
            return notes
        more = f"; {len(self.found) - most} more" if len(self.found) > most else ""
        listed = "; ".join(g.text() for g in self.found[:most]) + more
        return notes | {"left_out": len(self.found), "left_out_items": listed}


def sound(items: pl.DataFrame, gaps: Gaps, file: Path | None) -> pl.DataFrame:
    """Return the items that can be asked, and note the others.

    Args:
        items: `item_id`, `question`, `options`, `option_values`, `gold_idx` (may be absent or null: no key),
            `keeps_empty` (may be absent): empty options are the published file's own and stay. Items without any
            option are open text.
        gaps: Where gaps are noted.
        file: The items' file.
    """
    if items.is_empty() or "options" not in items.columns:
        return items
    key = pl.col("gold_idx") if "gold_idx" in items.columns else pl.lit(None, pl.Int64)
    text = pl.col("options").list.eval(
        pl.element().cast(pl.String).fill_null("").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    )
    # Empty options at the end do not count.
    used = text.list.reverse().list.eval((pl.element() != "").cum_sum() > 0).list.sum()
    keeps = pl.col("keeps_empty") if "keeps_empty" in items.columns else pl.lit(False)
    used = pl.when(keeps).then(text.list.len()).otherwise(used)
    looked = items.with_columns(
        text.alias("_text"),
        used.fill_null(0).cast(pl.Int64).alias("_used"),
        pl.col("options").list.len().alias("_all"),
        key.cast(pl.Int64).alias("_key"),
    ).with_columns(pl.col("_text").list.head(pl.col("_used")).alias("_text"))
    why = (
        pl.when(pl.col("question").fill_null("").str.strip_chars() == "")
        .then(pl.lit("question|its question is empty"))
        .when(pl.col("_all") == 0)
        .then(None)
        .when(pl.col("_text").list.eval(pl.element() == "").list.any() & ~keeps)
        .then(pl.lit("options|an option before the last is empty"))
        .when(pl.col("_key") >= pl.col("_used"))
        .then(pl.lit("gold_idx|its key is on no option"))
        .when(pl.col("_key") < 0)
        .then(pl.lit("gold_idx|its key is on no option"))
        .when(pl.col("_used") < 2)
        .then(pl.lit("options|it has fewer than two options"))
        .when(pl.col("_text").list.n_unique() < pl.col("_used"))
        .then(pl.lit("options|two of its options are equal"))
    )
    looked = looked.with_columns(why.alias("_why"))
    for item, said in looked.filter(pl.col("_why").is_not_null()).select("item_id", "_why").iter_rows():
        column, reason = str(said).split("|", 1)
        gaps.leave_out(file, item, column, reason)
    kept = looked.filter(pl.col("_why").is_null())
    aligned = ("options", "option_values", "option_scores")
    shorter = [c for c in aligned if isinstance(items.schema.get(c), pl.List)]
    kept = kept.with_columns(
        pl.when(pl.col("_used") < pl.col("_all"))
        .then(pl.col(c).list.head(pl.col("_used")))
        .otherwise(pl.col(c))
        .alias(c)
        for c in shorter
    )
    return kept.select(items.columns)
