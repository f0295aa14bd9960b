"""Read configuration files: the folder, strict YAML, and validation whose errors name file, key and remedy."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mpta_pipeline.core.errors import ConfigError, MptaError

_Model = TypeVar("_Model", bound=BaseModel)


class StrictModel(BaseModel):
    """A record of a configuration file. Unknown keys are errors, and values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_ATTRIBUTE = re.compile(r"^    (\w+): (.*\n(?:(?: {6,}.*)?\n)*)", re.MULTILINE)


def key_meanings(model: type[BaseModel]) -> dict[str, str]:
    """Key of a record → its meaning, as the section "Attributes" of the class's docstring says."""
    text = inspect.cleandoc(model.__doc__ or "").partition("Attributes:")[2]
    return {name: " ".join(meaning.split()) for name, meaning in _ATTRIBUTE.findall(text + "\n")}


def validated(
    model: type[_Model],
    raw: object,
    problem: str,
    *,
    file: str | Path | None,
    key: str = "",
    remedy: str = "correct that key",
    unknown_key: Callable[[str], str] | None = None,
    private: Collection[str] = (),
    error: type[MptaError] = ConfigError,
) -> _Model:
    """Validate a record, and turn pydantic's first problem into an error with file, key, value and remedy.

    Args:
        model: The record's type.
        raw: Content of the file.
        problem: What is wrong in general; the specific problem follows after a colon.
        file: The file, for the message.
        key: Dotted key of the record in the file.
        remedy: How to fix it.
        unknown_key: Remedy for an unknown key, given that key. The key's value is then not shown.
        private: Keys whose values may hold a secret and are never shown.
        error: The error's type.

    Raises:
        MptaError: The record is not valid; of the type `error`.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as failure:
        problems = failure.errors(include_url=False)
        # A misspelt key is reported before the key that is missing because of it.
        misspelt = [one for one in problems if one["type"] == "extra_forbidden"]
        first = misspelt[0] if misspelt and problems[0]["type"] == "missing" else problems[0]
        place = ".".join(str(part) for part in first["loc"])
        unknown = unknown_key is not None and first["type"] == "extra_forbidden"
        value = first.get("input")
        shown = isinstance(value, str | int | float) and not unknown and place.partition(".")[0] not in private
        raise error(
            f"{problem}: {first['msg'].removeprefix('Value error, ')}",
            file=file,
            variable=".".join(part for part in (key, place) if part) or None,
            value=value if shown else None,
            remedy=unknown_key(place) if unknown and unknown_key else remedy,
        ) from None


def config_dir() -> Path:
    """The configuration folder: `MPTA_CONFIG_DIR`, by default `dagster_home/` in the working directory."""
    return Path(os.environ.get("MPTA_CONFIG_DIR", "dagster_home")).resolve()


class _NoRepeatedKeys:
    """Loader mix-in: a repeated key in a mapping is an error. YAML would silently keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value} occurs twice in one mapping", key.start_mark
                    )
                seen.add((key.tag, key.value))
        made: dict[Any, Any] = super().construct_mapping(node, deep)  # type: ignore[misc]
        return made


class _Loader(_NoRepeatedKeys, yaml.SafeLoader):
    """The safe loader, for the configuration files."""


class _RecordLoader(_NoRepeatedKeys, yaml.CSafeLoader):
    """The safe loader, for records: `no`, `yes`, `on` and dates stay text, as answers and country codes need."""


_RecordLoader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in found if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
    ]
    for first, found in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_RecordLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


def templates() -> list[Path]:
    """The configuration files that come with the project: in the repository, or where a wheel installs them.

    Raises:
        ConfigError: There are none.
    """
    candidates = [
        Path(__file__).resolve().parents[2] / "dagster_home",
        Path(sys.prefix) / "share" / "mpta_pipeline" / "dagster_home",
    ]
    for folder in candidates:
        if (folder / "study.yaml").exists():
            return [folder / name for name in ("study.yaml", "models.yaml", "surveys.yaml", "dagster.yaml")]
    raise ConfigError(
        "The configuration files that come with the project are missing",
        file=candidates[0],
        remedy="copy dagster_home/ out of the repository, or install the package again",
    )


def read_yaml(path: Path) -> Any:
    """Read a configuration file.

    Raises:
        ConfigError: The file is absent, is not YAML or names a key twice; with line and remedy.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            "A configuration file is missing",
            file=path,
            remedy="create it with `mpta init`, or set MPTA_CONFIG_DIR to its folder",
        ) from None
    except UnicodeDecodeError as failure:
        raise _not_yaml("A configuration file", str(failure), path, "correct its syntax", ConfigError) from None
    return _parsed(text, path, _Loader, "A configuration file", ConfigError)


def parse_record(text: str, path: Path, what: str, error: type[MptaError] = ConfigError) -> Any:
    """Read the YAML of a record (a source, a concept): `no`, `yes`, `on` and dates stay text.

    Args:
        text: The YAML.
        path: Its file, for the message.
        what: What the file is, for the message.
        error: The error's type.

    Raises:
        MptaError: It is not YAML or names a key twice; with line and remedy. Of the type `error`.
    """
    return _parsed(text, path, _RecordLoader, what, error)


def _parsed(text: str, path: Path, loader: Any, what: str, error: type[MptaError]) -> Any:
    try:
        return yaml.load(text, loader)
    except yaml.MarkedYAMLError as failure:
        # Report place and problem only: YAML's own message quotes the line, which may contain a secret.
        mark = failure.problem_mark or failure.context_mark
        place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        raise _not_yaml(
            what, f"{place}{failure.problem or failure.context}", path, "correct that line", error
        ) from None
    except yaml.YAMLError as failure:
        raise _not_yaml(what, str(failure), path, "correct its syntax", error) from None


def _not_yaml(what: str, why: str, path: Path, remedy: str, error: type[MptaError]) -> MptaError:
    return error(f"{what} is not YAML: {' '.join(why.split())}", file=path, remedy=remedy)
