"""Make text that others wrote safe to show: file names, labels, items, replies, messages of servers.

A terminal obeys escape sequences, and Markdown can make a browser fetch addresses. All foreign text that is shown
passes through here.
"""

from __future__ import annotations

import re

# Control characters except tab and line feed, surrogates (from file names that are not UTF-8), and marks that change
# the direction of the text after them.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_MARKDOWN = re.compile(r"([\\`*\[\]()!#|~$])")


def printable(text: str) -> str:
    r"""A text in which every character that a terminal or file could interpret is escaped.

    >>> printable("red\x1b[31m")
    'red\\x1b[31m'
    """
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """As `printable`, with line feeds and tabs escaped too; for names."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def markdown(text: str) -> str:
    r"""A text that Markdown shows literally: it makes no image, link or HTML, and ends no table cell.

    >>> markdown("![x](http://example.org) <b>")
    '\\!\\[x\\]\\(http://example.org\\) &lt;b&gt;'
    """
    html = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", html).replace("\n", " ")


def verbatim(text: str) -> str:
    """A text as a Markdown code block, with a fence longer than any inside it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}\n{printable(text)}\n{fence}"
