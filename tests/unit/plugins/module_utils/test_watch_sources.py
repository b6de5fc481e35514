# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the watch hears: streams full of garbage, netlink messages that are cut, files that others write."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.publish import store_lock
from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore
from ansible_collections.rampart.ollama.plugins.module_utils.watch_queue import Hint
from ansible_collections.rampart.ollama.plugins.module_utils.watch_sources import (
    BACKOFF_MAX,
    LINE_MAX_BYTES,
    DockerEvents,
    EventStream,
    SourceError,
    hint_of,
)
from ansible_collections.rampart.ollama.plugins.module_utils.watch_sources_files import FileEvents
from ansible_collections.rampart.ollama.plugins.module_utils.watch_sources_netlink import (
    DropEvents,
    FirewallEvents,
    ProcessEvents,
    attribute,
    attributes,
    listeners,
    message,
    messages,
    packet_text,
)

pytestmark = pytest.mark.row("I5")
ID = "ab" * 32
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def event(kind: str, action: str, identity: str = ID, **attributes: str) -> bytes:
    return json.dumps({"Type": kind, "Action": action, "Actor": {"ID": identity, "Attributes": attributes}}).encode()


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


# --- Docker's events --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (event("container", "start"), Hint("container", ID, urgent=True)),
        (event("container", "exec_start: /bin/sh"), Hint("container", ID, urgent=True)),
        (event("container", "rename"), Hint("container", ID, urgent=True)),
        (event("network", "connect", "n", container=ID), Hint("container", ID, urgent=True)),
        (event("network", "disconnect", "n", container=ID), Hint("container", ID)),
        (event("container", "die"), Hint("container", ID)),
        (event("container", "exec_die"), None),
        (event("container", "health_status: healthy"), None),
        (event("container", "start", "../../etc"), None),
        (event("container", "start", ID + "\n"), None),
        (event("network", "connect", "n", container="short"), None),
        (event("image", "pull"), None),
        (b"null", None),
        (b"[]", None),
        (b'{"Type":"container","Action":{"start":1},"Actor":[]}', None),
        (b'{"Type":"container","Action":"start","Actor":{"ID":{"a":1}}}', None),
        (b"[" * 5000, None),
        (b"\xff\xfe", None),
    ],
)
def test_an_event_is_a_hint_or_nothing(line: bytes, hint: Hint | None) -> None:
    assert hint_of(line) == hint


def test_lines_come_out_however_the_bytes_are_cut() -> None:
    wanted = [event("container", "start"), event("container", "die"), b"x" * 5000]
    data = HEAD + chunks(wanted[0] + b"\n" + wanted[1][:10], wanted[1][10:] + b"\n\n", wanted[2], b"\n")
    for size in (1, 2, 3, 7, 64, len(data)):
        stream = EventStream()
        found = [line for at in range(0, len(data), size) for line in stream.feed(data[at : at + size])]
        assert found == wanted, size


def test_an_answer_without_chunks_is_read_too() -> None:
    stream = EventStream()
    assert list(stream.feed(b"HTTP/1.0 200 OK\r\n\r\n" + event("container", "die") + b"\n")) == [
        event("container", "die")
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 403 Forbidden\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"\r\n\r\n",
        HEAD + b"zz\r\n",
        HEAD + b"-5\r\nhello",
        HEAD + b"fffffffffffffffff\r\n",
        HEAD + b"0\r\n\r\n",
        HEAD + b"a" * 100,
    ],
)
def test_what_is_no_stream_of_events_ends_it(data: bytes) -> None:
    stream = EventStream()
    with pytest.raises(SourceError):
        list(stream.feed(data))


def test_a_head_or_a_line_without_end_is_given_up_in_bounded_memory() -> None:
    with pytest.raises(SourceError, match="no head"):
        stream = EventStream()
        for _number in range(1000):
            list(stream.feed(b"X-A: b\r\n" * 100))
    with pytest.raises(SourceError, match="more than"):
        stream = EventStream()
        list(stream.feed(HEAD))
        for _number in range(LINE_MAX_BYTES // 10_000 + 2):
            list(stream.feed(chunks(b"x" * 10_000)))


def test_random_bytes_never_raise_anything_else() -> None:
    chance = random.Random(4)
    for _number in range(300):
        stream = EventStream()
        try:
            list(stream.feed(HEAD + chance.randbytes(chance.randrange(200))))
        except SourceError:
            continue


class Engine:
    """A Unix socket that answers every connection with given bytes, and then hangs up."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.asked = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen(5)
        self._data = data
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _address = self._socket.accept()
            except OSError:
                return
            with connection:
                self.asked = connection.recv(4096)
                connection.sendall(self._data)

    def close(self) -> None:
        self._socket.close()


def drain(source: DockerEvents) -> None:
    while True:
        socket_timeout = source._socket
        assert socket_timeout is not None
        socket_timeout.settimeout(5)
        source.read()


def test_the_engines_stream_becomes_hints_and_its_end_is_noticed(tmp_path: Path) -> None:
    lines = [event("container", "start"), b"garbage", event("container", "exec_create: sh -c secret"), b"{}"]
    engine = Engine(tmp_path / "s", HEAD + chunks(b"\n".join(lines) + b"\n"))
    hints: list[Hint] = []
    execs: list[tuple[str, str]] = []
    source = DockerEvents(str(tmp_path / "s"), hints.append, lambda *seen: execs.append(seen))
    try:
        assert source.try_open(0.0)
        with pytest.raises(SourceError, match="ended"):
            drain(source)
    finally:
        source.close()
        engine.close()
    # What happened before anybody listened is seen by a sweep.
    assert hints == [Hint("sweep"), Hint("container", ID, urgent=True)]
    assert execs == [(ID, "sh -c secret")]
    assert source.garbage == 2
    assert engine.asked.startswith(b"GET /events?filters=")


def test_a_source_that_cannot_be_opened_is_tried_ever_more_seldom(tmp_path: Path) -> None:
    source = DockerEvents(str(tmp_path / "absent"), lambda _hint: None, lambda *_seen: None)
    tries, now = 0, 0.0
    while now < 600:
        before = source.next_try
        source.try_open(now)
        tries += source.next_try != before
        now += 0.1
    assert not source.is_open
    assert source.reason
    assert 600 / BACKOFF_MAX <= tries < 600 / BACKOFF_MAX + 12


# --- netlink ----------------------------------------------------------------------------------------------
def exec_event(pid: int, what: int = 2) -> bytes:
    head = struct.pack("=IIIIHH", 1, 1, 0, 0, 40, 0)
    return head + struct.pack("=IIQ", what, 0, 0) + struct.pack("=II", pid, pid) + b"\0" * 16


def test_only_an_exec_hands_on_a_process() -> None:
    found: list[int] = []
    source = ProcessEvents(found.append, lambda: None)
    for payload in (exec_event(4711), exec_event(5, what=1), exec_event(1), b"", exec_event(6)[:30]):
        source.message(3, payload)
    assert found == [4711]


def test_cut_and_random_messages_are_passed_over() -> None:
    whole = message(7, 0, b"abcd") + message(8, 0, b"")
    assert list(messages(whole)) == [(7, b"abcd"), (8, b"")]
    for length in range(len(whole)):
        list(messages(whole[:length]))
    assert attributes(attribute(1, b"x") + attribute(2, b"yy")) == {1: b"x", 2: b"yy"}
    chance = random.Random(5)
    source = DropEvents(5, lambda *_seen: None)
    firewall = FirewallEvents("rampart", lambda *_seen: None, lambda: None)
    source._sums = {}
    for _number in range(2000):
        data = chance.randbytes(chance.randrange(120))
        for kind, payload in messages(data):
            source.message(kind, payload)
        source.message(4 << 8, data)
        firewall.message(10 << 8 | chance.randrange(20), data)
        packet_text(data)
    assert len(source._sums) <= 64


def test_a_packet_is_named_by_its_ends() -> None:
    ipv4 = bytes([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 192, 0, 2, 9]) + struct.pack(">HH", 999, 443)
    assert packet_text(ipv4) == "10.0.0.1 -> 192.0.2.9 tcp port 443"
    ipv6 = bytes([0x60, 0, 0, 0, 0, 8, 17, 64]) + bytes(15) + b"\1" + bytes(15) + b"\2" + struct.pack(">HH", 1, 53)
    assert packet_text(ipv6) == "::1 -> ::2 udp port 53"
    assert packet_text(b"\x45") == packet_text(b"") == "not an IP packet"


def table_message(kind: int, name: bytes = b"rampart", family: int = 1) -> tuple[int, bytes]:
    return 10 << 8 | kind, struct.pack(">BBH", family, 0, 0) + attribute(1, name + b"\0")


def test_a_table_that_goes_is_told_and_a_reload_is_not() -> None:
    told: list[tuple[bool, bool]] = []
    source = FirewallEvents("rampart", lambda *seen: told.append(seen), lambda: None)
    source.present = True
    end = (10 << 8 | 15, struct.pack(">BBH", 0, 0, 0))
    # A reload is one transaction: away and back again, with all its rules.
    for item in (table_message(8), table_message(2), table_message(0), end):
        source.message(*item)
    assert told == [(True, False)]
    for item in (table_message(2, b"docker"), table_message(2, family=2), end):
        source.message(*item)
    assert told == [(True, False)]
    source.message(*table_message(8))
    source.message(*end)
    assert told[-1] == (True, True)
    source.message(*table_message(2))
    source.message(*end)
    assert told[-1] == (False, False)


def test_listeners_are_found_by_port_alone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        port = first.getsockname()[1]
        found = listeners(port)
        assert [str(address) for address, _inode in found] == ["127.0.0.1"]
        assert found[0][1] == os.fstat(first.fileno()).st_ino
        assert found[0][1] != os.fstat(second.fileno()).st_ino
    assert listeners(port) == []


REAL_NFLOG = """
import socket, struct, subprocess, time
from ansible_collections.rampart.ollama.plugins.module_utils.watch_sources_netlink import *
drops, changes = [], []
source = DropEvents(5, lambda *seen: drops.append(seen)); source.open()
firewall = FirewallEvents("rampart", lambda *seen: changes.append(seen), lambda: None); firewall.open()
rule = "iptables -A INPUT -p udp --dport 9 -j NFLOG --nflog-group 5 --nflog-prefix rampart-test"
subprocess.run(rule.split(), check=True)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
    for number in range(5): handle.sendto(b"x", ("127.0.0.1", 9))
time.sleep(0.5); source.read()
def batch(*kinds):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as handle:
        head = struct.pack(">BBH", 0, 0, 10)
        table = struct.pack(">BBH", 1, 0, 0) + attribute(1, b"rampart\\0")
        wanted = b"".join(message(10 << 8 | kind, 5, table) for kind in kinds)
        handle.sendall(message(16, 1, head) + wanted + message(17, 1, head)); handle.recv(4096)
    time.sleep(0.1); firewall.read()
batch(0); batch(2, 0); batch(2)
print(drops, changes)
"""


def test_the_kernels_own_messages_are_understood() -> None:
    """In a network namespace of its own: real packets that are logged, a real table that is made and taken away."""
    if os.geteuid() != 0 or shutil.which("iptables") is None:
        pytest.skip("takes root and iptables")
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec {0} -c "$0"'.format(sys.executable), REAL_NFLOG],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "[('rampart-test', '127.0.0.1 -> 127.0.0.1 udp port 9', 5)]" in done.stdout
    assert "[(False, False), (True, False), (True, False), (False, False)]" in done.stdout


def test_the_process_connector_names_a_program_that_was_started() -> None:
    found: list[int] = []
    source = ProcessEvents(found.append, lambda: None)
    if os.geteuid() != 0:
        pytest.skip("takes root")
    source.open()
    try:
        child = subprocess.Popen(["true"])
        child.wait()
        source.read()
        assert child.pid in found
    finally:
        source.close()


# --- files ------------------------------------------------------------------------------------------------
class Heard:
    """What a source of file events handed on."""

    def __init__(self) -> None:
        self.store: list[tuple[str, str]] = []
        self.published = 0
        self.directories: list[str] = []
        self.lost = 0

    def count(self, name: str) -> Callable[[], None]:
        return lambda: setattr(self, name, getattr(self, name) + 1)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[FileEvents, Heard, Path]]:
    store, sockets = tmp_path / "store", tmp_path / "sockets"
    for path in (store / "blobs", store / "manifests" / "host" / "library", sockets):
        path.mkdir(parents=True)
    (store / "blobs" / "sha256-a").write_text("weights")
    heard = Heard()
    source = FileEvents(
        str(store), [str(sockets)], lambda *seen: heard.store.append(seen), heard.count("published"),
        heard.directories.append, heard.count("lost"),
    )  # fmt: skip
    source.open()
    yield source, heard, tmp_path
    source.close()


Watched = tuple[FileEvents, Heard, Path]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda path: path.write_text("tampered"), "written to"),
        (lambda path: path.unlink(), "deleted"),
        (lambda path: path.chmod(0o666), "owner, mode or times changed"),
        (lambda path: path.rename(path.parent / "b"), "moved away"),
    ],
)
def test_a_change_that_is_not_the_publishers_is_told(watched: Watched, change: Any, what: str) -> None:
    source, heard, root = watched
    blob = root / "store" / "blobs" / "sha256-a"
    change(blob)
    source.read()
    assert (str(blob), what) in heard.store
    assert heard.published == 0


def test_what_the_publisher_does_is_his_own(watched: Watched) -> None:
    source, heard, root = watched
    store = root / "store"
    with store_lock(ModelStore(store)):
        (store / "blobs" / "sha256-b").write_text("new")
        (store / "manifests" / "host" / "library" / "m").mkdir()
    source.read()
    assert heard.store == []
    assert heard.published == 1
    # The directory that the publisher made is watched from now on, and his privilege has ended.
    (store / "manifests" / "host" / "library" / "m" / "latest").write_text("{}")
    source.read()
    assert heard.store == [(str(store / "manifests/host/library/m/latest"), "created"),
                           (str(store / "manifests/host/library/m/latest"), "written to")]  # fmt: skip


def test_a_publisher_at_work_when_the_watch_starts_is_known(watched: Watched) -> None:
    _source, heard, root = watched
    store = root / "store"
    with store_lock(ModelStore(store)):
        late = FileEvents(str(store), [], lambda *seen: heard.store.append(seen), heard.count("published"),
                          heard.directories.append, heard.count("lost"))  # fmt: skip
        late.open()
        (store / "blobs" / "sha256-b").write_text("new")
        late.read()
        assert heard.store == []
    late.read()
    late.close()
    assert heard.published == 1


def test_thousands_of_writes_to_one_file_are_one_sighting_a_turn(watched: Watched) -> None:
    source, heard, root = watched
    with (root / "store" / "blobs" / "sha256-a").open("w", buffering=1) as stream:
        for _number in range(2000):
            stream.write("x\n")
    source.read()
    assert len(heard.store) == 1


def test_a_directory_of_sockets_that_changes_is_looked_at_and_one_that_goes_ends_the_source(watched: Watched) -> None:
    source, heard, root = watched
    (root / "sockets" / "a.sock").touch()
    source.read()
    assert set(heard.directories) == {str(root / "sockets")}
    assert heard.store == []
    (root / "sockets" / "a.sock").unlink()
    (root / "sockets").rmdir()
    with pytest.raises(SourceError, match="no longer there"):
        source.read()


def test_a_store_that_is_absent_is_a_reason_and_no_traceback(tmp_path: Path) -> None:
    heard = Heard()
    source = FileEvents(str(tmp_path / "absent"), [], lambda *seen: heard.store.append(seen), heard.count("published"),
                        heard.directories.append, heard.count("lost"))  # fmt: skip
    assert not source.try_open(0.0)
    assert "absent" in source.reason
