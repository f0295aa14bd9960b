"""Shared by the tests of survey files."""

from pathlib import Path

import pytest

from mpta_pipeline import surveys
from mpta_pipeline.core.storage import Layout

OPEN = """
sources:
  evs2017: {acknowledged: "test: invented people"}
  evs_trend: {acknowledged: "test: invented people"}
  joint: {acknowledged: "test: invented people"}
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "data")


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> surveys.SourceRegistry:
    """All sources, the closed ones acknowledged."""
    path = tmp_path_factory.mktemp("config") / "surveys.yaml"
    path.write_text(OPEN, encoding="utf-8")
    return surveys.load_sources(path)
