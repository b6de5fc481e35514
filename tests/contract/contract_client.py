# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plain HTTP client: over TCP, a Unix socket, or inside a container's network namespace."""

from __future__ import annotations

import ctypes
import dataclasses
import http.client
import json
import os
import pathlib
import socket
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

_CLONE_NEWNET = 0x40000000
_TIMEOUT = 120.0  # seconds; a first answer loads the model
Connect = Callable[[], socket.socket]


@dataclasses.dataclass(frozen=True)
class Answer:
    """A whole answer; `arrivals` are the times (seconds) at which pieces of the body came in."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes
    arrivals: list[float]

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")

    def json(self) -> Any:
        return json.loads(self.body)

    def lines(self) -> list[Any]:
        """Objects of an NDJSON body; every line, the last too, ends in a newline."""
        assert self.body.endswith(b"\n"), "the last line of the stream is cut"
        return [json.loads(line) for line in self.body.splitlines()]

    def events(self) -> list[str]:
        """Data of the server-sent events; each event is one `data:` line and an empty line."""
        blocks = self.body.decode().split("\n\n")
        assert blocks.pop() == "", "the last event is cut"
        assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
        return [block.removeprefix("data: ") for block in blocks]


class _Connection(http.client.HTTPConnection):
    def __init__(self, connect: Connect) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._connect = connect

    def connect(self) -> None:
        self.sock = self._connect()


class Client:
    """Sends one request at a time, each on a connection of its own."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """Send a request; `body` is sent as it is when it is a string, else as JSON (None: no body)."""
        data = None if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        connection = _Connection(self._connect)
        try:
            connection.request(method, path, data, {**sent, **(headers or {})})
            response = connection.getresponse()
            pieces: list[bytes] = []
            arrivals: list[float] = []
            while piece := response.read1(65536):
                pieces.append(piece)
                arrivals.append(time.monotonic())
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, b"".join(pieces), arrivals)
        finally:
            connection.close()

    def open(self) -> socket.socket:
        """A bare connection, for requests that no HTTP library would send."""
        return self._connect()


def _tcp(host: str, port: int) -> socket.socket:
    return socket.create_connection((host, port), timeout=_TIMEOUT)


def _unix(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(_TIMEOUT)
    connection.connect(path)
    return connection


def _inside(pid: int, port: int) -> socket.socket:
    """Connect to 127.0.0.1:port in the network namespace of a process (root only).

    A thread of its own enters the namespace; the socket it makes belongs there for good.
    """
    found: list[socket.socket | OSError] = []

    def enter() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        handle = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            if libc.setns(handle, _CLONE_NEWNET) != 0:
                found.append(OSError(ctypes.get_errno(), "setns"))
                return
            found.append(_tcp("127.0.0.1", port))
        except OSError as error:
            found.append(error)
        finally:
            os.close(handle)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def container_pid(name: str) -> int:
    """Process id of a running container of the engine that DOCKER_HOST names; raises ValueError without one."""
    command = ["docker", "inspect", "--format", "{{.State.Pid}}", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or int(done.stdout) == 0:
        raise ValueError(f"container {name!r} does not run: {done.stderr.strip()}")
    return int(done.stdout)


def connect_to(url: str) -> Connect:
    """How to reach `http://host:port`, `unix:///path`, `http+unix://%2Fpath` or `docker://container`.

    Raises ValueError for anything else.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "http" and parts.hostname:
        host, tcp_port = parts.hostname, parts.port or 80
        return lambda: _tcp(host, tcp_port)
    if parts.scheme in ("unix", "http+unix") and (parts.path or parts.netloc):
        path = urllib.parse.unquote(parts.netloc) or parts.path
        return lambda: _unix(path)
    if parts.scheme == "docker" and parts.hostname:
        pid, port = container_pid(parts.hostname), parts.port or 11434
        return lambda: _inside(pid, port)
    raise ValueError(f"{url!r} is not http://host:port, unix:///path or docker://container")


def recorded() -> list[dict[str, Any]]:
    """The recorded exchanges: {name, request {method, path, body}, response {status, headers, body}}."""
    text = pathlib.Path(__file__).with_name("recorded.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
