"""Survey files to raw waves: recognition, immutable snapshots, missing kinds, releases, data-use policy."""

from mpta_pipeline.surveys.catalogue import FileState, WaveFile, assign, folders, scan
from mpta_pipeline.surveys.extracts import write_demo_surveys
from mpta_pipeline.surveys.raw import RawWave, cells, ingest, load_raw, previous_release, respondents
from mpta_pipeline.surveys.recognize import Recognition, WavePart, recognize
from mpta_pipeline.surveys.releases import diff_releases
from mpta_pipeline.surveys.sources import Convention, Source, SourceRegistry, load_sources
from mpta_pipeline.surveys.withdrawals import Withdrawals, add_withdrawal, hashed, load_withdrawals

__all__ = [
    "Convention",
    "FileState",
    "RawWave",
    "Recognition",
    "Source",
    "SourceRegistry",
    "WaveFile",
    "WavePart",
    "assign",
    "Withdrawals",
    "add_withdrawal",
    "cells",
    "diff_releases",
    "folders",
    "ingest",
    "load_raw",
    "hashed",
    "load_sources",
    "previous_release",
    "recognize",
    "load_withdrawals",
    "respondents",
    "scan",
    "write_demo_surveys",
]
