"""The files of others that the page carries are what their makers gave, and hold what the page needs."""

from __future__ import annotations

import gzip
import json

import pytest

from mpta_pipeline.report import charts_data
from tools import vendored


@pytest.mark.slow
def test_the_bundle_is_what_vl_convert_gives() -> None:
    pytest.importorskip("vl_convert", reason="vl-convert-python is not installed (extra `test`)")
    assert gzip.decompress((charts_data.VENDOR / "vega.js.gz").read_bytes()).decode() == vendored.bundle()


def test_the_outlines_have_a_code_of_each_country_that_the_map_can_show() -> None:
    world = json.loads((charts_data.VENDOR / "world.json").read_text(encoding="utf-8"))
    codes = {shape["id"] for shape in world["objects"]["countries"]["geometries"]}
    assert {"USA", "DEU", "IND", "NGA", "XKX", "TWN", "PSE"} <= codes
    assert all(len(code) == 3 for code in codes)
    assert "ATA" not in codes


def test_nothing_in_the_bundle_ends_the_script_early() -> None:
    assert "</script" not in gzip.decompress((charts_data.VENDOR / "vega.js.gz").read_bytes()).decode().lower()
