"""Define the record of a metric. Estimates, UI descriptions, report and documentation are made from it.

The records are in `definitions/`, one file per family. To add a metric, add a file there and a test.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import polars as pl

from mpta_pipeline.metrics.samples.balancing import Units
from mpta_pipeline.metrics.samples.compact import CompactFrame
from mpta_pipeline.metrics.statistics.arrays import Features, Floats

Direction = Literal["higher", "lower", "zero", "none"]


@dataclass(frozen=True)
class Metric:
    """One metric.

    A *mean* metric is a ratio of sums over balanced answers (rows of `balancing.Units`): `value` gives each row's
    numerator and `count` its denominator. One module computes the errors, paired effects, gaps and baselines of all
    mean metrics. Other metrics (`value` is None) have `features`, or the module that `computed_by` names computes them.

    Attributes:
        name: Value of `subgroup_metrics.metric`.
        definition: What it measures, in a sentence.
        unit: Unit of the estimate.
        low: Lowest possible value; None: unbounded.
        high: Highest possible value; None: unbounded.
        direction: Which direction is better; "zero": nearer to 0; "none": neither.
        source: Where the definition comes from.
        family: Metrics whose tests are corrected together.
        chance: What a model without any knowledge scores, in words.
        value: Numerator of each balanced answer.
        count: Denominator of each balanced answer; 0 or null excludes the answer.
        where: Balanced answers that the metric applies to.
        proportion: The estimate is a proportion; small samples get Wilson's interval.
        paired: A paired effect of the persona is tested.
        gap: A gap to everyone else is tested.
        baselines: Name of a baseline → its value per balanced answer, in the estimate's unit.
        features: For functions of totals that are not means: (answers) → (rows × m) features, 0 on excluded rows.
        statistic: (totals of shape (… × m)) → (…); nan where undefined.
        parts: For a ratio, instead of `statistic`: (totals) → numerator and denominator.
        meaningless: Note of a ratio that is undefined because its denominator is within its noise.
        computed_by: Module that computes a metric that has neither `value` nor `features`.
        keyless: The metric also applies to answers without an answer key: opinions and open text.
        label: Readable name; empty if the name with spaces for underscores is enough.
        remark: (balanced answers of one survey) → caveat for the reader of each estimate, or None.
    """

    name: str
    definition: str
    unit: str
    low: float | None
    high: float | None
    direction: Direction
    source: str
    family: str
    chance: str
    value: pl.Expr | None = None
    count: pl.Expr = field(default_factory=lambda: pl.lit(1.0))
    where: pl.Expr = field(default_factory=lambda: pl.lit(True))
    proportion: bool = False
    paired: bool = False
    gap: bool = False
    baselines: Mapping[str, pl.Expr] = field(default_factory=dict)
    features: Callable[[Units], Features] | None = None
    statistic: Callable[[Floats], Floats] | None = None
    parts: Callable[[Floats], tuple[Floats, Floats]] | None = None
    meaningless: str = ""
    computed_by: str = "means"
    keyless: bool = False
    label: str = ""
    remark: Callable[[CompactFrame], str | None] | None = None

    @property
    def title(self) -> str:
        """Readable name of the metric."""
        return self.label or self.name.replace("_", " ")

    @property
    def span(self) -> float | None:
        """Largest possible difference of two estimates; None: unbounded."""
        return None if self.low is None or self.high is None else self.high - self.low


def _load() -> Mapping[str, Metric]:
    from mpta_pipeline.metrics import definitions

    found: dict[str, Metric] = {}
    for module in sorted(pkgutil.iter_modules(definitions.__path__), key=lambda m: m.name):
        for metric in importlib.import_module(f"{definitions.__name__}.{module.name}").METRICS:
            if metric.name in found:
                raise ValueError(f"metric {metric.name} is declared twice")
            found[metric.name] = metric
    return MappingProxyType(found)


METRICS: Mapping[str, Metric] = _load()


def applicable(scores: pl.DataFrame) -> Mapping[str, Metric]:
    """Return the metrics that apply to a task's scores: without an answer key, only those that need no key."""
    return applicable_to(keyed=scores.get_column("gold_idx").null_count() == 0)


def applicable_to(*, keyed: bool) -> Mapping[str, Metric]:
    """Return the metrics that apply to scores that all have an answer key, or to scores without."""
    if keyed:
        return METRICS
    return {name: metric for name, metric in METRICS.items() if metric.keyless}


def describe() -> str:
    """Render all metrics as a Markdown table, by family, for docs/reference/metrics.md."""
    lines = ["| metric | what it is | unit, range | better | source |", "|---|---|---|---|---|"]
    for metric in sorted(METRICS.values(), key=lambda m: (m.family, m.name)):
        ends = [("−∞", "∞")[i] if end is None else f"{end:g}" for i, end in enumerate((metric.low, metric.high))]
        better = {"higher": "higher", "lower": "lower", "zero": "nearer 0", "none": "–"}[metric.direction]
        cells = (f"`{metric.name}`", metric.definition, f"{metric.unit}, {ends[0]} to {ends[1]}", better, metric.source)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
