"""A report section is one file: written into the folder of sections, it stands on the page in its place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpta_pipeline.report import section
from mpta_pipeline.report import sections as folder
from tests.report.test_report import render

OF_THE_PAGE = '''
"""How many answers each survey contributes."""

from mpta_pipeline.report.section import Section


def data(report):
    return {"counts": {survey: sum(r.survey == survey for r in report.estimates) for survey in report.surveys}}


SECTION = Section(
    name="contributions",
    order=55,
    title="What each survey contributes",
    template="{% for survey, n in counts.items() %}<p>{{ survey }}: {{ words.count(n) }} estimates</p>{% endfor %}",
    data=data,
)
'''
OF_EACH_TASK = '''
"""How many models were asked."""

from mpta_pipeline.report.section import Section

SECTION = Section(
    name="asked",
    order=15,
    title="Models asked",
    template="<p>{{ n }} on {{ task }}, {{ survey }}</p>",
    place="task",
    data=lambda report, task, survey: {"n": len(report.models_of(task, survey))} if task == "values" else None,
)
'''


@pytest.fixture
def new_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A further folder of sections, as if its files lay in the package's own."""
    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(tmp_path)])
    known = set(sys.modules)
    section.sections.cache_clear()
    yield tmp_path
    section.sections.cache_clear()
    for name in set(sys.modules) - known:
        if name.startswith(f"{folder.__name__}."):
            del sys.modules[name]


def test_a_section_of_the_page_is_one_file(new_sections: Path) -> None:
    (new_sections / "contributions.py").write_text(OF_THE_PAGE, encoding="utf-8")
    html = render()
    assert '<a href="#contributions">What each survey contributes</a>' in html
    before, here, after = (html.index(f'<h2 id="{name}">') for name in ("pockets", "contributions", "models"))
    assert before < here < after, "sections follow their order"
    assert "gss_extract: " in html[here:after]


def test_a_part_of_each_task_is_one_file_and_may_leave_itself_out(new_sections: Path) -> None:
    (new_sections / "asked.py").write_text(OF_EACH_TASK, encoding="utf-8")
    html = render()
    assert html.count("<h3>Models asked</h3>") == 1
    assert html.index("<h3>Accuracy by subgroup</h3>") < html.index("<h3>Models asked</h3>")


def test_two_sections_of_one_place_are_refused(new_sections: Path) -> None:
    (new_sections / "one.py").write_text(OF_THE_PAGE, encoding="utf-8")
    (new_sections / "two.py").write_text(OF_THE_PAGE.replace('"contributions"', '"again"'), encoding="utf-8")
    with pytest.raises(ValueError, match="two report sections have the order 55"):
        render()
