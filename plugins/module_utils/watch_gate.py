# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate between the watch's sensor and the Docker Engine: a few questions pass, nothing that acts.

Whoever reaches the engine's socket is root. The sensor reads what containers can influence, so it does not get that
socket but this one. One request a connection; the gate judges the head of the request, and then writes a request of its
own to the engine: no byte of the client's goes there. The answer is handed back as it comes, unread: a process that is
as good as root parses nothing that a container can shape. So values of environments reach the sensor too.
"""

from __future__ import annotations

import argparse
import json
import re
import select
import signal
import socket
import sys
import time
from typing import Optional

from .watch_server import PeerServer
from .watch_unit import NOTICE, Journal, notify

DEFAULT_SOCKET = "/run/rampart/watch/engine.sock"
HEAD_MAX_BYTES = 8192
HEAD_SECONDS = 2.0
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
WRITE_SECONDS = 10.0
CONNECTIONS_MAX = 16
CHUNK_BYTES = 65536

_LINE = re.compile(rb"GET (/[!-~]{0,2047}) HTTP/1\.[01]")
_HEADER = re.compile(rb"([A-Za-z][A-Za-z-]{0,39}): ?([ -~]{0,512})")
_HEADERS = (b"host", b"user-agent", b"accept", b"accept-encoding", b"connection")
_CONNECTIONS = (b"close", b"keep-alive")
_QUERY = re.compile(r"[A-Za-z0-9%_.~*+=&-]{1,1024}")
_VERSION = r"(?:/v\d{1,2}\.\d{1,3})?"
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}"
_IMAGE = r"(?:sha256:[0-9a-f]{{64}}|{0}(?:/{0}){{0,3}}(?::{0})?)".format(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
# Path (after an optional version) and the keys its query may have.
ROUTES: tuple[tuple[str, frozenset[str]], ...] = (
    (r"/_ping", frozenset()),
    (r"/version", frozenset()),
    (r"/info", frozenset()),
    (r"/containers/json", frozenset(["all", "filters", "limit"])),
    (r"/containers/{0}/json".format(_NAME), frozenset()),
    (r"/networks", frozenset(["filters"])),
    (r"/networks/{0}".format(_NAME), frozenset()),
    (r"/images/{0}/json".format(_IMAGE), frozenset()),
    (r"/events", frozenset(["filters", "since", "until"])),
)
_ROUTES = tuple((re.compile(_VERSION + path), keys) for path, keys in ROUTES)
_STREAM = re.compile(_VERSION + r"/events")


class GateError(Exception):
    """A request that does not pass; `status` is what the client is answered."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


def judge(head: bytes) -> str:
    """Return the target (path and query) of a request's head if it may pass. Raises GateError for every other one.

    `head` is everything up to and with the empty line; what is behind it must not exist.
    """
    lines = head.split(b"\r\n")
    if len(lines) < 3 or lines[-2:] != [b"", b""]:
        raise GateError("400 Bad Request", "not the head of one request")
    line = _LINE.fullmatch(lines[0])
    if line is None:
        raise GateError("405 Method Not Allowed", "not a GET of a path")
    seen = set()
    for item in lines[1:-2]:
        header = _HEADER.fullmatch(item)
        name = header.group(1).lower() if header else b""
        if header is None or name not in _HEADERS or name in seen:
            raise GateError("400 Bad Request", "a header that is malformed, repeated or not needed")
        if name == b"connection" and header.group(2).lower() not in _CONNECTIONS:
            raise GateError("400 Bad Request", "a connection is not changed into something else")
        seen.add(name)
    target = line.group(1).decode("ascii")
    path, mark, query = target.partition("?")
    for route, keys in _ROUTES:
        if route.fullmatch(path):
            if mark:
                _judge_query(query, keys)
            return target
    raise GateError("403 Forbidden", "not one of the questions that pass")


def _judge_query(query: str, keys: frozenset[str]) -> None:
    if not _QUERY.fullmatch(query):
        raise GateError("400 Bad Request", "a query that is malformed or too long")
    names = [item.partition("=")[0] for item in query.split("&")]
    if len(set(names)) != len(names) or not set(names) <= keys:
        raise GateError("403 Forbidden", "a query key that does not pass")


class Gate(PeerServer):
    """Serves one socket. `uid` is the only account that is answered; `engine` the engine's own socket."""

    def __init__(self, path: str, engine: str, uid: int, journal: Optional[Journal] = None) -> None:
        super().__init__(path, socket.SOCK_STREAM, uid, CONNECTIONS_MAX, journal or Journal())
        self.engine = engine

    def answer(self, connection: socket.socket, peer: dict[str, int]) -> None:
        """Pass one question on, or say why it does not pass."""
        try:
            self._pass(connection, judge(_head_of(connection)))
        except GateError as error:
            self.journal.say_of_others(NOTICE, "WATCH-GATE-REFUSED: {0}".format(error))
            body = json.dumps({"message": "rampart watch gate: {0}".format(error)}).encode()
            connection.settimeout(WRITE_SECONDS)
            connection.sendall(
                "HTTP/1.1 {0}\r\nContent-Type: application/json\r\nContent-Length: {1}\r\n"
                "Connection: close\r\n\r\n".format(error.status, len(body)).encode()
                + body
            )

    def _pass(self, client: socket.socket, target: str) -> None:
        """Ask the engine in our own words and hand its answer back, byte by byte."""
        endless = _STREAM.fullmatch(target.partition("?")[0]) is not None
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as engine:
            engine.settimeout(CONNECT_SECONDS)
            try:
                engine.connect(self.engine)
                engine.sendall("GET {0} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n".format(target).encode())
            except OSError as error:
                raise GateError("502 Bad Gateway", "the engine does not answer ({0})".format(error.strerror)) from None
            client.settimeout(WRITE_SECONDS)
            deadline = time.monotonic() + ANSWER_SECONDS
            while not self.stopping.is_set():
                left = 1.0 if endless else deadline - time.monotonic()
                if left <= 0:
                    return
                ready, _out, _err = select.select([engine, client], [], [], min(1.0, left))
                # The client has asked; if it says more, or leaves, this is over.
                if client in ready:
                    return
                if engine in ready:
                    data = engine.recv(CHUNK_BYTES)
                    if not data:
                        return
                    client.sendall(data)


def _head_of(connection: socket.socket) -> bytes:
    """Return a request's head. Raises GateError when it is too long, too slow, or followed by anything."""
    head = b""
    deadline = time.monotonic() + HEAD_SECONDS
    while not head.endswith(b"\r\n\r\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise GateError("408 Request Timeout", "no request in time")
        connection.settimeout(left)
        try:
            data = connection.recv(HEAD_MAX_BYTES + 1 - len(head))
        except socket.timeout:
            raise GateError("408 Request Timeout", "no request in time") from None
        head += data
        if not data or len(head) > HEAD_MAX_BYTES or b"\r\n\r\n" in head[:-4]:
            raise GateError("400 Bad Request", "not the head of one request")
    return head


def main(arguments: Optional[list[str]] = None) -> int:
    """Run the gate; 0 when it was told to end, 1 when it could not begin."""
    parser = argparse.ArgumentParser(prog="watch_gate", description="Read-only gate to the Docker Engine.")
    parser.add_argument("--socket", default=DEFAULT_SOCKET)
    parser.add_argument("--engine", default="/run/docker.sock")
    parser.add_argument("--uid", type=int, required=True, help="the only account that is answered")
    options = parser.parse_args(arguments)
    gate = Gate(options.socket, options.engine, options.uid)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: gate.stopping.set())
    try:
        gate.open()
    except OSError as error:
        sys.stderr.write("WATCH-GATE-START: {0}: {1}\n".format(options.socket, error.strerror))
        return 1
    notify("READY=1")
    gate.serve()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
