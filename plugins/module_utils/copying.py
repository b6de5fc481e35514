# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copying bytes whose number and digest are known beforehand (row S2)."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable

from .findings import FindingError, Severity, refuse

COPY_BYTES = 1024 * 1024
_REMEDY = "Do not use it. Ask where it comes from, and have it made again from the approved bytes."


def copy_span(reading: int, offset: int, size: int, digest: str, write: Callable[[memoryview], object]) -> None:
    """Hand `size` bytes of a file from `offset` on to `write`, in pieces; they have to hash to `digest`.

    The last piece is handed over before the digest is known: what was written counts only when this returns.
    Raises FindingError (IMPORT-DIGEST-MISMATCH, IMPORT-SIZE-MISMATCH, IMPORT-READ-ERROR), OSError of `write`.
    """
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(min(COPY_BYTES, max(1, size))))
    position = offset
    while position < offset + size:
        try:
            count = os.preadv(reading, [buffer[: offset + size - position]], position)
        except OSError as error:
            raise unreadable(digest, error) from error
        if not count:
            raise wrong_size(digest, position - offset, size)
        hasher.update(buffer[:count])
        write(buffer[:count])
        position += count
    found = "sha256:" + hasher.hexdigest()
    if found != digest:
        raise refuse(
            "IMPORT-DIGEST-MISMATCH",
            digest,
            "the {0} bytes there hash to {1}".format(size, found),
            _REMEDY,
            Severity.CRITICAL,
        )


def wrong_size(subject: str, found: int, size: int) -> FindingError:
    """Return the refusal of a blob that is longer or shorter than approved."""
    evidence = "{0} bytes are there, approved are {1}".format(found, size)
    return refuse("IMPORT-SIZE-MISMATCH", subject, evidence, _REMEDY)


def unreadable(subject: str, error: OSError) -> FindingError:
    """Return the refusal of a source that cannot be read."""
    return refuse(
        "IMPORT-READ-ERROR",
        subject,
        error.strerror or error,
        "Check the disk or stick that the source lies on, then run again.",
    )


def unwritable(subject: str, error: OSError) -> FindingError:
    """Return the refusal of a copy that cannot be written: DISK-FULL or IMPORT-DISK."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return refuse(
        "DISK-FULL" if full else "IMPORT-DISK",
        subject,
        error.strerror or error,
        "Free space and check the directory's owner, then run again: nothing was published.",
    )
