# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often and how many at once: per-user rates with suspension, and concurrency.

Counters live in memory: a restart of the gateway forgets them (documented in README.md).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerHour
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from .config import Limits, User
from .errors import RefusalError


class RateLimits:
    """Moving windows of an hour and a day for each user; going over either suspends the user."""

    def __init__(self, defaults: Limits) -> None:
        self._defaults = defaults
        self._windows = MovingWindowRateLimiter(MemoryStorage())
        self._suspended_until: dict[str, float] = {}

    def admit(self, user: User) -> None:
        """Count one attempt of ``user``. Raises ``RefusalError`` GW-RATE-LIMIT with the seconds to wait.

        Attempts during a suspension neither count nor prolong it, so an innocent retry loop ends by itself.
        """
        now = time.time()
        until = self._suspended_until.get(user.id, 0.0)
        if now < until:
            raise self._refusal(until - now)
        per_hour = user.per_hour if user.per_hour is not None else self._defaults.per_hour
        per_day = user.per_day if user.per_day is not None else self._defaults.per_day
        for window in (RateLimitItemPerHour(per_hour), RateLimitItemPerDay(per_day)):
            if not self._windows.hit(window, user.id):
                raise self._suspend(user, window, now)

    def _suspend(self, user: User, window: RateLimitItem, now: float) -> RefusalError:
        # A day's window may have no room for longer than the suspension: one Retry-After that holds, not several.
        room_at = self._windows.get_window_stats(window, user.id).reset_time
        until = max(now + self._defaults.suspension_seconds, room_at)
        self._suspended_until[user.id] = until
        return self._refusal(until - now)

    @staticmethod
    def _refusal(seconds: float) -> RefusalError:
        wait = max(1, math.ceil(seconds))
        return RefusalError("GW-RATE-LIMIT", str(wait), retry_after=wait)


class Concurrency:
    """At most so many requests at the model server at once, in all and for one user."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._all = 0
        self._of: Counter[str] = Counter()

    @contextmanager
    def slot(self, user: User) -> Iterator[None]:
        """Hold a slot; with none free, raises ``RefusalError`` GW-OVERLOADED: a queue hides overload."""
        if self._all >= self._limits.concurrency or self._of[user.id] >= self._limits.concurrency_per_user:
            raise RefusalError("GW-OVERLOADED", retry_after=2)
        self._all += 1
        self._of[user.id] += 1
        try:
            yield
        finally:
            self._all -= 1
            self._of[user.id] -= 1
