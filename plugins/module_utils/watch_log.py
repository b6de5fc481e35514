# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watch's log: one JSON object a line, in the Elastic Common Schema, kept whole on a disk that is full.

A line is in the file or it is not: what was written in part is cut off again. What cannot be written now waits in
memory, critical findings before all else, and is written when there is room. Nothing here ever raises or waits, so that
a full disk cannot hold up containment.
"""

from __future__ import annotations

import datetime
import json
import os
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import Any, Optional

from .findings import Finding, Severity, clean_text

ECS_VERSION = "8.11.0"
DATASET = "rampart.watch"
WAITING_MAX = 2000
FILE_MODE = 0o640


def now() -> str:
    """Return the time as ECS writes it, in UTC with milliseconds."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def finding_line(finding: Finding, action: str, source: str, **more: Any) -> dict[str, Any]:
    """Return the line for a finding. `action` is finding-opened, finding-closed, finding-seen ...

    `more` is laid over the line: `event` merges, the rest replaces.
    """
    alert = action != "finding-closed" and finding.severity.rank >= Severity.MEDIUM.rank
    line: dict[str, Any] = {
        "@timestamp": now(),
        "ecs": {"version": ECS_VERSION},
        "message": clean_text(finding.as_text(), 1500),
        "log": {"level": "info" if action == "finding-closed" else finding.severity.value},
        "event": {
            "kind": "alert" if alert else "event",
            "category": [category(finding.code)],
            "type": ["info"],
            "action": action,
            "severity": finding.severity.rank,
            "module": "rampart",
            "dataset": DATASET,
        },
        "rule": {"name": finding.code, "category": "isolation"},
        "host": {"hostname": socket.gethostname()},
        "service": {"name": "rampart-watch", "type": "rampart"},
        "rampart": {"finding": finding.as_dict(), "source": source},
    }
    line["event"].update(more.pop("event", {}))
    line["rampart"].update(more.pop("rampart", {}))
    line.update(more)
    return line


def event_line(message: str, action: str, level: str = "info", **rampart: Any) -> dict[str, Any]:
    """Return the line for something that is no finding: start, stop, a source that came back."""
    return {
        "@timestamp": now(),
        "ecs": {"version": ECS_VERSION},
        "message": clean_text(message),
        "log": {"level": level},
        "event": {
            "kind": "event",
            "category": ["host"],
            "type": ["info"],
            "action": action,
            "module": "rampart",
            "dataset": DATASET,
        },
        "host": {"hostname": socket.gethostname()},
        "service": {"name": "rampart-watch", "type": "rampart"},
        "rampart": rampart,
    }


def category(code: str) -> str:
    """Return ECS's category of a finding by its code."""
    if code == "WATCH-DROP":
        return "network"
    if code in ("ISO-NATIVE-OLLAMA", "WATCH-EXEC"):
        return "process"
    if code.startswith(("WATCH-STORE", "STORE-", "ISO-STORE", "ISO-SOCKET")):
        return "file"
    return "host" if code.startswith(("WATCH-", "ISO-ENGINE", "ISO-PROBE")) else "intrusion_detection"


class WatchLog:
    """A file of JSON lines. It is rotated by size: at `max_bytes` it becomes FILE.1 and so on, `keep` of them."""

    def __init__(self, path: str, max_bytes: int, keep: int, waiting_max: int = WAITING_MAX) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.keep = keep
        self.waiting_max = waiting_max
        # While it is held, all lines wait: nothing is to be created as root.
        self.held = False
        self.lost = 0
        self.error = ""
        self._critical: deque[bytes] = deque()
        self._waiting: deque[bytes] = deque()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many lines wait in memory for room on the disk."""
        return len(self._critical) + len(self._waiting)

    def write(self, line: dict[str, Any], critical: bool = False) -> bool:
        """Write a line, or keep it for later; whether everything is on the disk now. Never raises."""
        try:
            data = json.dumps(line, ensure_ascii=True, separators=(",", ":"), default=str).encode("ascii") + b"\n"
        except (TypeError, ValueError) as error:
            data = json.dumps({"message": "a line that cannot be written: {0}".format(error)}).encode("ascii") + b"\n"
        with self._lock:
            (self._critical if critical else self._waiting).append(data)
            self._bound()
            return self._drain()

    def flush(self) -> bool:
        """Try again to write what waits; whether everything is on the disk now. Never raises."""
        with self._lock:
            return self._drain()

    def _bound(self) -> None:
        """Give up the oldest lines when too many wait: ordinary ones first, critical ones never before them."""
        while self.waiting > self.waiting_max:
            (self._waiting or self._critical).popleft()
            self.lost += 1

    def _drain(self) -> bool:
        if self.held:
            return False
        for lane in (self._critical, self._waiting):
            while lane:
                try:
                    self._append(lane[0])
                except OSError as error:
                    self.error = error.strerror or type(error).__name__
                    return False
                lane.popleft()
        self.error = ""
        return True

    def _append(self, data: bytes) -> None:
        """Append one line as a whole. Raises OSError, the file as it was."""
        descriptor = self._open(len(data))
        try:
            before = os.fstat(descriptor).st_size
            try:
                written = os.write(descriptor, data)
                if written != len(data):
                    raise OSError(28, "no room for the whole line")
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, before)
                raise
        finally:
            os.close(descriptor)

    def _open(self, more: int) -> int:
        # Opened for each line: they are few, and somebody else's rotation or removal is then no special case.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self.path, flags, FILE_MODE)
        size = os.fstat(descriptor).st_size
        if size == 0 or size + more <= self.max_bytes:
            return descriptor
        os.close(descriptor)
        self._rotate()
        return os.open(self.path, flags, FILE_MODE)

    def _rotate(self) -> None:
        for number in range(self.keep, 0, -1):
            older = "{0}.{1}".format(self.path, number)
            newer: Optional[str] = self.path if number == 1 else "{0}.{1}".format(self.path, number - 1)
            with suppress(FileNotFoundError):
                os.replace(str(newer), older)
