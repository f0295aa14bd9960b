"""Studies to start from: complete configurations after published designs, which `mpta init --study` writes.

Each is a folder of `ready_studies/` with `study.yaml`, `models.yaml`, `published.yaml` and, in `about.yaml`, what the
list shows. To add one, add a folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mpta_pipeline.core.configuration import StrictModel, read_yaml, templates, validated
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.published_figures import PublishedStudy, load_published
from mpta_pipeline.core.unknown_names import check_name

FOLDER = Path(__file__).resolve().parents[1] / "ready_studies"
ABOUT = "about.yaml"
_FROM_TEMPLATES = ("surveys.yaml", "dagster.yaml")


class About(StrictModel):
    """What the list of ready studies says about one.

    Attributes:
        order: Place in the list.
        sentence: The question of the study, in one sentence.
        calls: Requests to the embedded model.
        minutes: Minutes that these take on two cores, as `mpta plan` estimates them.
        measured_with: The files with which both were counted.
        extracts: Names of survey extracts that `mpta init --extracts` can write for it.
    """

    order: int
    sentence: str
    calls: int
    minutes: float
    measured_with: str
    extracts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadyStudy:
    """A study to start from.

    Attributes:
        name: Its name on the command line.
        folder: Its files.
        about: What the list says.
        published: The published study.
    """

    name: str
    folder: Path
    about: About
    published: PublishedStudy

    @property
    def files(self) -> list[Path]:
        """The configuration files that are copied, with those that every deployment has."""
        own = [path for path in sorted(self.folder.glob("*.yaml")) if path.name != ABOUT]
        named = {path.name for path in own}
        return [*own, *(path for path in templates() if path.name in _FROM_TEMPLATES and path.name not in named)]


@cache
def ready_studies() -> Mapping[str, ReadyStudy]:
    """Name → study, in the order of the list.

    Raises:
        ConfigError: A file of one is not valid.
    """
    found = []
    for path in FOLDER.glob(f"*/{ABOUT}"):
        about = validated(About, read_yaml(path), "The description of a ready study is not valid", file=path)
        published = load_published(path.parent)
        if published is None:
            raise ConfigError("A ready study has no published.yaml", file=path.parent, remedy="write one")
        found.append(ReadyStudy(path.parent.name, path.parent, about, published))
    return {study.name: study for study in sorted(found, key=lambda one: one.about.order)}


def write(name: str, folder: Path) -> list[Path]:
    """Write a ready study's configuration into a folder; returns the files.

    Raises:
        ConfigError: There is no such study, or the folder has one of the files already; then nothing is written.
    """
    known = ready_studies()
    check_name("ready study", name, known, variable="--study", hint="or list them with `mpta init --studies`")
    files = known[name].files
    if taken := [path.name for path in files if (folder / path.name).exists()]:
        raise ConfigError(
            f"The folder has {', '.join(taken)} already, and nothing was written",
            file=folder,
            variable="--study",
            value=name,
            remedy=f"name a new folder: `mpta init --study {name} FOLDER`",
        )
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(path, folder / path.name)) for path in files]
