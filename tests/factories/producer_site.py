"""A producer's site on loopback, with one file and one page, whose manners a test sets."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site(ThreadingHTTPServer):
    """A producer's site with one file and one page, whose manners a test sets."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = b""
        self.headers: dict[str, str] = {}
        self.length = True
        self.page = ""
        self.status = 200
        self.cut_at: int | None = None
        self.head = True
        self.hang: threading.Event | None = None
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self):
        """Be gone."""
        self.shutdown()
        self.server_close()

    def asked(self, method):
        return [headers for verb, _, headers in self.requests if verb == method]


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def log_message(self, format, *args):
        pass

    def do_HEAD(self):
        if not self.server.head:
            self.send_error(405)
            return
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, *, body):
        site, sent = self.server, dict(self.headers)
        site.requests.append((self.command, self.path, sent))
        if site.hang is not None:
            site.hang.wait(20)
        if site.status != 200:
            self.send_error(site.status)
            return
        if self.path.startswith("/page"):
            self._send(200, site.page.encode(), {}, body)
            return
        etag = site.headers.get("ETag")
        if etag and sent.get("If-None-Match") == etag:
            self.send_response(304)
            self.end_headers()
            return
        start = 0
        if (wanted := sent.get("Range")) and sent.get("If-Range") in (None, etag, site.headers.get("Last-Modified")):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        extra = {"Content-Range": f"bytes {start}-{len(site.body) - 1}/{len(site.body)}"} if start else {}
        self._send(206 if start else 200, site.body[start:], {**site.headers, **extra}, body, start)

    def _send(self, status, data, headers, body, start=0):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.server.length or self.path.startswith("/page"):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            cut = self.server.cut_at
            if cut is not None and start < cut:
                self.server.cut_at = None
                self.wfile.write(data[: cut - start])
                self.wfile.flush()
                self.connection.close()
                return
            self.wfile.write(data)


@contextmanager
def serving_site():
    """A running site."""
    server = Site()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        if server.hang is not None:
            server.hang.set()
        server.stop()
