# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log: one JSON record a request, in the guide's field names, and no text of any prompt or answer.

A generation request also leaves a short ``request_started`` line *before* anything is sent to the model
server. If that line cannot be written the request is refused: a full disk or a lost log never serves an
untraced answer, and a killed gateway still shows what was under way.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from .errors import RefusalError, complain


@dataclass
class Record:
    """What is known of a request so far. ``None`` means: not known, or not examined."""

    request_id: str
    route: str
    user_id: str = "unknown"
    session_id: str | None = None
    model: str | None = None
    query_hash: str | None = None
    query_length: int | None = None
    response_length: int = 0
    # None: not screened. This version only recognises chat control tokens, so it never claims "false".
    injection_detected: bool | None = None
    rate_limit_hit: bool = False

    def started(self) -> dict[str, Any]:
        """The line written before the model server is asked."""
        return {
            "timestamp": timestamp(),
            "event": "request_started",
            "request_id": self.request_id,
            "user_id": self.user_id,
            "session_id": self.session_id,
            "query_hash": self.query_hash,
            "query_length": self.query_length,
            "model": self.model,
            "route": self.route,
        }

    def completed(self, action: str, status: int, finding: str | None, latency_ms: int) -> dict[str, Any]:
        """The guide's record."""
        return {
            "timestamp": timestamp(),
            "event": "request_completed",
            "request_id": self.request_id,
            "user_id": self.user_id,
            "session_id": self.session_id,
            "query_hash": self.query_hash,
            "query_length": self.query_length,
            "response_length": self.response_length,
            "model": self.model,
            "latency_ms": latency_ms,
            "rag_documents_accessed": 0,
            "security_flags": {
                "injection_detected": self.injection_detected,
                "rate_limit_hit": self.rate_limit_hit,
                "sensitive_data_mentioned": None,  # answers are not examined yet
            },
            "action": action,
            "route": self.route,
            "status": status,
            "finding": finding,
        }


def timestamp() -> str:
    """Now in UTC, RFC 3339 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class AuditLog:
    """An append-only file, one ``write`` a line. A rotated or removed file is opened anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._identity = (-1, -1)

    def open(self) -> None:
        """Open the file. Raises ``OSError``, also when the path is not a regular file."""
        self.close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(self._path, flags, 0o640)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise OSError(f"{self._path} is not a regular file")
        self._fd, self._identity = fd, (found.st_dev, found.st_ino)

    def close(self) -> None:
        """Close the file if it is open."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def write(self, entry: dict[str, Any]) -> None:
        """Append one line. Raises ``RefusalError`` GW-AUDIT-DOWN, and leaves no part of the line behind."""
        line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        try:
            self._follow_rotation()
            written = os.write(self._fd, line)
            if written != len(line):  # a disk that became full in mid-line: take the torn line back
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
                raise OSError("short write")
        except OSError as error:
            self.close()
            complain(f"GW-AUDIT-DOWN: {self._path}: {error.strerror or error}")
            raise RefusalError("GW-AUDIT-DOWN", retry_after=30) from None

    def _follow_rotation(self) -> None:
        if self._fd >= 0:
            try:
                now = self._path.lstat()
            except FileNotFoundError:
                now = None
            if now is not None and (now.st_dev, now.st_ino) == self._identity:
                return
        self.open()
