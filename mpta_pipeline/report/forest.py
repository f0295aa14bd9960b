"""A table of estimates with its charts: one strip per row, all on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mpta_pipeline.report import charts, phrases
from mpta_pipeline.report.rows import DimensionRows, Estimate


@dataclass(frozen=True)
class Forest:
    """Estimates of one metric with the axis that they share.

    Attributes:
        metric: Metric of the table; the first one if its blocks are metrics.
        share: Estimates are written in percent.
        axis: Axis of the estimates.
        blocks: Rows by dimension or by metric.
        marks: Baselines that are drawn.
        weighted: Some rows are weighted, and their unweighted values are drawn, too.
    """

    metric: str
    share: bool
    axis: charts.Axis
    blocks: Sequence[DimensionRows]
    marks: Sequence[str]
    weighted: bool

    def strip(self, row: Estimate) -> Markup:
        """The interval and baselines of a row."""
        return charts.strip(
            self.axis,
            estimate=row.estimate,
            low=row.low,
            high=row.high,
            marks={name: row.baselines.get(name) for name in self.marks},
            other=row.unweighted,
            small=row.small,
            words=self._words(row),
        )

    def _words(self, row: Estimate) -> str:
        parts = [
            f"{phrases.number(row.estimate, share=self.share)} "
            f"{phrases.interval(row.low, row.high, share=self.share)}".strip()
        ]
        parts += [
            f"{phrases.baseline(name)} {phrases.number(value, share=self.share)}"
            for name, value in row.baselines.items()
            if name in self.marks and value is not None
        ]
        if row.unweighted is not None:
            parts.append(f"unweighted {phrases.number(row.unweighted, share=self.share)}")
        return "; ".join(parts)
