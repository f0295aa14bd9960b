"""List the orders in which the options of each item are shown, and find items that are asked along a scale."""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

import polars as pl

from mpta_pipeline.core.errors import ConfigError

_FULL_AT_MOST = 4  # 4! = 24 orders; five options would have 120
SCALE = "scale"
DIRECTIONS = {"forward": 0, "reversed": 1}
"""Designs of one order: a scale in one direction."""

# Options that answer beside the question. "Neither", "both" and "it depends" are answers to it.
_NO_ANSWER = (
    r"(?:i )?(?:do not|don.?t|can ?not|can.?t) (?:really )?(?:know|say|choose|decide|answer)\b.*",
    r"(?:no (?:opinion|answer)|not (?:sure|applicable|stated)|unsure|refused?|prefer not to (?:say|answer)|dk|n/?a)",
    r"(?:some |any |an)?other(?:\s+\S+){0,2}",
    r"(?:something|someone|somebody|somewhere|anything) else",
)
# On a scale, "none" is a point of it.
_NONE = r"none(?: of (?:these|those|them|the above|the others))?"
_BESIDE_A_SCALE = re.compile(rf"\W*(?:{'|'.join(_NO_ANSWER)})\W*", re.IGNORECASE)
_BESIDE_A_LIST = re.compile(rf"\W*(?:{'|'.join((*_NO_ANSWER, _NONE))})\W*", re.IGNORECASE)
_BESIDE_VALUES = ("other", "dont_know")


class Layout(NamedTuple):
    """How the options of an item are laid out.

    Attributes:
        along: Canonical indices of the options that change place, in the order of the scale if there is one.
        last: Canonical indices of the options that stay last: other, none, don't know.
        is_scale: The options in `along` are points of a scale.
    """

    along: tuple[int, ...]
    last: tuple[int, ...]
    is_scale: bool


def option_orders(k: int, design: str) -> list[list[int]]:
    """List the orders in which `k` options are shown: for each order, the canonical index at each position.

    `cyclic` shows every option once at every position, `full` uses all permutations, `given` only the canonical order.

    Raises:
        ConfigError: `full` of more than 4 options.
    """
    if design == "given" or k == 0:
        return [list(range(k))]
    if design == "cyclic":
        return [[(position + shift) % k for position in range(k)] for shift in range(k)]
    if k > _FULL_AT_MOST:
        raise ConfigError(
            f"All orders of {k} options would be too many prompts",
            variable="tasks.*.orders",
            value="full",
            remedy=f"use cyclic, or items of at most {_FULL_AT_MOST} options",
        )
    return [list(order) for order in itertools.permutations(range(k))]


def scale_orders(layout: Layout) -> list[list[int]]:
    """List the orders of the design `scale`: a scale forward and reversed, a list in each cyclic shift."""
    along, last = list(layout.along), list(layout.last)
    if layout.is_scale:
        return [along + last, along[::-1] + last]
    return [[along[i] for i in order] + last for order in option_orders(len(along), "cyclic")]


def layouts(items: pl.DataFrame) -> list[Layout]:
    """Find the layout of each item, in the order of the rows.

    Ordinal items are scales in their canonical order. Options of other items that have places on a scale are put in
    the order of these places: some polls list the middle of the scale last. An option without a place, and "other",
    "none" and "don't know", stay last. They do not if the item has a right answer, because their position would give
    the answer away, and not if fewer than two options would be left.

    Args:
        items: ITEMS.
    """
    names = ("options", "option_values", "option_scores", "ordinal", "gold_idx", "poll")
    frame = items.select(name for name in names if name in items.columns)
    return [_layout(**{"poll": None} | row) for row in frame.iter_rows(named=True)]


def _layout(
    *,
    options: list[str],
    option_values: list[str],
    option_scores: list[float | None] | None,
    ordinal: bool,
    gold_idx: int | None,
    poll: object,
) -> Layout:
    k = len(options)
    every = tuple(range(k))
    if gold_idx is not None and poll is None:
        return Layout(every, (), ordinal and k > 1)
    placed = option_scores is not None and len({s for s in option_scores if s is not None}) > 1
    is_scale = (ordinal or placed) and k > 1
    beside = _BESIDE_A_SCALE if is_scale else _BESIDE_A_LIST
    last = tuple(
        i
        for i in every
        if (placed and option_scores is not None and option_scores[i] is None)
        or beside.fullmatch(options[i])
        or option_values[i] in _BESIDE_VALUES
    )
    along = [i for i in every if i not in last]
    if len(along) < 2:
        return Layout(every, (), is_scale)
    if placed and not ordinal and option_scores is not None:
        along.sort(key=lambda i: option_scores[i] or 0.0)
    return Layout(tuple(along), last, is_scale)


def item_orders(items: pl.DataFrame, design: str) -> pl.DataFrame:
    """List the orders in which each item is shown.

    Args:
        items: ITEMS.
        design: `orders` of the task.

    Returns:
        item_id, order_id, option_order, n_orders (of which `max_orders` chooses some).
    """
    if design in (SCALE, *DIRECTIONS):
        shapes: list[Layout | int] = list(layouts(items))
    else:
        shapes = items["options"].list.len().to_list()
    made = {s: scale_orders(s) if isinstance(s, Layout) else option_orders(s, design) for s in dict.fromkeys(shapes)}
    if design in DIRECTIONS:  # a list, which has no direction, has its first order in both
        made = {
            shape: [orders[DIRECTIONS[design] if isinstance(shape, Layout) and shape.is_scale else 0]]
            for shape, orders in made.items()
        }
    number = {shape: i for i, shape in enumerate(made)}
    orders = pl.DataFrame(
        [(number[shape], i, order, len(orders)) for shape, orders in made.items() for i, order in enumerate(orders)],
        schema={"shape": pl.Int64, "order_id": pl.Int64, "option_order": pl.List(pl.Int64), "n_orders": pl.Int64},
        orient="row",
    )
    return (
        items.select("item_id", pl.Series("shape", [number[s] for s in shapes], dtype=pl.Int64))
        .join(orders, on="shape")
        .drop("shape")
        .sort("item_id", "order_id")
    )


def scale_directions(items: pl.DataFrame) -> pl.DataFrame:
    """Describe the items that are scales.

    Returns:
        item_id, forward and backward (the two orders as text, see `order_text`), places (of each canonical option on
        the scale from 0 to 1, evenly spaced; null beside the scale).
    """
    rows = []
    for item, layout in zip(items["item_id"], layouts(items), strict=True):
        if layout.is_scale:
            places: list[float | None] = [None] * (len(layout.along) + len(layout.last))
            for rank, i in enumerate(layout.along):
                places[i] = rank / (len(layout.along) - 1)
            rows.append((item, *(_text(order) for order in scale_orders(layout)), places))
    return pl.DataFrame(
        rows,
        schema={"item_id": pl.String, "forward": pl.String, "backward": pl.String, "places": pl.List(pl.Float64)},
        orient="row",
    )


def _text(order: list[int]) -> str:
    return ",".join(map(str, order))


def order_text(order: pl.Expr) -> pl.Expr:
    """An option order as text, to be compared with those of `scale_directions`."""
    return order.cast(pl.List(pl.String)).list.join(",")
