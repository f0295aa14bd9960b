"""Readable names of surveys, tasks, dimensions and subgroups for terminal, UI and report."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

CROSS = "×"
ALL = "all"
CONTROL = "simulated respondent, a control"
"""What report, terminal and UI call a model that is a control."""


def plain(name: str) -> str:
    """A name from the configuration as a reader would write it."""
    return name.replace("_", " ").replace(CROSS, f" {CROSS} ")


@dataclass(frozen=True)
class Labels:
    """Readable names, each defined once: by the source, the task kind, the concept or the dimension.

    Names without a label are shown with spaces in place of underscores.

    Attributes:
        surveys: Survey source → its title, e.g. `gss` → General Social Survey.
        tasks: Task of the study → its title.
        dimensions: Base dimension → its title, e.g. `education_3` → Education.
        values: Base dimension and value → a phrase that explains itself, e.g. `sex`, `female` → women.
        controls: Names of the models that are controls.
    """

    surveys: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, str] = field(default_factory=dict)
    dimensions: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[tuple[str, str], str] = field(default_factory=dict)
    controls: Collection[str] = frozenset()

    def model(self, name: str) -> str:
        """A model; a control is named as one wherever it stands: `echo (simulated respondent, a control)`."""
        return f"{name} ({CONTROL})" if name in self.controls else name

    def survey(self, name: str) -> str:
        """The title of a survey."""
        return self.surveys.get(name, name)

    def task(self, name: str) -> str:
        """The title of a task."""
        return self.tasks.get(name, plain(name))

    def dimension(self, name: str) -> str:
        """The title of a dimension or intersection: `sex×age_band` is Sex × Age; `all` is everyone."""
        if name == ALL:
            return "everyone"
        return f" {CROSS} ".join(self.dimensions.get(part, plain(part)) for part in name.split(CROSS))

    def subgroup(self, dimensions: str, name: str) -> str:
        """A subgroup in words: `female×65+` of `sex×age_band` is women 65 and over; `all` is everyone.

        In an intersection, a value whose label does not explain itself is named with its dimension.
        """
        if name == ALL:
            return "everyone"
        bases, values = dimensions.split(CROSS), name.split(CROSS)
        if len(bases) != len(values):  # a value contains the sign itself
            return plain(name)
        text = ""
        for base, value in zip(bases, values, strict=True):
            label = self.values.get((base, value))
            if label is None:
                label = plain(value) if len(bases) == 1 else f"{self.dimension(base).lower()}: {plain(value)}"
            text += label if not text else f" {label}" if label[:1].isdigit() else f", {label}"
        return text
