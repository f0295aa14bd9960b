"""Dagster's web server with the check of Host and Origin in front, alone or as a part of `dagster dev`.

    python -m mpta_pipeline.orchestration.web_server dev -w workspace.yaml    # what `mpta ui` runs
    python -m mpta_pipeline.orchestration.web_server serve -w workspace.yaml  # in place of `dagster-webserver`

The options are those of `dagster dev` and `dagster-webserver`. Neither can be given a middleware. So every application
that uvicorn is configured with is wrapped, and `dagster dev` starts this module where it would start its own server. If
a version of Dagster starts it in another way, nothing is served.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

WEB_SERVER = ["-m", "dagster_webserver"]
GUARDED = ["-m", "mpta_pipeline.orchestration.web_server", "serve"]


def serve(arguments: Sequence[str]) -> None:
    """Run `dagster-webserver` with the check in front."""
    import uvicorn
    from dagster_webserver.cli import dagster_webserver

    from mpta_pipeline.orchestration.web_guard import guarded
    from mpta_pipeline.orchestration.web_pages import WithPages

    configure = uvicorn.Config.__init__

    def configure_guarded(self: uvicorn.Config, app: Any, host: str = "127.0.0.1", **options: Any) -> None:
        configure(self, guarded(WithPages(app), host), host=host, **options)

    uvicorn.Config.__init__ = configure_guarded  # type: ignore[method-assign,assignment]
    dagster_webserver(list(arguments), prog_name="dagster-webserver", auto_envvar_prefix="DAGSTER_WEBSERVER")


def dev(arguments: Sequence[str]) -> None:
    """Run `dagster dev` with the guarded web server."""
    # No public option names the web server that is started.
    from dagster._cli import dev as dagster_dev

    vars(dagster_dev)["open_ipc_subprocess"] = GuardedStarts(vars(dagster_dev)["open_ipc_subprocess"])
    dagster_dev.dev_command(list(arguments), prog_name="dagster dev", auto_envvar_prefix="DAGSTER_DEV")


class GuardedStarts:
    """Starts the processes of `dagster dev`, with this module in place of Dagster's web server."""

    def __init__(self, start: Any) -> None:
        self.start = start
        self.has_guard = False

    def __call__(self, words: Sequence[str], **options: Any) -> Any:
        """Start a process.

        Raises:
            RuntimeError: Another process is started before the web server, so that server is not recognized.
        """
        interpreter, *rest = words
        if rest[:2] == WEB_SERVER:
            self.has_guard = True
            rest = [*GUARDED, *rest[2:]]
        if not self.has_guard:
            raise RuntimeError("this version of Dagster starts its web server in another way; use a supported version")
        return self.start([interpreter, *rest], **options)


if __name__ == "__main__":
    {"serve": serve, "dev": dev}[sys.argv[1]](sys.argv[2:])
