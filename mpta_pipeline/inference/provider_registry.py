"""Find the providers: the files in `inference/providers/` and those in `providers/` of the configuration folder.

The file's name is the provider's name. A file of the configuration folder that cannot be loaded is set aside with a
message: only the models that use it cannot be used.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import ConfigDict

from mpta_pipeline.core.configuration import config_dir
from mpta_pipeline.core.errors import ConfigError, ModelError
from mpta_pipeline.core.hashing import digest
from mpta_pipeline.core.vocabulary import ELICITATIONS
from mpta_pipeline.inference import providers
from mpta_pipeline.inference.providers.base import Provider, ProviderOptions

if TYPE_CHECKING:
    from mpta_pipeline.inference.models import ModelSpec

FOLDER = "providers"
_NOT_PROVIDERS = ("base",)


@dataclass(frozen=True)
class Providers:
    """The providers that a deployment has.

    Attributes:
        by_name: Name → class, those of files that cannot be loaded included: using one of these raises its problem.
        problems: What is wrong with the files that were set aside.
    """

    by_name: Mapping[str, type[Provider]]
    problems: tuple[ConfigError, ...] = ()

    @property
    def thinking_switches(self) -> tuple[str, ...]:
        """Request fields of all providers that tell a model whether to think."""
        return tuple(dict.fromkeys(s for one in self.by_name.values() for s in one.thinking_switches))

    def owners(self, field: str) -> list[str]:
        """Return the names of the providers that have a field of their own by this name."""
        return [name for name, one in self.by_name.items() if field in one.Options.model_fields]


def providers_of(config: Path | None = None) -> Providers:
    """Return the providers of the package and of a configuration folder (None: `MPTA_CONFIG_DIR`).

    Files of the configuration folder are loaded again when they change.
    """
    folder = (config or config_dir()) / FOLDER
    files = sorted(path for path in folder.glob("*.py") if not path.stem.startswith("_"))
    return _load(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files), _packaged())


def _packaged() -> tuple[str, ...]:
    """Names of the modules in the package's folder of providers."""
    return tuple(sorted({m.name for m in pkgutil.iter_modules(providers.__path__)} - set(_NOT_PROVIDERS)))


@lru_cache(maxsize=16)
def _load(files: tuple[tuple[Path, int, int], ...], packaged: tuple[str, ...]) -> Providers:
    by_name = {name: _provider_in(importlib.import_module(f"{providers.__name__}.{name}"), name) for name in packaged}
    problems = []
    for path, changed, _ in files:
        try:
            if path.stem in packaged:
                raise ValueError(f"the package has a provider {path.stem} already; give the file another name")
            by_name[path.stem] = _provider_in(_imported(path, changed), path.stem)
        except (Exception, SystemExit) as failure:  # the user's own code may fail in any way
            problem = ConfigError(
                f"The provider {path.stem} could not be loaded and was set aside: {_reason(failure, path)}",
                file=path,
                remedy="correct the file; models of other providers can be used meanwhile",
            )
            problems.append(problem)
            by_name.setdefault(path.stem, type("Unavailable", (_Unavailable,), {"problem": problem}))
    return Providers(by_name, tuple(problems))


def _imported(path: Path, changed: int) -> ModuleType:
    """Import a file of the configuration folder under a name of its own."""
    name = f"mpta_configured_provider_{path.stem}_{digest(str(path), str(changed), length=8)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("the file cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _provider_in(module: ModuleType, name: str) -> type[Provider]:
    """Return the one provider that a module defines.

    Raises:
        ValueError: It defines none, or several, or one that declares something invalid.
    """
    found = [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Provider) and one.__module__ == module.__name__
    ]
    found = [one for one in found if not inspect.isabstract(one)] or found
    if len(found) != 1:
        raise ValueError(f"the file must define one subclass of Provider, and defines {len(found)}")
    provider = found[0]
    if missing := sorted(provider.__abstractmethods__):
        raise ValueError(f"{provider.__name__} does not define {', '.join(missing)}")
    if unknown := [e for e in provider.elicitations if e not in ELICITATIONS]:
        raise ValueError(f"{provider.__name__}.elicitations has {unknown[0]!r}, which is not one of {ELICITATIONS}")
    return provider


def _reason(failure: BaseException, path: Path) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(failure.__traceback__) if frame.filename == str(path)]
    line = failure.lineno if isinstance(failure, SyntaxError) else next(reversed(lines), None)
    return f"{type(failure).__name__}: {failure}" + ("" if line is None else f" (line {line})")


class _AnyOptions(ProviderOptions):
    model_config = ConfigDict(extra="allow")


class _Unavailable(Provider):
    """Stands for a provider whose file was set aside: its models are known, and cannot be used."""

    problem: ConfigError
    elicitations = ELICITATIONS
    apis = ("chat", "completions")
    structured_output = True
    Options = _AnyOptions

    def __init__(self, spec: ModelSpec) -> None:
        self.check_available(spec)

    @classmethod
    def check_available(cls, spec: ModelSpec) -> NoReturn:
        raise ModelError(
            f"Model {spec.name} cannot be used: {cls.problem.problem}",
            file=cls.problem.file,
            variable=f"models.{spec.name}.provider",
            value=spec.provider,
            remedy=cls.problem.remedy,
        )

    def headers(self, key: str | None) -> NoReturn:
        self.check_available(self.spec)

    async def complete(self, *_: Any) -> NoReturn:
        self.check_available(self.spec)

    def read_response(self, *_: Any) -> NoReturn:
        self.check_available(self.spec)


def provider_for(spec: ModelSpec) -> Provider:
    """Return the provider of a model.

    Raises:
        ModelError: The provider's file was set aside.
    """
    return spec.provider_class(spec)


def provider_problems(config: Path | None = None) -> tuple[ConfigError, ...]:
    """Return what is wrong with the provider files of a configuration folder that were set aside."""
    return providers_of(config).problems
