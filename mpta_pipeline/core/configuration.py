"""Read configuration files: the folder, strict YAML, and validation whose errors name file, key and remedy."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mpta_pipeline.core.errors import ConfigError, MptaError
from mpta_pipeline.core.unknown_names import closest

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
        first = _most_telling(failure.errors(include_url=False), raw)
        place = ".".join(str(part) for part in first["loc"])
        unknown = unknown_key is not None and first["type"] == "extra_forbidden"
        value = first.get("input")
        shown = isinstance(value, str | int | float) and not unknown and place.partition(".")[0] not in private
        said, form = _FORMS.get(first["type"], (first["msg"].removeprefix("Value error, "), None))
        if first["type"] == "too_short":
            said = (
                f"{first['ctx']['actual_length']} entries are too few; at least {first['ctx']['min_length']} are needed"
            )
        raise error(
            f"{problem}: {said}",
            file=file,
            variable=".".join(part for part in (key, place) if part) or None,
            value=value if shown else None,
            remedy=unknown_key(place) if unknown and unknown_key else _meant(model, first) or form or remedy,
        ) from None


_LIST = ("a list is needed here", "write a list: [one, another]")
_MAPPING = ("a mapping is needed here", "write keys with their values: {key: value}")
_TEXT = ("a text is needed here", 'put it in quotes: "text"')
_FORMS: Mapping[str, tuple[str, str | None]] = {
    "missing": ("the key is missing", None),
    "extra_forbidden": ("there is no such key", None),
    "tuple_type": _LIST,
    "list_type": _LIST,
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "string_type": _TEXT,
}
"""Type of a problem of pydantic → what is wrong in the words of a configuration file, and what to write."""


def _most_telling(problems: Sequence[Any], raw: object) -> dict[str, Any]:
    """The problem to tell of, with its place in the file.

    A value that may have several forms (a union) has a problem for each form, named in its place. Of a mapping or list,
    what is wrong within it counts; of anything else, all words that would do.
    """
    placed = [(_place(one, raw), dict(one)) for one in problems]
    # A misspelt key is reported before the key that is missing because of it.
    misspelt = [one for one in placed if one[1]["type"] == "extra_forbidden"]
    place, first = misspelt[0] if misspelt and placed[0][1]["type"] == "missing" else placed[0]
    forms = [one for one in placed if one[0][: len(place)] == place and one[1]["loc"] != one[0]]
    if len(forms) > 1 and first["loc"] != place:
        within = [one for one in forms if len(one[0]) > len(place) or one[1]["type"] == "value_error"]
        words = [word for _, one in forms if one["type"] == "literal_error" for word in _words(one)]
        if isinstance(first.get("input"), (dict, list)) and within:
            place, first = within[0]
        elif words:
            listed = ", ".join(f"'{word}'" for word in dict.fromkeys(words))
            first |= {"type": "literal_error", "ctx": {"expected": listed}, "msg": f"Input should be {listed}"}
    return first | {"loc": place}


def _place(problem: Mapping[str, Any], raw: object) -> tuple[str | int, ...]:
    """The place of a problem without what is no key or position of the file, such as the name of a form."""
    found: list[str | int] = []
    loc: Sequence[str | int] = problem["loc"]
    for last, part in enumerate(loc, start=1):
        absent = problem["type"] == "missing" and last == len(loc)
        if isinstance(raw, Mapping) and (part in raw or absent):
            raw = raw.get(part)
        elif isinstance(raw, (list, tuple)) and isinstance(part, int) and part < len(raw):
            raw = raw[part]
        else:
            continue
        found.append(part)
    return tuple(found)


def _words(problem: Mapping[str, Any]) -> list[str]:
    """The words that a key may have."""
    return re.findall(r"'([^']+)'", str(problem["ctx"]["expected"]))


def _meant(model: type[BaseModel], problem: Mapping[str, Any]) -> str | None:
    """The remedy for a mistyped key or word: what was probably meant, and what there is. None for other problems."""
    *place, last = problem["loc"] or ("",)
    if problem["type"] == "extra_forbidden":
        known = _keys_at(model, place)
    elif problem["type"] in ("literal_error", "enum"):
        known, last = _words(problem), problem["input"]
    else:
        return None
    near = closest(str(last), known)
    listed = f"choose one of {', '.join(known)}" if known else "remove it"
    return f'did you mean "{near}"? Otherwise {listed}' if near else listed


def _keys_at(model: type[BaseModel], place: Iterable[str | int]) -> list[str]:
    """The keys of the record at a place below another record; empty if that is no record."""
    records: list[Any] = [model]
    for part in place:
        found = []
        for record in _forms_of(records):
            if isinstance(record, type) and issubclass(record, BaseModel):
                field = record.model_fields.get(str(part))
                found += [] if field is None else [field.annotation]
            else:  # a list, a mapping or a union: what it may hold
                found += list(get_args(record))
        records = found
    flat: list[Any] = []
    records = list(_forms_of(records))
    while records:
        record = records.pop()
        if isinstance(record, type) and issubclass(record, BaseModel):
            flat += record.model_fields
        else:
            records += get_args(record)
    return list(dict.fromkeys(flat))


def _forms_of(records: Iterable[Any]) -> Iterator[Any]:
    """Records and types, each form of a union by itself."""
    for record in records:
        if get_origin(record) in (Union, UnionType, Annotated):
            yield from _forms_of(get_args(record)[:1] if get_origin(record) is Annotated else get_args(record))
        else:
            yield record


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


class _NotSimpleError(Exception):
    """A document is wrong, or has more than mappings, lists, scalars and aliases: the loader reads or refuses it."""


def _simple(text: str) -> Any:
    """Read a record that has only mappings, lists, scalars and aliases, in a third of the loader's time.

    Raises:
        _NotSimpleError: It has tags, merged or repeated keys, aliases of what is not complete, or several documents.
        yaml.YAMLError: It is not YAML.
    """
    events = iter(yaml.parse(text, Loader=_RecordLoader))
    done = object()

    anchors: dict[str, Any] = {}

    def value(event: Any) -> Any:  # the types of PyYAML's events lack their attributes
        kind = type(event)
        if kind is yaml.AliasEvent and event.anchor in anchors:
            return anchors[event.anchor]
        if getattr(event, "tag", None) is not None:
            raise _NotSimpleError
        found: Any
        if kind is yaml.ScalarEvent:
            found = _plain_scalar(event.value) if event.implicit[0] else event.value
        elif kind is yaml.SequenceStartEvent:
            found = []
            while type(item := next(events)) is not yaml.SequenceEndEvent:
                found.append(value(item))
        elif kind is yaml.MappingStartEvent:
            found = {}
            while type(item := next(events)) is not yaml.MappingEndEvent:
                key = value(item)
                if type(item) is not yaml.ScalarEvent or key == "<<" or key in found:
                    raise _NotSimpleError
                found[key] = value(next(events))
        else:
            raise _NotSimpleError
        if event.anchor is not None:
            anchors[event.anchor] = found
        return found

    if [type(next(events, done)) for _ in range(2)] != [yaml.StreamStartEvent, yaml.DocumentStartEvent]:
        raise _NotSimpleError
    read = value(next(events))
    if [type(next(events, done)) for _ in range(2)] != [yaml.DocumentEndEvent, yaml.StreamEndEvent]:
        raise _NotSimpleError
    return read


@lru_cache(maxsize=65536)
def _plain_scalar(text: str) -> Any:
    """What a scalar without quotes stands for."""
    loader: Any = _RecordLoader("")
    try:
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))
        return loader.construct_object(yaml.ScalarNode(tag, text))
    except (yaml.YAMLError, ValueError):
        raise _NotSimpleError from None
    finally:
        loader.dispose()


def _parsed(text: str, path: Path, loader: Any, what: str, error: type[MptaError]) -> Any:
    if loader is _RecordLoader:
        with contextlib.suppress(_NotSimpleError, yaml.YAMLError, RecursionError):
            return _simple(text)
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
