"""Hooks of the web site: pages that are outside docs/ become pages of the site, and links between both keep working."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# Page of the site → file in the project.
OUTSIDE = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=[)#])")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages outside docs/."""
    for page, source in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite links between docs/ and the rest of the project to links within the site."""
    uri = page.file.src_uri
    folder = "" if uri in OUTSIDE else posixpath.dirname(posixpath.join("docs", uri))
    pages = {source: page for page, source in OUTSIDE.items()}

    def within(match: re.Match[str]) -> str:
        if "://" in match[1]:
            return match[1]
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        inside = pages.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(inside, posixpath.dirname(uri) or ".")

    return LINK.sub(within, markdown)
