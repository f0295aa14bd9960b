"""Options that several commands have in common: lists of names, and names checked before anything is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.unknown_names import check_name

if TYPE_CHECKING:
    from mpta_pipeline.pipeline.deployment import Deployment


def names(option: str | None) -> list[str]:
    """The names of a comma-separated option; none if it was not given."""
    return [name.strip() for name in (option or "").split(",") if name.strip()]


def model_names(option: str | None, deployment: Deployment) -> list[str]:
    """The models that an option names.

    Raises:
        ConfigError: A model is not in the study.
    """
    for name in (given := names(option)):
        check_model(name, deployment)
    return given


def check_model(name: str, deployment: Deployment, *, variable: str = "--models") -> None:
    """Reject the name of a model that is not in the study.

    Raises:
        ConfigError: There is no such model.
    """
    file = deployment.config / "models.yaml"
    check_name("model", name, deployment.models, variable=variable, file=file, hint="or add an entry to models.yaml")


def control_names(deployment: Deployment) -> list[str]:
    """The simulated respondents of the study.

    Raises:
        ConfigError: There are none.
    """
    found = [name for name, spec in deployment.models.items() if spec.control]
    if not found:
        raise ConfigError(
            "The study has no simulated respondent",
            file=deployment.config / "models.yaml",
            variable="provider",
            remedy="add one to models.yaml, e.g. `echo: {provider: simulated, accuracy: 0.85}`, "
            "or run `mpta demo` without --quick",
        )
    return found


def task_names(option: str | None, deployment: Deployment) -> list[str]:
    """The tasks that an option names.

    Raises:
        ConfigError: A task is not in the study.
    """
    file = deployment.config / "study.yaml"
    for name in (given := names(option)):
        check_name("task", name, deployment.study.tasks, variable="--tasks", file=file, hint="or add it to study.yaml")
    return given
