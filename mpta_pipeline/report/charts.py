"""Draw charts as inline SVG: one strip per table row on the axis of its table, and that axis.

The same row also gives every value of its strip as text, and the strip's title gives them in words. Colours are classes
of the style sheet, so that they adapt to light mode, dark mode and print.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH = 240.0
HEIGHT = 20.0
EDGE = 6.0
"""Size of a strip and its inner edge, in SVG units."""


@dataclass(frozen=True)
class Axis:
    """The range of values that strips cover, and the position of a reference line, if there is one."""

    low: float
    high: float
    share: bool
    reference: float | None = None

    @classmethod
    def over(
        cls,
        values: Iterable[float | None],
        *,
        share: bool,
        reference: float | None = None,
        within: tuple[float, float] | None = None,
    ) -> Axis:
        """Make the axis that covers all finite values and the reference, with round ends.

        Args:
            values: What will be drawn.
            share: Values are proportions.
            reference: Where a line is drawn over all rows.
            within: Bounds that the axis does not exceed.
        """
        known = [v for v in values if v is not None and math.isfinite(v)]
        known += [] if reference is None else [reference]
        if not known:
            known = [0.0, 1.0]
        step = _step(max(known) - min(known))
        low, high = math.floor(min(known) / step) * step, math.ceil(max(known) / step) * step
        if within is not None:
            low, high = max(low, within[0]), min(high, within[1])
        return cls(low, high if high > low else low + step, share, reference)

    def x(self, value: float) -> float:
        """The x position of a value, kept within the strip."""
        part = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(EDGE + part * (WIDTH - 2 * EDGE), 1)

    def ticks(self) -> list[float]:
        """Round values along the axis, three to six."""
        step = _step((self.high - self.low) / 1.2)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _step(span: float) -> float:
    """A round step that divides the span into three to six parts."""
    rough = max(span, 1e-6) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))


def axis(scale: Axis) -> Markup:
    """Draw the axis of a table for its header: ticks with their values."""
    ticks = scale.ticks()
    places = 0 if all(abs(t * 100 - round(t * 100)) < 1e-6 for t in ticks) else 1

    def text(value: float) -> str:
        shown = f"{abs(value) * 100:.{places}f}" if scale.share else f"{abs(value):.3g}"
        return f"−{shown}" if value < -1e-9 else shown

    drawn = [
        Markup(
            '<line class="tick" x1="{x}" x2="{x}" y1="14" y2="20"/><text class="ticktext" x="{x}" y="11">{t}</text>'
        ).format(x=scale.x(t), t=text(t))
        for t in ticks
    ]
    return _svg("axis", f"Axis from {text(scale.low)} to {text(scale.high)}", drawn)


def strip(
    scale: Axis,
    *,
    estimate: float | None,
    low: float | None = None,
    high: float | None = None,
    marks: Mapping[str, float | None] | None = None,
    other: float | None = None,
    small: bool = False,
    words: str,
) -> Markup:
    """Draw one row's estimate with its interval and baselines.

    Args:
        scale: The table's axis.
        estimate: The estimate, a dot; None draws no dot.
        low: Lower end of its interval.
        high: Upper end.
        marks: Baselines by name; those of `MARKS` have their own shape.
        other: The unweighted estimate beside a weighted one, a hollow dot.
        small: The cell is small: drawn faint.
        words: The row in words, as title.
    """
    drawn = [Markup('<line class="rail" x1="{}" x2="{}" y1="10" y2="10"/>').format(EDGE, WIDTH - EDGE)]
    if scale.reference is not None:
        drawn.append(
            Markup('<line class="reference" x1="{x}" x2="{x}" y1="0" y2="20"/>').format(x=scale.x(scale.reference))
        )
    drawn += [mark(name, scale.x(v)) for name, v in (marks or {}).items() if v is not None and math.isfinite(v)]
    if low is not None and high is not None and math.isfinite(low) and math.isfinite(high):
        drawn.append(
            Markup('<line class="whisker" x1="{}" x2="{}" y1="10" y2="10"/>').format(scale.x(low), scale.x(high))
        )
    if other is not None and math.isfinite(other):
        drawn.append(Markup('<circle class="hollow" cx="{}" cy="10" r="4"/>').format(scale.x(other)))
    if estimate is not None and math.isfinite(estimate):
        drawn.append(Markup('<circle class="dot" cx="{}" cy="10" r="4.2"/>').format(scale.x(estimate)))
    return _svg("strip small" if small else "strip", words, drawn)


MARKS = {
    "chance": "chance",
    "item_mode": "item",
    "group_mode": "group",
    "sampling_floor": "floor",
    "ceiling": "ceiling",
}
"""Baselines that are drawn, and the class of their mark."""


def mark(name: str, x: float) -> Markup:
    """A baseline's mark at x: a dashed line, a diamond or a triangle, so that no mark depends on colour alone."""
    match MARKS.get(name):
        case "item":
            return Markup('<path class="mark item" d="M{} 3.5l5 6.5l-5 6.5l-5 -6.5z"/>').format(x)
        case "group":
            return Markup('<path class="mark group" d="M{} 3.5l5.5 11h-11z"/>').format(x)
        case "ceiling":
            return Markup('<path class="mark ceiling" d="M{} 2h-4v16h4"/>').format(x)
        case "floor":
            return Markup('<path class="mark floor" d="M{} 3v14"/>').format(x)
        case _:
            return Markup('<path class="mark chance" d="M{} 1v18"/>').format(x)


def legend(names: Sequence[str], label: Mapping[str, str], *, other: bool, confidence: str) -> Markup:
    """Draw the legend: what the marks of a table mean.

    Args:
        names: Baselines that the table draws.
        label: Baseline → its name for people.
        other: The table draws unweighted values beside weighted ones.
        confidence: Confidence of the intervals, e.g. `95 %`.
    """

    def entry(drawing: Markup, text: str) -> Markup:
        return Markup(
            '<li><svg class="key" viewBox="0 0 24 20" width="24" height="20" aria-hidden="true">{}</svg>{}</li>'
        ).format(drawing, text)

    dot = Markup('<circle class="dot" cx="12" cy="10" r="4.2"/>')
    dot = Markup('<line class="whisker" x1="1" x2="23" y1="10" y2="10"/>') + dot
    entries = [entry(dot, f"the model, with {confidence} interval")]
    if other:
        entries.append(entry(Markup('<circle class="hollow" cx="12" cy="10" r="4"/>'), "the same, unweighted"))
    entries += [entry(mark(n, 12.0), label[n]) for n in names if n in MARKS]
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(entries))


def _svg(kind: str, words: str, drawn: Sequence[Markup]) -> Markup:
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img"><title>{}</title>{}</svg>').format(
        kind, f"{WIDTH:g}", f"{HEIGHT:g}", words, Markup("").join(escape(d) for d in drawn)
    )
