"""Find answer changes: with the persona, with another paraphrase of it, or on a repeat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from mpta_pipeline.core.vocabulary import REFERENCE_CONDITION
from mpta_pipeline.metrics.samples.compact import CompactFrame
from mpta_pipeline.metrics.samples.picked_options import Picks, read_picks
from mpta_pipeline.metrics.samples.row_keys import Keys
from mpta_pipeline.metrics.statistics.arrays import Flags, Floats, Ints

REFERENCE = REFERENCE_CONDITION
FLIPS = (
    "n_pairs", "n_flips", "n_harmful", "n_helpful",
    "n_paraphrase_pairs", "n_paraphrase_flips", "n_repeat_pairs", "n_repeat_flips",
)  # fmt: skip
_ASKED = ("survey", "respondent_id", "item_id", "order_id", "elicitation")
_TOLD = ("condition", "style", "framing")
# Controls: conditions whose effects on accuracy cannot be attributed to the persona.
CONTROLS = ("placebo", "shuffled_any", "shuffled_country", "demographics_only")


def flips(scores: pl.DataFrame, picks: Picks | None = None, keys: Keys | None = None) -> pl.DataFrame:
    """Add to each answer whether it has a readable counterpart, and whether it differs from that.

    For tied answers, the share that moves to other options counts. Two answers with the same ties do not differ.

    * `n_pairs`, `n_flips`, `n_harmful` (right → wrong), `n_helpful` (wrong → right): compared with the answer
      without a persona to the same item in the same option order.
    * `n_paraphrase_pairs`, `n_paraphrase_flips`: compared with the first paraphrase of the persona.
    * `n_repeat_pairs`, `n_repeat_flips`: compared with the first repeat of the same prompt.

    Args:
        scores: SCORES of one model and task.
        picks: Picks of its answers, if they have been read already.
        keys: Keys of its rows, if they have been made already.

    Returns:
        The same rows in the same order with the columns of `FLIPS`, each from 0 to 1.
    """
    keys = Keys(scores) if keys is None else keys
    if picks is None:
        picks = read_picks(scores, int(scores.get_column("k_options").max() or 2))  # type: ignore[arg-type]
    persona = (scores.get_column("condition") != REFERENCE).to_numpy()
    wording, asking = (scores.get_column(c).to_numpy() > 0 for c in ("paraphrase_id", "repeat_id"))
    pairs_of = {
        "without": (persona, ~persona, (*_ASKED, "repeat_id")),
        "wording": (wording, ~wording, (*_ASKED, *_TOLD, "repeat_id")),
        "asking": (asking, ~asking, (*_ASKED, *_TOLD, "paraphrase_id")),
    }
    place = {name: _counterpart(scores, keys, of, to, by) for name, (of, to, by) in pairs_of.items()}
    read = scores.get_column("pred_idx").is_not_null().to_numpy()
    key = scores.get_column("gold_idx").fill_null(-1).to_numpy()
    rows = np.arange(scores.height)
    made: dict[str, Floats] = {}
    for name, into in (("without", ""), ("wording", "paraphrase_"), ("asking", "repeat_")):
        other = np.maximum(place[name], 0)
        both = read & (place[name] >= 0) & read[other]
        moved = both & (scores.get_column("pred_idx").fill_null(-1).to_numpy() != _gather(scores, "pred_idx", other))
        moved = moved.astype(np.float64)
        tied = np.flatnonzero(both & (picks.tied | picks.tied[other]))
        moved[tied] = 1 - np.minimum(picks.share[tied], picks.share[other[tied]]).sum(axis=1)
        made |= {f"n_{into}pairs": both.astype(np.float64), f"n_{into}flips": moved}
    # Compare the credit of an answer and of its counterpart: what is lost, and what is won.
    known = np.clip(key, 0, picks.share.shape[1] - 1)
    credit = np.where((key >= 0) & (key < picks.share.shape[1]), picks.share[rows, known], 0.0)
    other = np.maximum(place["without"], 0)
    before = np.where(key >= 0, picks.share[other, known], 0.0)
    gained = np.where(made["n_pairs"] > 0, credit - before, 0.0)
    made |= {"n_harmful": np.maximum(-gained, 0.0), "n_helpful": np.maximum(gained, 0.0)}
    return scores.with_columns(pl.Series(name, values) for name, values in made.items())


def _gather(rows: pl.DataFrame, column: str, place: Ints) -> Ints:
    return rows.get_column(column).fill_null(-1).to_numpy()[place]


def _counterpart(rows: pl.DataFrame, keys: Keys, of: Flags, to: Flags, by: Sequence[str]) -> Ints:
    """For each row of `of`, find the row of `to` with equal values of `by`; −1 if there is none."""
    if not (of.any() and to.any()):
        return np.full(rows.height, -1, dtype=np.int64)
    key = keys.of(by)
    # If several rows match, take the first by prompt: the columns give no reason to prefer another.
    others = np.flatnonzero(to)
    others = others[np.argsort(key[others], kind="stable")]
    if (np.diff(key[others]) == 0).any():
        others = others[np.lexsort((keys.of(["prompt_id"])[others], key[others]))]
    known, first = np.unique(key[others], return_index=True)
    place = np.minimum(np.searchsorted(known, key), len(known) - 1)
    return np.where(of & (known[place] == key), others[first][place], -1)


def with_controls(units: pl.DataFrame | CompactFrame) -> pl.DataFrame:
    """Add `control_<condition>`, the credit of the same person and item under each control, and `placebo_flips`.

    `placebo_flips` is the share of answers that neutral text of the same length changes. Both are null if the condition
    was not asked.

    Args:
        units: Balanced answers of one model and task.
    """
    assert isinstance(units, pl.DataFrame)
    pair = ["survey", "respondent_id", "item_id"]
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
