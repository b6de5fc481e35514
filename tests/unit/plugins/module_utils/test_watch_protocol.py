# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What sensor and actor say to each other: strict in both directions, bounded, and never a traceback."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, Severity
from ansible_collections.rampart.ollama.plugins.module_utils.watch_protocol import (
    MESSAGE_MAX_BYTES,
    Answer,
    Request,
    WatchError,
    call,
)

pytestmark = pytest.mark.row("I5")
FINDING = Finding("ISO-LISTENER", Severity.CRITICAL, "port 11434", "listens on 0.0.0.0", "Stop it.")
ID = "ab" * 32
TARGETS: dict[str, dict[str, Any]] = {
    "network": {"container": ID, "network": "cd" * 32},
    "process": {"pid": 4711, "start_time": 123456},
    "container": {"container": ID},
    "host": {},
}


def document(verb: str = "process") -> dict[str, Any]:
    made: dict[str, Any] = json.loads(Request(verb, TARGETS[verb], FINDING).encode())
    return made


def refused(data: bytes) -> WatchError:
    with pytest.raises(WatchError) as caught:
        Request.decode(data)
    assert caught.value.code == "WATCH-MESSAGE"
    assert len(str(caught.value)) < 600
    return caught.value


@pytest.mark.parametrize("verb", sorted(TARGETS))
def test_a_request_arrives_as_it_was_sent(verb: str) -> None:
    request = Request(verb, TARGETS[verb], FINDING)
    assert Request.decode(request.encode()) == request


def test_an_answer_arrives_as_it_was_sent() -> None:
    answer = Answer("done", "killed process 4711", "20260101T000000Z-process-00c0ffee.json", 0.25)
    assert Answer.decode(answer.encode()) == answer


@pytest.mark.parametrize(
    "changes",
    [
        {"verb": "exec"},
        {"verb": ["process"]},
        {"schema": 2},
        {"schema": True},
        {"schema": "1"},
        {"command": "id"},
        {"target": {"pid": 1, "start_time": 1}},
        {"target": {"pid": 0, "start_time": 1}},
        {"target": {"pid": -5, "start_time": 1}},
        {"target": {"pid": True, "start_time": 1}},
        {"target": {"pid": 7.0, "start_time": 1}},
        {"target": {"pid": "7", "start_time": 1}},
        {"target": {"pid": 1 << 40, "start_time": 1}},
        {"target": {"pid": 7, "start_time": -1}},
        {"target": {"pid": 7}},
        {"target": {"pid": 7, "start_time": 1, "signal": 9}},
        {"target": []},
        {"verb": "container", "target": {"container": "ab" * 31}},
        {"verb": "container", "target": {"container": "AB" * 32}},
        {"verb": "container", "target": {"container": ID + "\n"}},
        {"verb": "container", "target": {"container": "../" * 21 + "a"}},
        {"verb": "container", "target": {"container": "rampart-ollama"}},
        {"verb": "network", "target": {"container": ID}},
        {"verb": "host", "target": {"table": "rampart"}},
        {"finding": None},
        {"finding": {"code": "ISO-LISTENER"}},
        {"finding": {**FINDING.as_dict(), "code": "not a code"}},
        {"finding": {**FINDING.as_dict(), "severity": "fatal"}},
        {"finding": {**FINDING.as_dict(), "evidence": 7}},
        {"finding": {**FINDING.as_dict(), "more": ""}},
    ],
)
def test_i5_what_is_no_request_is_refused(changes: dict[str, Any]) -> None:
    refused(json.dumps({**document(), **changes}).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 4000,
        b'{"a":' * 800,
        b'{"schema":NaN}',
        b"1" * 4000,
        b" " * (MESSAGE_MAX_BYTES + 1),
        json.dumps(document()).replace('"verb"', '"verb":"host","verb"').encode(),
        json.dumps(document()).replace('"pid"', '"pid":1,"pid"').encode(),
        json.dumps(document())[:-1].encode() + b', "finding": {}}',
    ],
)
def test_i5_hostile_bytes_are_refused_and_no_traceback(data: bytes) -> None:
    refused(data)


def test_a_request_never_grows_beyond_a_message() -> None:
    long = Finding("ISO-LISTENER", Severity.HIGH, "\u20ac" * 500, "\u20ac" * 500, "\u20ac" * 500)
    with pytest.raises(WatchError, match="at most 4096"):
        Request("host", {}, long).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": "fine"},
        {"record": "../../etc/shadow"},
        {"record": "a/b.json"},
        {"record": 7},
        {"seconds": -1},
        {"seconds": True},
        {"seconds": 1e999},
        {"reason": None},
        {"extra": 1},
    ],
)
def test_i5_what_is_no_answer_is_refused(changes: dict[str, Any]) -> None:
    made = json.loads(Answer("done", "", None, 0.1).encode())
    with pytest.raises(WatchError) as caught:
        Answer.decode(json.dumps({**made, **changes}).encode())
    assert caught.value.code == "WATCH-MESSAGE"


def test_nobody_behind_the_socket_is_an_error_with_a_code(tmp_path: Path) -> None:
    with pytest.raises(WatchError) as caught:
        call(str(tmp_path / "none.sock"), Request("host", {}, FINDING), 1)
    assert caught.value.code == "WATCH-ACTOR-DOWN"


@pytest.mark.parametrize(
    ("said", "code"), [(None, "WATCH-ACTOR-SILENT"), (b"", "WATCH-ACTOR-DOWN"), (b"hello", "WATCH-MESSAGE")]
)
def test_an_actor_that_is_none_is_an_error_with_a_code(tmp_path: Path, said: bytes | None, code: str) -> None:
    path = str(tmp_path / "a.sock")
    hold = threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            client, _address = listener.accept()
            with client:
                assert Request.decode(client.recv(5000)).verb == "host"
                if said is None:
                    hold.wait(10)
                elif said:
                    client.send(said)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(WatchError) as caught:
            call(path, Request("host", {}, FINDING), 0.3)
        hold.set()
        thread.join()
    assert caught.value.code == code
    assert os.path.exists(path)
