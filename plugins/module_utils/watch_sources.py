# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the watch hears of changes: the common shape of its sources, and the Docker Engine's event stream.

A source is optional. One that cannot be opened, or breaks, is a finding (WATCH-SOURCE-DOWN) and is tried again, ever
less often; what it would have told is found by the sweep instead. Sources hand on hints, never verdicts.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, Optional
from urllib.parse import urlencode

from .findings import clean_text
from .isolation_report import dig
from .watch_queue import Hint

LINE_MAX_BYTES = 256 * 1024
READ_BYTES = 64 * 1024
BACKOFF_FIRST, BACKOFF_MAX = 0.2, 30.0
CONTAINER_ID = re.compile(r"[0-9a-f]{64}")

URGENT_ACTIONS = frozenset(["start", "restart", "unpause", "rename", "update", "exec_start"])
CALM_ACTIONS = frozenset(["die", "stop", "kill", "destroy", "pause"])


class SourceError(Exception):
    """A source cannot be opened or has ended; the text says why."""


class Source:
    """One thing to listen to. Subclasses open a descriptor and read from it without ever waiting."""

    name = "source"
    # Whether it can be opened before privileges are given up only; later there is nothing to retry.
    privileged = False
    # Seconds of rest after each reading: what outsiders can fill must not take the processor.
    rest = 0.0

    def __init__(self) -> None:
        self.delay = BACKOFF_FIRST
        self.next_try = 0.0
        self.reason = "not opened yet"
        self.is_open = False

    def open(self) -> None:
        """Open it. Raises SourceError or OSError."""
        raise NotImplementedError

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        raise NotImplementedError

    def read(self) -> None:
        """Hand on what has arrived, a bounded amount of it. Raises SourceError or OSError when it has ended."""
        raise NotImplementedError

    def close(self) -> None:
        """Close it; one that is closed stays so."""
        raise NotImplementedError

    def try_open(self, now: float) -> bool:
        """Open it when it is closed and due; whether it is open now. Never raises."""
        if self.is_open or now < self.next_try:
            return self.is_open
        try:
            self.open()
        except (OSError, SourceError) as error:
            self.fail(error, now)
            return False
        self.is_open, self.reason = True, ""
        return True

    def fail(self, error: Exception, now: Optional[float] = None) -> None:
        """Close it, keep the reason, and let some time pass before the next attempt: twice as much each time."""
        self.close()
        self.is_open = False
        self.reason = clean_text(getattr(error, "strerror", None) or error or type(error).__name__, 200)
        self.next_try = (time.monotonic() if now is None else now) + self.delay
        self.delay = min(self.delay * 2, BACKOFF_MAX)

    def healthy(self) -> None:
        """Something was read: the next failure begins with the shortest pause again."""
        self.delay = BACKOFF_FIRST


class DockerEvents(Source):
    """The engine's event stream, read through the actor's read-only gate.

    `on_hint` is given what to look at, `on_exec` (container, command) of each `docker exec`. Whatever the stream holds
    that is no event of Docker's is skipped; a line that does not end, or a head that is no answer, ends the connection.
    """

    name = "docker"

    def __init__(self, socket_path: str, on_hint: Callable[[Hint], None], on_exec: Callable[[str, str], None]) -> None:
        super().__init__()
        self.on_exec = on_exec
        self.socket_path = socket_path
        self.on_hint = on_hint
        self.garbage = 0
        self._socket: Optional[socket.socket] = None
        self._stream = EventStream()

    def open(self) -> None:
        """Connect and ask; the answer is read as it comes."""
        filters = json.dumps({"type": ["container", "network"]}, separators=(",", ":"))
        request = "GET /events?{0} HTTP/1.1\r\nHost: docker\r\n\r\n".format(urlencode({"filters": filters}))
        handle = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            handle.settimeout(1.0)
            handle.connect(self.socket_path)
            handle.sendall(request.encode())
            handle.setblocking(False)
        except OSError:
            handle.close()
            raise
        self._socket, self._stream = handle, EventStream()
        # What happened while nobody listened is seen by a sweep.
        self.on_hint(Hint("sweep"))

    def fileno(self) -> int:
        """Return the connection's descriptor."""
        if self._socket is None:
            raise SourceError("not connected")
        return self._socket.fileno()

    def read(self) -> None:
        """Read once and hand on the hints of the events that are complete."""
        if self._socket is None:
            raise SourceError("not connected")
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise SourceError("the engine ended the stream")
        for line in self._stream.feed(data):
            self.healthy()
            hint = hint_of(line)
            if hint is not None:
                self.on_hint(hint)
            else:
                self._other(line)

    def _other(self, line: bytes) -> None:
        event = _event(line)
        action, container = dig(event, "Action"), dig(event, "Actor", "ID")
        if not isinstance(dig(event, "Type"), str):
            self.garbage += 1
        elif isinstance(action, str) and action.startswith("exec_create: ") and _is_id(container):
            self.on_exec(container, action.partition(": ")[2])

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class EventStream:
    """Takes an HTTP answer apart into lines as its bytes arrive. Raises SourceError for what is none."""

    def __init__(self) -> None:
        self._buffer = b""
        self._line = b""
        self._head = True
        self._chunked = False
        self._left: Optional[int] = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield each line that is complete now."""
        self._buffer += data
        if self._head:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                if len(self._buffer) > READ_BYTES:
                    raise SourceError("the engine's answer has no head")
                return
            words = head.split(None, 2)
            if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or words[1] != b"200":
                raise SourceError("the engine refuses: {0}".format(clean_text(head[:80].decode("latin-1"), 80)))
            self._chunked = b"transfer-encoding: chunked" in head.lower()
            self._head, self._buffer = False, rest
        if not self._chunked:
            body, self._buffer = self._buffer, b""
            yield from self._lines(body)
            return
        while True:
            piece = self._chunk()
            if piece is None:
                return
            yield from self._lines(piece)

    def _chunk(self) -> Optional[bytes]:
        """Return the next piece of a chunk, or None until more bytes come."""
        if self._left is None:
            size, found, rest = self._buffer.partition(b"\r\n")
            if not found:
                if len(self._buffer) > 64:
                    raise SourceError("not a chunk")
                return None
            if size == b"" and rest != b"":
                self._buffer = rest  # the line end behind the previous chunk
                return b""
            if size == b"":
                return None
            if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}", size):
                raise SourceError("not a chunk")
            self._left, self._buffer = int(size, 16), rest
            if self._left == 0:
                raise SourceError("the engine ended the stream")
        if not self._buffer:
            return None
        piece, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
        self._left = self._left - len(piece) or None
        return piece

    def _lines(self, data: bytes) -> Iterator[bytes]:
        *whole, self._line = (self._line + data).split(b"\n")
        if len(self._line) > LINE_MAX_BYTES:
            raise SourceError("an event of more than {0} bytes".format(LINE_MAX_BYTES))
        yield from (line for line in whole if line.strip())


def hint_of(line: bytes) -> Optional[Hint]:
    """Return what to look at after an event of Docker's, or None when it changes nothing about isolation."""
    event = _event(line)
    action = str(dig(event, "Action") or "").partition(":")[0]
    if dig(event, "Type") == "network":
        container = dig(event, "Actor", "Attributes", "container")
        if action not in ("connect", "disconnect") or not _is_id(container):
            return None
        return Hint("container", container, urgent=action == "connect")
    container = dig(event, "Actor", "ID")
    if dig(event, "Type") != "container" or not _is_id(container):
        return None
    if action in URGENT_ACTIONS:
        return Hint("container", container, urgent=True)
    return Hint("container", container) if action in CALM_ACTIONS else None


def _event(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and CONTAINER_ID.fullmatch(value) is not None
