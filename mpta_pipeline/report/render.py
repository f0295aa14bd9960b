"""The report as one self-contained HTML file: no script, no network, everything escaped."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mpta_pipeline.core import tables as t
from mpta_pipeline.core.study import Study
from mpta_pipeline.report import charts, phrases
from mpta_pipeline.report import rows as f
from mpta_pipeline.report.rows import Estimate, MetricRecord

_TEMPLATES = Path(__file__).parent / "templates"
HEADLINE = "accuracy"
DISTANCES = ("tv", "w1n", "js")
RELIABILITY = ("parse_rate", "refusal_rate", "error_rate", "order_flip_rate", "position_tv")
POLLS = ("representativeness", "steerability", "js_similarity", "simbench")
"""What published benchmarks make of the distances; everyone's estimates have their own table."""
FIDELITY = ("pfs", "pfs_accuracy", "pfs_adaptability", "pfs_structure")
OF_GROUPS = (*FIDELITY, "consistency")
"""Estimates of a whole dimension that are no inequality of its groups."""
REPEATING = ("accuracy_strict", "accuracy_answered")
"""Metrics whose subgroup tables would say again what that of accuracy says."""
OPEN_MODELS = 3
"""Subgroup tables of the first models of a task and survey stand open, and only they have those of further metrics."""
_POCKET = ("model", "task", "survey", "condition", "pocket")
SHOWN_MODELS = 12
"""Models with a subgroup table on the page: 60 subgroups take about 50 kB each. All are in the warehouse."""


def render_report(
    tables: Mapping[str, pl.DataFrame],
    *,
    study: Study,
    metrics: Mapping[str, MetricRecord] | None = None,
    title: str,
    generated: datetime,
    set_aside: Mapping[str, Sequence[str]] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Write the report.

    Args:
        tables: Frames by table name. `subgroup_metrics` and `waves` are shown; `pockets`, `model_comparison`, `items`,
            `panel`, `scores` add their parts where they are given; `options` orders subgroups along their scale.
        study: The study: names, conditions, dimensions, smallest cell, level.
        metrics: Records of the metric registry by name, for definitions, units and bounds.
        title: Title of the page.
        generated: When the report was made.
        set_aside: Wave → what of it was set aside because its file says what the crosswalk does not know, one text per
            column.
        notes: What else a reader should know before quoting an estimate, a sentence each.

    Returns:
        HTML with styles and charts inside. Equal input gives equal text.
    """
    frames = {table.name: tables.get(table.name, table.empty()) for table in t.PUBLISHED}
    view = _View(frames, study, metrics or {})
    template = _environment().get_template("report.html")
    return template.render(
        title=title,
        generated=generated,
        study=study,
        view=view,
        notes=list(notes),
        set_aside={wave: list(lines) for wave, lines in sorted((set_aside or {}).items()) if lines},
        style=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),
        words=phrases,
        charts=charts,
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@dataclass(frozen=True)
class Forest:
    """Estimates of one metric with the axis that they share."""

    metric: str
    share: bool
    axis: charts.Axis
    blocks: Sequence[f.Block]
    marks: Sequence[str]
    weighted: bool
    effects: charts.Axis | None

    def strip(self, estimate: Estimate) -> Markup:
        """A row's interval and baselines."""
        return charts.strip(
            self.axis,
            estimate=estimate.estimate,
            low=estimate.low,
            high=estimate.high,
            marks={name: estimate.baselines.get(name) for name in self.marks},
            other=estimate.unweighted,
            small=estimate.small,
            words=self._words(estimate),
        )

    def effect_strip(self, estimate: Estimate) -> Markup:
        """A row's persona effect on its own axis around nought."""
        if self.effects is None or estimate.effect is None:
            return Markup("")
        shown = phrases.number(estimate.effect, share=self.share, signed=True)
        ends = phrases.interval(estimate.effect_low, estimate.effect_high, share=self.share, signed=True)
        return charts.strip(
            self.effects,
            estimate=estimate.effect,
            low=estimate.effect_low,
            high=estimate.effect_high,
            small=estimate.small,
            words=f"effect of the persona {shown} {ends}",
        )

    def _words(self, estimate: Estimate) -> str:
        parts = [
            f"{phrases.number(estimate.estimate, share=self.share)} "
            f"{phrases.interval(estimate.low, estimate.high, share=self.share)}".strip()
        ]
        parts += [
            f"{phrases.baseline(name)} {phrases.number(value, share=self.share)}"
            for name, value in estimate.baselines.items()
            if name in self.marks and value is not None
        ]
        if estimate.unweighted is not None:
            parts.append(f"unweighted {phrases.number(estimate.unweighted, share=self.share)}")
        return "; ".join(parts)


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


@dataclass(frozen=True)
class Further:
    """A further metric of a task and survey: everyone by model and condition, and subgroups by model."""

    metric: str
    share: bool
    everyone: Sequence[tuple[str, Mapping[str, Estimate]]]
    subgroups: Mapping[str, Forest]


@dataclass(frozen=True)
class Section:
    """What is shown of one task and survey."""

    task: str
    survey: str
    note: str
    headlines: Sequence[Headline]
    subgroups: Mapping[str, Forest]
    distances: Sequence[tuple[str, Forest]]
    polls: Sequence[tuple[str, Sequence[Estimate]]]
    fidelity: Sequence[tuple[str, str, Mapping[str, Estimate], str]]
    unequal: Sequence[str]
    inequality: Sequence[tuple[str, Sequence[tuple[str, Mapping[str, Estimate]]]]]
    further: Sequence[Further]
    n_models: int


class _View:
    """What the template shows, made from the tables."""

    def __init__(self, frames: Mapping[str, pl.DataFrame], study: Study, metrics: Mapping[str, MetricRecord]) -> None:
        self._frames = frames
        self._study = study
        self.metrics = metrics
        self.min_personas = study.figures.min_personas
        self.level = study.figures.level
        self.open_models = OPEN_MODELS
        self.shown_models = SHOWN_MODELS
        self._values = f.value_order(frames["options"])
        self._spans = {n: m.high - m.low for n, m in metrics.items() if m.low is not None and m.high is not None}
        self._estimates = f.read(frames["subgroup_metrics"], self.min_personas, self._spans)
        self._by_cell: dict[tuple[str, str], list[Estimate]] = {}
        for x in self._estimates:
            self._by_cell.setdefault((x.task, x.survey), []).append(x)
        self.models = sorted({x.model for x in self._estimates})
        self.surveys = sorted({x.survey for x in self._estimates})
        named = {x.task for x in self._estimates}
        self.tasks = [*(name for name in study.tasks if name in named), *sorted(named - study.tasks.keys())]
        seen = {x.condition for x in self._estimates}
        self.conditions = [*(c for c in phrases.CONDITIONS if c in seen), *sorted(seen - phrases.CONDITIONS.keys())]
        self.samples = self._sample_tasks()
        asked = frames["items"].drop_nulls("column").group_by("task").agg(pl.col("column").unique())
        self._group_modes = f.group_modes(frames["subgroup_metrics"], HEADLINE, dict(asked.iter_rows()))
        self.headlines = [
            made for task in self.tasks for survey in self.surveys for made in self._headlines(task, survey)
        ]
        self.sections = [
            made for task in self.tasks for survey in self.surveys if (made := self._section(task, survey)) is not None
        ]

    @property
    def open_tasks(self) -> str:
        """Names of the tasks without options, which no headline is about; empty where there are none."""
        told = {h.task for h in self.headlines}
        names = dict.fromkeys(s.task for s in self.sections if s.task not in told)
        return phrases.opening(phrases.listed([phrases.plain(name) for name in names])) if names else ""

    # --- head -------------------------------------------------------------------------------------------------------

    @property
    def waves(self) -> list[dict[str, Any]]:
        """The waves used, in order."""
        return self._frames["waves"].sort("wave", "release_id").to_dicts()

    @property
    def n_panel(self) -> int | None:
        """People asked about, where the panel is given."""
        panel = self._frames["panel"]
        return panel.height or None

    @property
    def n_answers(self) -> int:
        """Answers behind the report."""
        scores = self._frames["scores"]
        if scores.height:
            return scores.height
        return sum(x.n_answers for h in self.headlines for x in h.by_condition.values())

    def _sample_tasks(self) -> list[str]:
        items = self._frames["items"]
        sample = pl.col("metadata").str.json_path_match("$.sample") == "true"
        return sorted(items.filter(sample)["task"].unique().to_list()) if items.height else []

    def notes(self) -> list[str]:
        """What a reader must know of the data before reading an estimate."""
        notes = []
        waves = self._frames["waves"]
        for survey in self.surveys:
            used = waves.filter(pl.col("survey") == survey)
            if used.height and used["weight_name"].null_count() == used.height:
                notes.append(
                    f"The files of {survey} carry no survey weights: every estimate of {survey} is unweighted and "
                    "describes the people in the file, not the population."
                )
            elif used["weight_name"].null_count():
                lacking = phrases.listed(used.filter(pl.col("weight_name").is_null())["wave"].to_list())
                notes.append(f"Of {survey}, {lacking} carries no survey weights: estimates of {survey} are unweighted.")
            elif used.height:
                names = phrases.listed(sorted(set(used["weight_name"].to_list())))
                notes.append(
                    f"Estimates of {survey} are weighted with the survey's own weights ({names}), divided by each "
                    "person's chance of being in the panel; the unweighted estimate stands beside them."
                )
        notes += self._unreadable()
        if self.samples:
            notes.append(
                f"{phrases.listed([phrases.plain(s) for s in self.samples])}: a small set of sample items written for "
                "this software in the structure of a benchmark. The estimates show that the way works; they are not "
                "results on TruthfulQA or BBQ and must not be quoted as such."
            )
        if len(self.surveys) > 1:
            notes.append("Surveys ask in their own words of their own people: estimates are never pooled over surveys.")
        notes.append(
            f"Subgroups of fewer than {self.min_personas} people are printed in grey with their n: they are shown so "
            "that nothing is hidden, and are too small to be read alone."
        )
        closed = sorted({w["survey"] for w in self.waves if w["data_use"] == "local_only"})
        if closed:
            notes.append(f"Personas of {phrases.listed(closed)} may only be sent to models on this machine.")
        return notes

    def _unreadable(self) -> list[str]:
        """A warning a model, task and survey of which too few replies can be read."""
        notes = []
        for (model, task, survey), rows in itertools.groupby(
            self.reliability(), key=lambda row: (row["model"], row["task"], row["survey"])
        ):
            low = [
                f"{phrases.number(rate.estimate, share=True)} {phrases.condition(row['condition']).lower()}"
                for row in rows
                if (rate := row["rates"].get("parse_rate")) is not None
                and rate.estimate is not None
                and rate.estimate < self._study.least_readable
            ]
            if low:
                notes.append(
                    f"Warning: too few replies of {model} on {phrases.plain(task)} ({survey}) name one of the options: "
                    f"{phrases.listed(low)}. Its estimates rest on the others and must not be quoted; "
                    "`mpta models --probe` shows what the model can do."
                )
        return notes

    def about(self, survey: str) -> str:
        """The survey's waves in words: titles, countries and years."""
        waves = [w for w in self.waves if w["survey"] == survey]
        titles = phrases.listed(list(dict.fromkeys(w["title"] for w in waves)))
        countries = sorted({c for w in waves for c in w["countries"]})
        years = sorted({y for w in waves for y in w["years"]})
        where = phrases.listed(countries) if len(countries) <= 3 else f"{len(countries)} countries"
        when = "" if not years else str(years[0]) if len(years) == 1 else f"{years[0]}–{years[-1]}"
        return "; ".join(x for x in (titles, f"{where} {when}".strip()) if x) if waves else ""

    # --- tables -----------------------------------------------------------------------------------------------------

    def _by_condition(self, estimates: Sequence[Estimate]) -> dict[str, Estimate]:
        found = {x.condition: x for x in estimates}
        return {c: found[c] for c in self.conditions if c in found}

    def _of(self, task: str, survey: str) -> list[Estimate]:
        return self._by_cell.get((task, survey), [])

    def share(self, metric: str) -> bool:
        """Whether a metric is written in percent."""
        record = self.metrics.get(metric)
        return record.unit == "share" if record else metric not in DISTANCES

    def definition(self, metric: str) -> str:
        """A metric's definition; empty where the registry has none."""
        record = self.metrics.get(metric)
        return record.definition if record else ""

    def better(self, metric: str) -> str:
        """Which way of a metric is better, in a word."""
        record = self.metrics.get(metric)
        return phrases.DIRECTIONS.get(record.direction, record.direction) if record else ""

    def _headlines(self, task: str, survey: str) -> list[Headline]:
        found = []
        for model in self.models:
            mine = [x for x in self._of(task, survey) if (x.model, x.metric, x.dimensions) == (model, HEADLINE, f.ALL)]
            by_condition = self._by_condition(mine)
            lead = next(iter(by_condition.values()), None)
            if lead is not None:
                found.append(
                    Headline(
                        model,
                        task,
                        survey,
                        by_condition,
                        lead,
                        f.verdict(lead),
                        f.effect_verdict(lead, self.level),
                        *self._group_modes.get((model, task, survey, lead.condition), (None, "")),
                    )
                )
        return found

    def _section(self, task: str, survey: str) -> Section | None:
        mine = self._of(task, survey)
        if not mine:
            return None
        models = sorted({x.model for x in mine})
        lead = next(c for c in self.conditions if any(x.condition == c for x in mine))
        hidden = {HEADLINE, *RELIABILITY, *OF_GROUPS, *(f"{name}_excess" for name in DISTANCES)}
        rank = {name: i for i, name in enumerate(self.metrics)}
        unequal = {x.metric for x in mine if x.of_dimension} - set(OF_GROUPS)

        def ordered(names: set[str]) -> list[str]:
            return sorted(names, key=lambda name: (rank.get(name, len(rank)), name))

        return Section(
            task=task,
            survey=survey,
            note="sample items" if task in self.samples else "",
            headlines=[h for h in self.headlines if h.task == task and h.survey == survey],
            subgroups=self._by_model(models[:SHOWN_MODELS], mine, HEADLINE, lead),
            distances=self._distances(models, mine),
            polls=self._polls(models, mine),
            fidelity=self._fidelity(models, mine, lead),
            unequal=ordered(unequal),
            inequality=self._inequality(
                models, [x for x in mine if x.metric in unequal and x.of_dimension and x.condition == lead]
            ),
            further=[
                self._further(metric, models, mine, lead)
                for metric in ordered({x.metric for x in mine} - hidden - unequal)
            ],
            n_models=len(models),
        )

    def _inequality(
        self, models: Sequence[str], mine: Sequence[Estimate]
    ) -> list[tuple[str, Sequence[tuple[str, Mapping[str, Estimate]]]]]:
        """Per model and dimension the estimates that say how unequal its groups are served."""
        return [
            (
                model,
                [
                    (block.dimension, {x.metric: x for x in block.rows})
                    for block in f.blocks(rows, self._study.figures.dimensions, self._values)
                ],
            )
            for model in models
            if (rows := [x for x in mine if x.model == model])
        ]

    def _further(self, metric: str, models: Sequence[str], mine: Sequence[Estimate], lead: str) -> Further:
        # Distances of everyone, and what polls make of them, have their own tables.
        own = (*DISTANCES, *POLLS)
        everyone = [x for x in mine if x.metric == metric and x.dimensions == f.ALL and metric not in own]
        return Further(
            metric=metric,
            share=self.share(metric),
            everyone=[
                (model, by_condition)
                for model in models
                if (by_condition := self._by_condition([x for x in everyone if x.model == model]))
            ],
            subgroups={} if metric in REPEATING else self._by_model(models[:OPEN_MODELS], mine, metric, lead),
        )

    def _by_model(
        self, models: Sequence[str], mine: Sequence[Estimate], metric: str, condition: str
    ) -> dict[str, Forest]:
        chosen = [x for x in mine if x.metric == metric and x.condition == condition]
        return {
            model: self._forest(metric, rows, chosen)
            for model in models
            if (rows := [x for x in chosen if x.model == model])
        }

    def _forest(
        self, metric: str, rows: Sequence[Estimate], together: Sequence[Estimate], *, by_metric: bool = False
    ) -> Forest:
        """A table on an axis that holds all of `together`, so that models can be compared by eye.

        Its blocks are dimensions, or metrics in the rows' order.
        """
        marks = [m for m in charts.MARKS if any(x.baselines.get(m) is not None for x in together)]
        record = self.metrics.get(metric)
        share = self.share(metric)
        within = None if record is None or record.low is None or record.high is None else (record.low, record.high)
        drawn = [
            v for x in together for v in (x.estimate, x.low, x.high, x.unweighted, *(x.baselines.get(m) for m in marks))
        ]
        effects = [v for x in together for v in (x.effect, x.effect_low, x.effect_high)]
        zero = 0.0 if record is not None and record.direction == "zero" else None
        return Forest(
            metric=metric,
            share=share,
            axis=charts.Axis.over(drawn, share=share, reference=zero, within=within),
            blocks=f.by_metric(rows) if by_metric else f.blocks(rows, self._study.figures.dimensions, self._values),
            marks=marks,
            weighted=any(x.weighted for x in rows),
            effects=charts.Axis.over(effects, share=share, reference=0.0)
            if any(x.effect is not None for x in rows)
            else None,
        )

    def _distances(self, models: Sequence[str], mine: Sequence[Estimate]) -> list[tuple[str, Forest]]:
        """Per model the distances of everyone to the survey's own distribution, all on one axis."""
        found = [x for x in mine if x.metric in DISTANCES and x.dimensions == f.ALL]
        order = {c: i for i, c in enumerate(phrases.CONDITIONS)}
        made = []
        for model in models:
            rows = [x for x in found if x.model == model]
            rows.sort(key=lambda x: (DISTANCES.index(x.metric), order.get(x.condition, len(order))))
            if rows:
                made.append((model, self._forest(DISTANCES[0], rows, found, by_metric=True)))
        return made

    def _polls(self, models: Sequence[str], mine: Sequence[Estimate]) -> list[tuple[str, Sequence[Estimate]]]:
        """Per model what published benchmarks would report of everyone."""
        order = {c: i for i, c in enumerate(phrases.CONDITIONS)}
        found = [x for x in mine if x.metric in POLLS and x.dimensions == f.ALL]
        found.sort(key=lambda x: (POLLS.index(x.metric), order.get(x.condition, len(order))))
        return [(model, rows) for model in models if (rows := [x for x in found if x.model == model])]

    def _fidelity(
        self, models: Sequence[str], mine: Sequence[Estimate], lead: str
    ) -> list[tuple[str, str, Mapping[str, Estimate], str]]:
        """Model, dimension, its estimates of fidelity and the part that binds."""
        rows: list[tuple[str, str, Mapping[str, Estimate], str]] = []
        for model in models:
            own = [x for x in mine if x.model == model and x.metric in OF_GROUPS and x.condition == lead]
            for block in f.blocks(own, self._study.figures.dimensions, self._values):
                by_metric = {x.metric: x for x in block.rows}
                parts = {m: x.estimate for m in FIDELITY[1:] if (x := by_metric.get(m)) and x.estimate is not None}
                smallest = min(parts, key=parts.__getitem__).removeprefix("pfs_") if parts else ""
                rows.append((model, block.dimension, by_metric, smallest))
        return rows

    def shares(self, task: str, survey: str) -> list[dict[str, Any]]:
        """What everyone answered to each item: its question and a row an option, weighted where there are weights."""
        frame = self._frames["people_shares"].filter(
            (pl.col("task") == task) & (pl.col("survey") == survey) & (pl.col("dimensions") == f.ALL)
        )
        if frame.is_empty():
            return []
        questions = self._frames["items"].select("task", "item_id", "question")
        frame = frame.filter(pl.col("weighted") == pl.col("weighted").any())
        frame = frame.join(questions, on=["task", "item_id"], how="left").sort("item_id", "option")
        return [
            {"item_id": item, "question": part.item(0, "question"), "options": part.to_dicts()}
            for (item,), part in frame.partition_by("item_id", as_dict=True, maintain_order=True).items()
        ]

    def beside(self, estimate: Estimate) -> str:
        """An estimate's baselines in words."""
        share = self.share(estimate.metric)
        known = {name: value for name, value in estimate.baselines.items() if value is not None}
        return "; ".join(f"{phrases.baseline(n)} {phrases.number(v, share=share)}" for n, v in known.items())

    def reliability(self) -> list[dict[str, Any]]:
        """One row a model, task, survey and condition: how dependable the replies are."""
        cells: dict[tuple[str, ...], dict[str, Estimate]] = {}
        for x in self._estimates:
            if x.metric in RELIABILITY and x.dimensions == f.ALL:
                cells.setdefault((x.model, x.task, x.survey, x.condition), {})[x.metric] = x
        ranks = [{v: i for i, v in enumerate(v)} for v in (self.models, self.tasks, self.surveys, self.conditions)]
        keys = sorted(cells, key=lambda key: [rank[part] for rank, part in zip(ranks, key, strict=True)])
        return [
            {"model": k[0], "task": k[1], "survey": k[2], "condition": k[3], "rates": cells[k],
             "n": max(x.n_answers for x in cells[k].values())}
            for k in keys
        ]  # fmt: skip

    def unread(self) -> list[dict[str, Any]]:
        """One row per model with replies that cannot be read: how many, of how many, and how many for each reason."""
        scores = self._frames["scores"].filter(pl.col("status") != "error")
        reason, unparsed = pl.col("unparsed_reason"), pl.col("status") == "unparsed"
        counts = scores.group_by("model").agg(
            pl.len().alias("replies"),
            unparsed.sum().alias("unread"),
            *((reason == name).sum().alias(name) for name in phrases.UNPARSED),
        )
        rank = {model: i for i, model in enumerate(self.models)}
        rows = counts.filter(pl.col("unread") > 0).to_dicts()
        return sorted(rows, key=lambda row: (rank.get(row["model"], len(rank)), row["model"]))

    def pockets(self) -> list[dict[str, Any]]:
        """Rows of the search, confirmed ones first, then by e-value.

        `leading` marks the row that a confirmed pocket is named after; `others` are the further rows of the same one.
        """
        frame = self._frames["pockets"]
        rows = frame.sort(
            ~pl.col("confirmed"), "e_value", "q_value", "difference",
            "model", "task", "survey", "condition", "subgroup",
            descending=[False, True, *[False] * 7], nulls_last=True,
        ).to_dicts()  # fmt: skip
        of_pocket: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in rows:
            row["leading"] = row["confirmed"] and row["leads"] is not False
            row["others"] = []
            if row["confirmed"] and not row["leading"]:
                of_pocket.setdefault(tuple(row[c] for c in _POCKET), []).append(row)
        for row in rows:
            if row["leading"]:
                row["others"] = of_pocket.get(tuple(row[c] for c in _POCKET), [])
        return rows

    def comparisons(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """One row a task, survey, metric and condition: its models from best to worst with their tie groups.

        Returns:
            Those of accuracy under the first condition, and all others.
        """
        frame = self._frames["model_comparison"]
        if frame.select("model").n_unique() < 2:
            return [], []
        key = ("task", "survey", "metric", "condition")
        own = frame.filter(pl.col("model") == pl.col("other_model")).partition_by(*key, as_dict=True)
        pairs = frame.filter(pl.col("model") != pl.col("other_model")).partition_by(*key, "model", as_dict=True)
        places = [(name, {v: i for i, v in enumerate(known)}) for name, known in self._orders()]

        def place(group: tuple[Any, ...]) -> list[tuple[int, str]]:
            return [(known.get(v, len(known)), str(v)) for (_, known), v in zip(places, group, strict=True)]

        lead: list[dict[str, Any]] = []
        others: list[dict[str, Any]] = []
        for group in sorted(own, key=place):
            metric = str(group[2])
            lower = self.metrics[metric].direction == "lower" if metric in self.metrics else False
            models = own[group].sort("tie_group", "estimate", "model", descending=[False, not lower, False]).to_dicts()
            span = self._spans.get(metric, math.inf)
            for row in models:
                of_model = pairs.get((*group, row["model"]))
                ends = pl.col("ci_low", "ci_high").clip(-span, span)
                row["differences"] = (
                    [] if of_model is None else of_model.sort("other_model").with_columns(ends).to_dicts()
                )
            shown = {**dict(zip(key, group, strict=True)), "share": self.share(metric), "models": models}
            leads = metric == HEADLINE and group[3] == next(iter(self.conditions), group[3])
            (lead if leads else others).append(shown)
        return lead, others

    def _orders(self) -> list[tuple[str, Sequence[str]]]:
        """The order in which the page names things."""
        return [
            ("task", self.tasks),
            ("survey", self.surveys),
            ("metric", list(self.metrics)),
            ("condition", self.conditions),
        ]

    def gaps(self, forest: Forest) -> str:
        """How many subgroups of a table differ from everyone else, in a sentence; empty where none was tested."""
        tested = [x for b in forest.blocks for x in b.rows if x.verdict is not None]
        if not tested:
            return ""
        n = {v: sum(x.verdict == v for x in tested) for v in t.VERDICTS}
        margin = phrases.number(self._study.figures.equivalence_margin, share=True, unit=False)
        differ, alike = (
            f"{n['gap']} {_are(n['gap'], 'differs', 'differ')}",
            f"{n['no_gap']} {_are(n['no_gap'], 'is', 'are')}",
        )
        return (
            f"Of {len(tested)} subgroups compared with everyone else, {differ}, {alike} shown to be within {margin} "
            f"points, and for {n['inconclusive']} there is too little data for either."
        )

    def defined(self) -> list[MetricRecord]:
        """Records of the metrics that this report shows."""
        shown = {x.metric for x in self._estimates}
        return [record for name, record in self.metrics.items() if name in shown]


def _are(n: int, one: str, many: str) -> str:
    return one if n == 1 else many
