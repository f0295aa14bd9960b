"""The Dagster instance that every command shares with the UI."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mpta_pipeline.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import dagster as dg

    from mpta_pipeline.pipeline.deployment import Deployment


NO_FOLDER = "run in the folder that holds dagster_home/, set MPTA_CONFIG_DIR to it, or create it with `mpta init`"
"""What to do if the configuration folder, which is Dagster's home by default, does not exist."""


def dagster_home(deployment: Deployment) -> Path:
    """Dagster's home: `DAGSTER_HOME`, by default the configuration folder."""
    return Path(os.environ.get("DAGSTER_HOME") or deployment.config).resolve()


@contextmanager
def open_instance(deployment: Deployment) -> Iterator[dg.DagsterInstance]:
    """Open the instance; also sets `DAGSTER_HOME` for the processes that the command starts.

    Raises:
        ConfigError: Dagster's home is not a folder or cannot be written.
    """
    home = dagster_home(deployment)
    if not home.is_dir() or not os.access(home, os.W_OK):
        raise ConfigError(
            "Dagster's home cannot be written" if home.is_dir() else "Dagster's home is not a folder",
            file=home,
            variable="DAGSTER_HOME",
            remedy=NO_FOLDER,
        )
    os.environ["DAGSTER_HOME"] = str(home)
    # Imported here: Dagster takes half a second, which commands that only read need not wait for.
    import warnings

    import dagster as dg

    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    with dg.DagsterInstance.get() as instance:
        yield instance
