"""The web site of the documentation is built without network, shows every page, and needs nothing from elsewhere."""

from __future__ import annotations

import json
import re
import socket
import warnings
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from tests.docs.blocks import DOCS, ROOT

pytest.importorskip("mkdocs", reason="the web site needs the extra `docs`")
pytest.importorskip("material", reason="the web site needs the extra `docs`")
pytest.importorskip("latex2mathml", reason="the web site needs the extra `docs`")
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """What a page links to, loads, and can be linked to by."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {value for name in ("id", "name") if (value := given.get(name))}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")
        if tag in LOADED and given.get(LOADED[tag]) and given.get("rel") not in ("prev", "next", "canonical"):
            self.loads.append(given[LOADED[tag]] or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")

    def refused(*arguments: object) -> None:
        raise AssertionError(f"the build connects to {arguments}")

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries of the theme; `strict` turns those of mkdocs into errors
        patch.setattr(socket.socket, "connect", refused)
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def test_every_page_of_docs_is_a_page_of_the_site(site):
    made = {str(path.relative_to(site).with_suffix("")) for path in site.rglob("*.html")} - {"404"}
    written = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")}
    assert made == written | {"contributing", "changelog"}


def test_every_link_of_the_site_leads_somewhere(site):
    found = pages(site)
    for path, page in found.items():
        if path.name == "404.html":  # its links start at the root of a server
            continue
        for link in page.links:
            address, anchor = urldefrag(link)
            if re.match(r"[a-z]+:", address):
                continue
            target = (path.parent / unquote(address)).resolve() if address else path
            target = target / "index.html" if target.is_dir() else target
            assert target.exists(), f"{path.name}: {link}"
            if anchor and target in found:
                assert unquote(anchor) in found[target].ids, f"{path.name}: {link}"


def test_no_page_loads_anything_from_elsewhere(site):
    for path, page in pages(site).items():
        assert [address for address in page.loads if re.match(r"(https?:)?//", address)] == [], path.name


def test_formulas_are_set_and_comments_stay_out(site):
    text = (site / "methods/estimates.html").read_text(encoding="utf-8")
    assert text.count("<math") >= 10 and "$$" not in text
    for path in site.rglob("*.html"):
        assert "<!-- not run" not in path.read_text(encoding="utf-8"), path.name


def test_the_schemas_are_part_of_the_site(site):
    for name in ("study", "models", "surveys"):
        assert json.loads((site / f"schemas/{name}.schema.json").read_text(encoding="utf-8"))["title"]
