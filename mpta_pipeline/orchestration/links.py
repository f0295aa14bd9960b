"""Addresses of our own pages below Dagster's UI, which metadata and pages link to. `mpta ui` serves them."""

from __future__ import annotations

from urllib.parse import quote

PREFIX = "/mpta"
REPORT, TRACE = f"{PREFIX}/report", f"{PREFIX}/trace"


def trace(identifier: str) -> str:
    """Address of the trace of what an identifier names, as `mpta trace` takes it."""
    return f"{TRACE}/{quote(identifier, safe=':')}"


def asset(name: str) -> str:
    """Address of an asset in Dagster's UI."""
    return f"/assets/{quote(name)}"
