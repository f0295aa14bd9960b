"""Turn the HTML of survey texts into plain text, and Qualtrics' piped text into fields."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_BREAKS = {"br", "p", "div", "li", "tr", "ul", "ol", "table", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "blockquote"}
_CELLS = {"td", "th"}
_SILENT = {"style", "script"}
_MEDIA = {"img", "video", "audio", "iframe", "embed", "object", "svg", "canvas"}
_PIPE = re.compile(r"\$\{(?P<where>[a-z]+)://(?P<path>[^}]*)\}")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.media: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
        elif tag in _MEDIA:
            self.media.append(tag)
        elif tag in _BREAKS:
            self.parts.append("\n")
        elif tag in _CELLS:
            self.parts.append(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _SILENT:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(self._silent - 1, 0)
        elif tag in _BREAKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)


def plain(html: object) -> tuple[str, tuple[str, ...]]:
    r"""Plain text of HTML, and the images, videos and the like that it loses.

    >>> plain("Do you <b>agree</b>?<br><br>Tell&nbsp;us <img src='x.png'>")
    ('Do you agree?\nTell us', ('img',))
    """
    reader = _Reader()
    reader.feed("" if html is None else str(html))
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
    return "\n".join(line for line in lines if line), tuple(reader.media)


def with_named_fields(text: str) -> str:
    """Write Qualtrics' piped text as fields: `${e://Field/party}` becomes `{{party}}`.

    Other sources keep their address: `{{q://QID1/ChoiceGroup/SelectedChoices}}`.
    """

    def named(found: re.Match[str]) -> str:
        where, path = found["where"], found["path"].split("?")[0]
        return "{{" + (path.removeprefix("Field/") if where == "e" else f"{where}://{path}") + "}}"

    return _PIPE.sub(named, text)
