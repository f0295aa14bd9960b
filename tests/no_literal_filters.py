"""Refuse filters by an expression that names no column, wherever a test runs the package's code.

Polars evaluates such a predicate once per thread where a frame has many rows: a function of a literal then has as many
values as there are threads, and the filter fails. Small test data do not show it, so the tests look at the predicate.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

PACKAGE = str(Path(__file__).parents[1] / "mpta_pipeline")


def names_no_column(predicate: Any) -> bool:
    """Whether an expression has one value whatever the frame holds; the element of a list has another each time."""
    return (
        isinstance(predicate, pl.Expr)
        and not predicate.meta.root_names()
        and not predicate.meta.has_multiple_outputs()
        and "element()" not in str(predicate)
    )


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def filtered(self: Any, *predicates: Any, **constraints: Any) -> Any:
        caller = sys._getframe(1).f_code.co_filename
        if caller.startswith(PACKAGE):
            for predicate in predicates:
                for one in predicate if isinstance(predicate, list | tuple) else (predicate,):
                    assert not names_no_column(one), f"{caller} filters by {one}, which names no column"
        return method(self, *predicates, **constraints)

    return filtered


def install(monkeypatch: Any) -> None:
    """Guard `filter` of frames, lazy frames and expressions for the time of one test."""
    for kind in (pl.DataFrame, pl.LazyFrame, pl.Expr):
        monkeypatch.setattr(kind, "filter", _guarded(kind.filter))
