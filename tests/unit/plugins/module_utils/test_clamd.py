# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S5: the client of clamd. What is no answer of clamd is an error within bounds, and never a verdict."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.clamd import (
    ANSWER_MAX_BYTES,
    ENGINE_MAX_BYTES,
    Answer,
    Clamd,
    ClamdError,
    parse_limits,
    read_limits,
)
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clamd_stand_in import SIGNATURE, StandIn, saying

pytestmark = pytest.mark.row("S5")
MIB = 1 << 20


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    made = StandIn(tmp_path)
    yield made
    made.close()


@pytest.fixture
def client(stand_in: StandIn) -> Clamd:
    return Clamd(str(stand_in.socket), 5.0)


@pytest.fixture
def content(tmp_path: Path) -> Iterator[Callable[[bytes], int]]:
    """The opener of a file with this content."""
    with contextlib.ExitStack() as stack:

        def make(data: bytes) -> int:
            path = tmp_path / "content"
            path.write_bytes(data)
            return stack.enter_context(path.open("rb")).fileno()

        yield make


def test_s5_ping_and_version(client: Clamd, stand_in: StandIn) -> None:
    client.ping()
    version = client.version()
    assert (version.engine, version.database) == ("1.4.6", 27800)
    assert version.dated is not None
    assert version.dated.timestamp() == time.mktime((2026, 8, 20, 8, 15, 0, 0, 0, -1))
    stand_in.version = "ClamAV 1.4.6"
    assert (client.version().database, client.version().dated) == (0, None)


@pytest.mark.parametrize("date", ["Thu Aug 32 08:15:00 2026", "jeu. 20 août 2026 08:15", "Thu Xyz 20 08:15:00 2026"])
def test_s5_a_date_that_is_none_is_no_date(client: Clamd, stand_in: StandIn, date: str) -> None:
    stand_in.version = "ClamAV 1.4.6/27800/" + date.encode("ascii", "replace").decode()
    assert client.version().dated is None


def test_s5_an_open_file_is_handed_over_and_read_from_its_start(
    client: Clamd, stand_in: StandIn, content: Callable[[bytes], int]
) -> None:
    descriptor = content(b"0123456789")
    os.lseek(descriptor, 5, os.SEEK_SET)
    assert client.scan_descriptor(descriptor) == Answer("OK")
    assert stand_in.scanned == [b"0123456789"]
    assert client.scan_descriptor(content(SIGNATURE)) == Answer("FOUND", "Test.Signature")


def test_s5_a_range_is_sent_in_chunks(client: Clamd, stand_in: StandIn, content: Callable[[bytes], int]) -> None:
    data = os.urandom(3 * MIB + 17)
    assert client.scan_stream(content(data), 5, 2 * MIB + 3) == Answer("OK")
    assert stand_in.scanned == [data[5 : 5 + 2 * MIB + 3]]
    assert client.scan_stream(content(b"x" + SIGNATURE), 1, 100) == Answer("FOUND", "Test.Signature")


def test_s5_a_refused_stream_is_told_with_clamds_reason(
    client: Clamd, stand_in: StandIn, content: Callable[[bytes], int]
) -> None:
    stand_in.rude["INSTREAM"] = saying(b"INSTREAM size limit exceeded. ERROR\0")
    answer = client.scan_stream(content(bytes(8 * MIB)), 0, 8 * MIB)
    assert answer == Answer("ERROR", "INSTREAM size limit exceeded.")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0",
        b"fd[9]: OK",
        b"fd[9]: OK\n",
        b"OK\0",
        b"stream: OK\0",
        b"PONG\0",
        b"fd[9]: ok\0",
        b"fd[9]: OK \0",
        b"fd[9]: FOUND\0",
        b"fd[9]:  FOUND\0",
        b"fd[x]: OK\0",
        b"fd[9]: OK\0fd[9]: OK\0",
        b"fd[9]: OK\0x",
        b"fd[9]: OK\nfd[9]: Test FOUND\nfd[9]: OK\0",
        b"\xff\xfe\0",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"A" * (ANSWER_MAX_BYTES + 1) + b"\0",
    ],
)
def test_s5_garbage_is_an_error_and_no_verdict(
    client: Clamd, stand_in: StandIn, content: Callable[[bytes], int], answer: bytes
) -> None:
    stand_in.rude["FILDES"] = saying(answer)
    with pytest.raises(ClamdError) as caught:
        client.scan_descriptor(content(b"x"))
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("command", ["PING", "VERSION"])
@pytest.mark.parametrize("answer", [b"", b"OK\0", b"PONGX\0", b"ClamAV\0", b"ClamAV 1/x/y\0", b"UNKNOWN COMMAND\0"])
def test_s5_garbage_to_other_commands_is_an_error(
    client: Clamd, stand_in: StandIn, command: str, answer: bytes
) -> None:
    stand_in.rude[command] = saying(answer)
    with pytest.raises(ClamdError):
        getattr(client, command.lower())()


def test_s5_an_endless_answer_is_cut(client: Clamd, stand_in: StandIn, content: Callable[[bytes], int]) -> None:
    def endless(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"A" * 1024)

    stand_in.rude["FILDES"] = endless
    with pytest.raises(ClamdError, match="longer than"):
        client.scan_descriptor(content(b"x"))


@pytest.mark.parametrize("drip", [False, True])
def test_s5_a_clamd_that_hangs_or_drips_is_left(stand_in: StandIn, content: Callable[[bytes], int], drip: bool) -> None:
    def hang(connection: socket.socket) -> None:
        while not stand_in.done.wait(0.02):
            if drip:
                connection.sendall(b"A")

    stand_in.rude["FILDES"] = stand_in.rude["PING"] = stand_in.rude["INSTREAM"] = hang
    impatient = Clamd(str(stand_in.socket), 0.3)
    with pytest.raises(ClamdError, match="in time"):
        impatient.scan_descriptor(content(b"x"))
    with pytest.raises(ClamdError, match="in time"):
        impatient.ping()
    # More than fits into the socket's buffers, to a clamd that reads none of it.
    with pytest.raises(ClamdError, match="in time"):
        impatient.scan_stream(content(bytes(16 * MIB)), 0, 16 * MIB)


def test_s5_no_socket_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ClamdError, match="no connection"):
        Clamd(str(tmp_path / "none.sock")).ping()
    with pytest.raises(ClamdError, match="no connection"):
        Clamd("/" + "long" * 100).ping()


def test_s5_every_connection_is_closed(client: Clamd, stand_in: StandIn, content: Callable[[bytes], int]) -> None:
    descriptor = content(b"x")
    before = len(os.listdir("/proc/self/fd"))
    stand_in.rude["VERSION"] = saying(b"")
    for _turn in range(20):
        client.ping()
        client.scan_descriptor(descriptor)
        with pytest.raises(ClamdError):
            client.version()
    assert len(os.listdir("/proc/self/fd")) <= before + 20  # the stand-in's last ones may be closing


@pytest.mark.parametrize(
    ("engine", "text", "limits"),
    [
        ("1.4.6", "", (100 * MIB, 400 * MIB, 100 * MIB, False)),
        ("0.103.8", "", (25 * MIB, 100 * MIB, 25 * MIB, False)),
        ("0.105.1", "", (100 * MIB, 400 * MIB, 100 * MIB, False)),
        ("devel", "", (25 * MIB, 100 * MIB, 25 * MIB, False)),
        ("1.4.6", "MaxFileSize 0\n", (ENGINE_MAX_BYTES, 400 * MIB, 100 * MIB, False)),
        ("1.4.6", "MaxFileSize 4G\nMaxScanSize 9G\nStreamMaxLength 5k\n", (ENGINE_MAX_BYTES,) * 2 + (5120, False)),
        ("1.4.6", "# MaxFileSize 1M\n#AlertExceedsMax yes\n", (100 * MIB, 400 * MIB, 100 * MIB, False)),
        ("1.4.6", "MaxFileSize 7m\r\nAlertExceedsMax TRUE\r\n", (7 * MIB, 400 * MIB, 100 * MIB, True)),
        ("1.4.6", "MaxFileSize -1\nMaxScanSize x\nAlertExceedsMax\n", (100 * MIB, 400 * MIB, 100 * MIB, False)),
    ],
)
def test_s5_limits_are_read_from_the_configuration(engine: str, text: str, limits: tuple[int, int, int, bool]) -> None:
    read = parse_limits(text, engine)
    assert (read.file, read.scan, read.stream, read.alerts) == limits
    assert read.most(False) == min(limits[:2])
    assert read.most(True) == min(limits[:3])


def test_s5_a_configuration_that_cannot_be_read_is_unavailable(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(FindingError) as caught:
            read_limits(str(path), "1.4.6")
        assert caught.value.finding.code == "SCAN-UNAVAILABLE"
