# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's note that its server may still hold revoked models in memory, and has to be restarted (rows S6, T2).

It is written before the files go: a run that is killed in between leaves it behind, and the next run, which no longer
finds the model, finds the note. One digest of a manifest on each line; that there is a note at all means a restart.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Union

from .findings import FindingError, Severity, refuse
from .hashing import read_plain
from .names import parse_digest
from .revocation_memory import directory_lock, write_whole

NOTE_MAX_BYTES = 1024 * 1024


def note_path(memory: Union[str, Path]) -> Path:
    """Return the note's path: beside the host's memory of revocations, `revocations.json` becoming
    `revocations.restart-due`.
    """
    return Path(memory).with_suffix(".restart-due")


def restart_due(memory: Union[str, Path]) -> tuple[bool, tuple[str, ...]]:
    """Return whether a restart is due, and the digests it is due for.

    A note that cannot be understood, or read, is a restart that is due: never one that is not.
    """
    path = note_path(memory)
    try:
        lines = read_plain(path, NOTE_MAX_BYTES).decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return False, ()
    except OSError:
        return True, ()
    digests = []
    for line in lines:
        try:
            digests.append(parse_digest(line))
        except FindingError:
            continue
    return True, tuple(sorted(set(digests)))


def note_restart(memory: Union[str, Path], digests: Iterable[str]) -> bool:
    """Note that the server is to be restarted for these digests; return whether the note says more than before.

    Raises FindingError (REVOCATION-MEMORY): nothing may be removed before this is on the disk.
    """
    path, wanted = note_path(memory), set(digests)
    try:
        with directory_lock(path.parent) as directory:
            due, known = restart_due(memory)
            if due and wanted <= set(known):
                return False
            write_whole(directory, path.name, "".join(digest + "\n" for digest in sorted(wanted.union(known))))
            return True
    except OSError as error:
        raise _refusal(path, error) from error


def settle_restart(memory: Union[str, Path], digests: Iterable[str]) -> bool:
    """Take these digests off the note, which is gone with the last of them; return whether there was a note.

    What another run noted meanwhile stays due. Raises FindingError (REVOCATION-MEMORY).
    """
    path = note_path(memory)
    try:
        with directory_lock(path.parent) as directory:
            due, known = restart_due(memory)
            left = sorted(set(known).difference(digests))
            if left:
                write_whole(directory, path.name, "".join(digest + "\n" for digest in left))
            elif due:
                os.unlink(path.name, dir_fd=directory)
                os.fsync(directory)
            return due
    except FileNotFoundError:
        # Without its directory there is no note either.
        return False
    except OSError as error:
        raise _refusal(path, error) from error


def _refusal(path: Path, error: OSError) -> FindingError:
    return refuse(
        "REVOCATION-MEMORY",
        str(path),
        error.strerror or error,
        "Make room, or put a plain file or nothing there; check the directory's owner. No model was removed.",
        Severity.CRITICAL,
    )
