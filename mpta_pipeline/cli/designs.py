"""The designs of a multiverse that a budget pays for, as `mpta plan` shows them."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.multiverse import is_variant
from mpta_pipeline.core.unknown_names import unknown_name
from mpta_pipeline.metrics.metric import METRICS
from mpta_pipeline.metrics.multiverse import AssumedChoices, check_figures
from mpta_pipeline.pipeline.multiverse_designs import ASSUMED_METRIC, as_rows, compare_designs, to_write
from mpta_pipeline.pipeline.stored import partitions

if TYPE_CHECKING:
    from mpta_pipeline.cli.result import Result
    from mpta_pipeline.core.multiverse import NamedFigure
    from mpta_pipeline.pipeline.deployment import Deployment
    from mpta_pipeline.pipeline.multiverse_designs import Candidate, Compared


@dataclass(frozen=True)
class Wanted:
    """What a design has to keep to.

    Attributes:
        budget: US dollars at most; None for any.
        requests: Requests at most; None for any number.
        figure: Name of the figure whose interval is to be narrow; None for the first.
        choice_sd: Assumed standard deviation of the figure between configurations.
    """

    budget: float | None
    requests: int | None
    figure: str | None
    choice_sd: float

    def allows(self, one: Candidate) -> bool:
        """Whether the budget pays for a design."""
        in_dollars = self.budget is None or (one.dollars or 0.0) <= self.budget
        return in_dollars and (self.requests is None or one.requests <= self.requests)

    def __str__(self) -> str:
        """The limits as text; empty without any."""
        said = [] if self.budget is None else [f"{self.budget:,.2f} US$"]
        return " and ".join(said + ([] if self.requests is None else [f"{self.requests:,} requests"]))


def add_designs(result: Result, deployment: Deployment, wanted: Wanted) -> None:
    """Add the designs of the multiverse that a budget pays for, and name the one with the narrowest interval.

    Raises:
        ConfigError: The study has no multiverse, no such figure, or no price for a budget in dollars.
    """
    figure = _figure(deployment, wanted)
    if not any(map(is_variant, partitions(deployment, "prompts"))):
        result.info("Designs are compared once the prompts of the multiverse are built: `mpta run --until prompts`.")
        return
    compared = compare_designs(deployment, figure, AssumedChoices(choice_sd=wanted.choice_sd))
    if wanted.budget is not None and all(one.dollars is None for one in compared.candidates):
        raise ConfigError(
            "No model of the study has a price, so no design has one",
            variable="--budget",
            value=f"{wanted.budget:g}",
            remedy="limit the number of requests with --requests, or give the models a price in models.yaml",
        )
    paid = [one for one in compared.candidates if wanted.allows(one)]
    # Of equal intervals, the one with fewer requests.
    known = [one for one in paid if not isnan(one.half_width)]
    best = min(known, key=lambda one: (round(one.half_width, 6), one.requests), default=None)
    confidence = deployment.study.figures.confidence
    unit = " in percentage points" if _in_points(figure) else ""
    limits = f" for {wanted}" if str(wanted) else ""
    result.table(
        "designs",
        [
            row | {"affordable": one in paid, "narrowest": one is best}
            for one, row in zip(compared.candidates, as_rows(compared), strict=True)
        ],
        title=f"Designs of the multiverse{limits}: expected {confidence} interval of the {figure.title}{unit}",
        shown=[_shown(one, figure, one is best) for one in paid],
    )
    measured = any(error.measured for error in compared.errors.values())
    result.facts["design_figure"] = {"figure": figure.title, "measured": measured}
    _say_what_to_write(result, deployment, compared, paid, best)
    if compared.errors:
        say_what_sets_the_width(result, compared)
        result.note("  " + _where_from(compared, wanted, measured=measured))


def _figure(deployment: Deployment, wanted: Wanted) -> NamedFigure:
    multiverse, file = deployment.study.multiverse, deployment.config / "study.yaml"
    if multiverse is None:
        raise ConfigError(
            "Designs are those of a multiverse, and the study has none",
            variable="multiverse",
            file=file,
            remedy="add the key multiverse with its factors, or leave out --budget, --requests and --figure",
        )
    titles = {one.title: one for one in multiverse.figures}
    if wanted.figure is not None and wanted.figure not in titles:
        raise unknown_name("figure", wanted.figure, list(titles), variable="--figure", file=file)
    check_figures(multiverse.figures)
    return multiverse.figures[0] if wanted.figure is None else titles[wanted.figure]


def _in_points(figure: NamedFigure) -> bool:
    return METRICS[figure.metric].unit == "share"


def _width(value: float, figure: NamedFigure) -> str:
    if isnan(value):
        return "–"
    return f"± {100 * value:.2f}" if _in_points(figure) else f"± {value:.3g}"


def _shown(one: Candidate, figure: NamedFigure, is_best: bool) -> dict[str, Any]:
    """A design as a row for the terminal."""
    return {
        "design": one.design,
        "configurations": f"{one.configurations:,}",
        "persons": f"{100 * one.share:.0f} %",
        "to send": ("" if one.exact else "about ") + f"{one.requests:,}",
        **({} if one.dollars is None else {"US$": f"{one.dollars:,.2f}"}),
        "interval": _width(one.half_width, figure),
        "": "narrowest" if is_best else "",
    }


def _say_what_to_write(
    result: Result, deployment: Deployment, compared: Compared, paid: list[Candidate], best: Candidate | None
) -> None:
    """Say how the study asks for the design, or why none can be named."""
    figure = compared.figure
    if not paid:
        least = min(compared.candidates, key=lambda one: (one.dollars or 0.0, one.requests))
        cost = "" if least.dollars is None else f" and costs {least.dollars:,.2f} US$"
        result.warning(f"No design fits: the smallest takes {least.requests:,} requests{cost}.")
    elif not compared.errors and figure.metric != ASSUMED_METRIC:
        result.warning(
            f"What is assumed is about {ASSUMED_METRIC}. For {figure.metric.replace('_', ' ')}, an interval can be "
            "expected once configurations were asked, e.g. those of `design: fractional`."
        )
    elif best is None:
        result.warning(
            f"No interval can be expected for the {figure.title}: too few persons or batteries of questions, or no "
            "answer key."
        )
    else:
        design, *share = to_write(deployment, best)
        result.info(
            f"  Narrowest: {best.configurations:,} configurations, asked about {100 * best.share:.0f} % of the persons "
            f"who are asked now. Write {design} under multiverse in study.yaml"
            + "".join(f", and {one} in models.yaml" for one in share)
            + "."
        )


LITTLE = 0.05
"""A smaller relative gain in width counts as hardly any."""
_SOURCES = {
    "persons": ("the persons", "More persons narrow it."),
    "questions": ("the questions", "More questions narrow it."),
    "levels": ("the levels of the factors", "More levels narrow it, more combinations of the same levels do not."),
    "configurations": ("the configurations", "More combinations of levels narrow it."),
}


def say_what_sets_the_width(result: Result, compared: Compared) -> None:
    """Say whether more configurations narrow the interval, and what most of it comes from."""
    sizes = sorted({one.configurations for one in compared.candidates})
    few, many = sizes[0], sizes[-1]
    narrow, wide = (sum(error.half_width(n) for error in compared.errors.values()) for n in (many, few))
    parts = [error.parts(many) for error in compared.errors.values()]
    sums = {name: sum(part[name] for part in parts) for name in _SOURCES}
    total, most = sum(sums.values()), max(sums, key=lambda name: sums[name])
    if not total > 0 or isnan(wide):
        return
    source, remedy = _SOURCES[most]
    cause = f"with {many:,}, {100 * sums[most] / total:.0f} % of its variance comes from {source}. {remedy}"
    if few < many and narrow > (1 - LITTLE) * wide:
        gain = 100 * (1 - narrow / wide)
        result.info(
            f"  More configurations hardly narrow the interval ({many:,} instead of {few:,}: by {gain:.1f} %): {cause}"
        )
    else:
        result.info("  " + cause[0].upper() + cause[1:])


def _where_from(compared: Compared, wanted: Wanted, *, measured: bool) -> str:
    """Say where the variances come from, and what the interval is a mean of."""
    cells = len(compared.errors)
    mean = f" The interval is the mean over {cells} tasks, models and surveys; `--json` has each." if cells > 1 else ""
    if measured:
        return f"The variances are those of the configurations that were asked before.{mean}"
    return (
        f"Assumed, as no configuration was asked yet: configurations differ by {100 * wanted.choice_sd:g} points "
        "(standard deviation, --choice-sd), half of what is not the person's own level stays the same in each, "
        f"the rest as in `mpta power`.{mean}"
    )
