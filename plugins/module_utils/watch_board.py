# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the watch: which findings are open, which wait to be confirmed, and what a new look changes in that.

A look can meet a container in the middle of a change: `docker exec` is root for some milliseconds before it becomes
the container's user. So a finding counts when two looks, a little apart, both saw it. One that only the first saw is
transient.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Optional

from .watch_look import Sight
from .watch_policy import Observation
from .watch_queue import Hint

Key = tuple[str, str]
# What outsiders or local users can multiply (changed files, sources of packets) may not grow the memory.
EVENTS_MAX = 500


@dataclass
class Entry:
    """A finding that is open. Times are of the monotonic clock; `until` is None for what looks open and close."""

    seen: Observation
    first: float
    last: float
    until: Optional[float] = None
    count: int = 1


@dataclass
class Change:
    """What a look changed. `opened` and `standing` are bad now; `again` are the looks that confirm what is new."""

    opened: list[Entry] = field(default_factory=list)
    standing: list[Entry] = field(default_factory=list)
    closed: list[Entry] = field(default_factory=list)
    again: set[Hint] = field(default_factory=set)
    transient: int = 0


class Board:
    """Open and unconfirmed findings. Thread-safe."""

    def __init__(self, confirm_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.confirm_seconds = confirm_seconds
        self.clock = clock
        self._open: dict[Key, Entry] = {}
        self._pending: dict[Key, float] = {}
        self._lock = threading.Lock()

    def look(self, sight: Sight) -> Change:
        """Take in what a look saw, and return what that changes."""
        change, now = Change(), self.clock()
        seen = {item.key: item for item in sight.observations}
        with self._lock:
            for key, item in seen.items():
                entry = self._open.get(key)
                first = self._pending.setdefault(key, now) if entry is None else 0.0
                if entry is not None:
                    entry.seen, entry.last, entry.count = item, now, entry.count + 1
                    change.standing.append(entry)
                elif now - first >= self.confirm_seconds * 0.9:
                    del self._pending[key]
                    self._open[key] = Entry(item, first, now)
                    change.opened.append(self._open[key])
                else:
                    change.again.add(sight.hint(item))
            if not sight.blind:
                for key in [key for key in self._pending if key not in seen and sight.covered(*key)]:
                    del self._pending[key]
                    change.transient += 1
                for key, entry in list(self._open.items()):
                    if key not in seen and entry.until is None and sight.covered(*key):
                        change.closed.append(self._open.pop(key))
        return change

    def raise_(self, item: Observation, seconds: Optional[float] = None) -> Optional[Entry]:
        """Open a finding that needs no second look; it stays for `seconds`, or until it is cleared.

        Returns the entry when it is new, None when it was open already (it is counted and stays longer). Of findings
        that pass by themselves only so many are kept one by one; the rest share one entry for each code.
        """
        now = self.clock()
        until = None if seconds is None else now + seconds
        with self._lock:
            if item.key not in self._open and until is not None:
                passing = sum(entry.until is not None for entry in self._open.values())
                if passing >= EVENTS_MAX:
                    item = replace(item, finding=replace(item.finding, subject="many more"))
            entry = self._open.get(item.key)
            if entry is not None:
                entry.last, entry.until, entry.count = now, until, entry.count + 1
                return None
            entry = self._open[item.key] = Entry(item, now, now, until)
            return entry

    def clear(self, code: str, subject: str) -> Optional[Entry]:
        """Close a finding; return it, or None when it was not open."""
        with self._lock:
            return self._open.pop((code, subject), None)

    def expire(self) -> list[Entry]:
        """Close what has had its time, and return it."""
        now = self.clock()
        with self._lock:
            over = [key for key, entry in self._open.items() if entry.until is not None and entry.until <= now]
            return [self._open.pop(key) for key in over]

    def entries(self) -> list[Entry]:
        """Return what is open."""
        with self._lock:
            return list(self._open.values())
