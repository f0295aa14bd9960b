"""Compare designs of the study's multiverse by requests, price and the width of a figure's interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from mpta_pipeline import inference
from mpta_pipeline.core.hashing import hash_uniform
from mpta_pipeline.core.multiverse import ALL_MODELS, Configuration, NamedFigure, base_of, is_variant, possible_designs
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.core.vocabulary import GROUP_CONDITION
from mpta_pipeline.inference.estimates import tokens_per_request
from mpta_pipeline.inference.ledger import Ledger
from mpta_pipeline.inference.requests import BEHIND, TOLD
from mpta_pipeline.metrics import detectable
from mpta_pipeline.metrics import multiverse as m
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.steps.inference import planned_prompts
from mpta_pipeline.pipeline.stored import made, partitions, read, reduced, stacked

SHARES = (1.0, 0.75, 0.5, 0.25)
"""Shares of the persons who are asked now that are compared."""
ASSUMED_METRIC = "accuracy"
"""The metric that `detectable.Assumed` speaks of."""


@dataclass(frozen=True)
class Candidate:
    """A design with its expected result.

    Attributes:
        design: `full` or `fractional`.
        runs: What to write as `runs`; None for a full design.
        configurations: Its number of configurations.
        share: Share of the persons who are asked now.
        requests: Requests of the whole study under this design that have no response yet.
        dollars: Their price; None if no model has one.
        exact: All its prompts are built; else the requests of others are taken to be as many on average.
        half_widths: Half of the expected interval's width, per row of `Compared.errors`.
    """

    design: str
    runs: int | None
    configurations: int
    share: float
    requests: int
    dollars: float | None
    exact: bool
    half_widths: tuple[float, ...]

    @property
    def half_width(self) -> float:
        """The mean over tasks, models and surveys."""
        return float(np.mean(self.half_widths)) if self.half_widths else float("nan")


@dataclass(frozen=True)
class Compared:
    """All designs.

    Attributes:
        figure: The figure.
        errors: Task, model and survey → variances of the figure's error.
        candidates: The designs, full first, with falling shares of the panel.
    """

    figure: NamedFigure
    errors: Mapping[tuple[str, str, str], m.FigureError]
    candidates: Sequence[Candidate]


def compare_designs(deployment: Deployment, figure: NamedFigure, choices: m.AssumedChoices | None = None) -> Compared:
    """Compare the full design and fractional ones, each with several shares of the panel. Read-only.

    Args:
        deployment: A deployment with a multiverse whose prompts are built.
        figure: The figure.
        choices: What is assumed of the choices where no configuration has been asked; None for the defaults.
    """
    multiverse = deployment.study.multiverse
    if multiverse is None:
        return Compared(figure, {}, ())
    errors = _errors(deployment, figure, choices)
    requests = _Requests.of(deployment)
    names, levels = list(multiverse.factors.levels), list(multiverse.factors.levels.values())
    candidates = []
    for design in possible_designs([len(given) for given in levels]):
        rows = [
            {name: given[i] for name, given, i in zip(names, levels, row, strict=True)} for row in design.rows.tolist()
        ]
        asked = deployment.configurations_at(rows)
        for share in SHARES:
            n, dollars, exact = requests.count(asked, share)
            widths = tuple(error.half_width(len(rows), share) for error in errors.values())
            candidates.append(Candidate(design.design, design.runs, len(rows), share, n, dollars, exact, widths))
    return Compared(figure, errors, candidates)


def _errors(
    deployment: Deployment, figure: NamedFigure, choices: m.AssumedChoices | None
) -> dict[tuple[str, str, str], m.FigureError]:
    """Variances per task, model and survey: measured if the configurations were asked before, else assumed."""
    multiverse, groups = deployment.study.multiverse, read(deployment, "groups")
    assert multiverse is not None
    levels = {name: len(given) for name, given in multiverse.factors.levels.items() if len(given) > 1}
    found: dict[tuple[str, str, str], m.FigureError] = {}
    if made(deployment, Node("specification_curve")) is not None:
        curve = read(deployment, "specification_curve").filter(figure=figure.title)
        frame = read(deployment, "configurations").select("task", "model", "configuration", "asked_task", "asked_model")
        curve = curve.join(frame, on=["task", "model", "configuration"])
        people = stacked(deployment, "configuration_people")
        for key, part in curve.sort("task", "over", "survey").group_by(["task", "over", "survey"], maintain_order=True):
            error = m.measured_error(part, people, groups, figure)
            if error is not None and set(error.levels) == set(levels):
                found[str(key[0]), str(key[1]), str(key[2])] = replace(error, levels=levels)
    if found or figure.metric != ASSUMED_METRIC:
        return found
    shares = {name: spec.panel_share for name, spec in deployment.models.items() if not is_variant(name)}
    if multiverse.factors.model:
        shares = {ALL_MODELS: min(shares[name] for name in multiverse.factors.model)}
    rules = deployment.study.figures
    for task in multiverse.tasks or deployment.study.own_tasks:
        if made(deployment, Node("prompts", task)) is None:
            continue
        units = reduced(deployment, "prompts", task, detectable.units_of)
        place = hash_uniform(units, ["respondent_id"], key=inference.PANEL_SHARE)
        for name, share in shares.items():
            for (survey,), part in units.filter(place < share).sort("survey").group_by("survey", maintain_order=True):
                error = m.assumed_error(part, groups, figure, levels, level=rules.level, choices=choices)
                if error is not None:
                    found[task, name, str(survey)] = error
    return found


@dataclass(frozen=True)
class _Requests:
    """The requests that have no response yet.

    Attributes:
        of_pair: Model and task → request (64 bits of its hash), the least share of the panel that asks it, its price.
        shares: Model → share of the panel that it is asked about.
        priced: Whether any model has a price.
    """

    of_pair: Mapping[tuple[str, str], pl.DataFrame]
    shares: Mapping[str, float]
    priced: bool

    @classmethod
    def of(cls, deployment: Deployment) -> _Requests:
        """Read the prompts that are built, of the study's own tasks and of the multiverse."""
        found, priced = {}, False
        for task in partitions(deployment, "prompts"):
            for name, spec in deployment.models.items():
                if not deployment.asks(name, task):
                    continue
                priced |= spec.price is not None
                parts = planned_prompts(deployment, spec, [task])
                found[name, task] = _unanswered(parts, spec, Ledger(deployment.layout.ledger(name)))
        return cls(found, {name: spec.panel_share for name, spec in deployment.models.items()}, priced)

    def count(self, configurations: Sequence[Configuration], share: float) -> tuple[int, float | None, bool]:
        """Requests and price of the study with some configurations, and whether all their prompts are known."""
        own = [pair for pair in self.of_pair if not is_variant(pair[1])]
        wanted = dict.fromkeys((c.asked_model, c.asked_task) for c in configurations)
        known = [pair for pair in wanted if pair in self.of_pair]
        n, dollars = self._sum([*own, *known], share)
        unknown = len(wanted) - len(known)
        if unknown:
            built = [pair for pair in self.of_pair if is_variant(pair[1])]
            alone, with_built = self._sum(own, share), self._sum([*own, *built], share)
            n += round(unknown * (with_built[0] - alone[0]) / max(len(built), 1))
            dollars += unknown * (with_built[1] - alone[1]) / max(len(built), 1)
        return n, dollars if self.priced else None, not unknown

    def _sum(self, pairs: Iterable[tuple[str, str]], share: float) -> tuple[int, float]:
        frames = [
            self.of_pair[model, task].filter(pl.col("from_share") < share * self.shares[model]).with_columns(
                pl.lit(model).alias("model")
            )
            for model, task in pairs
        ]  # fmt: skip
        if not frames:
            return 0, 0.0
        once = pl.concat(frames).unique(["model", "request"])
        return once.height, float(once["dollars"].sum())


_MILLION = 1_000_000


def _unanswered(parts: inference.PromptParts, spec: inference.ModelSpec, ledger: Ledger) -> pl.DataFrame:
    """Requests without a response, the least share of the panel that asks each (`of_panel_share`), and its price."""
    found = [pl.DataFrame(schema={"request": pl.UInt64, "from_share": pl.Float64, "dollars": pl.Float64})]
    sent, received = (
        0.0 if spec.price is None else spec.price.of(*tokens, batch=spec.batch) / _MILLION
        for tokens in ((_MILLION, 0), (0, _MILLION))
    )
    for read_part in parts.parts:
        prompts = read_part()
        prompt, response = tokens_per_request(spec, turns=TOLD in prompts.columns)
        place = hash_uniform(prompts, ["respondent_id"], key=inference.PANEL_SHARE).alias("place")
        price = (prompt * sent + response * received).alias("dollars")
        rows = prompts.select("request_hash", "data_use", "condition", price).with_columns(place)
        rows = rows.filter(~pl.col("request_hash").str.starts_with(BEHIND))
        each = rows.group_by("request_hash").agg(
            pl.when(pl.col("condition") == GROUP_CONDITION).then(0.0).otherwise("place").min().alias("from_share"),
            pl.col("data_use").max(),
            pl.col("dollars").first(),
        )
        allowed = [use for use in each["data_use"].unique() if spec.may_receive(use)]
        each = each.filter(pl.col("data_use").is_in(allowed))
        settled = ledger.settled(each["request_hash"])
        each = each.filter(~pl.col("request_hash").is_in(pl.concat([settled.answered, settled.failed]).implode()))
        found.append(each.select(pl.col("request_hash").hash().alias("request"), "from_share", "dollars"))
    return pl.concat(found).group_by("request").agg(pl.col("from_share").min(), pl.col("dollars").first())


def to_write(deployment: Deployment, candidate: Candidate) -> list[str]:
    """What to write in the configuration to use a design: lines of study.yaml and of models.yaml."""
    said = [f"design: {candidate.design}" + ("" if candidate.runs is None else f" and runs: {candidate.runs}")]
    if candidate.share < 1:
        shares = {base_of(name): f"{spec.panel_share * candidate.share:g}" for name, spec in deployment.models.items()}
        same = len(set(shares.values())) == 1
        of = [f"panel_share: {next(iter(shares.values()))}"] if same else [f"{k}: {v}" for k, v in shares.items()]
        said.append(", ".join(of))
    return said


def as_rows(compared: Compared) -> list[dict[str, Any]]:
    """The candidates as rows for `--json`."""
    keys = list(compared.errors)
    return [
        {
            "design": c.design,
            "runs": c.runs,
            "configurations": c.configurations,
            "share": c.share,
            "to_send": c.requests,
            "dollars": c.dollars,
            "exact": c.exact,
            "half_width": None if np.isnan(c.half_width) else c.half_width,
            "half_widths": [
                {"task": task, "model": model, "survey": survey, "half_width": None if np.isnan(width) else width}
                for (task, model, survey), width in zip(keys, c.half_widths, strict=True)
            ],
        }
        for c in compared.candidates
    ]
