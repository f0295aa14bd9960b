"""The record of a report section, and the registry that finds all sections.

A section is one module of `sections/` that defines `SECTION`. Adding a section adds that file and its test.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

Place = Literal["page", "task"]


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Attributes:
        name: Anchor of the section, which links and the table of contents use.
        order: Place on the page or, for a part of each task, within the task. Numbers are spaced so that a new section
            fits between two others.
        title: Heading.
        template: Jinja template of the content below the heading. Its names are `view` (the report), `words` (the
            module `phrases`), `labels`, `charts`, `study`, and those that `data` returns.
        place: `page` for a section of the page; `task` for a part that each task and survey has.
        data: Returns the template's names and values, given (report), or (report, task, survey) for a part of each
            task. If it returns None, the section is left out.
        contents: Name in the table of contents; empty to use the title.
    """

    name: str
    order: int
    title: str
    template: str
    place: Place = "page"
    data: Callable[..., Mapping[str, Any] | None] = lambda *_: {}
    contents: str = ""


@cache
def sections(place: Place) -> tuple[Section, ...]:
    """All sections of the page, or all parts of a task, in their order.

    Raises:
        ValueError: Two sections have one name or one place.
    """
    package = importlib.import_module("mpta_pipeline.report.sections")
    found = [
        importlib.import_module(f"{package.__name__}.{m.name}").SECTION for m in pkgutil.iter_modules(package.__path__)
    ]
    chosen = sorted((section for section in found if section.place == place), key=lambda section: section.order)
    for what in ("name", "order"):
        values = [getattr(section, what) for section in chosen]
        if repeated := {value for value in values if values.count(value) > 1}:
            raise ValueError(f"two report sections have the {what} {repeated.pop()!r}")
    return tuple(chosen)
