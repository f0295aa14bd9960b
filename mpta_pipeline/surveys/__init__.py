"""Read survey files into raw waves: recognition, snapshots, missing kinds, releases, data-use policy."""

from mpta_pipeline.surveys.demo_extracts import DEMO, write_demo_surveys
from mpta_pipeline.surveys.description import describe_file, write_description
from mpta_pipeline.surveys.raw import Coded, RawWave, cells, coded, limited, respondents
from mpta_pipeline.surveys.recognize import Nearness, Recognition, WavePart, explain, recognize
from mpta_pipeline.surveys.release_watch import InUse
from mpta_pipeline.surveys.releases import diff_releases
from mpta_pipeline.surveys.snapshots import (
    PartFile,
    hold,
    ingest,
    ingest_parts,
    load_parts,
    load_raw,
    previous_releases,
    release_id,
    releases_in_use,
)
from mpta_pipeline.surveys.source_registry import Convention, Source, SourceRegistry, load_sources, packaged_sources
from mpta_pipeline.surveys.survey_folders import FileState, WaveFile, assign, folders, look_at, scan
from mpta_pipeline.surveys.withdrawals import Withdrawals, add_withdrawal, hashed, load_withdrawals

__all__ = [
    "DEMO",
    "Coded",
    "Convention",
    "FileState",
    "InUse",
    "Nearness",
    "PartFile",
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
    "describe_file",
    "diff_releases",
    "explain",
    "folders",
    "hashed",
    "hold",
    "ingest",
    "ingest_parts",
    "limited",
    "load_parts",
    "load_raw",
    "load_sources",
    "load_withdrawals",
    "look_at",
    "packaged_sources",
    "previous_releases",
    "recognize",
    "release_id",
    "releases_in_use",
    "respondents",
    "scan",
    "write_demo_surveys",
    "write_description",
]
