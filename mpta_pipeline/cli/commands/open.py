"""`mpta open`: the report, the UI or the documentation in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result
from mpta_pipeline.core.errors import ConfigError

if TYPE_CHECKING:
    from mpta_pipeline.core.storage import Layout

WHAT = ("report", "ui", "docs")


@command(
    Group.START,
    examples=["mpta open  # the report", "mpta open ui  # Dagster's UI, if `mpta ui` runs", "mpta open docs"],
)
def open(
    what: Annotated[str, typer.Argument(help="report, ui or docs.")] = "report",
    port: Annotated[int, typer.Option(help="Port of the UI.", min=1, max=65535)] = 3000,
) -> Result:
    """Open the report, the UI or the documentation in your browser, and print its address.

    Where there is no browser, as on a server, the address is printed all the same.
    """
    import webbrowser

    from mpta_pipeline.core.storage import Layout
    from mpta_pipeline.core.unknown_names import check_name

    check_name("page", what, WHAT, variable="WHAT")
    address = {"report": lambda: _report(Layout.from_env()), "ui": lambda: _ui(port), "docs": _docs}[what]()
    opened = _has_display() and webbrowser.open(address)
    result = Result(facts={"address": address, "opened": opened})
    result.info(address)
    if not opened:
        result.note("No browser could be started here; open this address yourself.")
    return result


def _report(layout: Layout) -> str:
    """Address of the report.

    Raises:
        ConfigError: There is none yet.
    """
    if not layout.report.exists():
        raise ConfigError(
            "There is no report yet",
            file=layout.report,
            remedy="`mpta run` writes it at its end, or `mpta demo` shows one on example data",
        )
    return layout.report.as_uri()


def _ui(port: int) -> str:
    """Address of the UI.

    Raises:
        ConfigError: It does not run.
    """
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        raise ConfigError(
            "The UI does not run",
            variable="--port",
            value=port,
            remedy="start it with `mpta ui`, or give the port that it runs on",
        ) from None
    return f"http://127.0.0.1:{port}"


def _docs() -> str:
    """Address of the documentation: the built site of a clone, its source, or the project's page."""
    from importlib.metadata import metadata
    from pathlib import Path

    import mpta_pipeline

    root = Path(mpta_pipeline.__file__).resolve().parents[1]
    for page in (root / "build" / "site" / "index.html", root / "docs" / "index.md"):
        if page.exists():
            return page.as_uri()
    urls = dict(line.split(", ", 1) for line in metadata("mpta-pipeline").get_all("Project-URL") or ())
    if address := urls.get("Documentation") or urls.get("Homepage") or urls.get("Repository"):
        return str(address)
    raise ConfigError(
        "The documentation is not installed with the package",
        file=root,
        remedy="open docs/ of a clone of the project; `mpta COMMAND --help` explains each command",
    )


def _has_display() -> bool:
    """Whether a browser can show something here. A text browser would take over the terminal."""
    import os
    import sys

    return sys.platform in ("darwin", "win32") or any(
        os.environ.get(v) for v in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
