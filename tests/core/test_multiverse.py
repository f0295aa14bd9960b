"""Protects the designs of a multiverse and what study.yaml may say about them."""

import itertools

import numpy as np
import pytest

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.multiverse import Multiverse, combinations
from mpta_pipeline.core.study import Study, TaskVariant


@pytest.mark.parametrize("levels", [[2, 2, 2], [2, 2, 2, 2, 2], [3, 3, 3, 3], [3, 2, 2], [4, 2, 2, 2], [5, 3, 2]])
def test_a_fraction_is_balanced(levels):
    array = combinations(levels, "fractional")
    assert len(array) <= np.prod(levels) / 2
    assert len(np.unique(array, axis=0)) == len(array)
    for column, n in enumerate(levels):
        counts = np.bincount(array[:, column], minlength=n)
        assert counts.min() > 0 and counts.max() - counts.min() <= 1, (levels, column, counts)


def test_five_choices_of_two_levels_are_an_orthogonal_array_of_eight():
    array = combinations([2] * 5, "fractional", 8)
    assert len(array) == 8
    for a, b in itertools.combinations(range(5), 2):
        assert np.bincount(2 * array[:, a] + array[:, b]).tolist() == [2, 2, 2, 2]


def test_a_design_that_cannot_be_balanced_says_so():
    with pytest.raises(ValueError, match="allow more runs"):
        combinations([5, 2, 2], "fractional", 4)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"factors": {}}, "at least one choice"),
        ({"factors": {"style": ["prose", "prose"]}}, "names a level twice"),
        ({"factors": {"orders": ["given"], "scale_direction": ["forward"]}}, "either orders or scale_direction"),
        ({"factors": {"paraphrase": [5]}}, "counts from 0 to 4"),
        ({"factors": {"traits": [0]}}, "at least 1"),
        ({"factors": {"style": ["prose"]}, "figures": [{"what": "gap"}]}, "needs dimensions and subgroup"),
        ({"factors": {"style": ["prose"]}, "figures": [{"what": "effect"}, {"what": "effect"}]}, "the same name"),
        ({"factors": {"style": ["prose"]}, "figures": [{"what": "effect", "condition": "no_persona"}]}, "no_persona"),
    ],
)
def test_what_cannot_be_asked_is_named(document, message):
    with pytest.raises(ValueError, match=message):
        Multiverse.model_validate(document)


def study(**multiverse):
    return Study.model_validate(
        {
            "name": "s",
            "styles": ["json"],
            "tasks": {"values": {"kind": "value_alignment", "orders": "scale"}, "other": {"kind": "bbq"}},
            "multiverse": {"tasks": ["values"]} | multiverse,
        }
    ).with_variants()


def test_levels_become_tasks_that_keep_all_other_choices():
    made = study(factors={"framing": ["you_are", "user_is"], "traits": ["all", 4], "temperature": [0, 1]})
    assert list(made.own_tasks) == ["values", "other"]
    variants = {name: config for name, config in made.tasks.items() if isinstance(config, TaskVariant)}
    # The temperature is no matter of the prompts.
    assert list(variants) == [
        "values~framing-you_are~traits-all", "values~framing-you_are~traits-4",
        "values~framing-user_is~traits-all", "values~framing-user_is~traits-4",
    ]  # fmt: skip
    last = variants["values~framing-user_is~traits-4"]
    assert (last.framings, last.styles, last.traits, last.orders) == (("user_is",), ("json",), 4, "scale")
    # Only what the figures need is asked.
    assert last.conditions == ("persona", "no_persona")


@pytest.mark.parametrize("factors", [{"temperature": [0, 1]}, {"model": ["a", "b"]}, {"reasoning": ["off", "high"]}])
def test_factors_that_change_no_prompt_leave_the_study_its_own_task(factors):
    alone, made = study(factors={"style": ["json"]}), study(factors=factors)
    assert made.own_tasks == alone.own_tasks
    assert [name for name, config in made.tasks.items() if isinstance(config, TaskVariant)] == ["values~as_given"]


def test_an_unknown_task_is_an_error():
    with pytest.raises(ConfigError, match="no such task"):
        study(factors={"style": ["prose"]}, tasks=["valeus"])
