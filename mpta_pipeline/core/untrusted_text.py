"""Text that others wrote (file names, labels, items, replies, servers' messages), made safe to show.

A terminal obeys escape sequences, and Markdown makes a browser fetch addresses; whatever is shown passes here.
"""

from __future__ import annotations

import re

# Control characters but tab and line feed, surrogates (of file names that are not UTF-8), and marks that turn the
# direction of what follows.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_MARKDOWN = re.compile(r"([\\`*\[\]()!#|~$])")


def printable(text: str) -> str:
    r"""A text without anything that a terminal or a file would take for more than a character.

    >>> printable("red\x1b[31m")
    'red\\x1b[31m'
    """
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def one_line(text: str) -> str:
    """As `printable`, with line feeds and tabs shown too: for names."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def markdown(text: str) -> str:
    r"""A text that Markdown shows as it stands: no image, link or HTML comes of it, and no cell of a table ends.

    >>> markdown("![x](http://example.org) <b>")
    '\\!\\[x\\]\\(http://example.org\\) &lt;b&gt;'
    """
    html = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", html).replace("\n", " ")


def verbatim(text: str) -> str:
    """A text as a code block of Markdown, with a fence longer than any in it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}\n{printable(text)}\n{fence}"
