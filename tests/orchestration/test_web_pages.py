"""Our pages in front of Dagster's UI: start, report, and traces with links; and what metadata leads there."""

import asyncio
import base64
import re
from xml.etree import ElementTree

import httpx
import polars as pl
import pytest
from starlette.responses import PlainTextResponse

from mpta_pipeline.core import tables
from mpta_pipeline.core.provenance import Node
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.orchestration import charts, links
from mpta_pipeline.orchestration.assets.previews import extra_metadata
from mpta_pipeline.orchestration.column_lineage import lineage
from mpta_pipeline.orchestration.web_guard import guarded
from mpta_pipeline.orchestration.web_pages import WithPages
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.pipeline.stored import made
from tests.factories.deployment import model

CELL = "loopback|value_alignment"
EVIL = '![x](http://evil.example/a.png) <img src="http://evil.example/b.png"> </text><script>alert(1)</script> |`'


class Browser:
    """Asks our pages, in front of something that answers everything else."""

    def __init__(self):
        self.app = guarded(WithPages(PlainTextResponse("dagster")), "127.0.0.1")

    def get(self, address, **options):
        async def ask():
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1", follow_redirects=True
            ) as client:
                return await client.get(address, **options)

        return asyncio.run(ask())


@pytest.fixture
def browser(world):
    return Browser()


def open_to_all(world):
    (world.config / "surveys.yaml").write_text("sources: {gss_extract: {data_use: any}}\n")


def figure(**where):
    frame = pl.read_parquet(Layout.from_env().table("subgroup_metrics", *CELL.split("|")))
    return frame.filter(dimensions="all", **where).row(0, named=True)


@pytest.mark.usefixtures("finished")
def test_the_start_page_says_what_is_there_what_is_out_of_date_and_why(browser, world, server):
    page = browser.get("/mpta")
    assert page.status_code == 200 and "Nothing is out of date." in page.text and links.REPORT in page.text
    assert "script" not in page.headers["content-security-policy"]
    paid = model(server.url) | {"model": "paid", "price": {"input": 100.0, "output": 100.0}}
    world.models({"loopback": model(server.url), "paid": paid})
    page = browser.get("/mpta/").text
    assert "mpta approve paid" in page and "US$" in page
    assert browser.get("/assets").text == "dagster", "everything else is Dagster's"
    person = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert browser.get("/", headers=person).url.path == "/mpta" and browser.get("/").text == "dagster"


@pytest.mark.usefixtures("finished")
def test_the_report_is_served_as_another_origin_than_dagster(browser, world):
    page = browser.get(links.REPORT)
    assert page.text == Layout.from_env().report.read_text(encoding="utf-8")
    policy = page.headers["content-security-policy"]
    assert "sandbox" in policy and "allow-same-origin" not in policy
    assert browser.get(links.REPORT, headers={"Host": "evil.example"}).status_code == 400, "the guard stands before it"
    Layout.from_env().report.unlink()
    assert browser.get(links.REPORT).status_code == 404


@pytest.mark.usefixtures("finished")
def test_a_figure_is_followed_by_links_to_the_file(browser, world):
    open_to_all(world)
    wanted = figure(condition="persona", metric="accuracy")
    page = browser.get("/mpta/trace", params={"id": wanted["estimate_id"]})
    assert page.url.path == links.trace(wanted["estimate_id"])
    seen = ""
    prompts = pl.read_parquet(Layout.from_env().table("prompts", "value_alignment"))["prompt_id"].to_list()
    for step in (prompts, ["r_"], ["gss_extract-201"]):
        addresses = re.findall(r'href="(/mpta/trace/[^"]+)"', page.text)
        found, *_ = [a for a in addresses if any(a.startswith(links.trace(name)) for name in step)]
        page = browser.get(found)
        assert page.status_code == 200, found
        seen += page.text
    assert "wave_201" in seen and re.search("ab(any|defect|poor|rape)", seen), (
        "the file and its variables are on the way"
    )


@pytest.mark.usefixtures("finished")
def test_single_respondents_are_shown_only_if_their_source_permits_it(browser, world):
    (world.config / "surveys.yaml").write_text("sources: {gss_extract: {data_use: local_only}}\n")
    person = pl.read_parquet(Layout.from_env().table("personas"))["respondent_id"][0]
    page = browser.get(links.trace(person)).text
    assert "keeps single respondents on this machine" in page and "<table" not in page
    page = browser.get(links.trace(figure()["estimate_id"])).text
    assert "Waves, releases and files" in page and not re.search(r">r_[0-9a-f]", page)
    open_to_all(world)
    assert "<table" in browser.get(links.trace(person)).text


@pytest.mark.usefixtures("finished")
def test_what_nobody_knows_is_told_and_not_executed(browser, world):
    page = browser.get(links.trace("<script>alert(1)</script>"))
    assert page.status_code == 404 and "Nothing has this id" in page.text and "<script>" not in page.text


def drawn(value):
    """The SVG document behind Markdown with a picture, and the words that stand for it."""
    words, data = re.fullmatch(r"!\[([^\[\]]*)\]\(data:image/svg\+xml;base64,([^)]*)\)", value).groups()
    return words, ElementTree.fromstring(base64.b64decode(data))


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize(("table", "key"), [("subgroup_metrics", CELL), ("pockets", CELL), ("model_comparison", "")])
def test_estimates_pockets_and_comparison_show_a_chart_that_leads_on(world, table, key):
    deployment = Deployment.from_env()
    shown = extra_metadata(deployment, made(deployment, Node(table, key)))
    rows = pl.read_parquet(Layout.from_env().table(table, *(key.split("|") if key else ())))
    pictures = [value.md_str for name, value in shown.items() if name.startswith("chart")]
    assert len(pictures) == (1 if rows.height and table != "model_comparison" else 0), shown.keys()
    assert any("●" in str(value.value) for value in shown.values()) == bool(pictures)
    for picture in pictures:
        words, svg = drawn(picture)
        assert words and svg.tag.endswith("svg") and len(list(svg)) > 3
    if table == "subgroup_metrics":
        way = shown["where a figure comes from"].md_str
        assert re.search(r"/mpta/trace/f_\w+\), `mpta trace f_", way) and "/assets/prompts" in way
        assert re.search("gss_extract-2018:ab[a-z]+", way) and "wave_2018.sav" in way
        assert not re.search(r"\br_[0-9a-f]{4}", way), "names nobody"


def test_foreign_text_in_a_chart_stays_text():
    svg = charts.forest([charts.Row(EVIL, 0.5, 0.4, 0.6, strong=True)], reference=0.0, note=EVIL)
    _, document = drawn(charts.picture(svg, EVIL).md_str)
    assert {element.tag.partition("}")[2] for element in document.iter()} <= {
        "svg", "rect", "line", "text", "title", "circle",
    }  # fmt: skip
    assert not any("href" in name or name.startswith("on") for e in document.iter() for name in e.attrib)


def test_columns_of_one_origin_share_a_line_that_leads_to_it():
    lines = lineage("scores")["columns come from"].md_str.splitlines()
    assert "| model, task, prompt_id, request_hash | [responses](/assets/responses), unchanged |" in lines
    assert len(lines) < len(tables.SCORES.schema) / 2
    evil = lineage("harmonized_wave", {"sex": [("raw_wave", "a|b](http://evil.example)")]})["columns come from"].md_str
    assert "a\\|b\\]\\(http" in evil


def test_strips_are_shown_without_a_click_and_foreign_text_in_them_is_escaped():
    rows = [charts.Row(f"{i} {EVIL}", i / 30, i / 30 - 0.1, i / 30 + 0.1, strong=i == 1) for i in range(24)]
    text = charts.strips(rows, reference=0.0).md_str
    assert len(text) < 1000 and text.count("●") > 6 and "![" not in text.replace("\\!\\[", "") and "<" not in text
    assert len(charts.strips(rows[:1]).md_str.splitlines()) == 3
