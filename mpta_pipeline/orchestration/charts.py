"""Charts in the metadata of the UI: estimates with their intervals, as strips of characters and as a picture.

Dagster's UI shows Markdown below 1,000 characters at once, which holds a small table with strips, and anything longer
after a click, which is enough for a picture with a `data:` address. A picture cannot run scripts or fetch anything;
text in it is escaped as XML.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

import dagster as dg

from mpta_pipeline.core.untrusted_text import markdown, one_line

MOST_ROWS = 24
_ROW, _LABEL, _PLOT, _NUMBER, _EDGE, _LETTERS = 20, 250, 340, 150, 10, 40


@dataclass(frozen=True)
class Row:
    """A line of a chart.

    Attributes:
        label: What the estimate is of.
        estimate: The estimate.
        low: Lower end of its interval; null if it has none.
        high: Upper end.
        strong: Draw it in the colour of what stands out.
        compared: A second value to show as a hollow mark, e.g. a baseline; null for none.
    """

    label: str
    estimate: float
    low: float | None = None
    high: float | None = None
    strong: bool = False
    compared: float | None = None


def forest(rows: Sequence[Row], *, reference: float | None = None, percent: bool = True, note: str = "") -> str:
    """A chart as an SVG document: a dot with its interval per row, all on one axis.

    Args:
        rows: The rows, from top to bottom.
        reference: Where to draw a line over all rows, e.g. at 0 for differences.
        percent: Show values as percentages.
        note: What marks and colours mean, below the chart.
    """
    low, high = _scale(rows, reference)

    def x(value: float) -> float:
        return round(_LABEL + _EDGE + (value - low) / (high - low) * (_PLOT - 2 * _EDGE), 1)

    height = _ROW * (len(rows) + 1) + (_ROW if note else 0)
    width = _LABEL + _PLOT + _NUMBER
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    if reference is not None:
        parts.append(
            f'<line x1="{x(reference)}" x2="{x(reference)}" y1="0" y2="{_ROW * len(rows)}" stroke="#888" '
            'stroke-dasharray="3 3"/>'
        )
    for i, row in enumerate(rows):
        parts += _row(row, i * _ROW + _ROW / 2, x, percent=percent)
    for value, anchor in ((low, "start"), (high, "end")):
        parts.append(
            f'<text x="{x(value)}" y="{_ROW * (len(rows) + 1) - 6}" text-anchor="{anchor}" fill="#555">'
            f"{_number(value, percent=percent)}</text>"
        )
    if note:
        parts.append(f'<text x="0" y="{height - 6}" fill="#555">{_text(note)}</text>')
    return "".join([*parts, "</svg>"])


def _row(row: Row, y: float, x: object, *, percent: bool) -> list[str]:
    assert callable(x)
    colour = "#b3261e" if row.strong else "#1f5f99"
    label = one_line(row.label)
    cut = label if len(label) <= _LETTERS else label[: _LETTERS - 1] + "…"
    weight = ' font-weight="bold"' if row.strong else ""
    parts = [f'<text x="0" y="{y + 4}" fill="#222"{weight}>{_text(cut)}<title>{_text(label)}</title></text>']
    shown = _number(row.estimate, percent=percent)
    if row.low is not None and row.high is not None:
        parts.append(
            f'<line x1="{x(row.low)}" x2="{x(row.high)}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>'
        )
        shown += f" [{_number(row.low, percent=percent)}, {_number(row.high, percent=percent)}]"
    if row.compared is not None:
        parts.append(f'<circle cx="{x(row.compared)}" cy="{y}" r="4" fill="none" stroke="#777" stroke-width="1.5"/>')
    parts.append(f'<circle cx="{x(row.estimate)}" cy="{y}" r="4" fill="{colour}"/>')
    parts.append(f'<text x="{_LABEL + _PLOT + 6}" y="{y + 4}" fill="#222"{weight}>{_text(shown)}</text>')
    return parts


def _number(value: float, *, percent: bool) -> str:
    if percent:
        return f"{100 * value:.1f} %".replace("-", "−")
    return f"{value:.3g}".replace("-", "−")


def _text(text: str) -> str:
    return escape(text)


_SHOWN_AT_ONCE = 1000  # characters of Markdown
_STRIP, _SHORT = 24, 34


def strips(rows: Sequence[Row], *, reference: float | None = None, percent: bool = True) -> dg.MarkdownMetadataValue:
    """As many of the first rows as Dagster's UI shows without a click, one strip of characters per row.

    Args:
        rows: The rows, from top to bottom.
        reference: Where to draw a line over all rows.
        percent: Show values as percentages.
    """
    scale = _scale(rows, reference)
    text = "| | | |\n| --- | ---: | --- |"
    for row in rows:
        label = one_line(row.label)
        cut = markdown(label if len(label) <= _SHORT else label[: _SHORT - 1] + "…")
        mark = "**" if row.strong else ""
        number = _number(row.estimate, percent=percent)
        line = f"\n| {mark}{cut}{mark} | {mark}{number}{mark} | `{_strip(row, scale, reference)}` |"
        if len(text) + len(line) >= _SHOWN_AT_ONCE:
            break
        text += line
    return dg.MetadataValue.md(text)


def _scale(rows: Sequence[Row], reference: float | None) -> tuple[float, float]:
    """The range of values that a chart covers."""
    values = [v for r in rows for v in (r.estimate, r.low, r.high, r.compared) if v is not None and math.isfinite(v)]
    values += [] if reference is None else [reference]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    pad = (high - low) * 0.05 or 0.05
    return low - pad, high + pad


def _strip(row: Row, scale: tuple[float, float], reference: float | None) -> str:
    def at(value: float) -> int:
        return min(max(round((value - scale[0]) / (scale[1] - scale[0]) * (_STRIP - 1)), 0), _STRIP - 1)

    cells = ["·"] * _STRIP
    if reference is not None:
        cells[at(reference)] = "│"
    if row.low is not None and row.high is not None:
        for i in range(at(row.low), at(row.high) + 1):
            cells[i] = "─"
    if row.compared is not None:
        cells[at(row.compared)] = "○"
    cells[at(row.estimate)] = "●"
    return "".join(cells)


def picture(svg: str, words: str) -> dg.MarkdownMetadataValue:
    """An SVG document as Markdown metadata.

    Args:
        svg: The document.
        words: What it shows, for readers that do not see it.
    """
    address = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    safe = quoteattr(one_line(words))[1:-1]
    return dg.MetadataValue.md(f"![{''.join(c for c in safe if c not in '[]()!*_`')}]({address})")
