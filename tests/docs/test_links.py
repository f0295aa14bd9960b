"""Links between pages lead somewhere, the table of contents is complete, and README.md stays short."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"!?\[[^\]]+\]\(([^)\s]+)\)")
README_WORDS = 1200


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_every_link_leads_somewhere(page):
    for target in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target} does not exist"
        assert not anchor or anchor in anchors(linked), f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_every_path_that_a_page_names_exists(page):
    text = re.sub(r"^### Add .*?(?=^##)", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for path in re.findall(r"`((?:mpta_pipeline|tests|sql|tools|dagster_home|docs)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path


def test_the_table_of_contents_names_every_page():
    index = (DOCS / "index.md").read_text(encoding="utf-8") + (DOCS / "decisions/index.md").read_text(encoding="utf-8")
    linked = {Path(target).name for target in LINK.findall(index)} | {"index.md"}
    assert {p.name for p in DOCS.rglob("*.md")} - linked == set()


def test_the_web_site_shows_every_page():
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    shown = set(re.findall(r": ([\w/-]+\.md)$", site, re.MULTILINE))
    pages = {str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md")}
    assert shown == pages | {"contributing.md", "changelog.md"}


def test_every_page_has_one_title():
    for page in PAGES:
        titles = re.findall(r"^# .+$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
        assert len(titles) == 1, page


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= README_WORDS


def test_yaml_examples_can_be_read():
    for page in PAGES:
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            assert yaml.safe_load(block) is not None, page


def test_forms_are_whole():
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[0-9]*.yml"))
    assert len(forms) >= 5
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(form)
        ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
        assert len(ids) == len(set(ids)), path
        assert any(part.get("validations", {}).get("required") for part in form["body"]), path
