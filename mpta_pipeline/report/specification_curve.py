"""Draw a specification curve as inline SVG: sorted estimates with intervals, and the choices of each below it.

It is drawn without scripts, so that it prints and saves as it stands. A configuration's title gives it in words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 860.0, 230.0
"""Width of the drawing and height of its upper part, in SVG units."""
LEFT, RIGHT, TOP, ROW, GAP = 210.0, 12.0, 12.0, 19.0, 9.0
"""Room for the names of levels, right and upper edge, height of a row of choices, room between two factors."""


@dataclass(frozen=True)
class Specification:
    """One configuration on the curve.

    Attributes:
        estimate: The figure.
        low: Lower end of its interval; None without one.
        high: Upper end.
        holds: Filled dot.
        levels: Level of each factor, in the order of the factors.
        words: The configuration in words.
    """

    estimate: float
    low: float | None
    high: float | None
    holds: bool
    levels: Sequence[str]
    words: str


def curve(
    specifications: Sequence[Specification],
    factors: Sequence[tuple[str, Sequence[str]]],
    *,
    title: str,
    text: Callable[[float], str],
    zero: bool,
) -> Markup:
    """Draw a curve.

    Args:
        specifications: The configurations, sorted.
        factors: Name of each factor, and its levels in order.
        title: What is drawn, for readers who cannot see it.
        text: A value as the axis writes it.
        zero: The axis holds 0, with a line.
    """
    known = [v for s in specifications for v in (s.estimate, s.low, s.high) if v is not None and math.isfinite(v)]
    known += [0.0] if zero else []
    step = _step(max(known) - min(known))
    low, high = math.floor(min(known) / step) * step, math.ceil(max(known) / step) * step
    high = high if high > low else low + step
    bottom = TOP + HEIGHT

    def y(value: float) -> str:
        return f"{bottom - (value - low) / (high - low) * HEIGHT:.1f}"

    wide = (WIDTH - LEFT - RIGHT) / len(specifications)
    size = max(min(wide * 0.36, 5.0), 0.8)
    drawn: list[Markup] = []
    for i in range(round((high - low) / step) + 1):
        value = low + i * step
        kind = "reference" if zero and abs(value) < step / 1e6 else "rail"
        drawn.append(Markup('<line class="{}" x1="{}" x2="{}" y1="{y}" y2="{y}"/>').format(
            kind, LEFT, WIDTH - RIGHT, y=y(value)
        ))  # fmt: skip
        drawn.append(
            Markup('<text class="level" x="{}" y="{}" dy="4">{}</text>').format(LEFT - 8, y(value), text(value))
        )
    rows = _rows(factors, bottom + 16)
    for name, levels, top in rows:
        drawn.append(Markup('<text class="factor" x="0" y="{:.1f}">{}</text>').format(top + ROW - 6, name))
        for j, level in enumerate(levels):
            middle = top + (j + 0.5) * ROW
            drawn.append(
                Markup('<text class="level" x="{}" y="{:.1f}" dy="4">{}</text>').format(LEFT - 8, middle, level)
            )
            drawn.append(Markup('<line class="rail" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>').format(
                LEFT, WIDTH - RIGHT, y=middle
            ))  # fmt: skip
    for i, one in enumerate(specifications):
        x = f"{LEFT + (i + 0.5) * wide:.1f}"
        parts = [Markup("<title>{}</title>").format(one.words)]
        # Room to point at: the whole column.
        parts.append(Markup('<rect class="column" x="{:.1f}" y="{}" width="{:.1f}" height="{:.1f}"/>').format(
            LEFT + i * wide, TOP, wide, _end(rows) - TOP
        ))  # fmt: skip
        if one.low is not None and one.high is not None:
            parts.append(Markup('<line class="whisker" x1="{x}" x2="{x}" y1="{}" y2="{}"/>').format(
                y(one.low), y(one.high), x=x
            ))  # fmt: skip
        kind = "dot" if one.holds else "hollow"
        parts.append(Markup('<circle class="{}" cx="{}" cy="{}" r="{:.1f}"/>').format(kind, x, y(one.estimate), size))
        for (_, levels, top), level in zip(rows, one.levels, strict=True):
            middle = top + (levels.index(level) + 0.5) * ROW
            parts.append(Markup('<circle class="choice" cx="{}" cy="{:.1f}" r="{:.1f}"/>').format(x, middle, size))
        drawn.append(Markup("<g>{}</g>").format(Markup("").join(parts)))
    return Markup('<svg class="curve" viewBox="0 0 {:g} {:.1f}" role="img"><title>{}</title>{}</svg>').format(
        WIDTH, _end(rows), title, Markup("").join(drawn)
    )


def _rows(factors: Sequence[tuple[str, Sequence[str]]], top: float) -> list[tuple[str, Sequence[str], float]]:
    found = []
    for name, levels in factors:
        found.append((name, levels, top))
        top += len(levels) * ROW + GAP
    return found


def _end(rows: Sequence[tuple[str, Sequence[str], float]]) -> float:
    _, levels, top = rows[-1]
    return top + len(levels) * ROW + 4


def _step(span: float) -> float:
    rough = max(span, 1e-6) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))
