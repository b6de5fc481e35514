# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of the Docker Engine: what it asks, what it bounds, how it says that something is wrong."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.engine import Engine, EngineError, demultiplex


def frame(stream: int, data: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


def failed(action: Any) -> EngineError:
    with pytest.raises(EngineError) as caught:
        action()
    assert caught.value.as_finding().remedy
    return caught.value


@pytest.mark.parametrize(("offered", "used"), [("1.41", "1.41"), ("1.45", "1.45"), ("1.51", "1.45"), ("1.9", "1.9")])
def test_the_api_version_is_the_engines_capped_by_ours(fake_engine: Any, offered: str, used: str) -> None:
    fake_engine.api = offered
    assert Engine(str(fake_engine.socket_path)).ping() == used


def test_no_socket_is_engine_down(tmp_path: Path) -> None:
    error = failed(Engine(str(tmp_path / "none.sock")).ping)
    assert error.code == "ENGINE-DOWN"
    assert str(error).startswith("ENGINE-DOWN: no Docker Engine answers on ")
    assert "systemctl start docker" in error.as_finding().remedy


def test_a_socket_nobody_listens_on_is_engine_down(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "left.sock"))
    assert failed(Engine(str(tmp_path / "left.sock")).ping).code == "ENGINE-DOWN"


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"])
def test_what_is_no_engine_is_an_error_and_no_traceback(tmp_path: Path, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "other.sock"))
        listening.listen()

        def serve() -> None:
            client, _address = listening.accept()
            client.recv(1000)
            client.sendall(said)
            client.close()

        threading.Thread(target=serve, daemon=True).start()
        assert failed(Engine(str(tmp_path / "other.sock"), timeout=5).ping).code in ("ENGINE-DOWN", "ENGINE-ERROR")


def test_an_engine_that_does_not_answer_times_out(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "mute.sock"))
        listening.listen()
        error = failed(Engine(str(tmp_path / "mute.sock"), timeout=0.1).ping)
    assert error.timed_out
    assert error.code == "ENGINE-ERROR"


def test_what_is_not_there_is_none_and_other_errors_are_errors(fake_engine: Any) -> None:
    engine = Engine(str(fake_engine.socket_path))
    assert engine.image_or_none("none") is None
    assert engine.container_or_none("none") is None
    assert engine.remove_container("none") is False
    assert failed(lambda: engine.inspect_container("none")).code == "ENGINE-NOT-FOUND"
    fake_engine.fail = {"GET /images/x": 500}
    error = failed(lambda: engine.image_or_none("x"))
    assert (error.code, error.status) == ("ENGINE-ERROR", 500)
    assert "the test said so" in str(error)


def test_a_container_is_made_run_read_and_removed(fake_engine: Any) -> None:
    engine = Engine(str(fake_engine.socket_path))
    fake_engine.run = lambda config: (3, "out", "err")
    identity = engine.create_container("c1", {"Image": "sha256:fetcher", "Labels": {}})
    engine.start_container(identity)
    assert engine.wait_container(identity, 5) == 3
    assert engine.logs(identity) == ("out", "err")
    assert engine.remove_container(identity) is True
    assert fake_engine.containers == {}
    assert all(line.split()[1].startswith(("/_ping", "/v1.41/")) for line in fake_engine.seen)


def test_an_empty_name_addresses_nothing(fake_engine: Any) -> None:
    engine = Engine(str(fake_engine.socket_path))
    for action in (engine.remove_container, engine.inspect_container, engine.inspect_image):
        assert failed(lambda action=action: action("")).code == "ENGINE-ERROR"


def test_a_name_cannot_leave_its_place_in_the_path(fake_engine: Any) -> None:
    Engine(str(fake_engine.socket_path)).container_or_none("a?force=1#x y\r\nX: y")
    assert fake_engine.seen[-1] == "GET /v1.41/containers/a%3Fforce%3D1%23x%20y%0D%0AX:%20y/json"


def test_logs_are_split_and_cut_from_the_front() -> None:
    stream = frame(1, b"one ") + frame(2, b"bad") + frame(1, b"two")
    assert demultiplex(stream) == ("one two", "bad")
    assert demultiplex(frame(1, b"x" * 1000) + frame(1, b"end"), max_bytes=5) == ("xxend", "")
    assert demultiplex(frame(1, b"cut")[:-1]) == ("cu", "")
    assert demultiplex(b"no frames at all") == ("", "")
    assert demultiplex(b"") == ("", "")


def test_logs_of_many_frames_stay_bounded() -> None:
    out, _err = demultiplex(frame(1, os.urandom(8)) * 20_000, max_bytes=100)
    assert len(out.encode("utf-8", "replace")) <= 300
