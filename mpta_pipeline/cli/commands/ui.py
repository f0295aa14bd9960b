"""`mpta ui`: Dagster's UI on the instance of this deployment."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from mpta_pipeline.cli.command import Group, command
from mpta_pipeline.core.errors import ConfigError


@command(Group.START, examples=["mpta ui  # http://127.0.0.1:3000", "mpta ui --port 3001"])
def ui(
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Open Dagster's UI and start its daemon on the instance of this deployment.

    As `dagster dev`, but requests from foreign web pages are refused. The UI answers to localhost, to the address that
    it listens on, and to the names that `MPTA_UI_HOSTS` lists (separated by commas).
    """
    from mpta_pipeline import orchestration
    from mpta_pipeline.cli.dagster_instance import NO_FOLDER
    from mpta_pipeline.core.configuration import config_dir

    config = config_dir()
    if not config.is_dir():
        raise ConfigError(
            "The configuration folder does not exist",
            file=config,
            remedy=NO_FOLDER,
        )
    if _taken(host, port):
        raise ConfigError(
            "Another program listens on this port",
            variable="--port",
            value=f"{host}:{port}",
            remedy=f"open http://{host}:{port} if that is the UI already, or choose another port",
        )
    _mark_killed_commands()  # also sets DAGSTER_HOME, as every command does
    workspace = config.parent / "workspace.yaml"
    if not workspace.exists():
        workspace = Path(orchestration.__path__[0]) / "workspace.yaml"
    words = ["-m", "mpta_pipeline.orchestration.web_server", "dev", "-w", str(workspace), "-h", host, "-p", str(port)]
    os.execv(sys.executable, [sys.executable, *words])


def _mark_killed_commands() -> None:
    """Mark the runs of killed commands as failed, so that the daemon does not wait for them; a running one is kept."""
    from mpta_pipeline.cli.dagster_instance import open_instance
    from mpta_pipeline.pipeline.deployment import Deployment

    deployment = Deployment.from_env()
    with open_instance(deployment) as instance, suppress(ConfigError):
        from mpta_pipeline.orchestration.command_runs import sole_command

        with sole_command(deployment, instance):
            pass


def _taken(host: str, port: int) -> bool:
    """Whether a program listens on a port of this machine."""
    import socket

    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host if host != "0.0.0.0" else "127.0.0.1", port)) == 0
