"""A published study beside the own one (`published.yaml`): its design, the files that it needs, and its figures.

The file lies beside `study.yaml` and is optional. `mpta init --study` writes one; the report compares its figures with
the study's own estimates. A figure whose value nobody has looked up says where to look, and has no value.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from mpta_pipeline.core.configuration import StrictModel, read_yaml, validated

FILE = "published.yaml"


class NeededFile(StrictModel):
    """A survey file, or the item file of a task, that the published study was made with.

    Attributes:
        survey: Survey source of a survey file, e.g. `gss`.
        wave: Its wave, e.g. `gss-2024`; null for any.
        task: Task of study.yaml whose items the file has.
        file: Name of the file, and where to put it.
        address: Where to get it.
        note: What it is for, or what happens without it.
    """

    survey: str | None = None
    wave: str | None = None
    task: str | None = None
    file: str
    address: str
    note: str = ""

    @model_validator(mode="after")
    def _is_for_something(self) -> NeededFile:
        if (self.survey is None) == (self.task is None):
            raise ValueError("a file is for a `survey` or for a `task`: name one of them")
        return self


class DesignRow(StrictModel):
    """One choice of the design, as published and here.

    Attributes:
        what: The choice.
        published: As published.
        here: In this study.
        why: Why they differ; empty if they do not.
    """

    what: str
    published: str
    here: str
    why: str = ""


class Ours(StrictModel):
    """Which of the own estimates a published figure is compared with, in every model and survey.

    Attributes:
        task: Task of study.yaml.
        metric: Metric, as in the column `metric` of `subgroup_metrics`.
        condition: Condition.
        dimensions: Dimension, or `all` for everyone.
        subgroup: Subgroup, or `all`.
        baseline: Baseline whose estimate is taken in place of the model's; null for the model's own.
        value: `estimate`, or `effect`: the difference from the answers without a persona.
    """

    task: str
    metric: str
    condition: str = "persona"
    dimensions: str = "all"
    subgroup: str = "all"
    baseline: str | None = None
    value: Literal["estimate", "effect"] = "estimate"

    @model_validator(mode="after")
    def _has_one_value(self) -> Ours:
        if self.baseline is not None and self.value != "estimate":
            raise ValueError("a baseline has an estimate and no effect: leave out `value` or `baseline`")
        return self

    @property
    def text(self) -> str:
        """The selection in words of the tables."""
        where = [] if self.dimensions == "all" else [f"{self.dimensions}={self.subgroup}"]
        what = self.metric if self.baseline is None else f"baseline {self.baseline} of {self.metric}"
        what = f"effect on {what}" if self.value == "effect" else what
        return ", ".join([what, f"task {self.task}", f"condition {self.condition}", *where])


class PublishedFigure(StrictModel):
    """A figure of the published study, and the own estimate beside it.

    Attributes:
        name: What the figure is, in words.
        of: Model, or people, that the figure is of.
        value: The published value; null if it was not at hand.
        se: Its published standard error; null if none.
        claim: What the publication says in words, where it says it.
        source: File, table or page with the value; without a value, where to look it up.
        ours: The own estimate beside it; null if no estimate of this study is comparable.
        tolerance: Largest difference at which the own value counts as the same; null makes no such statement.
        note: What to know before comparing the two.
    """

    name: str
    of: str = ""
    value: float | None = None
    se: float | None = Field(default=None, ge=0)
    claim: str = ""
    source: str
    ours: Ours | None = None
    tolerance: float | None = Field(default=None, gt=0)
    note: str = ""


class PublishedStudy(StrictModel):
    """The whole file.

    Attributes:
        title: The publication.
        citation: How it is cited.
        address: Where it is.
        files: The files that it was made with.
        design: The design as published beside that of this study.
        figures: Published figures beside the study's own estimates.
    """

    title: str
    citation: str
    address: str
    files: tuple[NeededFile, ...] = ()
    design: tuple[DesignRow, ...] = ()
    figures: tuple[PublishedFigure, ...] = ()


def load_published(folder: Path) -> PublishedStudy | None:
    """Read `published.yaml` of a configuration folder; None if there is none.

    Raises:
        ConfigError: It is not valid; with key and remedy.
    """
    path = folder / FILE
    if not path.exists():
        return None
    return validated(PublishedStudy, read_yaml(path), "The published study is not valid", file=path)
