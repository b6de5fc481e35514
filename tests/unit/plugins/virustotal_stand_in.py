# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for VirusTotal's API on loopback, with a certificate of its own authority."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trustme

KEY = "0123456789abcdef" * 4
BAD, GOOD, NEW = ("a" * 64, "b" * 64, "c" * 64)


def report_of(name: str, **stats: Any) -> bytes:
    return json.dumps({"data": {"id": name, "attributes": {"last_analysis_stats": stats}}}).encode()


class FakeVirusTotal:
    """An HTTPS server on loopback. `answers` maps a hash to (status, body); other hashes are not known."""

    def __init__(self, directory: Path) -> None:
        self.ca_bundle = str(directory / "ca.pem")
        self.answers: dict[str, tuple[int, bytes]] = {
            BAD: (200, report_of(BAD, malicious=3, suspicious=1, undetected=60, harmless=0)),
            GOOD: (200, report_of(GOOD, malicious=0, suspicious=0, undetected=64, harmless=0)),
        }
        self.seen: list[tuple[str, str, str | None]] = []
        self.act: Callable[[Any], None] | None = None
        self.done = threading.Event()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_bundle)
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_arguments: Any) -> None:
                return

            def any_method(self) -> None:
                fake.seen.append((self.command, self.path, self.headers.get("x-apikey")))
                if fake.act:
                    fake.act(self)
                    return
                status, body = fake.answers.get(self.path.rpartition("/")[2], (404, b'{"error": {}}'))
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "https://elsewhere.example.org/")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = any_method  # noqa: N815 - http.server's names

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_arguments: Any) -> None:
                return

        self._server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.host = "localhost:{0}".format(self._server.server_port)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.done.set()
        self._server.shutdown()
        self._server.server_close()
