"""Which answers change: with the persona against without, on another wording of the persona, on another asking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from mpta_pipeline.metrics.arrays import Flags
from mpta_pipeline.metrics.keys import Keys

REFERENCE = "no_persona"
FLIPS = (
    "n_pairs", "n_flips", "n_harmful", "n_helpful",
    "n_paraphrase_pairs", "n_paraphrase_flips", "n_repeat_pairs", "n_repeat_flips",
)  # fmt: skip
_ASKED = ("survey", "persona_id", "item_id", "order_id", "elicitation")
_TOLD = ("condition", "style", "framing")
# Conditions under which something else is told than the person: what they do to accuracy is not the person's doing.
CONTROLS = ("placebo", "shuffled_any", "shuffled_country", "demographics_only")


def flips(scores: pl.DataFrame, keys: Keys | None = None) -> pl.DataFrame:
    """Add to each answer whether it has a readable counterpart, and whether it differs from it.

    * `n_pairs`, `n_flips`, `n_harmful` (right → wrong), `n_helpful` (wrong → right): against the answer without a
      persona to the same item in the same option order.
    * `n_paraphrase_pairs`, `n_paraphrase_flips`: against the persona's first wording.
    * `n_repeat_pairs`, `n_repeat_flips`: against the first asking of the same prompt.

    Args:
        scores: SCORES of one model and task.
        keys: Its keys where they have been made.

    Returns:
        The same rows in the same order with the columns of `FLIPS`, each 0 or 1.
    """
    keys = Keys(scores) if keys is None else keys
    persona = (scores.get_column("condition") != REFERENCE).to_numpy()
    wording, asking = (scores.get_column(c).to_numpy() > 0 for c in ("paraphrase_id", "repeat_id"))
    pairs_of = {
        "without": (persona, ~persona, (*_ASKED, "repeat_id")),
        "wording": (wording, ~wording, (*_ASKED, *_TOLD, "repeat_id")),
        "asking": (asking, ~asking, (*_ASKED, *_TOLD, "paraphrase_id")),
    }
    made = scores.with_columns(
        _counterpart(scores, keys, of, to, by).alias(name) for name, (of, to, by) in pairs_of.items()
    )
    now, key = pl.col("pred_idx"), pl.col("gold_idx")

    def pairs(name: str, into: str) -> list[pl.Expr]:
        both = now.is_not_null() & pl.col(name).is_not_null()
        return [
            both.cast(pl.Float64).alias(f"n_{into}pairs"),
            (both & (now != pl.col(name))).fill_null(False).cast(pl.Float64).alias(f"n_{into}flips"),
        ]

    before = pl.col("without")
    return made.with_columns(
        *pairs("without", ""),
        *pairs("wording", "paraphrase_"),
        *pairs("asking", "repeat_"),
        ((before == key) & (now != key)).fill_null(False).cast(pl.Float64).alias("n_harmful"),
        ((before != key) & (now == key)).fill_null(False).cast(pl.Float64).alias("n_helpful"),
    ).drop("without", "wording", "asking")


def _counterpart(rows: pl.DataFrame, keys: Keys, of: Flags, to: Flags, by: Sequence[str]) -> pl.Series:
    """The option picked in the counterpart of each row of `of`, among those of `to` that are alike in `by`."""
    nothing = pl.Series([None] * rows.height, dtype=pl.Int64) if not (of.any() and to.any()) else None
    if nothing is not None:
        return nothing
    key = keys.of(by)
    # Several counterparts differ in nothing that the row says: the first by prompt speaks for them.
    others = np.flatnonzero(to)
    others = others[np.argsort(key[others], kind="stable")]
    if (np.diff(key[others]) == 0).any():
        others = others[np.lexsort((keys.of(["prompt_id"])[others], key[others]))]
    known, first = np.unique(key[others], return_index=True)
    place = np.minimum(np.searchsorted(known, key), len(known) - 1)
    found = of & (known[place] == key)
    picked = rows.get_column("pred_idx")[others[first][place]]
    return pl.select(pl.when(pl.Series(found)).then(picked)).to_series()


def with_controls(units: pl.DataFrame) -> pl.DataFrame:
    """Add `control_<condition>`, the credit of the same person and item under each control, and its flips.

    `control_<condition>` is null where the condition was not asked; so is `placebo_flips`, the share of answers that
    neutral text of the same length changes.

    Args:
        units: Balanced answers of one model and task.
    """
    pair = ["survey", "persona_id", "item_id"]
    asked = units.filter(pl.col("condition").is_in(CONTROLS), pl.col("n_orders") > pl.col("n_error"))
    if asked.is_empty():
        return units.with_columns(
            pl.lit(None, pl.Float64).alias(c) for c in (*(f"control_{name}" for name in CONTROLS), "placebo_flips")
        )
    here = pl.col("condition")
    of_pair = asked.group_by(pair).agg(
        *(pl.col("credit").filter(here == name).mean().alias(f"control_{name}") for name in CONTROLS),
        (pl.col("n_flips").filter(here == "placebo").sum() / pl.col("n_pairs").filter(here == "placebo").sum()).alias(
            "placebo_flips"
        ),
    )
    made = units.join(of_pair, on=pair, how="left", maintain_order="left")
    return made.with_columns(pl.col("placebo_flips").fill_nan(None))
