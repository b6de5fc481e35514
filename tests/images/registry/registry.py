# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registry that behaves like Ollama's, over TLS, from a directory in Ollama's store format.

Two names on two addresses: the registry answers manifests (text/plain, chunked, no HEAD) and sends blob
requests with 307 to its CDN name, where signed URLs are served, whole or by range. A name that is not the
server's own (SNI or Host) is refused. Misbehaviour on request: see faults.py. Each request is one JSON line in
/var/log/registry.jsonl.
"""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import random
import re
import secrets
import socket
import socketserver
import ssl
import sys
import threading
import time
import urllib.parse
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults import CONTROL, Fault, Faults, HangUpError, load_faults, lying_body, lying_manifest

STORE = Path("/srv/registry")
CERTIFICATE, KEY = Path("/srv/internet/tls.pem"), Path("/srv/internet/tls.key")
LOG = Path("/var/log/registry.jsonl")
NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
MANIFEST_PATH = re.compile(rf"/v2/({NAME})/({NAME})/manifests/({NAME})")
BLOB_PATH = re.compile(rf"/v2/({NAME})/({NAME})/blobs/(sha256:[0-9a-f]{{64}})")
CDN_PATH = re.compile(r"/ollama/docker/registry/v2/blobs/sha256/[0-9a-f]{2}/([0-9a-f]{64})/data")
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True)
class Site:
    """What the server knows about itself."""

    registry_name: str
    cdn_name: str
    store: Path = STORE
    log: Path = LOG
    control: Path = CONTROL
    signing_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _spent: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sign(self, digest: str) -> str:
        """Signature of a blob's URL on the CDN: without it nothing is served there."""
        return hmac.new(self.signing_key, digest.encode(), hashlib.sha256).hexdigest()

    def cdn_url(self, digest: str) -> str:
        """Where the registry sends a client for a blob (`sha256:<hex>`)."""
        value = digest.split(":", 1)[1]
        path = f"/ollama/docker/registry/v2/blobs/sha256/{value[:2]}/{value}/data"
        query = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=86400&X-Amz-Signature={self.sign(value)}"
        return f"https://{self.cdn_name}{path}?{query}"

    def blob_file(self, digest: str) -> Path:
        """File of a blob."""
        return self.store / "blobs" / digest.replace(":", "-")

    def spend(self, faults: Faults, name: str, thing: str, fault: Fault) -> Fault:
        """The fault for this request: none when it has been met `times` times on this name since it was set."""
        with self._lock:
            self._spent[(faults.stamp, name, thing)] += 1
            return Fault() if fault.times and self._spent[(faults.stamp, name, thing)] > fault.times else fault


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and last byte + 1 of a Range header, the whole for none. None: cannot be satisfied."""
    if header is None:
        return 0, size
    match = RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return 0, size  # Several ranges or another unit: a server may ignore the header.
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    start, end = int(first), min(int(last) + 1, size) if last else size
    return (start, end) if start < end else None


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection; the site and the name asked for in the handshake are set by the server."""

    protocol_version = "HTTP/1.1"
    site: Site
    sni: str = ""
    timeout = 120

    def version_string(self) -> str:
        """The Server header: no word about Python."""
        return "registry"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Requests are logged by `_note`, nothing else is."""

    def _note(self, status: int, fault: str = "ok") -> None:
        line = {
            "time": round(time.time(), 3),
            "source": self.client_address[0],
            "name": self.sni,
            "status": status,
            "method": self.command,
            "path": urllib.parse.urlsplit(self.path).path,
            "range": self.headers.get("Range"),
            "fault": fault,
        }
        with self.site.log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def _refuse(self, status: int, text: str) -> None:
        body = json.dumps({"errors": [{"code": text, "message": text}]}).encode()
        self._note(status)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        """Blobs only."""
        self._answer()

    def do_GET(self) -> None:
        """Manifests and blobs."""
        self._answer()

    def do_POST(self) -> None:
        """Nothing is ever uploaded here."""
        self.close_connection = True
        self._refuse(405, "UNSUPPORTED")

    def do_PUT(self) -> None:
        """Refused like POST."""
        self.do_POST()

    def do_DELETE(self) -> None:
        """Refused like POST."""
        self.do_POST()

    def _answer(self) -> None:
        host = (self.headers.get("Host") or "").removesuffix(":443")
        if host != self.sni:
            self._refuse(421, "MISDIRECTED")
            return
        try:
            faults = load_faults(self.site.control)
        except (ValueError, TypeError) as error:
            self._refuse(500, f"control file: {error}")
            return
        try:
            self._route(faults)
        except HangUpError:
            self._hang_up()
        except OSError:
            self.close_connection = True  # The client went away.

    def _route(self, faults: Faults) -> None:
        url = urllib.parse.urlsplit(self.path)
        if self.sni == self.site.cdn_name:
            match = CDN_PATH.fullmatch(url.path)
            if match is None:
                self._refuse(404, "NoSuchKey")
                return
            signature = urllib.parse.parse_qs(url.query).get("X-Amz-Signature", [""])[0]
            if not hmac.compare_digest(signature.encode(), self.site.sign(match[1]).encode()):
                self._refuse(403, "SignatureDoesNotMatch")
                return
            digest = f"sha256:{match[1]}"
            self._send_blob(digest, self.site.spend(faults, self.sni, digest, faults.for_blob(digest)))
        elif match := MANIFEST_PATH.fullmatch(url.path):
            reference = f"{match[1]}/{match[2]}:{match[3]}"
            fault = self.site.spend(faults, self.sni, reference, faults.for_manifest(reference))
            self._send_manifest(match, fault)
        elif match := BLOB_PATH.fullmatch(url.path):
            self._redirect(match[3], self.site.spend(faults, self.sni, match[3], faults.for_blob(match[3])))
        else:
            self._refuse(404, "NOT_FOUND")

    def _head(self, status: int, fault: Fault, **headers: object) -> None:
        """Send an answer's head, line by line when it shall be slow."""
        self._note(status, fault.kind)
        self.send_response(status)
        if fault.kind == "slowhead":
            self.flush_headers()
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
            if fault.kind == "slowhead":
                time.sleep(fault.seconds)
                self.flush_headers()
        self.end_headers()

    def _send_manifest(self, match: re.Match[str], fault: Fault) -> None:
        """A manifest as Ollama's registry sends it: text/plain, length unknown beforehand."""
        file = self.site.store / "manifests" / self.site.registry_name / match[1] / match[2] / match[3]
        if fault.kind == "status":
            self._refuse(fault.status, "FAULT")
            return
        if self.command == "HEAD" or not file.is_file():
            self._refuse(404, "MANIFEST_UNKNOWN")
            return
        if fault.kind in ("redirect", "loop"):
            self._send_location(fault.location or self.path, fault)
            return
        body = lying_manifest(file.read_bytes(), fault)
        self._head(200, fault, Content_Type="text/plain; charset=utf-8", Transfer_Encoding="chunked")
        if fault.kind == "slow":
            time.sleep(fault.seconds)
        while fault.kind == "endless":
            self.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        if fault.kind in ("cut", "randomcut"):
            after = fault.bytes if fault.kind == "cut" else random.randint(0, fault.bytes)
            self.wfile.write(f"{len(body):x}\r\n".encode() + body[:after])
            raise HangUpError
        self.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")

    def _redirect(self, digest: str, fault: Fault) -> None:
        if fault.kind == "status":
            self._refuse(fault.status, "FAULT")
        elif not self.site.blob_file(digest).is_file():
            self._refuse(404, "BLOB_UNKNOWN")
        elif fault.kind in ("redirect", "loop"):
            self._send_location(fault.location or self.path, fault)
        else:
            self._send_location(self.site.cdn_url(digest), fault)

    def _send_location(self, location: str, fault: Fault) -> None:
        self._head(307, fault, Location=location, Content_Length=0)

    def _send_blob(self, digest: str, fault: Fault) -> None:
        file = self.site.blob_file(digest)
        if not file.is_file():
            self._refuse(404, "NoSuchKey")
            return
        size = file.stat().st_size
        total = {"size": size + fault.bytes, "short": min(size, fault.bytes)}.get(fault.kind, size)
        partial = self.headers.get("Range") is not None and fault.kind not in ("norange", "gzip")
        span = parse_range(self.headers.get("Range") if partial else None, total)
        if span is None:
            self._refuse(416, "InvalidRange")
            return
        start, end = span
        if fault.kind == "wrongrange" and partial:
            start = min(start + 1, end - 1)
        if fault.kind == "longrange" and partial:
            end = min(end + fault.bytes, total)
        headers: dict[str, object] = {"Content_Type": "application/octet-stream"}
        if fault.kind != "norange":
            headers["Accept_Ranges"] = "bytes"
        if partial:
            headers["Content_Range"] = f"bytes {start}-{end - 1}/{total}"
        if fault.kind == "gzip":
            headers["Content_Encoding"] = "gzip"
        if fault.kind in ("gzip", "endless"):
            headers["Connection"] = "close"
            self.close_connection = True
        else:
            headers["Content_Length"] = end - start
        self._head(206 if partial else 200, fault, **headers)
        if self.command == "HEAD":
            return
        with file.open("rb", buffering=0) as source:
            if fault.kind == "ok":
                # What an honest registry sends is also measured against: without copies.
                self.connection.sendfile(source, start, end - start)
                return
            for data in lying_body(source, start, end, size, fault):
                self.wfile.write(data)

    def _hang_up(self) -> None:
        """End the connection in the middle of an answer."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """TLS server for both names; the handshake runs in the connection's thread."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], site: Site, certificate: Path, key: Path) -> None:
        self.site = site
        self._names = {site.registry_name, site.cdn_name}
        self._asked: dict[int, str] = {}
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.load_cert_chain(certificate, key)
        self.context.sni_callback = self._check_name
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        """Bind without looking up the machine's own name, which would ask a DNS server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def _check_name(self, tls: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
        if name not in self._names:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        self._asked[id(tls)] = name
        return None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Handshake, then let a handler of that connection's name answer."""
        request.settimeout(30)
        try:
            tls = self.context.wrap_socket(request, server_side=True)
        except OSError:
            return
        name = self._asked.pop(id(tls), "")
        handler = type("NamedHandler", (Handler,), {"site": self.site, "sni": name})
        try:
            handler(tls, client_address, self)
        except OSError:
            pass
        finally:
            tls.close()


def main() -> int:
    """Serve on the addresses of both names until one server ends."""
    config = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    site = Site(config["registry_name"], config["cdn_name"])
    Path("/run/registry").mkdir(exist_ok=True)
    threads = []
    for name in (site.registry_name, site.cdn_name):
        server = Server((config["names"][name], 443), site, CERTIFICATE, KEY)
        threads.append(threading.Thread(target=server.serve_forever, daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 1


if __name__ == "__main__":
    sys.exit(main())
