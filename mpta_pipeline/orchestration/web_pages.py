"""Pages of ours in front of Dagster's UI: a start page, the report, and traces with links from step to step.

`mpta ui` serves them below `/mpta`; metadata links to them. Plain `dagster dev` does not, there `mpta open` and
`mpta trace` show the same. Rows of single respondents are shown only if the policy of their source permits it, because
the UI has no log-in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
import polars as pl
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mpta_pipeline.core.errors import MptaError
from mpta_pipeline.core.untrusted_text import printable
from mpta_pipeline.orchestration import links
from mpta_pipeline.pipeline import approvals
from mpta_pipeline.pipeline.deployment import Deployment
from mpta_pipeline.publication.trace import Trace, TracedTable, shown

SHOWN = 200  # rows of a table on a page
# The pages run no script and fetch nothing. The report has scripts of its own: in a sandbox, it is of another origin
# than Dagster's UI and cannot call it.
_STILL = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_SANDBOX = "sandbox allow-scripts allow-downloads allow-popups allow-modals; frame-ancestors 'none'"
_OF_FILES = ("release", "variable")
_PERSONAL = ("persona", "prompt", "response")  # kinds of traces whose rows are of single respondents


class WithPages:
    """Dagster's web server with our pages in front."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.pages = Starlette(
            routes=[
                Route(links.PREFIX, _start),
                Route(f"{links.PREFIX}/", _start),
                Route(links.REPORT, _report),
                Route(links.TRACE, _asked),
                Route(links.TRACE + "/{identifier:path}", _trace),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand the request on."""
        path = scope["path"] if scope["type"] == "http" else ""
        if path == "/" and Headers(scope=scope).get("sec-fetch-mode") == "navigate":
            # A person opens the UI: Dagster's first page says nothing to a newcomer. Ours link to it.
            await RedirectResponse(links.PREFIX)(scope, receive, send)
            return
        ours = path == links.PREFIX or path.startswith(links.PREFIX + "/")
        await (self.pages if ours else self.app)(scope, receive, send)


def _report(request: Request) -> Response:
    path = Deployment.from_env().layout.report
    if not path.exists():
        return PlainTextResponse("There is no report yet: run `mpta run`, or wait for the daemon.", 404)
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": _SANDBOX})


def _asked(request: Request) -> Response:
    """From the form of the start page to the address of a trace."""
    identifier = request.query_params.get("id", "").strip()
    return RedirectResponse(links.trace(identifier) if identifier else links.PREFIX, 303)


def _trace(request: Request) -> Response:
    from mpta_pipeline.publication import warehouse

    identifier = str(request.path_params["identifier"])
    deployment = Deployment.from_env()
    try:
        found = warehouse.trace(deployment.layout, identifier)
        withheld = _withheld(deployment, found)
    except MptaError as failure:
        return _page("trace.html", 404, identifier=identifier, problem=str(failure))
    sections = [] if withheld and found.kind in _PERSONAL else [_section(s) for s in found.sections]
    if withheld:
        sections = [s for s in sections if "respondent_id" not in s["columns"]]
    return _page("trace.html", identifier=identifier, title=found.title, sections=sections, withheld=withheld)


def _withheld(deployment: Deployment, found: Trace) -> list[str]:
    """Waves of a trace whose policy does not permit showing single respondents outside this machine."""
    if found.kind in _OF_FILES or "wave" not in found.frame.columns or not deployment.harmonized_waves():
        return []
    named = found.frame["wave"].drop_nulls().unique()
    kept = deployment.waves().filter(pl.col("data_use") != "any")["wave"]
    return sorted(set(named) & set(kept))


def _section(section: TracedTable) -> dict[str, Any]:
    frame = section.frame
    rows = [
        [(shown(value), link(frame.columns, i, row)) for i, value in enumerate(row)]
        for row in frame.head(SHOWN).iter_rows()
    ]
    left = frame.height - SHOWN
    notes = ([f"The first {SHOWN} of {frame.height:,} rows."] if left > 0 else []) + (
        [section.note] if section.note else []
    )
    return {"title": section.title, "columns": frame.columns, "rows": rows, "notes": notes}


def link(columns: list[str], i: int, row: tuple[Any, ...]) -> str | None:
    """Address of what a cell names; None if it names nothing that can be traced."""
    value, name = row[i], columns[i]
    if not isinstance(value, str) or not value:
        return None
    cells = dict(zip(columns, row, strict=True))
    match name:
        case "respondent_id" | "prompt_id" | "request_hash" | "wave" | "own_key" | "estimate_id" | "pocket_id":
            model = cells.get("model") if name == "prompt_id" else None
            return links.trace(f"{model}:{value}" if model else value)
        case "variable" if cells.get("wave"):
            return links.trace(f"{cells['wave']}:{value}")
        case "file_name" | "sha256":
            return links.trace(value)
        case _:
            return None


def _start(request: Request) -> Response:
    deployment = Deployment.from_env()
    return _page(
        "start.html",
        study=_or_problem(lambda: deployment.study.name),
        report=deployment.layout.report.exists(),
        lanes=list(_lanes(deployment)),
        approvals=list(_waiting_for_approval(deployment)),
        unused=dict((deployment.last_look() or deployment.catalogue()).problems),
    )


def _or_problem(read: Callable[[], str]) -> str:
    try:
        return read()
    except MptaError as failure:
        return str(failure)


def _lanes(deployment: Deployment) -> Iterator[tuple[str, str, str]]:
    """Name, description and state of each lane of the automation."""
    import dagster as dg

    from mpta_pipeline.orchestration import automation

    with dg.DagsterInstance.get() as instance:
        for lane in automation.LANES:
            state = _or_problem(lambda lane=lane: automation.said(automation.wanted(deployment, instance, lane)))  # type: ignore[misc]
            yield lane.name, lane.description, printable(state)


def _waiting_for_approval(deployment: Deployment) -> Iterator[str]:
    for found in approvals.unsent(deployment, waiting=True):
        yield printable(f"{found.pair.label}: {found.text}")


@cache
def _templates() -> jinja2.Environment:
    loader = jinja2.FunctionLoader(lambda name: (files(__package__) / "pages" / name).read_text(encoding="utf-8"))
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)


def _page(template: str, status: int = 200, **values: Any) -> Response:
    given = {
        "problem": None,
        "title": "",
        "sections": [],
        "withheld": [],
        "trace": links.TRACE,
        "report_at": links.REPORT,
    } | values
    text = _templates().get_template(template).render(given)
    return HTMLResponse(text, status, headers={"Content-Security-Policy": _STILL, "Cache-Control": "no-store"})
