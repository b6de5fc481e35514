# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The approvals file on the controller's disk: read without following a link, written whole or not at all (S6)."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from pathlib import Path

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, refuse
from ansible_collections.rampart.ollama.plugins.module_utils.hashing import UnsafeFileError, read_plain

from .approval_yaml import REGISTRY_MAX_BYTES, invalid


def read_text(path: str | Path) -> str:
    """Return the text of an approvals file; never follows a link, never reads more than the file may have.

    Raises FindingError: APPROVAL-FILE-MISSING, APPROVAL-FILE-UNSAFE (a link, a directory, a device),
    APPROVAL-INVALID (too long, not UTF-8).
    """
    try:
        data = read_plain(path, REGISTRY_MAX_BYTES)
    except FileNotFoundError as error:
        raise refuse(
            "APPROVAL-FILE-MISSING",
            str(path),
            "there is no such file",
            "Write it (docs/models_registry.md says how), or name another one.",
        ) from error
    except UnsafeFileError as error:
        raise refuse(
            "APPROVAL-FILE-UNSAFE",
            str(path),
            "it is {0}".format(error),
            "Name the plain file itself: what a link leads to can change unseen.",
        ) from error
    except OSError as error:
        raise refuse(
            "APPROVAL-FILE-MISSING",
            str(path),
            error.strerror or error,
            "Make the file readable for whoever runs Ansible, then run again.",
        ) from error
    if len(data) > REGISTRY_MAX_BYTES:
        raise invalid(str(path), "longer than {0} bytes".format(REGISTRY_MAX_BYTES))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise invalid(str(path), "not UTF-8 from byte {0} on".format(error.start)) from error


def replace_text(path: str | Path, before: str, after: str) -> None:
    """Put `after` in the place of `before` in one step, mode and owner kept; on any failure the file is as it was.

    Raises FindingError: APPROVAL-WRITE (it cannot be written), APPROVAL-CHANGED (it no longer holds `before`).
    """
    path = Path(path)
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        # Two runs take turns; whoever comes second sees that the text is another one.
        fcntl.flock(directory, fcntl.LOCK_EX)
        if read_text(path) != before:
            raise refuse(
                "APPROVAL-CHANGED",
                str(path),
                "it changed while the new entry was made",
                "Look at what changed, then run again. Nothing was written.",
            )
        _replace(directory, path.name, after.encode("utf-8"))
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        os.close(directory)


def _replace(directory: int, name: str, data: bytes) -> None:
    old = os.stat(name, dir_fd=directory, follow_symlinks=False)
    draft = ".{0}.{1}.new".format(name, os.getpid())
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(draft, flags, 0o600, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(stream.fileno(), old.st_uid, old.st_gid)
            os.fchmod(stream.fileno(), stat.S_IMODE(old.st_mode))
            os.fsync(stream.fileno())
        os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft, dir_fd=directory)
        raise
    os.fsync(directory)


def _unwritable(path: Path, error: OSError) -> FindingError:
    return refuse(
        "APPROVAL-WRITE",
        str(path),
        "it cannot be replaced: {0}".format(error.strerror or error),
        "Make its directory writable for whoever approves, or free space, then run again. Nothing was written.",
    )
