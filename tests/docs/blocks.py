"""The code blocks of README.md, CONTRIBUTING.md and docs/, with what each page says about them.

A comment before a block says why it is not run, or what it is:

    <!-- not run: needs a PostgreSQL server; tests/scale/test_postgres.py runs it -->
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md")))
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^>]+?) -->\n+)?"
    r"(?:^`(?P<file>[\w./-]+\.\w+)`\n\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A code block: its page, line, language and text, the file that it is, and why it is not run."""

    page: str
    line: int
    language: str
    text: str
    file: str | None
    reason: str | None

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def lines(self) -> list[str]:
        """The lines without comments; a line that ends in a backslash goes on in the next."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        return [line for one in joined.splitlines() if (line := re.sub(r"(^|\s)#.*", "", one).strip())]


@cache
def blocks() -> tuple[Block, ...]:
    """All code blocks, in the order of the pages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            file, reason, language, code = match.group("file", "reason", "language", "text")
            line = text.count("\n", 0, match.start("language")) + 1
            found.append(Block(str(page.relative_to(ROOT)), line, language, code, file, reason))
    return tuple(found)


def of(language: str) -> list[Block]:
    """The blocks of one language."""
    return [block for block in blocks() if block.language == language]


@cache
def inline_commands() -> tuple[tuple[str, str], ...]:
    """Commands of `mpta` within sentences: page and command."""
    found = []
    for page in PAGES:
        text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        found += [(str(page.relative_to(ROOT)), " ".join(code.split())) for code in re.findall(r"`(mpta [^`]+)`", text)]
    return tuple(dict.fromkeys(found))
