"""The report as its sections see it: estimates by task and survey, headlines, pockets, labels and table axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import polars as pl

from mpta_pipeline.core.arms import as_the_control
from mpta_pipeline.core.labels import Labels, plain
from mpta_pipeline.core.published_figures import PublishedStudy
from mpta_pipeline.core.study import Study
from mpta_pipeline.report import charts, phrases, rows
from mpta_pipeline.report.findings import Findings, find
from mpta_pipeline.report.forest import Forest
from mpta_pipeline.report.responses import failed
from mpta_pipeline.report.rows import ALL, Estimate, MetricRecord
from mpta_pipeline.report.scores import Scores
from mpta_pipeline.report.transcripts import Chosen, Transcript, chosen_prompts, transcripts

HEADLINE = "accuracy"
DISTANCES = ("tv", "w1n", "js")
RELIABILITY = ("parse_rate", "refusal_rate", "error_rate", "order_flip_rate", "position_tv", "scale_direction")
POLLS = ("representativeness", "steerability", "js_similarity", "simbench")
"""Metrics that published benchmarks compute from the distances. The table of polls shows them for everyone."""
FIDELITY = ("pfs", "pfs_accuracy", "pfs_adaptability", "pfs_structure")
OF_GROUPS = (*FIDELITY, "consistency")
"""Estimates of a whole dimension that do not measure inequality between its groups."""
SHOWN_MODELS = 12
"""Models of a task and survey in the tables of the page. The charts and the warehouse have all."""
_POCKET = ("model", "task", "survey", "condition", "pocket")


def unequal_metrics(estimates: Sequence[Estimate]) -> set[str]:
    """Metrics that measure inequality between the groups of a dimension."""
    return {row.metric for row in estimates if row.of_dimension} - set(OF_GROUPS)


@dataclass(frozen=True)
class Headline:
    """Accuracy of everyone for one model, task and survey: an estimate per condition and what it means."""

    model: str
    task: str
    survey: str
    by_condition: Mapping[str, Estimate]
    lead: Estimate
    verdict: str
    effect: str
    group_mode: float | None
    group_mode_by: str


class Report:
    """The data that the sections show, made from the tables.

    Attributes:
        frames: Published tables by name; empty ones for those that were not given. `items` are worded as the control of
            an experiment asks them, `items_as_written` as the table has them.
        study: The study.
        metrics: Records of the metric registry, by name.
        set_aside: Wave → what was set aside in it, one text per column.
        notes: Further facts that a reader must know before quoting an estimate, one sentence each.
        labels: Names for people of surveys, tasks, dimensions and subgroups.
        records: Table → partition → what the record of the stored table says about how it was made.
        usage: Model → tokens and US dollars of its replies, and the model as the provider reports it.
        published: A published study whose figures are shown beside the own estimates; None if there is none.
        controls: Models with known answers (table `models`): named as controls, never ranked.
        scores: The scores, read in parts.
        failures: Failed requests: model, reason, count.
    """

    def __init__(
        self,
        frames: Mapping[str, pl.DataFrame],
        study: Study,
        metrics: Mapping[str, MetricRecord],
        set_aside: Mapping[str, Sequence[str]],
        notes: Sequence[str],
        *,
        labels: Labels,
        records: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
        usage: Mapping[str, Mapping[str, Any]] | None = None,
        published: PublishedStudy | None = None,
        scores: Scores | None = None,
        failures: pl.DataFrame | None = None,
    ) -> None:
        self.frames = {**frames, "items": as_the_control(frames["items"], study), "items_as_written": frames["items"]}
        self.scores = scores or Scores.of(frames["scores"], frames.get("group_replies"))
        self.failures = failed(frames["responses"]) if failures is None else failures
        self.study = study
        self.metrics = metrics
        self.set_aside = {wave: list(lines) for wave, lines in sorted(set_aside.items()) if lines}
        self.notes = list(notes)
        self.labels = labels
        self.records = records or {}
        self.usage = usage or {}
        self.published = published
        self.min_personas = study.figures.min_personas
        self.level = study.figures.level
        self.confidence = study.figures.confidence
        self.version = version("mpta-pipeline")
        self.values = rows.value_order(frames["options"])
        self.spans = {n: m.high - m.low for n, m in metrics.items() if m.low is not None and m.high is not None}
        self.estimates = rows.read(frames["subgroup_metrics"], self.min_personas, self.spans)
        self._by_cell: dict[tuple[str, str], list[Estimate]] = {}
        for row in self.estimates:
            self._by_cell.setdefault((row.task, row.survey), []).append(row)
        self.controls = frozenset(frames["models"].filter("control")["model"])
        self.models = sorted({row.model for row in self.estimates}, key=lambda name: (name in self.controls, name))
        self.surveys = sorted({row.survey for row in self.estimates})
        named = {row.task for row in self.estimates}
        self.tasks = [*(name for name in study.tasks if name in named), *sorted(named - study.tasks.keys())]
        seen = {row.condition for row in self.estimates}
        self.conditions = [*(c for c in phrases.CONDITIONS if c in seen), *sorted(seen - phrases.CONDITIONS.keys())]
        self.cells = [(task, survey) for task in self.tasks for survey in self.surveys if self.of(task, survey)]

    # --- the data -----------------------------------------------------------------------------------------------------

    @cached_property
    def waves(self) -> list[dict[str, Any]]:
        """The waves used, in order."""
        return self.frames["waves"].sort("wave", "release_id").to_dicts()

    @property
    def n_panel(self) -> int | None:
        """Size of the panel; None if the panel is not given."""
        return self.frames["panel"].height or None

    @property
    def n_answers(self) -> int:
        """Answers behind the report."""
        answers = self.scores.counts.answers
        return answers or sum(row.n_answers for h in self.headlines for row in h.by_condition.values())

    @cached_property
    def samples(self) -> list[str]:
        """Tasks whose items are sample items of this project."""
        items = self.frames["items"]
        return sorted(items.filter("sample_item")["task"].unique().to_list()) if items.height else []

    @property
    def survey_titles(self) -> list[str]:
        """Titles of the surveys with estimates."""
        return [self.labels.survey(name) for name in self.surveys]

    def about(self, survey: str) -> str:
        """The waves of a survey in words: titles, countries and years."""
        waves = [w for w in self.waves if w["survey"] == survey]
        titles = phrases.listed(list(dict.fromkeys(w["title"] for w in waves)))
        countries = sorted({c for w in waves for c in w["countries"]})
        years = sorted({y for w in waves for y in w["years"]})
        where = phrases.listed(countries) if len(countries) <= 3 else f"{len(countries)} countries"
        when = "" if not years else str(years[0]) if len(years) == 1 else f"{years[0]}–{years[-1]}"
        return "; ".join(x for x in (titles, f"{where} {when}".strip()) if x) if waves else ""

    # --- metrics ------------------------------------------------------------------------------------------------------

    def share(self, metric: str) -> bool:
        """Whether a metric is written in percent."""
        record = self.metrics.get(metric)
        return record.unit == "share" if record else metric not in DISTANCES

    def ordered(self, names: set[str]) -> list[str]:
        """Metrics in the order of the registry."""
        rank = {name: i for i, name in enumerate(self.metrics)}
        return sorted(names, key=lambda name: (rank.get(name, len(rank)), name))

    def definition(self, metric: str) -> str:
        """Definition of a metric; empty if the registry has none."""
        record = self.metrics.get(metric)
        return record.definition if record else ""

    def metric(self, name: str) -> str:
        """Name of a metric for people."""
        record = self.metrics.get(name)
        return record.title if record else plain(name)

    def better(self, metric: str) -> str:
        """Which direction of a metric is better, in a word."""
        record = self.metrics.get(metric)
        return phrases.DIRECTIONS.get(record.direction, record.direction) if record else ""

    def beside(self, row: Estimate) -> str:
        """The baselines of an estimate, in words."""
        share = self.share(row.metric)
        known = {name: value for name, value in row.baselines.items() if value is not None}
        return "; ".join(f"{phrases.baseline(n)} {phrases.number(v, share=share)}" for n, v in known.items())

    # --- estimates ----------------------------------------------------------------------------------------------------

    def of(self, task: str, survey: str) -> list[Estimate]:
        """All estimates of a task and survey."""
        return self._by_cell.get((task, survey), [])

    def models_of(self, task: str, survey: str) -> list[str]:
        """Models with estimates of a task and survey."""
        return sorted({row.model for row in self.of(task, survey)})

    def lead(self, task: str, survey: str) -> str:
        """The first condition of a task and survey, which subgroup tables show."""
        return next(c for c in self.conditions if any(row.condition == c for row in self.of(task, survey)))

    def by_condition(self, estimates: Sequence[Estimate]) -> dict[str, Estimate]:
        """Estimates by condition, in the order of the conditions."""
        found = {row.condition: row for row in estimates}
        return {c: found[c] for c in self.conditions if c in found}

    def by_order(self, metrics: Sequence[str], estimates: Sequence[Estimate]) -> list[Estimate]:
        """The estimates of some metrics for everyone, in the order of the metrics and of the conditions."""
        order = {c: i for i, c in enumerate(phrases.CONDITIONS)}
        found = [row for row in estimates if row.metric in metrics and row.dimensions == ALL]
        return sorted(found, key=lambda row: (metrics.index(row.metric), order.get(row.condition, len(order))))

    def blocks(self, estimates: Sequence[Estimate]) -> list[rows.DimensionRows]:
        """Estimates by dimension, in the order of the study."""
        return rows.blocks(estimates, self.study.figures.dimensions, self.values)

    def forest(
        self, metric: str, shown: Sequence[Estimate], together: Sequence[Estimate], *, by_metric: bool = False
    ) -> Forest:
        """Make a table on an axis that holds all of `together`, so that models can be compared by eye.

        Its blocks are dimensions, or metrics in the order of the rows.
        """
        marks = [m for m in charts.MARKS if any(row.baselines.get(m) is not None for row in together)]
        record = self.metrics.get(metric)
        share = self.share(metric)
        within = None if record is None or record.low is None or record.high is None else (record.low, record.high)
        drawn = [
            value
            for row in together
            for value in (row.estimate, row.low, row.high, row.unweighted, *(row.baselines.get(m) for m in marks))
        ]
        zero = 0.0 if record is not None and record.direction == "zero" else None
        return Forest(
            metric=metric,
            share=share,
            axis=charts.Axis.over(drawn, share=share, reference=zero, within=within),
            blocks=rows.by_metric(shown) if by_metric else self.blocks(shown),
            marks=marks,
            weighted=any(row.weighted for row in shown),
        )

    # --- what several sections show -----------------------------------------------------------------------------------

    @cached_property
    def headlines(self) -> list[Headline]:
        """Accuracy of everyone, one record per task, survey and model."""
        asked = self.frames["items"].drop_nulls("column").group_by("task").agg(pl.col("column").unique())
        group_modes = rows.group_modes(self.frames["subgroup_metrics"], HEADLINE, dict(asked.iter_rows()))
        found = []
        for task, survey in self.cells:
            mine = [row for row in self.of(task, survey) if (row.metric, row.dimensions) == (HEADLINE, ALL)]
            for model in self.models:
                by_condition = self.by_condition([row for row in mine if row.model == model])
                lead = next(iter(by_condition.values()), None)
                if lead is not None:
                    mode = group_modes.get((model, task, survey, lead.condition), (None, ""))
                    said = rows.verdict(lead), rows.effect_verdict(lead, self.level)
                    found.append(Headline(model, task, survey, by_condition, lead, *said, *mode))
        return found

    @cached_property
    def pockets(self) -> list[dict[str, Any]]:
        """Rows of the pocket search, confirmed ones first, then by e-value.

        `leading` marks the row that a confirmed pocket is named after; `others` are the further rows of that pocket.
        """
        found = self.frames["pockets"].sort(
            ~pl.col("confirmed"), "e_value", "q_value", "difference",
            "model", "task", "survey", "condition", "subgroup",
            descending=[False, True, *[False] * 7], nulls_last=True,
        ).to_dicts()  # fmt: skip
        of_pocket: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in found:
            row["leading"] = row["confirmed"] and row["leads"] is not False
            row["others"] = []
            if row["confirmed"] and not row["leading"]:
                of_pocket.setdefault(tuple(row[c] for c in _POCKET), []).append(row)
        for row in found:
            if row["leading"]:
                row["others"] = of_pocket.get(tuple(row[c] for c in _POCKET), [])
        return found

    @cached_property
    def found(self) -> Findings:
        """What the first screen shows."""
        return find(
            self.frames,
            scores=self.scores,
            level=self.level,
            margin=self.study.figures.equivalence_margin,
            # The records of the metric registry name the family within which q-values are corrected.
            families={name: str(getattr(record, "family", name)) for name, record in self.metrics.items()},
            controls=self.controls | set(self.labels.controls),
        )

    @cached_property
    def chosen_prompts(self) -> list[Chosen]:
        """The prompts to show beside the cards."""
        return chosen_prompts(self.found, self.frames, self.scores)

    @cached_property
    def transcripts(self) -> list[Transcript]:
        """Prompts and replies beside the cards, as far as the data-use policy allows."""
        return transcripts(self.chosen_prompts, self.frames, self.scores)

    @cached_property
    def reliability(self) -> list[dict[str, Any]]:
        """How reliable the replies are, one row per model, task, survey and condition."""
        cells: dict[tuple[str, ...], dict[str, Estimate]] = {}
        for row in self.estimates:
            if row.metric in RELIABILITY and row.dimensions == ALL:
                cells.setdefault((row.model, row.task, row.survey, row.condition), {})[row.metric] = row
        ranks = [{v: i for i, v in enumerate(v)} for v in (self.models, self.tasks, self.surveys, self.conditions)]
        keys = sorted(cells, key=lambda key: [rank[part] for rank, part in zip(ranks, key, strict=True)])
        return [
            {"model": k[0], "task": k[1], "survey": k[2], "condition": k[3], "rates": cells[k],
             "n": max(row.n_answers for row in cells[k].values())}
            for k in keys
        ]  # fmt: skip
