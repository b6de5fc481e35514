# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in registry on loopback, and in front of it a proxy on a Unix socket: the way out of a fetcher, in one
process and without root.

The proxy understands `CONNECT host:443` and nothing else. What it lets through can be cut anywhere: in its own answer,
in the handshake, in a head or in a body.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import registry
import trustme

REGISTRY = "registry.ollama.ai"
CDN = "cdn.example.org"


class Loopback:
    """A registry that serves `directory`/registry (a store), its proxy at `socket_path`, and who signs its names.

    `cut` is asked at each connection how many bytes may come back over it (None: all). `clear`, when it is set, is
    what the proxy answers in clear to the client's greeting, as Squid does when it cannot reach a host.
    """

    def __init__(self, directory: Path, tcp: bool = False) -> None:
        self.directory = directory
        self.store = directory / "registry"
        self.control = directory / "control.json"
        self.socket_path = directory / "egress.sock"
        self.ca_path = directory / "ca.pem"
        self.cut: Callable[[], int | None] = lambda: None
        self.clear = b""
        self.connected: list[str] = []
        self.open_now = 0
        self.most_open = 0
        self._lock = threading.Lock()
        certificate, key = directory / "tls.pem", directory / "tls.key"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_path))
        issued = authority.issue_cert(REGISTRY, CDN)
        issued.private_key_pem.write_to_path(str(key))
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.site = registry.Site(REGISTRY, CDN, self.store, directory / "requests.jsonl", self.control)
        self._server = registry.Server(("127.0.0.1", 0), self.site, certificate, key)
        self._served = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._served.start()
        self._listening = [_listen_unix(self.socket_path)]
        # curl speaks to a proxy over TCP only.
        self.tcp_port = 0
        if tcp:
            self._listening.append(socket.create_server(("127.0.0.1", 0)))
            self.tcp_port = self._listening[1].getsockname()[1]
        self._accepting = [threading.Thread(target=self._accept, args=(sock,)) for sock in self._listening]
        for thread in self._accepting:
            thread.start()

    def close(self) -> None:
        """Stop serving."""
        for sock in self._listening:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._accepting:
            thread.join()
        self._server.shutdown()
        self._served.join()
        self._server.server_close()

    def add(self, reference: str, manifest: bytes, blobs: Mapping[str, bytes | Path]) -> None:
        """Have a model (`library/<reference>`) at the registry; blobs by digest, as bytes or as a file to link."""
        model, _colon, tag = reference.partition(":")
        path = self.store / "manifests" / REGISTRY / "library" / model / tag
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(manifest)
        for digest, data in blobs.items():
            file = self.site.blob_file(digest)
            file.parent.mkdir(exist_ok=True)
            if isinstance(data, Path):
                file.unlink(missing_ok=True)
                os.link(data, file)
            else:
                file.write_bytes(data)

    def misbehave(self, **document: Any) -> None:
        """Put faults in force (see faults.py); without arguments none."""
        draft = self.control.with_name("control.new")
        draft.write_text(json.dumps(document), encoding="utf-8")
        draft.replace(self.control)

    def requests(self) -> list[dict[str, Any]]:
        """What the registry and its CDN were asked so far."""
        with contextlib.suppress(FileNotFoundError):
            return [json.loads(line) for line in self.site.log.read_text(encoding="utf-8").splitlines()]
        return []

    def forget(self) -> None:
        """Forget what was asked."""
        self.site.log.unlink(missing_ok=True)
        self.connected.clear()
        self.most_open = 0

    def empty(self) -> None:
        """Take every model away."""
        shutil.rmtree(self.store, ignore_errors=True)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _address = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._connection, args=(client,), daemon=True).start()

    def _connection(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            budget = _Budget(self.cut())
            host = _read_head(client).split()[1].rsplit(":", 1)[0]
            self.connected.append(host)
            if host not in (REGISTRY, CDN):
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\n\r\n")
                return
            if not budget.send(client, b"HTTP/1.1 200 Connection established\r\n\r\n"):
                return
            if self.clear:
                client.recv(65536)
                client.sendall(self.clear)
                return
            with self._lock:
                self.open_now += 1
                self.most_open = max(self.most_open, self.open_now)
            try:
                with socket.create_connection(("127.0.0.1", self._server.server_port)) as server:
                    self._relay(client, server, budget)
            finally:
                with self._lock:
                    self.open_now -= 1

    def _relay(self, client: socket.socket, server: socket.socket, budget: _Budget) -> None:
        back = threading.Thread(target=_pump, args=(client, server, _Budget(None)), daemon=True)
        back.start()
        _pump(server, client, budget)
        for sock in (client, server):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        back.join()


class _Budget:
    """How many bytes may still pass."""

    def __init__(self, left: int | None) -> None:
        self.left = left

    def send(self, target: socket.socket, data: bytes | memoryview) -> bool:
        """Send what may pass; whether that was everything."""
        if self.left is None:
            target.sendall(data)
            return True
        allowed = data[: self.left]
        self.left -= len(allowed)
        target.sendall(allowed)
        return len(allowed) == len(data) and self.left > 0


def _pump(source: socket.socket, target: socket.socket, budget: _Budget) -> None:
    buffer = memoryview(bytearray(1024 * 1024))
    with contextlib.suppress(OSError):
        while (count := source.recv_into(buffer)) and budget.send(target, buffer[:count]):
            pass
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _read_head(stream: socket.socket) -> str:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = stream.recv(1)
        if not byte:
            raise OSError("closed")
        head += byte
    return head.decode()


def _listen_unix(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(64)
    return listening
