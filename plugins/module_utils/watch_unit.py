# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service of the watch owes its unit: signs of life for systemd, and lines for the journal."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from .findings import clean_text

LINE_MAX_CHARS = 2000
NOTICE, WARNING, ERROR = 5, 4, 3


def notify(state: str) -> None:
    """Tell systemd something ("READY=1", "WATCHDOG=1"); without a unit around us nobody is told."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as handle:
        handle.sendto(state.encode(), address)


def watchdog_seconds() -> float:
    """Return how often a sign of life is due, in seconds: a third of what the unit allows, 10 without one."""
    try:
        allowed = int(os.environ.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return 10.0
    return max(0.1, allowed / 3)


class Journal:
    """Lines for the journal, with a priority each; at most `burst` a minute of those that others can cause."""

    def __init__(self, burst: int = 60, clock: Callable[[], float] = time.monotonic) -> None:
        self.burst = burst
        self.clock = clock
        self._lock = threading.Lock()
        self._since = clock()
        self._said = 0
        self._kept_back = 0

    def say(self, priority: int, text: str) -> None:
        """Write one line, always."""
        line = "<{0}>{1}\n".format(priority, clean_text(text, LINE_MAX_CHARS))
        with self._lock, suppress(OSError, ValueError):
            sys.stdout.write(line)
            sys.stdout.flush()

    def say_of_others(self, priority: int, text: str) -> None:
        """Write one line about what another process did; what is beyond the limit is counted and said later."""
        with self._lock:
            now = self.clock()
            kept_back = 0
            if now - self._since >= 60:
                kept_back, self._kept_back = self._kept_back, 0
                self._since, self._said = now, 0
            self._said += 1
            allowed = self._said <= self.burst
            if not allowed:
                self._kept_back += 1
        if kept_back:
            self.say(WARNING, "WATCH-LINES-KEPT-BACK: {0} more such lines in the minute before".format(kept_back))
        if allowed:
            self.say(priority, text)
