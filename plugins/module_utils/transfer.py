# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A blob on its way into quarantine: the file, how much of it is there, and the hash so far (row S2)."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .findings import FindingError, refuse


@dataclass
class Transfer:
    """A blob on its way to `path`: `received` bytes are there and in `hasher`; `cuts` counts
    interruptions.
    """

    digest: str
    size: int
    path: Path
    received: int = 0
    cuts: int = 0
    resumed: bool = False
    hasher: Any = field(default_factory=hashlib.sha256)

    def restart(self) -> None:
        """Forget what was received."""
        self.received = 0
        self.resumed = False
        self.hasher = hashlib.sha256()


def open_output(transfer: Transfer) -> int:
    """Return a descriptor of the transfer's file, cut to what was received and standing at its end."""
    try:
        output = os.open(transfer.path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(output, transfer.received)
            os.lseek(output, transfer.received, os.SEEK_SET)
        except OSError:
            os.close(output)
            raise
    except OSError as error:
        raise disk_error(error) from error
    return output


def write_all(output: int, chunk: bytes) -> None:
    """Write all of `chunk`. Raises FindingError (FETCH-DISK)."""
    view = memoryview(chunk)
    try:
        while view:
            view = view[os.write(output, view) :]
    except OSError as error:
        raise disk_error(error) from error


def disk_error(error: OSError) -> FindingError:
    """Return the refusal of a write into quarantine."""
    remedy = "Free space on the quarantine's disk and check its owner, then run again."
    return refuse("FETCH-DISK", "quarantine", error.strerror or error, remedy)
