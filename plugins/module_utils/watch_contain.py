# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containment as the sensor does it: asks the actor, each thing once, again after a pause when it was refused."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Optional

from .watch_protocol import Answer, Request, WatchError, call

# After "done" the next look tells whether it helped; until then the same thing is not asked for again.
DONE_PAUSE = 2.0
RECHECK_SECONDS = 0.3
FAILED_FIRST, FAILED_MAX = 1.0, 60.0
REMEMBERED_MAX = 1000

Ask = Callable[[str, Request, float], Answer]


@dataclass
class _Tried:
    next_time: float
    pause: float


@dataclass(frozen=True)
class Outcome:
    """What came of one request; `asked` is False when it was held back, because the same one was made just now.

    `again` is after how many seconds it is worth another look: soon when it was done, ever later when it was not.
    """

    request: Request
    asked: bool
    answer: Optional[Answer] = None
    error: str = ""
    again: float = FAILED_MAX

    @property
    def word(self) -> str:
        """`done`, `refused`, `failed`, `unanswered` or `held`."""
        if not self.asked:
            return "held"
        return self.answer.outcome if self.answer is not None else "unanswered"

    @property
    def reason(self) -> str:
        """The actor's reason, or why it did not answer."""
        return self.answer.reason if self.answer is not None else self.error


class Containment:
    """Asks the actor. Thread-safe; never raises."""

    def __init__(
        self, socket_path: str, timeout: float, ask: Ask = call, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.socket_path = socket_path
        self.timeout = timeout
        self.ask = ask
        self.clock = clock
        self._tried: dict[str, _Tried] = {}
        self._lock = threading.Lock()

    def contain(self, request: Request) -> Outcome:
        """Ask for one thing, unless it was asked for just now."""
        key = json.dumps([request.verb, request.target], sort_keys=True)
        now = self.clock()
        with self._lock:
            tried = self._tried.get(key)
            if tried is not None and now < tried.next_time:
                return Outcome(request, asked=False)
            if tried is None:
                self._forget(now)
                tried = self._tried[key] = _Tried(now, FAILED_FIRST)
            # Before the question, so that another thread that saw the same does not ask as well.
            tried.next_time = now + self.timeout
        answer: Optional[Answer] = None
        error = ""
        try:
            answer = self.ask(self.socket_path, request, self.timeout)
        except WatchError as problem:
            error = str(problem)
        with self._lock:
            if answer is not None and answer.outcome == "done":
                tried.next_time, tried.pause = self.clock() + DONE_PAUSE, FAILED_FIRST
                again = RECHECK_SECONDS
            else:
                again, tried.next_time = tried.pause, self.clock() + tried.pause
                tried.pause = min(tried.pause * 2, FAILED_MAX)
        return Outcome(request, True, answer, error, again)

    def _forget(self, now: float) -> None:
        """Make room: what may be asked again long since need not be remembered."""
        if len(self._tried) >= REMEMBERED_MAX:
            over = sorted(self._tried, key=lambda key: self._tried[key].next_time)
            for key in over[: REMEMBERED_MAX // 2]:
                if self._tried[key].next_time <= now:
                    del self._tried[key]
