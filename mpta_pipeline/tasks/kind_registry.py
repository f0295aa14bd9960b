"""Find the task kinds of the package and of a deployment's configuration folder, and look one up by name.

A kind is one file: `NAME.py` with a tuple `KINDS`, or `NAME.yaml` for a file of multiple-choice questions. The package
has its own in `tasks/kinds/`; a deployment puts its own into `task_kinds/` of its configuration folder. Python files
there are executed with all rights of the process, as the user's own code.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from mpta_pipeline.core.configuration import config_dir
from mpta_pipeline.core.errors import ConfigError, MptaError
from mpta_pipeline.core.own_records import SetAside
from mpta_pipeline.core.study import TaskConfig
from mpta_pipeline.core.unknown_names import unknown_name
from mpta_pipeline.core.untrusted_text import printable
from mpta_pipeline.tasks import kinds as packaged
from mpta_pipeline.tasks.kinds import multiple_choice
from mpta_pipeline.tasks.task_kind import COMMON_OPTIONS, TaskKind

FOLDER = "task_kinds"


@dataclass(frozen=True)
class KindRegistry:
    """The task kinds that a deployment can use.

    Attributes:
        kinds: Name → kind.
        files: Name → its file, for kinds of the configuration folder.
        set_aside: Files of the configuration folder that are not used.
    """

    kinds: Mapping[str, TaskKind]
    files: Mapping[str, Path]
    set_aside: tuple[SetAside, ...] = ()


def task_kinds(config: Path | None = None) -> KindRegistry:
    """All task kinds. A file of the configuration folder that cannot be used is set aside.

    Args:
        config: Configuration folder; None for that of the environment.
    """
    folder = (config_dir() if config is None else config) / FOLDER
    found = sorted(path for pattern in ("*.yaml", "*.py") for path in folder.glob(pattern))
    stamps = tuple((path, (state := path.stat()).st_mtime_ns, state.st_size) for path in found)
    return _registry(tuple(packaged.__path__), stamps)


@lru_cache(maxsize=16)
def _registry(folders: tuple[str, ...], stamps: tuple[tuple[Path, int, int], ...]) -> KindRegistry:
    """The registry of these folders of the package and these files, which are read again when they change."""
    kinds = dict(_packaged(folders))
    files: dict[str, Path] = {}
    aside: list[SetAside] = []
    for path, _, _ in stamps:
        try:
            found = _from_file(path)
            for kind in found:
                _refuse_known_name(kind, kinds, path)
        except MptaError as failure:
            aside.append(SetAside(path, str(failure)))
        except (Exception, SystemExit) as failure:  # the user's own code can fail in any way
            aside.append(SetAside(path, printable(f"The file cannot be executed: {type(failure).__name__}: {failure}")))
        else:
            kinds |= {kind.name: kind for kind in found}
            files |= {kind.name: path for kind in found}
    return KindRegistry(kinds, files, tuple(aside))


@cache
def _packaged(folders: tuple[str, ...]) -> Mapping[str, TaskKind]:
    found: list[TaskKind] = []
    for module in sorted(m.name for m in pkgutil.iter_modules(list(folders))):
        found += importlib.import_module(f"{packaged.__name__}.{module}").KINDS
    for path in sorted(path for folder in folders for path in Path(folder).glob("*.yaml")):
        found.append(multiple_choice.from_yaml(path))
    return {kind.name: kind for kind in found}


def _from_file(path: Path) -> tuple[TaskKind, ...]:
    """The kinds of one file of the configuration folder.

    Raises:
        ConfigError: The file has no `KINDS`, or breaks the format of YAML kinds.
    """
    if path.suffix == ".yaml":
        return (multiple_choice.from_yaml(path),)
    spec = importlib.util.spec_from_file_location(f"mpta_task_kinds_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look up their annotations
    spec.loader.exec_module(module)
    kinds = getattr(module, "KINDS", None)
    if not isinstance(kinds, Iterable) or not all(isinstance(kind, TaskKind) for kind in kinds):
        raise ConfigError(
            "The file does not define task kinds",
            file=path,
            variable="KINDS",
            remedy="set KINDS to a tuple of TaskKind (mpta_pipeline.tasks.task_kind)",
        )
    return tuple(kinds)


def _refuse_known_name(kind: TaskKind, known: Mapping[str, TaskKind], path: Path) -> None:
    if kind.name in known:
        raise ConfigError(
            f"There is already a task kind {kind.name}; the one in this file is not used",
            file=path,
            remedy="give the kind another name",
        )


def kind_of(name: str, config: TaskConfig, folder: Path | None = None) -> TaskKind:
    """The kind of a task.

    Args:
        name: Task.
        config: Its configuration.
        folder: Configuration folder; None for that of the environment.

    Raises:
        ConfigError: The study names a kind, or an option of it, that does not exist.
    """
    registry = task_kinds(folder)
    kind = registry.kinds.get(config.kind)
    if kind is None:
        broken = "".join(f"; {aside.name} is not used: {aside}" for aside in registry.set_aside)
        hint = f"or add {FOLDER}/{config.kind}.yaml to the configuration folder{broken}"
        raise unknown_name(
            "kind of task", config.kind, sorted(registry.kinds), variable=f"tasks.{name}.kind", hint=hint
        )
    if unknown := sorted(set(config.options) - set(kind.options) - set(COMMON_OPTIONS)):
        known = sorted({*kind.options, *COMMON_OPTIONS})
        raise unknown_name(f"option of tasks of kind {kind.name}", unknown[0], known, variable=f"tasks.{name}.options")
    return kind
