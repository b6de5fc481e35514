# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate to the engine: a few questions pass word for word, and nothing else reaches the engine at all."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import watch_gate
from ansible_collections.rampart.ollama.plugins.module_utils.engine import Engine, EngineError
from ansible_collections.rampart.ollama.plugins.module_utils.watch_gate import Gate, GateError, judge

pytestmark = pytest.mark.row("I5")
ID = "ab" * 32


def head(target: str, method: str = "GET", extra: str = "", version: str = "HTTP/1.1") -> bytes:
    return "{0} {1} {2}\r\nHost: docker\r\n{3}\r\n".format(method, target, version, extra).encode()


@pytest.mark.parametrize(
    "target",
    [
        "/_ping",
        "/version",
        "/v1.41/info",
        "/v1.45/containers/json?all=1&filters=%7B%22label%22%3A%5B%22a%22%5D%7D",
        "/containers/{0}/json".format(ID),
        "/v1.41/containers/rampart-ollama/json",
        "/networks",
        "/networks/{0}".format(ID),
        "/images/sha256:{0}/json".format(ID),
        "/images/rampart/relay:0.1.0/json",
        "/v1.41/events?filters=%7B%7D&since=1700000000",
    ],
)
def test_i5_the_questions_of_the_sensor_pass(target: str) -> None:
    assert judge(head(target)) == target


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "PATCH", "CONNECT", "OPTIONS", "get", "GET "])
def test_i5_no_other_method_passes(method: str) -> None:
    with pytest.raises(GateError):
        judge(head("/containers/{0}/json".format(ID), method))


@pytest.mark.parametrize(
    "target",
    [
        "/containers/{0}/logs?stdout=1".format(ID),
        "/containers/{0}/archive?path=/".format(ID),
        "/containers/{0}/export".format(ID),
        "/containers/{0}/attach/ws".format(ID),
        "/containers/{0}/top".format(ID),
        "/containers/{0}/stats".format(ID),
        "/containers/{0}/json/".format(ID),
        "/containers/{0}/json?size=1".format(ID),
        "/containers/json?all=1&all=0",
        "/containers/json?all",
        "/containers/json?",
        "/containers/../images/get/json",
        "/containers/%2e%2e/json",
        "/containers/a%2Fb/json",
        "/containers/a/b/json",
        "/containers//json",
        "/containers/{0}/json%00".format(ID),
        "/containers/{0}/json#x".format(ID),
        "/containers/{0}/json;x".format(ID),
        "/v1.41/v1.41/info",
        "/v1.41x/info",
        "/v/info",
        "//info",
        "/info/../containers/create",
        "/images/get?names=a",
        "/images/../containers/x/json",
        "/images/a/../b/json",
        "/images/json",
        "/secrets",
        "/configs",
        "/swarm",
        "/system/df",
        "/session",
        "/grpc",
        "/exec/{0}/json".format(ID),
        "/volumes",
        "/plugins",
        "/events?filters={0}".format("a" * 1100),
        "/events?since=1&evil=2",
        "/info?x=1",
        "http://docker/info",
        "*",
        "docker:80",
        "/info HTTP/1.1\r\nX: ",
        "/" + "a" * 3000,
        "/containers/\u00e9/json",
        "/containers/a\tb/json",
    ],
)
def test_i5_no_other_path_passes(target: str) -> None:
    if target == "/containers/json?all":
        assert judge(head(target))  # a key without a value asks for nothing more
        return
    with pytest.raises(GateError):
        judge(head(target))


@pytest.mark.parametrize(
    "extra",
    [
        "Upgrade: tcp\r\n",
        "Connection: Upgrade\r\n",
        "Connection: close, upgrade\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\n",
        "Host: other\r\n",
        "X-Registry-Auth: abc\r\n",
        "Accept : x\r\n",
        " folded\r\n",
        "Accept: a\nUpgrade: tcp\r\n",
        "Accept: a\rb\r\n",
        "no colon\r\n",
        "Accept: {0}\r\n".format("a" * 600),
    ],
)
def test_i5_headers_that_change_what_the_connection_is_are_refused(extra: str) -> None:
    with pytest.raises(GateError):
        judge(head("/info", extra=extra))


@pytest.mark.parametrize(
    "data",
    [b"", b"\r\n\r\n", b"GET /info HTTP/1.1\n\n", head("/info", version="HTTP/2.0"), head("/info") + b"GET /",
     b"\x16\x03\x01\x02\x00" * 10, b"PRI * HTTP/2.0\r\n\r\n", head("/info")[:-2]],
)  # fmt: skip
def test_i5_what_is_not_the_head_of_one_request_is_refused(data: bytes) -> None:
    with pytest.raises(GateError):
        judge(data)


class Behind:
    """An engine that keeps what it was sent and answers the same to everybody."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.received: list[bytes] = []
        self.pieces: list[bytes] = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nApi-Version: 1.41\r\n\r\n{}"]
        self.hold = threading.Event()
        self.hold.set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        with client:
            self.received.append(client.recv(65536))
            try:
                for piece in self.pieces:
                    client.sendall(piece)
                    self.hold.wait(10)
            except OSError:
                return

    def close(self) -> None:
        self.hold.set()
        self._listener.close()


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Behind]:
    made = Behind(tmp_path / "engine.sock")
    yield made
    made.close()


@pytest.fixture
def gate(tmp_path: Path, behind: Behind) -> Iterator[Gate]:
    made = Gate(str(tmp_path / "gate.sock"), str(behind.path), os.geteuid())
    made.open()
    thread = threading.Thread(target=made.serve)
    thread.start()
    yield made
    made.stopping.set()
    thread.join(10)
    assert not thread.is_alive()


def say(gate: Gate, *pieces: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(gate.path)
        said = b""
        try:
            for piece in pieces:
                client.sendall(piece)
            while data := client.recv(65536):
                said += data
        except (BrokenPipeError, ConnectionResetError):
            pass
        return said


def test_i5_the_engine_hears_the_gates_own_words_and_no_byte_of_the_clients(gate: Gate, behind: Behind) -> None:
    answer = say(gate, head("/v1.41/info", extra="User-Agent: evil\r\nAccept: */*\r\n"))
    assert answer == behind.pieces[0]
    assert behind.received == [b"GET /v1.41/info HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n"]


@pytest.mark.parametrize(
    "pieces",
    [
        (head("/v1.41/containers/create", "POST", "Content-Length: 2\r\n") + b"{}",),
        (head("/info") + head("/containers/create", "POST"),),
        (head("/info"), b"POST /containers/create HTTP/1.1\r\nHost: docker\r\n\r\n"),
        (b"GET /containers/json HTTP/1.1\r\nHost: a\r\n", b"Upgrade: tcp\r\n\r\n"),
        (b"A" * 9000,),
    ],
)
def test_i5_nothing_but_a_question_ever_reaches_the_engine(
    gate: Gate, behind: Behind, pieces: tuple[bytes, ...]
) -> None:
    say(gate, *pieces)
    time.sleep(0.1)
    assert all(item.startswith(b"GET /info ") for item in behind.received)
    assert not any(b"POST" in item for item in behind.received)


def test_i5_an_answer_of_any_size_is_handed_on_unread(gate: Gate, behind: Behind) -> None:
    blob = os.urandom(3_000_000)
    behind.pieces = [b"HTTP/1.1 200 OK\r\n\r\n", blob]
    assert say(gate, head("/containers/json?all=1")).endswith(blob)


def test_i5_events_come_one_by_one_and_end_when_the_client_leaves(gate: Gate, behind: Behind) -> None:
    behind.pieces = [b"HTTP/1.1 200 OK\r\n\r\nfirst", b"second"]
    behind.hold.clear()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(gate.path)
        client.sendall(head("/v1.41/events"))
        assert client.recv(100).endswith(b"first")
        behind.hold.set()
        assert client.recv(100) == b"second"


def test_i5_other_accounts_are_not_answered(tmp_path: Path, behind: Behind) -> None:
    made = Gate(str(tmp_path / "other.sock"), str(behind.path), os.geteuid() + 1)
    made.open()
    thread = threading.Thread(target=made.serve)
    thread.start()
    try:
        assert say(made, head("/info")) == b""
        assert behind.received == []
    finally:
        made.stopping.set()
        thread.join(10)


def test_i5_connections_are_bounded_and_slow_ones_end(
    gate: Gate, behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_gate, "HEAD_SECONDS", 0.5)
    idle = []
    for _number in range(watch_gate.CONNECTIONS_MAX + 5):
        client = socket.socket(socket.AF_UNIX)
        client.connect(gate.path)
        client.settimeout(10)
        idle.append(client)
    said = [client.recv(1000) for client in idle]
    for client in idle:
        client.close()
    # Those within the bound were told that they were too slow, those beyond it were turned away.
    assert sum(item.startswith(b"HTTP/1.1 408") for item in said) == watch_gate.CONNECTIONS_MAX
    assert said.count(b"") == 5
    assert b"200 OK" in say(gate, head("/info"))
    assert len(behind.received) == 1


def test_an_engine_that_is_gone_is_said_so_and_comes_back(gate: Gate, behind: Behind, tmp_path: Path) -> None:
    os.rename(behind.path, tmp_path / "away.sock")
    assert say(gate, head("/info")).startswith(b"HTTP/1.1 502 Bad Gateway")
    os.rename(tmp_path / "away.sock", behind.path)
    assert b"200 OK" in say(gate, head("/info"))


def test_the_collections_own_client_speaks_through_the_gate(gate: Gate) -> None:
    engine = Engine(gate.path, 5)
    assert engine.info() == {}
    with pytest.raises(EngineError):
        engine.stop_container(ID, 0)


def test_the_socket_is_for_owner_and_group_alone(gate: Gate) -> None:
    assert os.stat(gate.path).st_mode & 0o777 == 0o660
