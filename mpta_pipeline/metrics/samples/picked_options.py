"""Which option each single answer picks: one, or several in equal parts where their probabilities are tied."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from mpta_pipeline.metrics.statistics.arrays import Flags, Floats

# Equal probabilities differ by rounding only.
TIE = 1e-9


@dataclass(frozen=True)
class Picks:
    """What single answers pick.

    Attributes:
        share: (rows × K) 1 on the option picked, shared among options that are tied; 0 rows where none was read.
        mass: (rows × K) `p_vec` where there is one and the answer is readable, else `share`.
        tied: Rows of which the pick is shared.
    """

    share: Floats
    mass: Floats
    tied: Flags


def read_picks(scores: pl.DataFrame, width: int) -> Picks:
    """Read the picks of SCORES.

    Taking the first of tied options would make a model that cannot decide right wherever the key stands first. The pick
    is shared where the option named is among the tied ones; a reply that names another has decided.
    """
    share = one_hot(scores.get_column("pred_idx"), width)
    mass = _probabilities(scores, share, width)
    top = mass >= (mass.max(axis=1, initial=0.0) - TIE)[:, None]
    several = with_vector(scores) & ((top & (mass > 0)).sum(axis=1) > 1) & ((top * share).sum(axis=1) > 0)
    share[several] = top[several] / top[several].sum(axis=1, keepdims=True)
    return Picks(share, mass, several)


def one_hot(index: pl.Series, width: int) -> Floats:
    """(rows × width) 1 at the index; rows without one stay 0."""
    out = np.zeros((len(index), width))
    known = index.is_not_null().to_numpy()
    out[np.flatnonzero(known), index.drop_nulls().to_numpy()] = 1.0
    return out


def with_vector(rows: pl.DataFrame) -> Flags:
    """Rows with probabilities and a readable answer."""
    return (rows.get_column("p_vec").is_not_null() & (rows.get_column("status") == "ok")).to_numpy()


def _probabilities(rows: pl.DataFrame, picked: Floats, width: int) -> Floats:
    """(rows × width) `p_vec` where there is one and the answer is readable, else the pick."""
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
