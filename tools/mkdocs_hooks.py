"""Hooks of the web site: files outside docs/ become part of it, links between both keep working, formulas are set.

Formulas are written as `$…$` and `$$…$$`, which code hosts show; the site gets MathML, which browsers show without
scripts. Comments (`<!-- … -->`) are for the tests and do not reach the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# Page of the site → file in the project.
OUTSIDE = {
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    **{f"schemas/{name}.schema.json": f"dagster_home/{name}.schema.json" for name in ("study", "models", "surveys")},
}
CODE = re.compile(r"(^ *```.*?^ *```$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r"\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+)\$", re.DOTALL)
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(?=[)#])")


def on_files(files: Files, config: Any) -> Files:
    """Add the files outside docs/."""
    for page, source in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrite links between docs/ and the rest of the project to links within the site, and set the formulas."""
    uri = page.file.src_uri
    folder = posixpath.dirname(OUTSIDE[uri]) if uri in OUTSIDE else posixpath.dirname(posixpath.join("docs", uri))
    pages = {source: page for page, source in OUTSIDE.items()}

    def within(match: re.Match[str]) -> str:
        if "://" in match[1]:
            return match[1]
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        inside = pages.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(inside, posixpath.dirname(uri) or ".")

    markdown = re.sub(r"^<!-- .*? -->\n", "", markdown, flags=re.MULTILINE | re.DOTALL)
    parts = CODE.split(LINK.sub(within, markdown))
    return "".join(part if i % 2 else FORMULA.sub(_mathml, part) for i, part in enumerate(parts))


def _mathml(match: re.Match[str]) -> str:
    block, inline = match.group("block", "inline")
    return str(convert(block.strip(), display="block") if block else convert(inline))
