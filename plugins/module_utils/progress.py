# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a fetch is: written by the fetcher into its part of quarantine, read by whoever wants to know (row S2).

The file is {"version": 1, "done": bytes, "total": bytes, "rate": bytes a second}. It is there while a fetch runs.
Its writer is not trusted: readers take nothing from it but these three numbers.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Optional

from .hashing import UnsafeFileError, read_plain

PROGRESS_FILE = "progress.json"
PROGRESS_VERSION = 1
PROGRESS_MAX_BYTES = 1024
# Written this often, in seconds; the rate is the mean of this many of the last seconds.
INTERVAL_SECONDS = 1.0
WINDOW_SECONDS = 10.0
_NUMBER_MAX = 1 << 60


class Gauge:
    """Counts bytes as they arrive, from any thread, and tells it in a file once a second. `total` in bytes."""

    def __init__(self, path: Optional[Path], total: int) -> None:
        self._path = path
        self._total = total
        self._done = 0
        self._lock = threading.Lock()
        self._told = time.monotonic()
        self._seen: deque[tuple[float, int]] = deque([(self._told, 0)])

    def have(self, count: int) -> None:
        """Count bytes that were there before: they say nothing about the rate."""
        with self._lock:
            self._done += count
            self._seen = deque((when, done + count) for when, done in self._seen)

    def add(self, count: int) -> None:
        """Count bytes that have arrived (or, below zero, were thrown away)."""
        with self._lock:
            self._done += count
        self.tell()

    def tell(self) -> None:
        """Write the file when it is time to. A full disk or the like is no reason to end a fetch."""
        now = time.monotonic()
        with self._lock:
            if self._path is None or now - self._told < INTERVAL_SECONDS:
                return
            self._told = now
            self._seen.append((now, self._done))
            while len(self._seen) > 2 and now - self._seen[1][0] > WINDOW_SECONDS:
                self._seen.popleft()
            since, before = self._seen[0]
            rate = max(0, int((self._done - before) / max(now - since, 0.001)))
            data = {"version": PROGRESS_VERSION, "done": max(0, self._done), "total": self._total, "rate": rate}
            with contextlib.suppress(OSError):
                _replace(self._path, json.dumps(data).encode("ascii"))

    def close(self) -> None:
        """Take the file away."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()


def _replace(path: Path, data: bytes) -> None:
    draft = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
    draft.rename(path)


def read_progress(directory: Path) -> Optional[dict[str, int]]:
    """Return {done, total, rate} of the fetch that runs in this part of quarantine, None when none tells.

    Follows no link, waits on no fifo, and takes nothing that is not three plausible numbers.
    """
    try:
        data = read_plain(directory / PROGRESS_FILE, PROGRESS_MAX_BYTES)
        seen: Any = json.loads(data.decode("ascii")) if len(data) <= PROGRESS_MAX_BYTES else None
    except (OSError, UnsafeFileError, ValueError, RecursionError):
        return None
    if not isinstance(seen, dict) or seen.get("version") != PROGRESS_VERSION:
        return None
    numbers = {}
    for name in ("done", "total", "rate"):
        value = seen.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _NUMBER_MAX:
            return None
        numbers[name] = value
    return numbers
