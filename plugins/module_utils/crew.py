# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A few threads that begin, fail and end together (row S2)."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Crew:
    """Runs functions in threads; the first error makes all of them end and is raised by `wait`.

    `stop` must make every function return or raise soon; it may be called more than once.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._ended = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._running = 0
        self._errors: list[BaseException] = []

    def start(self, work: Callable[[], None], needed: bool = True) -> None:
        """Run `work` in a thread of its own. Where no more threads can be had, that is an error only if it is
        needed.
        """
        thread = threading.Thread(target=self._run, args=(work,), name="rampart-fetch")
        with self._ended:
            self._running += 1
        try:
            thread.start()
        except RuntimeError as error:
            with self._ended:
                self._running -= 1
                self._errors += [error] if needed else []
            if needed:
                self._stop()
            return
        self._threads.append(thread)

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            with self._ended:
                self._errors.append(error)
            self._stop()
        finally:
            with self._ended:
                self._running -= 1
                self._ended.notify_all()

    def wait(self, tick: Callable[[], None], seconds: float = 1.0) -> None:
        """Call `tick` every `seconds` until all have ended, then raise the first error there was.

        On return or error no thread of the crew is left.
        """
        try:
            while True:
                with self._ended:
                    if self._ended.wait_for(lambda: not self._running, seconds):
                        break
                tick()
        except BaseException:
            self._stop()
            raise
        finally:
            for thread in self._threads:
                thread.join()
        if self._errors:
            raise self._errors[0]
