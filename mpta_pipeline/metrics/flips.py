"""Which answers change: with the persona against without, on another wording of the persona, on another asking."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

REFERENCE = "no_persona"
FLIPS = (
    "n_pairs", "n_flips", "n_harmful", "n_helpful",
    "n_paraphrase_pairs", "n_paraphrase_flips", "n_repeat_pairs", "n_repeat_flips",
)  # fmt: skip
_ASKED = ("survey", "persona_id", "item_id", "order_id", "elicitation")
_TOLD = ("condition", "style", "framing")
# Conditions under which something else is told than the person: what they do to accuracy is not the person's doing.
CONTROLS = ("placebo", "shuffled_any", "shuffled_country", "demographics_only")


def flips(scores: pl.DataFrame) -> pl.DataFrame:
    """Add to each answer whether it has a readable counterpart, and whether it differs from it.

    * `n_pairs`, `n_flips`, `n_harmful` (right → wrong), `n_helpful` (wrong → right): against the answer without a
      persona to the same item in the same option order.
    * `n_paraphrase_pairs`, `n_paraphrase_flips`: against the persona's first wording.
    * `n_repeat_pairs`, `n_repeat_flips`: against the first asking of the same prompt.

    Args:
        scores: SCORES of one model and task.

    Returns:
        The same rows in the same order with the columns of `FLIPS`, each 0 or 1.
    """
    made = scores
    persona = pl.col("condition") != REFERENCE
    made = _paired(made, persona, ~persona, (*_ASKED, "repeat_id"), "without")
    for name, column, other in (("wording", "paraphrase_id", "repeat_id"), ("asking", "repeat_id", "paraphrase_id")):
        made = _paired(made, pl.col(column) > 0, pl.col(column) == 0, (*_ASKED, *_TOLD, other), name)
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


def _paired(rows: pl.DataFrame, of: pl.Expr, to: pl.Expr, key: Sequence[str], name: str) -> pl.DataFrame:
    """Add `name`: the option picked in the counterpart of each row that `of` chooses, among those that `to` chooses."""
    nothing = pl.lit(None, pl.Int64).alias(name)
    if not rows.select(of.any() & to.any()).item():
        return rows.with_columns(nothing)
    # Several counterparts differ in nothing that the row says: the first by name speaks for them.
    others = rows.filter(to).select(*key, "prompt_id", pl.col("pred_idx").alias(name))
    if others.select(key).n_unique() < others.height:
        others = others.sort("prompt_id").unique(key, keep="first", maintain_order=True)
    found = rows.join(others.drop("prompt_id"), on=list(key), how="left", maintain_order="left")
    return found.with_columns(pl.when(of).then(name).alias(name))


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
