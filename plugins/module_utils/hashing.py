# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening files that others may have laid out, and hashing them on all cores with bounded memory (rows S2,
S3).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Optional, Union

AnyPath = Union[str, Path]

# Large enough that the system call and the GIL hand-over cost nothing, small enough to be hashed while still
# in the core's second-level cache (measured: tests/benchmarks/bench_verify.py).
BUFFER_BYTES = 256 * 1024
WORKERS_MAX = 64
# One mark (a crc32) for each so many bytes: small enough to point at a tensor, few enough to be kept.
MARK_BYTES = 1024 * 1024


class UnsafeFileError(OSError):
    """The path is no plain file: `kind` is "symlink" or what it is instead ("directory", "device", "fifo"
    ...).
    """

    def __init__(self, kind: str) -> None:
        super().__init__("a {0}, not a plain file".format(kind))
        self.kind = kind


class FileStatus(NamedTuple):
    """What identifies a file and its content: of os.stat_result, under the same names, what has to be kept of
    100,000 files at once.
    """

    st_dev: int
    st_ino: int
    st_size: int
    st_mtime_ns: int
    st_ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileStatus:
        """Return the few fields of a status."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True)
class HashResult:
    """One hashed file: `digest` is `sha256:<hex>`, `size` the bytes that were read.

    `error` is why it could not be read on from there, `changed` that it moved meanwhile. `status` is the open
    file's before it was read, `marks` its marks if they were asked for (see Marks).
    """

    path: AnyPath
    digest: str
    size: int
    error: str = ""
    changed: bool = False
    status: Optional[FileStatus] = None
    marks: bytes = b""


class Marks:
    """The crc32 of each MARK_BYTES of a stream: they say where bytes differ, never that they are right."""

    def __init__(self) -> None:
        self._done = bytearray()
        self._sum = 0
        self._filled = 0

    def update(self, data: memoryview) -> None:
        """Take the next bytes of the stream, however many."""
        while data:
            part = data[: MARK_BYTES - self._filled]
            self._sum = zlib.crc32(part, self._sum)
            self._filled += len(part)
            data = data[len(part) :]
            if self._filled == MARK_BYTES:
                self._close()

    def finish(self) -> bytes:
        """Return four bytes, big endian, for each mark; the last one may stand for fewer bytes."""
        if self._filled:
            self._close()
        return bytes(self._done)

    def _close(self) -> None:
        self._done += struct.pack(">I", self._sum)
        self._sum = self._filled = 0


def kind_of(mode: int) -> str:
    """Return what a file of this st_mode is, in a word."""
    for test, word in (
        (stat.S_ISREG, "file"),
        (stat.S_ISDIR, "directory"),
        (stat.S_ISLNK, "symlink"),
        (stat.S_ISFIFO, "fifo"),
        (stat.S_ISSOCK, "socket"),
    ):
        if test(mode):
            return word
    return "device"


def open_plain(path: AnyPath, dir_fd: Optional[int] = None) -> int:
    """Open a regular file for reading and return its descriptor; never follows a link, never waits on a fifo.

    Raises UnsafeFileError when it is anything else, OSError when it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnsafeFileError("symlink") from error
        if error.errno == errno.ENXIO:
            raise UnsafeFileError("socket or device") from error
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise UnsafeFileError(kind_of(mode))
    return descriptor


def read_plain(path: AnyPath, limit: int, dir_fd: Optional[int] = None) -> bytes:
    """Return the bytes of a regular file, at most `limit` + 1 of them (one more tells that it is longer)."""
    descriptor = open_plain(path, dir_fd)
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read(limit + 1)


def hash_descriptor(descriptor: int, marks: Optional[Marks] = None, limit: Optional[int] = None) -> tuple[str, int]:
    """Return (`sha256:<hex>`, bytes read) from a descriptor's present position to its end, or `limit` bytes
    on.

    The same bytes are given to `marks`. Raises OSError; the descriptor then stands where reading failed.
    """
    digest = hashlib.sha256()
    buffer = bytearray(BUFFER_BYTES)
    view = memoryview(buffer)
    total = 0
    while limit is None or total < limit:
        count = os.readv(descriptor, [view if limit is None else view[: limit - total]])
        if not count:
            break
        # hashlib releases the GIL here: threads hash on as many cores as there are.
        digest.update(view[:count])
        if marks is not None:
            marks.update(view[:count])
        total += count
    return "sha256:" + digest.hexdigest(), total


def hash_file(path: AnyPath, marked: bool = False) -> HashResult:
    """Hash one file without following links; problems are told in the result, never raised."""
    try:
        descriptor = open_plain(path)
    except UnsafeFileError as error:
        return HashResult(path, "", 0, str(error))
    except OSError as error:
        return HashResult(path, "", 0, error.strerror or str(error))
    marks = Marks() if marked else None
    try:
        # A page that somebody has mapped and made dirty takes further writes without a new ctime, until it is written
        # back: only then an unchanged ctime means an unchanged file. Where that cannot be asked for, reading goes on.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
        before = FileStatus.of(os.fstat(descriptor))
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        digest, size = hash_descriptor(descriptor, marks)
        moved = FileStatus.of(os.fstat(descriptor)) != before or not _still_named(path, before)
        return HashResult(path, digest, size, "", moved, before, marks.finish() if marks else b"")
    except OSError as error:
        return HashResult(path, "", _position(descriptor), error.strerror or str(error))
    finally:
        os.close(descriptor)


def _still_named(path: AnyPath, status: FileStatus) -> bool:
    """Whether the name still leads to the file that was opened: another may have been renamed over it."""
    try:
        now = os.lstat(path)
    except OSError:
        return False
    return (now.st_dev, now.st_ino) == (status.st_dev, status.st_ino)


def _position(descriptor: int) -> int:
    """Return how far a file was read: what failed is the block that begins there."""
    try:
        return os.lseek(descriptor, 0, os.SEEK_CUR)
    except OSError:
        return 0


def default_workers() -> int:
    """Return how many threads hash at once: the cores this process may use."""
    return max(1, min(WORKERS_MAX, len(os.sched_getaffinity(0))))


def _never(_path: AnyPath) -> bool:
    return False


def hash_files(
    paths: Iterable[AnyPath], workers: int = 0, marked: Callable[[AnyPath], bool] = _never
) -> Iterator[HashResult]:
    """Hash files in `workers` threads (0: one for each core), yielding results as they come.

    Those that `marked` says yes to get marks too, which takes about a quarter longer (docs/verification.md).
    Memory is bounded by `workers` buffers: only so many files are in hand as there are threads.
    """
    count = max(1, min(WORKERS_MAX, workers)) if workers else default_workers()
    queue = iter(paths)
    with ThreadPoolExecutor(max_workers=count) as pool:
        running: set[Future[HashResult]] = set()
        try:
            while True:
                # Twice the threads: a free one always has its next file, and 100,000 files are never queued
                # at once.
                while len(running) < 2 * count:
                    path = next(queue, None)
                    if path is None:
                        break
                    running.add(pool.submit(hash_file, path, marked(path)))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()
