"""Make text from outside safe to display: file names, labels, items, replies, server messages.

Terminals execute escape sequences, and Markdown can make a browser fetch addresses. All displayed text from outside
passes through this module.
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
    """Like `printable`, but also escapes line feeds and tabs; for names."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def markdown(text: str) -> str:
    r"""A text that Markdown shows literally: it creates no image, link or HTML, and does not end a table cell.

    >>> markdown("![x](http://example.org) <b>")
    '\\!\\[x\\]\\(http://example.org\\) &lt;b&gt;'
    """
    html = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", html).replace("\n", " ")


def verbatim(text: str) -> str:
    """A text as a Markdown code block, with a fence longer than any inside it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}\n{printable(text)}\n{fence}"
