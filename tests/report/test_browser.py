"""The page in a real browser: charts, filters, links, downloads, print, narrow windows, and what axe-core finds."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from xml.etree import ElementTree

import pytest

from tests.factories import stored_study as fab
from tests.factories.chromium import missing, opened, page_of_many
from tests.report.test_report import render

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing() or "a browser is there")]

READY = "#explorer figure.drawn[data-ready]"
PRINTED_PAGES = 12


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(page_of_many(models=5, tasks=2, n_countries=26), encoding="utf-8")
    return file


def ready(page: Any) -> Any:
    page.wait_for_selector(READY)
    return page


def view(page: Any) -> dict[str, str]:
    """What the address says of the view."""
    return {key: values[0] for key, values in parse_qs(page.url.partition("#view&")[2]).items()}


def saved(page: Any, figure: str, kind: str) -> bytes:
    with page.expect_download() as download:
        page.locator(f"{figure} .saving button", has_text=re.compile(f"^{kind}$")).click()
    return Path(download.value.path()).read_bytes()


def test_charts_are_drawn_when_scrolled_to_without_network_or_console(browser: Any, path: Path) -> None:
    page = opened(browser, path)
    assert page.locator(READY).count() == 0, "nothing is drawn above the fold"
    page.locator("#explore").scroll_into_view_if_needed()
    ready(page)
    assert "Women 65 and over" in page.locator("#explorer .drawing svg").first.text_content()
    told = page.locator("#explorer figcaption").first.text_content()
    assert "model-01: 1 of 8 groups differs from everyone else: Women 65 and over −3" in told
    assert page.said == []
    page.close()


def test_a_choice_is_kept_in_the_address_and_the_address_shows_it_again(browser: Any, path: Path) -> None:
    page = opened(browser, path, "#view&task=task_1&by=country")
    ready(page)
    assert "task 1" in page.locator("#explorer figcaption strong").first.text_content()
    page.select_option("#pick-metric", "refusal_rate")
    page.wait_for_function("document.querySelector('#explorer figcaption').textContent.includes('efusal')")
    page.locator(".models label", has_text="model-02").locator("input").click()
    page.wait_for_function("!new URLSearchParams(location.hash.slice(6)).get('models').includes('model-02')")
    chosen = view(page)
    assert (chosen["task"], chosen["metric"], chosen["by"]) == ("task_1", "refusal_rate", "country")
    assert chosen["models"].split("|") == ["model-01", "model-03", "model-04"]
    again = ready(opened(browser, path, f"#{page.url.partition('#')[2]}"))
    assert again.input_value("#pick-metric") == "refusal_rate"
    assert again.locator(".models input:checked").count() == 3
    assert not again.locator(".models label", has_text="model-00").locator("input").is_checked(), "a control"
    page.close()
    again.close()


def test_an_address_that_names_what_is_not_there_shows_what_is(browser: Any, path: Path) -> None:
    page = ready(opened(browser, path, "#view&task=gone&metric=<b>&by=moon&models=nobody"))
    assert page.locator("#explorer figcaption strong").first.text_content().startswith("Accuracy, by sex × age")
    assert page.said == []
    page.close()


def test_the_heat_map_sorts_models_and_leads_to_the_subgroups_of_a_cell(browser: Any, path: Path) -> None:
    page = opened(browser, path)
    grid = page.locator("#grid-accuracy table")

    def order() -> list[str]:
        return grid.locator("tbody").first.locator("tr th").all_text_contents()

    first = grid.locator("thead button").nth(2)
    first.click()
    cells = grid.locator("tbody").first.locator("tr td:nth-child(3)")
    values = [float(value) for value in cells.evaluate_all("cells => cells.map((cell) => cell.dataset.value)")]
    assert values == sorted(values, reverse=True)
    best = order()
    first.click()
    assert order() == best[::-1]
    assert "model-00 (simulated respondent, a control)" in grid.locator("tbody").nth(1).text_content()
    grid.locator("tbody td a").nth(1).click()
    ready(page)
    assert view(page)["task"] == "task_1"
    page.close()


def test_each_chart_is_saved_as_csv_svg_and_png(browser: Any, path: Path) -> None:
    page = ready(opened(browser, path, "#view&by=country&task=task_0&models=model-01|model-02"))
    page.wait_for_selector("figure.map[data-ready]")
    for figure, groups in (("#explorer figure.drawn:not(.map)", 52), ("figure.map", 26)):
        rows = list(csv.DictReader(io.StringIO(saved(page, figure, "CSV").decode("utf-8-sig"))))
        assert len(rows) == groups
        assert {row["dimension"] for row in rows} == {"country"}
        assert all(re.fullmatch(r"f_[0-9a-f]{10}", row["estimate_id"]) for row in rows)
    for figure in ("#explorer figure.drawn:not(.map)", "figure.map", "#grid-accuracy"):
        drawing = saved(page, figure, "SVG").decode()
        ElementTree.fromstring(drawing)
        assert "var(" not in drawing
        assert "Study many" in drawing, "the source stands below"
        assert saved(page, figure, "PNG").startswith(b"\x89PNG")
    cells = list(csv.reader(io.StringIO(saved(page, "#grid-accuracy", "CSV").decode("utf-8-sig"))))
    assert cells[0][1].startswith("Model")
    assert page.said == []
    page.close()


def test_the_map_hatches_the_uncertain_and_names_what_it_cannot_show(browser: Any, path: Path) -> None:
    page = opened(browser, path, "#view&by=sex")
    page.wait_for_selector("figure.map[data-ready]")
    drawn = page.locator("figure.map svg path[fill='url(#hatch)']").count()
    assert drawn > 5
    assert "Too small for this map: Aruba" in page.locator("figure.map > p.sub").text_content()
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (800, "dark"), (360, "light")])
def test_axe_finds_nothing_and_nothing_is_out_of_sight(browser: Any, path: Path, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = ready(opened(browser, path, "#view&by=country", width=width, scheme=scheme))
    page.wait_for_selector("figure.map[data-ready]")
    page.evaluate("document.querySelectorAll('details').forEach((it) => (it.open = true))")
    page.wait_for_selector("figure.map table")
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [(rule["id"], node["html"]) for rule in found for node in rule["nodes"]] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.wait_for_timeout(100)
    without = """[...document.querySelectorAll(".scroll")].filter((it) => it.scrollWidth > it.clientWidth + 1
        && !it.previousElementSibling?.matches(".cue")).length"""
    assert page.evaluate(without) == 0, "a table is cut off without a cue"
    page.close()


def test_without_scripts_the_page_has_the_estimates_as_tables(browser: Any, path: Path) -> None:
    page = opened(browser, path, scripts=False)
    row = page.locator("noscript table tr", has_text="women 65 and over").first
    assert row.is_visible()
    assert "differs −3" in " ".join(row.text_content().split())
    assert page.locator("#grid-accuracy td.cell").first.is_visible()
    page.close()


def test_the_page_is_printed_with_its_charts_on_few_pages(browser: Any, path: Path) -> None:
    page = ready(opened(browser, path))  # nobody scrolled: charts are drawn when the page is idle
    pages = len(re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True)))
    print(f"\n{pages} printed pages")
    assert pages <= PRINTED_PAGES
    page.close()


def test_a_wave_can_be_chosen_where_the_study_has_estimates_by_wave(browser: Any, tmp_path: Path) -> None:
    of_all = [fab.estimate(dimensions="sex", subgroup=sex) for sex in ("female", "male")]
    waves = {"w1": 0.2, "w2": 0.7}
    of_waves = [
        fab.estimate(dimensions="wave×sex", subgroup=f"{wave}×{sex}", estimate=value, ci_low=None, ci_high=None)
        for wave, value in waves.items()
        for sex in ("female", "male")
    ]
    file = tmp_path / "report.html"
    file.write_text(render(subgroup_metrics=fab.estimates(*of_all, *of_waves)), encoding="utf-8")
    page = ready(opened(browser, file, "#view&by=sex"))
    page.select_option("#pick-wave", "w2")
    page.wait_for_function("document.querySelector('#explorer figcaption').textContent.includes('w2')")
    assert (view(page)["wave"], view(page)["by"]) == ("w2", "wave×sex")
    assert "70.0 %" in page.locator("#explorer figcaption").first.text_content()
    assert page.locator("#explorer .drawing svg text", has_text="Female").count() == 1
    assert page.said == []
    page.close()
