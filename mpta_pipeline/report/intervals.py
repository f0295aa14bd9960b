"""Draw the small charts of cards as inline SVG: a row per value, all on the axis of the card.

The values stand beside the chart as text. The chart's title gives them in words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT, EDGE = 200.0, 18.0, 7.0
"""Size of a row and its inner edge, in SVG units."""


@dataclass(frozen=True)
class Row:
    """A value with its interval.

    Attributes:
        name: What the value is of.
        value: The value; None draws nothing.
        low: Lower end of its interval; None draws no interval.
        high: Upper end.
        main: The value that the card is about; the others are drawn hollow.
        text: The value as text.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    main: bool = False
    text: str = ""


@dataclass(frozen=True)
class Scale:
    """The axis of a card, with round ends; it holds 0 if values lie on both sides of it."""

    low: float
    high: float

    @classmethod
    def over(cls, rows: Sequence[Row], *, share: bool) -> Scale:
        """The axis that covers all rows. Shares get the whole range from 0 to 100 %, so that cards can be compared."""
        known = [v for row in rows for v in (row.value, row.low, row.high) if v is not None and math.isfinite(v)]
        if not known:
            return cls(0.0, 1.0)
        if share and min(known) >= 0 and max(known) <= 1:
            return cls(0.0, 1.0)
        step = 10.0 ** math.floor(math.log10(max(*map(abs, known), 1e-6)))
        return cls(min(math.floor(min(known) / step) * step, 0.0), max(math.ceil(max(known) / step) * step, 0.0))

    def x(self, value: float) -> float:
        """The x position of a value, kept within the row."""
        part = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(EDGE + part * (WIDTH - 2 * EDGE), 1)


def drawn(row: Row, scale: Scale) -> Markup:
    """Draw one row: a rail, the interval and a dot."""
    parts = [Markup('<line class="rail" x1="{}" x2="{}" y1="9" y2="9"/>').format(EDGE, WIDTH - EDGE)]
    if scale.low < 0 < scale.high:
        parts.append(Markup('<line class="reference" x1="{x}" x2="{x}" y1="0" y2="18"/>').format(x=scale.x(0.0)))
    if row.low is not None and row.high is not None:
        parts.append(
            Markup('<line class="whisker" x1="{}" x2="{}" y1="9" y2="9"/>').format(scale.x(row.low), scale.x(row.high))
        )
    if row.value is not None and math.isfinite(row.value):
        kind = "dot" if row.main else "hollow"
        parts.append(Markup('<circle class="{}" cx="{}" cy="9" r="4.6"/>').format(kind, scale.x(row.value)))
    title = f"{row.name}: {row.text}"
    return Markup('<svg class="mini" viewBox="0 0 {:g} {:g}" role="img"><title>{}</title>{}</svg>').format(
        WIDTH, HEIGHT, title, Markup("").join(parts)
    )
