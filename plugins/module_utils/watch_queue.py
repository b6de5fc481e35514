# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is still to be looked at: events of all sources, merged by kind and subject, in bounded memory.

An event is a hint, never a verdict: the look that follows reads the state of the host anew. So ten thousand events
about one container are one look, and when there are more subjects than there is room for, the answer is a full sweep,
which sees whatever the lost hints spoke of. Urgent hints (a container that starts, a network that is connected) have a
lane of their own that no flood of the others can fill.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Optional

LANE_MAX = 1024


@dataclass(frozen=True)
class Hint:
    """What to look at: `kind` (container, host, pid, store, sockets, sweep) and which one; `why` is for the log.

    Two hints of one kind and key are one. `key` is a container's id, a process number as text, or empty.
    """

    kind: str
    key: str = ""
    urgent: bool = False


class HintQueue:
    """A queue of hints between the threads that hear and the one that looks. Thread-safe; `put` never waits."""

    def __init__(self, limit: int = LANE_MAX, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.clock = clock
        self.seen = 0
        self.coalesced = 0
        self.overflowed = 0
        self._lanes: tuple[OrderedDict[tuple[str, str], float], OrderedDict[tuple[str, str], float]] = (
            OrderedDict(),
            OrderedDict(),
        )
        self._later: dict[tuple[str, str], float] = {}
        self._sweep = threading.Event()
        self._condition = threading.Condition()

    def put(self, hint: Hint) -> None:
        """Add a hint. One that is there already is merged; one for which there is no room asks for a sweep."""
        with self._condition:
            self.seen += 1
            key = (hint.kind, hint.key)
            urgent, calm = self._lanes
            if key in urgent or (key in calm and not hint.urgent):
                self.coalesced += 1
                return
            if hint.kind == "sweep":
                self._sweep.set()
                self._condition.notify()
                return
            lane = urgent if hint.urgent else calm
            if len(lane) >= self.limit:
                self.overflowed += 1
                self._sweep.set()
            else:
                calm.pop(key, None)
                lane[key] = self.clock()
            self._condition.notify()

    def put_later(self, hint: Hint, seconds: float) -> None:
        """Add a hint that comes due after some seconds; an earlier date for the same one stays."""
        with self._condition:
            key, due = (hint.kind, hint.key), self.clock() + seconds
            if len(self._later) < self.limit or key in self._later:
                self._later[key] = min(due, self._later.get(key, due))
            else:
                self._sweep.set()
            self._condition.notify()

    def get(self, timeout: float) -> Optional[Hint]:
        """Return the next hint, urgent ones first, or None when none came within `timeout` seconds."""
        deadline = self.clock() + timeout
        with self._condition:
            while True:
                hint = self._take()
                if hint is not None:
                    return hint
                left = deadline - self.clock()
                if left <= 0:
                    return None
                next_due = min(self._later.values(), default=deadline) - self.clock()
                self._condition.wait(max(0.0, min(left, next_due)))

    def wait_for_sweep(self, timeout: float) -> bool:
        """Whether somebody asks for a full sweep, or hints were lost, now or within `timeout` seconds."""
        wanted = self._sweep.wait(timeout)
        self._sweep.clear()
        return wanted

    def __len__(self) -> int:
        with self._condition:
            return sum(len(lane) for lane in self._lanes)

    def _take(self) -> Optional[Hint]:
        urgent, calm = self._lanes
        if urgent:
            (kind, key), _since = urgent.popitem(last=False)
            return Hint(kind, key, True)
        now = self.clock()
        due = [key for key, date in self._later.items() if date <= now]
        if due:
            del self._later[due[0]]
            return Hint(*due[0])
        if calm:
            (kind, key), _since = calm.popitem(last=False)
            return Hint(kind, key)
        return None
