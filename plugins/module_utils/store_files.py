# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writing in a store's directories without following a link: what the publisher and quarantine share (rows S2,
S3).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from .findings import FindingError, refuse
from .store import DIRECTORY_MODE, ModelStore

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def open_directories(store: ModelStore, parts: tuple[str, ...], create: bool = False) -> Iterator[int]:
    """Yield a descriptor of a directory below the store, never through a symbolic link; create what is
    missing.

    Created directories are the store owner's, mode 0755. Raises OSError.
    """
    current = os.open(store.root, DIRECTORY)
    try:
        for part in parts:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, DIRECTORY_MODE, dir_fd=current)
                    os.fsync(current)
            inner = os.open(part, DIRECTORY, dir_fd=current)
            os.close(current)
            current = inner
            if create:
                _own_directory(current, store)
        yield current
    finally:
        os.close(current)


def _own_directory(descriptor: int, store: ModelStore) -> None:
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) != (store.uid, store.gid):
        os.fchown(descriptor, store.uid, store.gid)
    if stat.S_IMODE(status.st_mode) != DIRECTORY_MODE:
        os.fchmod(descriptor, DIRECTORY_MODE)


def prune(store: ModelStore, parts: tuple[str, ...]) -> None:
    """Remove directories below `manifests` that became empty, innermost first."""
    with contextlib.suppress(OSError):
        for depth in range(len(parts), 1, -1):
            store.path(*parts[:depth]).rmdir()


def write_error(store: ModelStore, error: OSError) -> FindingError:
    """Return the refusal for a failed call: DISK-FULL or PUBLISH-DISK."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return refuse(
            "DISK-FULL",
            str(store.root),
            "no space was left while publishing",
            "Free space and run again: nothing was published.",
        )
    where = " ({0})".format(error.filename) if error.filename else ""
    return refuse(
        "PUBLISH-DISK",
        str(store.root),
        "{0}{1}".format(error.strerror or error, where),
        "Check the store's disk, owner and modes, then run again.",
    )
