# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of clamd over its Unix socket: open files are handed over, so clamd needs no right to any path (row
S5).

One connection carries one command. Every answer is bounded in length and time; whatever is no answer of clamd
to the command that was sent is an error, never a verdict.
"""

from __future__ import annotations

import array
import os
import re
import socket
import struct
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Optional

from .findings import clean_text, refuse
from .hashing import read_plain

# ClamAV lowers every larger MaxFileSize to this (1.4.6 says so in its log; releases before it to two more): a file
# of one byte more is not read, whatever the configuration says.
ENGINE_MAX_BYTES = 2147483645
ANSWER_MAX_BYTES = 4096
CONFIG_MAX_BYTES = 1024 * 1024
COMMAND_SECONDS = 10.0
STREAM_CHUNK_BYTES = 1024 * 1024

_VERSION = re.compile(r"^ClamAV ([^/\s]{1,40})(?:/(\d{1,9})/(.{10,40}))?$")
_VERSION_NUMBER = re.compile(r"^(\d{1,4})\.(\d{1,4})")
# C's ctime(): local time, and English whatever the locale; strptime would follow ours.
_CTIME = re.compile(r"^[A-Z][a-z]{2} ([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})$")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SIZE = re.compile(r"^(\d{1,15})([KMG]?)$", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class ClamdError(Exception):
    """clamd could not be asked, or what came back is no answer of clamd; the text says what was seen."""


@dataclass(frozen=True)
class Answer:
    """What clamd said of some bytes: `kind` is "OK", "FOUND" (`text` is the signature) or "ERROR" (`text` is why)."""

    kind: str
    text: str = ""


@dataclass(frozen=True)
class Version:
    """Engine and signatures: `database` is 0 and `dated` (UTC) None where only local signatures are loaded."""

    engine: str
    database: int = 0
    dated: Optional[datetime] = None


@dataclass(frozen=True)
class Limits:
    """The most bytes clamd reads of one file, by its configuration; `alerts` is whether AlertExceedsMax is on in
    it.
    """

    file: int
    scan: int
    stream: int
    alerts: bool

    def most(self, streamed: bool) -> int:
        """Return the size of the largest file that is read to its end."""
        whole = min(self.file, self.scan)
        return min(whole, self.stream) if streamed else whole


class Clamd:
    """The daemon behind a Unix socket. Methods raise ClamdError and OSError of the file, and nothing else.

    `seconds` is how long the scan of one piece may take; other commands have ten seconds.
    """

    def __init__(self, socket_path: str, seconds: float = 900.0) -> None:
        self.socket_path = socket_path
        self.seconds = seconds

    def ping(self) -> None:
        """Return when clamd answers."""
        answer = self._command("PING")
        if answer != "PONG":
            raise _no_answer("PING", answer)

    def version(self) -> Version:
        """Return which engine and which signatures are loaded."""
        answer = self._command("VERSION")
        match = _VERSION.match(answer)
        if not match:
            raise _no_answer("VERSION", answer)
        if match.group(2) is None:
            return Version(match.group(1))
        return Version(match.group(1), int(match.group(2)), _ctime(match.group(3)))

    def scan_descriptor(self, descriptor: int) -> Answer:
        """Have the open regular file scanned, from its first byte to its last."""
        deadline = time.monotonic() + self.seconds
        with self._connect(deadline) as channel:
            try:
                channel.sendall(b"zFILDES\0")
                passed = array.array("i", [descriptor])
                channel.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
            except (BrokenPipeError, ConnectionResetError):
                pass  # clamd has answered already, and why
            except OSError as error:
                raise _broken("FILDES", error) from error
            answer = _read_answer(channel, deadline, "FILDES")
        return _verdict("FILDES", answer, r"fd\[\d{1,10}\]: ")

    def scan_stream(self, descriptor: int, offset: int, length: int) -> Answer:
        """Have `length` bytes from `offset` on scanned by sending them: for a clamd that takes no descriptors."""
        deadline = time.monotonic() + self.seconds
        with self._connect(deadline) as channel:
            try:
                channel.sendall(b"zINSTREAM\0")
                _send_range(channel, descriptor, offset, length)
            except (BrokenPipeError, ConnectionResetError):
                pass  # clamd stops listening when a limit is reached, and has said why
            except socket.timeout as error:
                raise _broken("INSTREAM", error) from error
            answer = _read_answer(channel, deadline, "INSTREAM")
        return _verdict("INSTREAM", answer, r"stream: ")

    def _command(self, name: str) -> str:
        deadline = time.monotonic() + min(COMMAND_SECONDS, self.seconds)
        with self._connect(deadline) as channel:
            try:
                channel.sendall(b"z" + name.encode("ascii") + b"\0")
            except OSError as error:
                raise _broken(name, error) from error
            return _read_answer(channel, deadline, name)

    def _connect(self, deadline: float) -> socket.socket:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            channel.settimeout(min(COMMAND_SECONDS, max(0.01, deadline - time.monotonic())))
            channel.connect(self.socket_path)
        except OSError as error:
            channel.close()
            raise ClamdError("no connection: {0}".format(error.strerror or error)) from error
        channel.settimeout(max(0.01, deadline - time.monotonic()))
        return channel


def _send_range(channel: socket.socket, descriptor: int, offset: int, length: int) -> None:
    """Send a range of a file in clamd's chunks. A file that became shorter ends early: its status tells so."""
    end = offset + length
    while offset < end:
        data = os.pread(descriptor, min(STREAM_CHUNK_BYTES, end - offset), offset)
        if not data:
            break
        channel.sendall(struct.pack("!I", len(data)))
        channel.sendall(data)
        offset += len(data)
    channel.sendall(struct.pack("!I", 0))


def _read_answer(channel: socket.socket, deadline: float, command: str) -> str:
    """Return the text before the answer's NUL. Raises ClamdError for what is too long, too late or cut."""
    received = b""
    while b"\0" not in received:
        left = deadline - time.monotonic()
        if left <= 0:
            raise ClamdError("no answer to {0} in time".format(command))
        channel.settimeout(left)
        try:
            part = channel.recv(ANSWER_MAX_BYTES)
        except OSError as error:
            raise _broken(command, error) from error
        if not part:
            raise ClamdError(
                "the connection ended in the middle of the answer to {0}: {1}".format(command, _shown(received))
            )
        received += part
        if len(received) > ANSWER_MAX_BYTES:
            raise ClamdError("the answer to {0} is longer than {1} bytes".format(command, ANSWER_MAX_BYTES))
    text, _nul, rest = received.partition(b"\0")
    if rest:
        raise ClamdError("more than one answer to {0}: {1}".format(command, _shown(received)))
    return text.decode("ascii", "backslashreplace")


def _verdict(command: str, answer: str, prefix: str) -> Answer:
    if answer == "UNKNOWN COMMAND":
        return Answer("ERROR", answer)
    if answer.endswith(" ERROR"):
        return Answer("ERROR", clean_text(re.sub("^" + prefix, "", answer)[: -len(" ERROR")], 200))
    match = re.match("^" + prefix + r"(?:(OK)|(\S.*) FOUND)$", answer)
    if not match:
        raise _no_answer(command, answer)
    return Answer("OK") if match.group(1) else Answer("FOUND", clean_text(match.group(2), 200))


def _no_answer(command: str, answer: str) -> ClamdError:
    return ClamdError("not an answer to {0}: {1}".format(command, clean_text(answer, 120)))


def _broken(command: str, error: OSError) -> ClamdError:
    if isinstance(error, socket.timeout):
        return ClamdError("no answer to {0} in time".format(command))
    return ClamdError("the connection broke during {0}: {1}".format(command, error.strerror or error))


def _shown(data: bytes) -> str:
    return clean_text(data.decode("ascii", "backslashreplace"), 120) or "nothing"


def _ctime(text: str) -> Optional[datetime]:
    match = _CTIME.match(text.strip())
    if not match or match.group(1) not in _MONTHS:
        return None
    day, hour, minute, second, year = (int(number) for number in match.groups()[1:])
    month = _MONTHS.index(match.group(1)) + 1
    try:
        datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)  # mktime would take the 32nd for the 1st
        local = time.mktime((year, month, day, hour, minute, second, 0, 0, -1))
        return datetime.fromtimestamp(local, timezone.utc)
    except (ValueError, OverflowError):
        return None


def read_limits(path: str, engine: str) -> Limits:
    """Return the limits that a clamd of version `engine` takes from the configuration file at `path`.

    What the file does not set is the version's default. Raises FindingError (SCAN-UNAVAILABLE) when it cannot be
    read: limits that are not known cannot be planned with.
    """
    try:
        data = read_plain(path, CONFIG_MAX_BYTES)
    except OSError as error:
        raise refuse(
            "SCAN-UNAVAILABLE",
            path,
            "clamd's configuration cannot be read: {0}".format(error.strerror or error),
            "Name the file that clamd was started with; the role antivirus writes one.",
        ) from error
    return parse_limits(data.decode("utf-8", "replace"), engine)


def parse_limits(text: str, engine: str) -> Limits:
    """Return the limits in the text of a clamd.conf, for a clamd of version `engine` ("1.4.6")."""
    match = _VERSION_NUMBER.match(engine)
    recent = match is not None and (int(match.group(1)), int(match.group(2))) >= (0, 105)
    mebibyte = 1 << 20
    sizes = {
        "MaxFileSize": (100 if recent else 25) * mebibyte,
        "MaxScanSize": (400 if recent else 100) * mebibyte,
        "StreamMaxLength": (100 if recent else 25) * mebibyte,
    }
    alerts = False
    for line in text.splitlines():
        words = line.split()
        if len(words) != 2:
            continue
        name, value = words
        size = _SIZE.match(value)
        if name in sizes and size:
            # 0 asks for no limit; the engine keeps its own.
            sizes[name] = int(size.group(1)) * _UNITS[size.group(2).upper()] or ENGINE_MAX_BYTES
        elif name == "AlertExceedsMax":
            alerts = value.lower() in ("yes", "true", "1")
    file, scan, stream = (min(size, ENGINE_MAX_BYTES) for size in sizes.values())
    return Limits(file, scan, stream, alerts)
