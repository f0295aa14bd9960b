"""The first screen, people beside models, transcripts and anchors in a real browser, on the planted study."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mpta_pipeline import metrics, report
from tests.factories import planted_study as planted
from tests.factories.chromium import missing, opened

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is there")]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    html = report.render_report(
        planted.frames(1), study=planted.study(), metrics=metrics.METRICS, title="Study planted",
        generated=datetime(2026, 11, 30, tzinfo=UTC), labels=planted.LABELS,
    )  # fmt: skip
    file.write_text(html, encoding="utf-8")
    return file


def test_all_four_planted_things_stand_on_the_first_screen(browser: Any, path: Path) -> None:
    page = opened(browser, path)
    page.set_viewport_size({"width": 1280, "height": 800})
    tops = [card.bounding_box() for card in page.locator(".card h3").all()]
    assert sum(box["y"] + box["height"] < 800 for box in tops) >= 4
    assert page.said == []
    page.close()


def test_people_stand_beside_models_for_the_chosen_question_and_groups(browser: Any, path: Path) -> None:
    page = opened(browser, path)
    page.locator("#people").scroll_into_view_if_needed()
    page.wait_for_selector("#people-tables table")
    page.locator("#people-chooser [data-part=item]").select_option(label="Question 3?")
    page.locator("#people-chooser [data-part=first]").select_option(label="Women 65 and over")
    page.locator("#people-chooser [data-part=second]").select_option(label="Men")
    captions = [c.text_content() for c in page.locator("#people-tables caption").all()]
    assert captions == ["Question 3? Women 65 and over.", "Question 3? Men."]
    shares = planted.frames(1)["people_shares"].filter(item_id="i03", dimensions="sex×age_band", subgroup="female×65+")
    share, n = shares.sort("option").select("share", "n_people").row(0)
    row = " ".join(page.locator("#people-tables table").first.locator("tbody tr").first.text_content().split())
    assert f"{100 * share:.1f} %" in row and f"({n})" in row
    assert page.said == []
    page.close()


def test_the_id_of_an_estimate_is_an_anchor_even_within_a_folded_part(browser: Any, path: Path) -> None:
    table = planted.frames(1)["subgroup_metrics"]
    row = table.filter(model="beta", metric="error_rate", subgroup="black", condition="persona", baseline="")
    name = row.item(0, "estimate_id")
    page = opened(browser, path, f"#{name}")
    page.wait_for_selector(".cited")
    assert page.locator(".cited").text_content() == name
    assert page.locator(".cited").is_visible()
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (800, "light"), (360, "light")])
def test_axe_finds_nothing_in_the_sections_of_findings(browser: Any, path: Path, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = opened(browser, path, width=width, scheme=scheme)
    page.locator("#people").scroll_into_view_if_needed()
    page.wait_for_selector("#people-tables table")
    page.evaluate("document.querySelectorAll('details').forEach((it) => (it.open = true))")
    page.wait_for_timeout(200)
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [(rule["id"], node["html"][:300]) for rule in found for node in rule["nodes"]] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    without = """[...document.querySelectorAll(".scroll")].filter((it) => it.scrollWidth > it.clientWidth + 1
        && !it.previousElementSibling?.matches(".cue")).map((it) => it.getAttribute("aria-label"))"""
    assert page.evaluate(without) == [], "a table is cut off without a cue"
    page.close()


def test_the_page_is_printed_on_few_pages(browser: Any, path: Path, tmp_path: Path) -> None:
    page = opened(browser, path)
    page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "report.pdf").read_bytes())) <= 12
    page.close()
