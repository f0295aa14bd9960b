"""Survey files to raw waves: recognition, immutable snapshots, missing kinds, releases, data-use policy."""

from mpta_pipeline.surveys.catalogue import FileState, WaveFile, assign, folders, scan
from mpta_pipeline.surveys.extracts import write_demo_surveys
from mpta_pipeline.surveys.raw import (
    Coded,
    RawWave,
    cells,
    coded,
    ingest,
    load_raw,
    previous_release,
    release_id,
    respondents,
)
from mpta_pipeline.surveys.recognize import Recognition, WavePart, recognize
from mpta_pipeline.surveys.releases import diff_releases
from mpta_pipeline.surveys.sources import Convention, Source, SourceRegistry, load_sources
from mpta_pipeline.surveys.watch import InUse
from mpta_pipeline.surveys.withdrawals import Withdrawals, add_withdrawal, hashed, load_withdrawals

__all__ = [
    "Coded",
    "Convention",
    "FileState",
    "InUse",
    "RawWave",
    "Recognition",
    "Source",
    "SourceRegistry",
    "WaveFile",
    "WavePart",
    "Withdrawals",
    "add_withdrawal",
    "assign",
    "cells",
    "coded",
    "diff_releases",
    "folders",
    "hashed",
    "ingest",
    "load_raw",
    "load_sources",
    "load_withdrawals",
    "previous_release",
    "recognize",
    "release_id",
    "respondents",
    "scan",
    "write_demo_surveys",
]
