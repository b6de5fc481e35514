# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Token buckets, one a verb, kept in a file: neither a restart nor a crash gives a compromised sensor new tokens."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .watch_actor_config import Limit
from .watch_records import write_private

STATE_MAX_BYTES = 4096


class Buckets:
    """One bucket for each verb. `path` is where they are kept, `clock` the time in seconds since the epoch.

    A file that is not there gives full buckets, one that cannot be read gives empty ones (they fill again): whoever
    damages the file must not gain by it. A file that cannot be written (a full disk) is no reason not to contain: the
    buckets then live in memory.
    """

    def __init__(self, path: str, limits: dict[str, Limit], clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.limits = limits
        self.clock = clock
        self.kept = True
        self._lock = threading.Lock()
        now = clock()
        self._state: dict[str, list[float]] = {verb: [float(limit.burst), now] for verb, limit in limits.items()}
        self._read(now)

    def take(self, verb: str) -> bool:
        """Take one token of `verb`; False when there is none."""
        with self._lock:
            tokens = self._filled(verb)
            allowed = tokens >= 1.0
            self._state[verb][0] = tokens - 1.0 if allowed else tokens
            if allowed:
                self._write()
            return allowed

    def left(self, verb: str) -> int:
        """Return how many whole tokens a verb has now."""
        with self._lock:
            return int(self._filled(verb))

    def _filled(self, verb: str) -> float:
        limit, (tokens, since) = self.limits[verb], self._state[verb]
        now = self.clock()
        # A clock that was set back must not take tokens away for good, nor may one set forward give more than a burst.
        tokens = min(float(limit.burst), tokens + max(0.0, now - since) * limit.per_hour / 3600.0)
        self._state[verb] = [tokens, now]
        return tokens

    def _read(self, now: float) -> None:
        try:
            with open(self.path, "rb") as stream:
                document: Any = json.loads(stream.read(STATE_MAX_BYTES))
        except FileNotFoundError:
            return
        except (OSError, ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            document = None
        for verb in self.limits:
            entry = document.get(verb) if document is not None else None
            sound = isinstance(entry, list) and len(entry) == 2 and all(_number(item) for item in entry)
            if sound and isinstance(entry, list):
                self._state[verb] = [max(0.0, float(entry[0])), min(float(entry[1]), now)]
            elif document is None or entry is not None:
                self._state[verb] = [0.0, now]

    def _write(self) -> None:
        self.kept = False
        with suppress(OSError):
            # Containment does not wait for the disk: a file lost in a power cut is read as empty buckets.
            write_private(self.path, json.dumps(self._state).encode(), durable=False)
            self.kept = True


def _number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value)
