# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I4: a hostile Docker socket: right or `unknown`, no traceback, bounded in time and memory."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rampart.ollama.plugins.module_utils.engine import Engine
from ansible_collections.rampart.ollama.plugins.module_utils.isolation import ROLES, check_ids
from ansible_collections.rampart.ollama.plugins.module_utils.isolation_inquiry import MEMORY_BYTES, ask

sys.path.insert(0, str(Path(__file__).parent))

from survey_rig import PROPERTIES, Rig, at_most, sound

pytestmark = pytest.mark.row("I4")
GATEWAY = 300
# How long the slow engines go on for, were nobody to end it.
HANG_SECONDS = 60


@pytest.fixture
def rig(proc: Any, inspector: Any, tmp_path: Path) -> Rig:
    return Rig(proc, inspector, tmp_path)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=12), inner, max_size=4)),
    max_leaves=12,
)
KEYS = st.sampled_from(
    ["Id", "Name", "State", "Config", "HostConfig", "NetworkSettings", "Mounts", "Image", "HostConfig.NetworkMode",
     "HostConfig.Privileged", "HostConfig.RestartPolicy", "HostConfig.SecurityOpt", "HostConfig.Devices", "State.Pid",
     "State.Running", "State.Health", "NetworkSettings.Networks", "NetworkSettings.Ports", "Config.Labels"]
)  # fmt: skip


@PROPERTIES
@given(key=KEYS, value=JSON, role=st.sampled_from(ROLES))
def test_any_json_of_the_engine_is_no_traceback_and_hides_nothing_of_the_kernels(
    rig: Rig, key: str, value: Any, role: str
) -> None:
    """What the kernel says of an open gateway stays failed or becomes unknown, whatever the engine says of anything."""
    rig.proc.status(GATEWAY, uid=0, gid=0, capabilities=0xFF)
    described = rig.engine.described
    name = "rampart-" + role
    saved = json.dumps(described[name])
    one, _dot, last = key.rpartition(".")
    (described[name][one] if one else described[name])[last] = value
    try:
        # The listing is made from the descriptions; where these are garbage, so is the listing.
        found = rig.look()
    finally:
        described[name] = json.loads(saved)
    sound(found)
    for suffix in ("uid", "no-capabilities", "no-new-privileges", "seccomp"):
        assert found["by_id"]["gateway-" + suffix] in ("failed", "unknown")
    assert found["verdict"] == "failed"


@PROPERTIES
@given(answers=st.fixed_dictionaries(dict.fromkeys(("container_or_none", "containers", "networks", "info"), JSON)))
def test_an_engine_that_answers_anything_at_all_passes_no_container(rig: Rig, answers: dict[str, Any]) -> None:
    class Liar:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            return lambda *_arguments, **_more: answers[name]

    rig.engine = Liar()
    found = rig.look()
    sound(found)
    for role in ROLES:
        assert {found["by_id"][check_id] for check_id in check_ids(role)} == {"unknown"}
    assert found["verdict"] == "failed"


Talk = Callable[[socket.socket], None]


@contextmanager
def engine_that(talk: Talk) -> Iterator[str]:
    """Serve a Unix socket whose every connection is talked to in this way; yields its path."""
    directory = tempfile.mkdtemp(prefix="rampart-")
    path = os.path.join(directory, "s")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(16)

        def serve() -> None:
            while True:
                try:
                    client = listening.accept()[0]
                except OSError:
                    return
                threading.Thread(target=quietly, args=(client,), daemon=True).start()

        def quietly(client: socket.socket) -> None:
            with suppress(OSError), client:
                client.recv(65536)
                talk(client)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield path
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            shutil.rmtree(directory)


HEAD = b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\n"


def body(data: bytes) -> Talk:
    return lambda client: client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data)


def drip(client: socket.socket) -> None:
    client.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
    for _second in range(HANG_SECONDS * 10):
        client.sendall(b" ")
        time.sleep(0.1)


def drip_headers(client: socket.socket) -> None:
    client.sendall(HEAD)
    for _second in range(HANG_SECONDS * 10):
        client.sendall(b"X: y\r\n")
        time.sleep(0.1)


def endless(client: socket.socket) -> None:
    client.sendall(HEAD + b"\r\n")
    while True:
        client.sendall(b"[" * 65536)


HOSTILE: dict[str, Talk] = {
    "silent": lambda client: time.sleep(HANG_SECONDS),
    "closes": lambda client: None,
    "no http": lambda client: client.sendall(b"\0\xff" * 1000),
    "drips": drip,
    "drips headers": drip_headers,
    "endless": endless,
    "no json": body(b"<html>"),
    "deep": body(b"[" * 200000),
    "deep objects": body(b'{"a":' * 200000),
    "wide": body(b"[" + b"[]," * 10_000_000 + b"[]]"),
    "wrong type": body(b"7"),
    "huge number": body(b'{"State": {"Pid": ' + b"9" * 5000 + b"}}"),
    "list": body(b'[{"Id": 7, "Names": {"a": 1}, "NetworkSettings": []}]'),
    "not utf-8": body(b'{"Id": "\xff\xfe"}'),
    "says it is large": lambda client: client.sendall(HEAD + b"Content-Length: 99999999999999\r\n\r\n{}"),
    "chunks of nonsense": lambda client: client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_engine_costs_little_and_nothing_passes_on_its_word(rig: Rig, kind: str) -> None:
    with engine_that(HOSTILE[kind]) as path:
        rig.engine = Engine(path, 2.0)
        with at_most(1024):
            found = rig.look({"engine_seconds": 2.0})
    sound(found)
    if kind.startswith("drips"):
        # The socket never falls silent for long: only the bound of the whole conversation ends it.
        assert "no result within 2 s" in str(found["findings"])
    for role in ROLES:
        assert {found["by_id"][check_id] for check_id in check_ids(role)} == {"unknown"}
    assert found["verdict"] == "failed"
    assert found["by_id"]["isolation-no-native-ollama"] == "passed"


def test_the_child_that_asked_is_gone_and_left_no_child(rig: Rig) -> None:
    with engine_that(HOSTILE["drips"]) as path:
        answers = ask(Engine(path, 5.0), {"relay": "rampart-relay"}, seconds=0.5)
    assert "no result within 0.5 s" in answers.reason("inspected")
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_the_child_that_asks_may_not_grow_without_end(rig: Rig) -> None:
    """Whatever an answer is made into: with more than it may have, the child gives up, and says why."""
    rig.engine.container_or_none = lambda _name: {"Id": bytearray(2 * MEMORY_BYTES)}
    assert ask(rig.engine, {"relay": "x"}).reason("inspected") == "the engine's answer is too large"
