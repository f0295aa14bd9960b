"""Read the option that each answer picks. Options with tied probabilities share the pick."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from mpta_pipeline.metrics.statistics.arrays import Flags, Floats

# Tolerance: equal probabilities may differ by rounding.
TIE = 1e-9


@dataclass(frozen=True)
class Picks:
    """The picks of single answers.

    Attributes:
        share: (rows × K) 1 on the option picked, split among tied options; a row of zeros if the answer is unreadable.
        mass: (rows × K) `p_vec` if it exists and the answer is readable, else `share`.
        tied: Rows whose pick is split.
    """

    share: Floats
    mass: Floats
    tied: Flags


def read_picks(scores: pl.DataFrame, width: int) -> Picks:
    """Read the picks of SCORES.

    If the first of tied options counted, an undecided model would be right whenever the key comes first. The pick is
    therefore split if the option named is among the tied ones. A reply that names another option counts as decided.
    """
    share = one_hot(scores.get_column("pred_idx"), width)
    mass = _probabilities(scores, share, width)
    top = mass >= (mass.max(axis=1, initial=0.0) - TIE)[:, None]
    several = with_vector(scores) & ((top & (mass > 0)).sum(axis=1) > 1) & ((top * share).sum(axis=1) > 0)
    share[several] = top[several] / top[several].sum(axis=1, keepdims=True)
    return Picks(share, mass, several)


def one_hot(index: pl.Series, width: int) -> Floats:
    """Make (rows × width) indicators of the index; rows without an index stay 0."""
    out = np.zeros((len(index), width))
    known = index.is_not_null().to_numpy()
    out[np.flatnonzero(known), index.drop_nulls().to_numpy()] = 1.0
    return out


def with_vector(rows: pl.DataFrame) -> Flags:
    """Mark the rows with probabilities and a readable answer."""
    return (rows.get_column("p_vec").is_not_null() & (rows.get_column("status") == "ok")).to_numpy()


def _probabilities(rows: pl.DataFrame, picked: Floats, width: int) -> Floats:
    """Return (rows × width) `p_vec` if it exists and the answer is readable, else the pick."""
    has = with_vector(rows)
    mass = picked.copy()
    if has.any():
        lists = rows.get_column("p_vec").filter(pl.Series(has))
        lengths = lists.list.len().cast(pl.Int64).to_numpy()
        flat = lists.explode().to_numpy()
        row = np.repeat(np.flatnonzero(has), lengths)
        column = np.arange(len(flat)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        mass[has] = 0.0
        mass[row, column] = flat
    return mass
