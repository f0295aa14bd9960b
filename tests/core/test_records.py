"""Records are read from YAML's events: the same as the loader reads, and what is wrong is still the loader's to say."""

from pathlib import Path

import pytest
import yaml

from mpta_pipeline.core import configuration
from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.harmonize.crosswalk import CONCEPT_FOLDER

SCALARS = "a: no\nb: 2020-01-01\nc: ~\nd:\ne: 0x1f\nf: 010\ng: 1e3\nh: .inf\ni: 'no'\nj: \"5\"\nk: |\n  text"
TEXTS = [
    SCALARS,
    "a: &x [1, {b: 1:30}]\nc: *x",
    "[1, {b: c}, [], {}]",
    "text",
    "l: 1_000\nm: true",
    "'': 1\n~: 2\n3: 4",
    "- &s yes\n- *s",
]
FILES = [path.read_text(encoding="utf-8") for path in sorted(CONCEPT_FOLDER.glob("*.yaml"))[::40]]


def _typed(value):
    if isinstance(value, dict):
        return [(type(key), key, _typed(found)) for key, found in value.items()]
    return [_typed(found) for found in value] if isinstance(value, list) else (type(value), value)


@pytest.mark.parametrize("text", [*TEXTS, *FILES], ids=lambda text: text[:20])
def test_as_the_loader_reads(text):
    assert _typed(configuration._simple(text)) == _typed(yaml.load(text, configuration._RecordLoader))


@pytest.mark.parametrize("text", ["", "a: !!str 1", "<<: {a: 1}\nb: 2", "1: a\n1.0: b"])
def test_what_is_left_to_the_loader(text):
    with pytest.raises(configuration._NotSimpleError):
        configuration._simple(text)
    expected = yaml.load(text, configuration._RecordLoader)
    assert configuration.parse_record(text, Path("x.yaml"), "A record") == expected


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: *unknown", "--- 1\n--- 2", "? [a]\n: b", "a: [1", "a: {b: ?c}"])
def test_what_is_wrong(text):
    with pytest.raises(ConfigError, match="A record is not YAML"):
        configuration.parse_record(text, Path("x.yaml"), "A record")
