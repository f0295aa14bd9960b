"""A mistyped name is refused with the names that there are and the one that was probably meant."""

import pytest

from mpta_pipeline.core.errors import ConfigError
from mpta_pipeline.core.unknown_names import SHOWN, check_name, closest, unknown_name


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("gss-2108", "gss-2018"),
        ("SMOLLM2", "smollm2"),
        ("gss", "gss-2018"),
        ("zzzz", None),
        ("", None),
    ],
)
def test_the_nearest_name_is_meant(given, meant):
    assert closest(given, ["gss-2018", "wvs-7", "smollm2"]) == meant


def test_the_message_lists_names_up_to_a_limit():
    message = str(unknown_name("model", "x", [f"model {n}" for n in range(50)], variable="--models"))
    assert f"model {SHOWN - 1}" in message and f"model {SHOWN}" not in message and "(50)" in message
    assert "there is no wave yet" in str(unknown_name("wave", "x", [], variable="--wave"))


def test_a_known_name_passes():
    check_name("model", "a", ["a"], variable="--models")
    with pytest.raises(ConfigError):
        check_name("model", "b", ["a"], variable="--models")
