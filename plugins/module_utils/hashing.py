# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Opening files that others may have laid out, and hashing them on all cores with bounded memory (rows S2,
S3).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

AnyPath = Union[str, Path]

# Large enough that the system call and the GIL hand-over cost nothing, small enough to be hashed while still
# in the core's second-level cache (measured: tests/benchmarks/bench_verify.py).
BUFFER_BYTES = 256 * 1024
WORKERS_MAX = 64


class UnsafeFileError(OSError):
    """The path is no plain file: `kind` is "symlink" or what it is instead ("directory", "device", "fifo"
    ...).
    """

    def __init__(self, kind: str) -> None:
        super().__init__("a {0}, not a plain file".format(kind))
        self.kind = kind


@dataclass(frozen=True)
class HashResult:
    """One hashed file: `digest` is `sha256:<hex>`; `error` is why it could not be read, `changed` that it
    moved.
    """

    path: AnyPath
    digest: str
    size: int
    error: str = ""
    changed: bool = False


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


def hash_descriptor(descriptor: int) -> tuple[str, int]:
    """Return (`sha256:<hex>`, bytes read) from a descriptor's present position to its end. Raises OSError."""
    digest = hashlib.sha256()
    buffer = bytearray(BUFFER_BYTES)
    view = memoryview(buffer)
    total = 0
    while True:
        count = os.readv(descriptor, [buffer])
        if not count:
            return "sha256:" + digest.hexdigest(), total
        # hashlib releases the GIL here: threads hash on as many cores as there are.
        digest.update(view[:count])
        total += count


def hash_file(path: AnyPath) -> HashResult:
    """Hash one file without following links; problems are told in the result, never raised."""
    try:
        descriptor = open_plain(path)
    except UnsafeFileError as error:
        return HashResult(path, "", 0, str(error))
    except OSError as error:
        return HashResult(path, "", 0, error.strerror or str(error))
    try:
        before = os.fstat(descriptor)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        digest, size = hash_descriptor(descriptor)
        after = os.fstat(descriptor)
        return HashResult(path, digest, size, changed=_identity(before) != _identity(after))
    except OSError as error:
        return HashResult(path, "", 0, error.strerror or str(error))
    finally:
        os.close(descriptor)


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def default_workers() -> int:
    """Return how many threads hash at once: the cores this process may use."""
    return max(1, min(WORKERS_MAX, len(os.sched_getaffinity(0))))


def hash_files(paths: Iterable[AnyPath], workers: int = 0) -> Iterator[HashResult]:
    """Hash files in `workers` threads (0: one for each core), yielding results as they come.

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
                    running.add(pool.submit(hash_file, path))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()
