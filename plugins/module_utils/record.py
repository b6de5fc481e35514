# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record: what the last full verification of a store saw, so that an unchanged blob need not be read again
(row S3).

It is the one state file of verification, root's and mode 0600. For each blob whose bytes were right it keeps
the file's identity and when it was read; for each content ever found right the marks by which a later
difference is located. Who can write it can have a changed blob called unchanged: a record that anybody but
its owner could have written is not believed.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from .findings import FindingError, Severity, refuse
from .hashing import FileStatus, UnsafeFileError, open_plain
from .manifest import BLOB_MAX_BYTES
from .names import parse_digest

DEFAULT_RECORD = "/var/lib/rampart/store-record.json"
RECORD_MODE = 0o600
# 64 MiB hold the marks of about 12 TiB of blobs.
RECORD_MAX_BYTES = 64 * 1024 * 1024
_VERSION = 1
_UNSAFE = "others than its owner can write its directory"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Reading:
    """A file whose every byte was read and found right at `read_ns` (since the epoch).

    `verity` is the digest the kernel measured before that reading, empty where the file was not sealed.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    read_ns: int
    verity: str = ""

    @classmethod
    def of(cls, status: FileStatus, read_ns: int, verity: str = "") -> Reading:
        """Return the reading of the file with this status."""
        return cls(
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            read_ns,
            verity,
        )

    def same_file(self, status: FileStatus) -> bool:
        """Whether a file is the one that was read, untouched since.

        A write sets the ctime, also one through a mapping: what was dirty was written back before the reading.
        """
        return self == Reading.of(status, self.read_ns, self.verity)


@dataclass
class StoreRecord:
    """Readings and marks by blob digest; `store` is the directory that the readings are of.

    `inspected` names the models (by digest) whose layers were found fit, with the fingerprint of the policy.
    """

    store: str = ""
    readings: dict[str, Reading] = field(default_factory=dict)
    marks: dict[str, bytes] = field(default_factory=dict)
    inspected: dict[str, str] = field(default_factory=dict)


def load(path: Path, owner: int) -> StoreRecord:
    """Return the record at `path`, an empty one when there is none.

    Raises FindingError (STORE-RECORD-REFUSED) unless it is a plain file of `owner`'s (a uid), mode 0600, with
    one name, in a directory that only its owner can write, and says what a record says.
    """
    try:
        directory = os.open(path.parent, _DIRECTORY)
    except FileNotFoundError:
        return StoreRecord()
    except OSError as error:
        raise _refused(path, error.strerror or error) from error
    try:
        return _read(path, directory, owner)
    except OSError as error:
        raise _refused(path, str(error)) from error
    finally:
        os.close(directory)


def _read(path: Path, directory: int, owner: int) -> StoreRecord:
    if not _ours_alone(directory, owner):
        raise _refused(path, _UNSAFE)
    try:
        descriptor = open_plain(path.name, directory)
    except FileNotFoundError:
        return StoreRecord()
    except UnsafeFileError as error:
        raise _refused(path, error) from error
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if status.st_uid != owner or stat.S_IMODE(status.st_mode) != RECORD_MODE or status.st_nlink != 1:
            raise _refused(
                path,
                "owner {0}, mode {1:04o}, {2} names; must be {3}, 0600, 1".format(
                    status.st_uid, stat.S_IMODE(status.st_mode), status.st_nlink, owner
                ),
            )
        data = stream.read(RECORD_MAX_BYTES + 1)
    if len(data) > RECORD_MAX_BYTES:
        raise _refused(path, "longer than {0} bytes".format(RECORD_MAX_BYTES))
    try:
        return _decode(json.loads(data.decode("utf-8")))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, FindingError) as error:
        raise _refused(path, "it does not say what a record says") from error


def _ours_alone(directory: int, owner: int) -> bool:
    """Whether nobody but root and `owner` can put another file in the record's place."""
    status = os.fstat(directory)
    return status.st_uid in (owner, 0) and not stat.S_IMODE(status.st_mode) & 0o022


def _refused(path: Path, why: object) -> FindingError:
    return refuse(
        "STORE-RECORD-REFUSED",
        str(path),
        "not believed, every blob was read: {0}".format(why),
        "Find out who touched it; a full verification with this record replaces it.",
        Severity.LOW,
    )


def _decode(data: Any) -> StoreRecord:
    """Return the record of a decoded document. Raises one of several errors for anything else."""
    if data["version"] != _VERSION or not isinstance(data["store"], str):
        raise ValueError("version or store")
    record = StoreRecord(data["store"])
    for digest, values in data["blobs"].items():
        *numbers, verity = values
        # bool is an int; a float would compare equal to one.
        if len(numbers) != 6 or any(not isinstance(number, int) or isinstance(number, bool) for number in numbers):
            raise ValueError("a reading is six numbers and a text")
        if not isinstance(verity, str) or not 0 <= numbers[2] <= BLOB_MAX_BYTES:
            raise ValueError("a reading's size or text")
        device, inode, size, mtime_ns, ctime_ns, read_ns = numbers
        record.readings[parse_digest(digest)] = Reading(device, inode, size, mtime_ns, ctime_ns, read_ns, verity)
    for digest, text in data["marks"].items():
        marks = base64.b64decode(text, validate=True)
        if len(marks) % 4:
            raise binascii.Error("marks are of four bytes each")
        record.marks[parse_digest(digest)] = marks
    for digest, policy in data["models"].items():
        if not isinstance(policy, str):
            raise ValueError("a policy's fingerprint is a text")
        record.inspected[parse_digest(digest)] = policy
    return record


def _encode(record: StoreRecord) -> bytes:
    data = {
        "version": _VERSION,
        "store": record.store,
        "blobs": {digest: astuple(reading) for digest, reading in sorted(record.readings.items())},
        "models": dict(sorted(record.inspected.items())),
        "marks": {digest: base64.b64encode(marks).decode("ascii") for digest, marks in sorted(record.marks.items())},
    }
    return json.dumps(data, separators=(",", ":")).encode("utf-8") + b"\n"


def update(path: Path, owner: int, change: Callable[[StoreRecord], StoreRecord]) -> None:
    """Replace the record by what `change` makes of it, whole and durably; one writer at a time.

    A record that is not believed is taken for an empty one. Raises FindingError (STORE-RECORD-UNWRITTEN), the
    file as it was.
    """
    try:
        directory = os.open(path.parent, _DIRECTORY)
        try:
            if not _ours_alone(directory, owner):
                raise OSError(errno.EPERM, _UNSAFE)
            with _held(path.name, directory):
                try:
                    known = load(path, owner)
                except FindingError:
                    known = StoreRecord()
                data = _encode(change(known))
                if len(data) > RECORD_MAX_BYTES:
                    raise OSError(errno.EFBIG, "the record would be longer than it may be")
                _replace(path.name, directory, data)
        finally:
            os.close(directory)
    except OSError as error:
        raise refuse(
            "STORE-RECORD-UNWRITTEN",
            str(path),
            error.strerror or error,
            "Check the directory, its owner and its disk; until then every verification reads every blob.",
            Severity.LOW,
        ) from error


@contextlib.contextmanager
def _held(name: str, directory: int) -> Iterator[None]:
    """Hold the record for one writer: a reading that was just withdrawn must not come back."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name + ".lock", flags, RECORD_MODE, dir_fd=directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(name: str, directory: int, data: bytes) -> None:
    draft = name + ".new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft, dir_fd=directory)
    try:
        descriptor = os.open(draft, _NEW, RECORD_MODE, dir_fd=directory)
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, RECORD_MODE)
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft, dir_fd=directory)
        raise
