"""A slip in study.yaml must be told with its key, before anything runs."""

import pytest

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.study import load_study

GOOD = "name: s\ntasks:\n  t: {kind: bbq}\n"
ARMS = "name: s\ntasks: {{t: {{kind: bbq, arms: {}}}}}\n"


def load(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return load_study(path)


def test_defaults(tmp_path):
    study = load(tmp_path, GOOD)
    assert study.panel.size == 96
    assert study.task_conditions("t") == study.conditions


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD + "panel: {size: 0}\n", ["panel.size", "0"]),
        (GOOD + "panle: {size: 3}\n", ["panle"]),
        (GOOD + "styles: [poem]\n", ["styles", "poem"]),
        ("name: s\ntasks: {}\n", ["tasks"]),
        ("name: s\ntasks: {'a|b': {kind: bbq}}\n", ["a|b"]),
        ("name: [", ["YAML", "line"]),
        ("", ["valid"]),
        (GOOD + "styles: prose\n", ["styles", "a list is needed here", "write a list"]),
        (GOOD + "panel: [3]\n", ["panel", "a mapping is needed here"]),
        (GOOD + "multiverse: {factors: {styel: [prose]}}\n", ["multiverse.factors.styel", 'did you mean "style"']),
        (GOOD + "multiverse: {factors: {traits: [all, belef]}}\n", ["factors.traits.1,", "'belef'", '"belief"']),
        (GOOD + "multiverse: {tasks: [], factors: {style: [prose]}}\n", ["multiverse.tasks", "at least 1 are needed"]),
        (GOOD + "multiverse: {factors: {style: [prose]}, figures: [{condition: group}]}\n", ["asks about none"]),
        (ARMS.format('{a: {}, b: {text: " "}}'), ["tasks.t", "the text of arm b is empty"]),
        (ARMS.format("{a: {}, b: {text: 3}}"), ["tasks.t.arms.b.text", "a text is needed here", "quotes"]),
        (ARMS.format("{}, arm_design: every"), ["tasks.t", "leave arm_design out"]),
    ],
)
def test_a_slip_is_told_with_file_key_and_remedy(tmp_path, text, words):
    with pytest.raises(ConfigError) as failure:
        load(tmp_path, text)
    assert all(word in str(failure.value) for word in [*words, "study.yaml", "Remedy"])


def test_an_absent_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match="MPTA_CONFIG_DIR"):
        load_study(tmp_path / "study.yaml")
