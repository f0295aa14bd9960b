"""`mpta ui`: Dagster's UI on the instance of this deployment."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.cli.result import Result
from mpta_pipeline.core.errors import ConfigError


@command(
    Group.START,
    examples=["mpta ui  # http://127.0.0.1:3000", "mpta ui --port 3001", "mpta ui --quiet  # warnings and errors only"],
)
def ui(
    port: Annotated[int, typer.Option(help="Port on this machine.", min=1, max=65535)] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> Result:
    """Open Dagster's UI and start its daemon on the instance of this deployment.

    As `dagster dev`, but requests from foreign web pages are refused. The UI answers to localhost, to the address that
    it listens on, and to the names that `MPTA_UI_HOSTS` lists (separated by commas).
    """
    from mpta_pipeline import orchestration
    from mpta_pipeline.cli import output
    from mpta_pipeline.cli.dagster_instance import NO_FOLDER
    from mpta_pipeline.core.configuration import config_dir

    config = config_dir()
    if not config.is_dir():
        raise ConfigError(
            "The configuration folder does not exist",
            file=config,
            remedy=NO_FOLDER,
        )
    _check_free(host, port)
    _mark_killed_commands()  # also sets DAGSTER_HOME, as every command does
    workspace = config.parent / "workspace.yaml"
    if not workspace.exists():
        workspace = Path(orchestration.__path__[0]) / "workspace.yaml"
    words = ["-m", "mpta_pipeline.orchestration.web_server", "dev", "-w", str(workspace), "-h", host, "-p", str(port)]
    if output.is_quiet():
        words += ["--log-level", "warning"]
    address = f"http://{'127.0.0.1' if host in EVERY_ADDRESS else host}:{port}"
    result = Result(facts={"address": address}, then=partial(os.execv, sys.executable, [sys.executable, *words]))
    result.info(f"The UI will be at {address} in some seconds; Ctrl-C ends it. `mpta open ui` shows it.")
    return result


EVERY_ADDRESS = ("0.0.0.0", "::")


def _check_free(host: str, port: int) -> None:
    """Check that the UI can listen there.

    Raises:
        ConfigError: Another program does, the port needs more rights, or this machine has no such address.
    """
    import errno
    import socket

    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        raise ConfigError(
            "There is no such host name", variable="--host", value=host, remedy="leave it out to listen on 127.0.0.1"
        ) from None
    except OSError as failure:
        if failure.errno == errno.EADDRINUSE:
            raise ConfigError(
                "Another program listens on this port",
                variable="--port",
                value=where,
                remedy=f"open http://{where} if that is the UI already, or choose another port, e.g. --port {port + 1}",
            ) from None
        raise ConfigError(
            f"The UI cannot listen there: {failure.strerror}",
            variable="--port",
            value=where,
            remedy="choose a port above 1023, and an address of this machine",
        ) from None


def _mark_killed_commands() -> None:
    """Mark the runs of killed commands as failed, so that the daemon does not wait for them; a running one is kept."""
    from mpta_pipeline.cli.dagster_instance import open_instance
    from mpta_pipeline.pipeline.deployment import Deployment

    deployment = Deployment.from_env()
    with open_instance(deployment) as instance, suppress(ConfigError):
        from mpta_pipeline.orchestration.command_runs import sole_command

        with sole_command(deployment, instance):
            pass
