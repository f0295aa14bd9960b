"""Raw waves made of a few columns, and the shared data where they are at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mpta_pipeline import harmonize, surveys
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.surveys import RawWave
from tests.factories.raw_waves import MakeRaw, maker
from tests.shared_data import real


@pytest.fixture(scope="session")
def crosswalk() -> harmonize.Crosswalk:
    """The packaged crosswalk."""
    return harmonize.load_crosswalk()


@pytest.fixture(scope="session")
def registry() -> surveys.SourceRegistry:
    """The packaged source records, without any user's configuration."""
    return surveys.load_sources(Path(__file__).with_name("surveys.yaml"))


@pytest.fixture
def make_raw(tmp_path: Path, registry: surveys.SourceRegistry) -> MakeRaw:
    """Make a raw wave of a codebook from columns and value labels, without a file."""
    return maker(tmp_path, registry)


@pytest.fixture(scope="session")
def gss_wave(tmp_path_factory: pytest.TempPathFactory, registry: surveys.SourceRegistry) -> Callable[[str], RawWave]:
    """Ingest one of NORC's files once a session; skip where it is absent."""
    layout = Layout(tmp_path_factory.mktemp("gss"))
    known: dict[str, RawWave] = {}

    def get(name: str) -> RawWave:
        path = real(name)
        if name not in known:
            wave = surveys.recognize(path, registry).waves[0]
            known[name] = surveys.ingest(path, wave, layout, registry)
        return known[name]

    return get
