# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A proc file system as it was at one moment, for the many probes of one look."""

from __future__ import annotations

from typing import Optional, Union

from .procfs import ProcError, ProcFS


class Snapshot(ProcFS):
    """One look at a proc file system: the list of processes and each namespace are read once and then remembered.

    Many probes ask for the same few thousand links, and what they say then fits together. Files are read
    anew each time, and so is what is needed to tell a process that has ended.
    """

    def __init__(self, root: str = "/proc") -> None:
        super().__init__(root)
        self._pids: Optional[list[int]] = None
        self._links: dict[tuple[str, str], Union[str, ProcError]] = {}

    def pids(self) -> list[int]:
        """Return the process ids that were there at the first call."""
        if self._pids is None:
            self._pids = super().pids()
        return self._pids

    def namespace(self, pid: Union[int, str], kind: str) -> str:
        """Return the identity of a process's namespace as it was at the first call."""
        key = (str(pid), kind)
        if key not in self._links:
            try:
                self._links[key] = super().namespace(pid, kind)
            except ProcError as error:
                self._links[key] = error
        found = self._links[key]
        if isinstance(found, ProcError):
            raise found
        return found
