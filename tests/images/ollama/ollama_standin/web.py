# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP: framing, routes by method and path, the origin and host checks, errors as answers."""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import json
import re
import select
import socket
import sys
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

from ollama_standin.engine import Engine
from ollama_standin.errors import ApiError
from ollama_standin.fields import Fields, decode
from ollama_standin.settings import Settings
from ollama_standin.store import Store

JSON = "application/json; charset=utf-8"
PLAIN_JSON = "application/json"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
_MAX_BODY = 64 << 20  # bytes; Ollama has no limit, a laboratory's server should
_LOCAL_ORIGIN = re.compile(
    r"https?://(localhost|127\.0\.0\.1|0\.0\.0\.0)(:\d+)?|(app|file|tauri|vscode-webview|vscode-file)://.*"
)

Handler = Callable[["Call"], None]


def encode(value: Any) -> bytes:
    """JSON as Go's encoder writes it: no spaces, `<`, `>` and `&` escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode("utf-8", "replace")


class Server(http.server.ThreadingHTTPServer):
    """The listening server with what its handlers share."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, settings: Settings, store: Store, engine: Engine, routes: dict[tuple[str, str], Handler]):
        self.settings, self.store, self.engine, self.routes = settings, store, engine, routes
        if ":" in settings.host:
            self.address_family = socket.AF_INET6
        super().__init__((settings.host, settings.port), Call)
        # The Host header is only looked at on a loopback bind, as in Ollama.
        self.loopback = ipaddress.ip_address(self.socket.getsockname()[0]).is_loopback

    def server_bind(self) -> None:
        """Bind without the look-up of the machine's name, which waits for DNS where there is none."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def match(self, method: str, path: str) -> tuple[Handler | None, str, bool]:
        """(handler, the path's parameter, whether another method knows the path)."""
        known = False
        for (route_method, route), handler in self.routes.items():
            prefix, colon, _rest = route.partition(":")
            argument = path[len(prefix) :] if colon else ""
            if path != route and not (colon and path.startswith(prefix) and argument and "/" not in argument):
                continue
            if route_method == method:
                return handler, urllib.parse.unquote(argument), True
            known = True
        return None, "", known

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no event."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            print(f"request failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


class Call(http.server.BaseHTTPRequestHandler):
    """One request and its answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 600  # seconds a kept connection may idle
    server: Server
    argument = ""  # what the route's parameter matched
    body = b""
    _streaming = False
    _status = 0

    def fields(self, kind: str) -> Fields:
        """The request's JSON object; raises ApiError 400."""
        return decode(self.body, kind)

    # -- answering

    def answer(self, status: int, content_type: str, body: bytes, **headers: str) -> None:
        """Send a whole answer; a HEAD request gets the headers alone."""
        self._status = status
        self.send_response_only(status)
        if content_type:
            self.send_header("Content-Type", content_type)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Date", self.date_time_string())
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value: Any, status: int = 200, content_type: str = JSON, end: bytes = b"") -> None:
        """Send a JSON answer; `end` is what follows the object (a newline on /v1)."""
        self.answer(status, content_type, encode(value) + end)

    def stream(self, content_type: str) -> None:
        """Begin a chunked answer."""
        self._status, self._streaming = 200, True
        self.send_response_only(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Date", self.date_time_string())
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def write(self, data: bytes) -> None:
        """Send one chunk."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def write_line(self, value: Any) -> None:
        """Send one object of an NDJSON stream."""
        self.write(encode(value) + b"\n")

    def write_event(self, value: Any) -> None:
        """Send one server-sent event; a string is sent as it is."""
        self.write(b"data: " + (value.encode() if isinstance(value, str) else encode(value)) + b"\n\n")

    def client_gone(self) -> bool:
        """True when the client has closed its connection: nobody waits for the answer."""
        if not select.select([self.connection], [], [], 0)[0]:
            return False
        with contextlib.suppress(BlockingIOError):
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        return False

    def _error(self, error: ApiError) -> None:
        if self.path.startswith("/v1/messages"):
            kind = _error_kind(error.status)
            self.json({"type": "error", "error": {"type": kind, "message": error.message}}, error.status)
        elif self.path.startswith("/v1/"):
            content = {
                "message": error.message,
                "type": _error_kind(error.status),
                "param": None,
                "code": None,
            }
            if self._streaming:
                self.write_event({"error": content})
            else:
                self.json({"error": content}, error.status, PLAIN_JSON, b"\n")
        elif self._streaming:
            self.write_line({"error": error.message})
        else:
            self.json({"error": error.message}, error.status)

    # -- receiving

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline(1024).split(b";")[0], 16):
                if size < 0 or len(body) + size > _MAX_BODY:
                    raise ValueError("body too large")
                body += self.rfile.read(size)
                self.rfile.readline(8)
            while self.rfile.readline(1024).strip():
                pass  # trailers
            return body
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= _MAX_BODY:
            raise ValueError("body too large")
        return self.rfile.read(length)

    def _origin_allowed(self, origin: str) -> bool:
        host = self.headers.get("Host", "")
        if origin in (f"http://{host}", f"https://{host}") or _LOCAL_ORIGIN.fullmatch(origin):
            return True
        patterns = self.server.settings.origins
        return any(re.fullmatch(re.escape(allowed).replace(r"\*", ".*"), origin) for allowed in patterns)

    def _host_allowed(self) -> bool:
        if not self.server.loopback:
            return True
        host = (urllib.parse.urlsplit("//" + self.headers.get("Host", "")).hostname or "").lower()
        with contextlib.suppress(ValueError):
            address = ipaddress.ip_address(host)
            return address.is_loopback or address.is_private or address.is_unspecified
        return host in ("", "localhost", socket.gethostname().lower()) or host.endswith(
            (".localhost", ".local", ".internal")
        )

    def _dispatch(self) -> None:
        started, self._streaming, self._status = time.monotonic(), False, 0
        try:
            self.body = self._read_body()
        except ValueError:
            self.close_connection = True
            self.answer(400, "text/plain; charset=utf-8", b"400 Bad Request", Connection="close")
            return
        try:
            self._route(urllib.parse.urlsplit(self.path).path)
        except ApiError as error:
            self._error(error)
        except (ConnectionError, TimeoutError):
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            print(f"unexpected {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            self._error(ApiError(500, f"{type(error).__name__}: {error}"))
        if self._streaming:
            self.wfile.write(b"0\r\n\r\n")
        milliseconds = (time.monotonic() - started) * 1000
        # Never the body: prompts do not belong into a server's log.
        print(
            f'{self._status} {milliseconds:.1f}ms {self.client_address[0]} {self.command} "{self.path}"',
            flush=True,
        )

    def _route(self, path: str) -> None:
        origin = self.headers.get("Origin", "")
        if (origin and not self._origin_allowed(origin)) or not self._host_allowed():
            self.answer(403, "", b"")
        elif self.command == "OPTIONS":
            self.answer(204, "", b"")
        else:
            handler, self.argument, known = self.server.match(self.command, path)
            if handler is not None:
                handler(self)
            elif known:
                self.answer(405, "text/plain", b"405 method not allowed")
            else:
                self.answer(404, "text/plain", b"404 page not found")

    def __getattr__(self, name: str) -> Callable[[], None]:
        """http.server looks for do_GET, do_POST, ...: every method of HTTP comes to _dispatch."""
        if name.startswith("do_"):
            return self._dispatch
        raise AttributeError(name)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses (a malformed request line): one plain line."""
        self.close_connection = True
        self.command = self.command or ""
        self.answer(code, "text/plain; charset=utf-8", f"{code} {message or ''}".strip().encode(), Connection="close")

    def log_message(self, *_: Any) -> None:
        """The access line is written by _dispatch."""


def _error_kind(status: int) -> str:
    return {400: "invalid_request_error", 404: "not_found_error"}.get(status, "api_error")
