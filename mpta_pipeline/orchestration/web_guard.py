"""Refuse requests to Dagster's web server that a foreign web page may have sent.

Dagster's web server has no log-in. It answers any `Host`, which lets a page that has rebound its DNS name to this
machine read everything, and it executes GraphQL mutations of any `Origin`, even by GET, so that a page could delete
all assets. Every request is therefore checked before Dagster sees it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HOSTS_VARIABLE = "MPTA_UI_HOSTS"
LOOPBACK = ("localhost", "127.0.0.1", "::1", "[::1]")
EVERY_ADDRESS = ("0.0.0.0", "::", "")
_DEFAULT_PORTS = (80, 443)


def guarded(app: ASGIApp, host: str) -> ASGIApp:
    """The application behind the check.

    Args:
        app: Dagster's web server.
        host: The address that it listens on.
    """
    return TrustedHostMiddleware(SameOriginOnly(app), allowed_hosts=allowed_hosts(host), www_redirect=False)


def allowed_hosts(host: str) -> list[str]:
    """The names by which the web server may be called: loopback, its own address, and those in `MPTA_UI_HOSTS`.

    A server that listens on every address may be called by this machine's name and addresses.
    """
    own = _names_of_this_machine() if host in EVERY_ADDRESS else [host, f"[{host}]"] if ":" in host else [host]
    further = [name.strip() for name in os.environ.get(HOSTS_VARIABLE, "").split(",")]
    return list(dict.fromkeys(name for name in (*LOOPBACK, *own, *further) if name and "*" not in name))


def _names_of_this_machine() -> Iterable[str]:
    name = socket.gethostname()
    try:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo(name, None)}
    except OSError:
        addresses = set()
    return [name, socket.getfqdn(), *sorted(addresses), *(f"[{a}]" for a in sorted(addresses) if ":" in a)]


class SameOriginOnly:
    """Refuse requests and web sockets that a page of another origin sent, and GraphQL by GET."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or hand the request on."""
        why = _refusal(scope) if scope["type"] in ("http", "websocket") else None
        if why is None:
            await self.app(scope, receive, send)
        else:
            await PlainTextResponse(f"Refused: {why}.", status_code=403)(scope, receive, send)


def _refusal(scope: Scope) -> str | None:
    """Why to refuse a request; None if it may pass."""
    headers = Headers(scope=scope)
    hosts, origins = headers.getlist("host"), headers.getlist("origin")
    if len(hosts) > 1 or len(origins) > 1:
        return "it has more than one Host or Origin"
    if origins and _place(origins[0]) != _place(f"http://{hosts[0]}"):
        return "it comes from a web page of another origin"
    is_graphql = scope["path"].rstrip("/").endswith("/graphql")
    is_get = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
    # A link on another page may open the UI. An image, a frame or a script of such a page gets nothing.
    link = is_get and not is_graphql and headers.get("sec-fetch-mode") == "navigate"
    is_link = link and headers.get("sec-fetch-dest") == "document"
    if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not is_link:
        return "it comes from a web page of another site"
    if is_graphql and is_get and scope["query_string"]:
        return "GraphQL is answered by POST only"
    return None


def _place(address: str) -> tuple[str | None, int | None]:
    """Host and port of an address. A default port counts as none: a proxy in front may add TLS."""
    try:
        parts = urlsplit(address)
        return parts.hostname, None if parts.port in _DEFAULT_PORTS else parts.port
    except ValueError:
        return None, None
