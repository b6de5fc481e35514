# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows of a file too large to be scanned in one piece, each as a file of its own without a name (row S5).

Only data is copied: holes stay holes, and where the file system shares blocks between files nothing is written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator

# A window with no more data than this is kept in memory.
MEMORY_MAX_BYTES = 16 * 1024 * 1024
COPY_BYTES = 8 * 1024 * 1024
_NOT_IN_KERNEL = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)


def cut(size: int, length: int, overlap: int) -> list[tuple[int, int]]:
    """Return (offset, length) of the windows over `size` bytes; neighbours share `overlap` bytes.

    Raises ValueError when a window is not longer than what it shares.
    """
    if overlap < 0 or length <= overlap:
        raise ValueError("a window of {0} bytes cannot share {1}".format(length, overlap))
    windows = [(0, min(length, size))]
    while sum(windows[-1]) < size:
        offset = sum(windows[-1]) - overlap
        windows.append((offset, min(length, size - offset)))
    return windows


@contextlib.contextmanager
def window_of(source: int, offset: int, length: int, scratch: str) -> Iterator[int]:
    """Yield a descriptor of a nameless file with `length` bytes of `source` from `offset` on; then it is gone.

    It lies in memory when it holds little data, else in the directory `scratch`. Raises OSError.
    """
    extents = _data(source, offset, offset + length)
    data = 0
    for start, end in extents:
        data += end - start
        if data > MEMORY_MAX_BYTES:
            break
    with scratch_file(scratch, data <= MEMORY_MAX_BYTES) as target:
        os.ftruncate(target, length)
        for start, end in _data(source, offset, offset + length):
            _copy(source, start, target, start - offset, end - start)
        yield target


@contextlib.contextmanager
def scratch_file(directory: str, in_memory: bool) -> Iterator[int]:
    """Yield a descriptor of an empty file without a name, in memory or in `directory`. Raises OSError."""
    if in_memory and hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("rampart-scan", os.MFD_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    else:
        with tempfile.TemporaryFile(dir=directory) as stream:
            yield stream.fileno()


def _data(source: int, offset: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of what is no hole between `offset` and `end`."""
    while offset < end:
        try:
            start = os.lseek(source, offset, os.SEEK_DATA)
            stop = os.lseek(source, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # nothing but a hole from here to the file's end
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            start, stop = offset, end  # a file system that does not tell
        if start >= end:
            return
        yield start, min(stop, end)
        offset = stop


def _copy(source: int, start: int, target: int, at: int, length: int) -> None:
    """Copy in the kernel where it can, else through a buffer; stop early where the source has become shorter."""
    in_kernel = hasattr(os, "copy_file_range")
    while length:
        if in_kernel:
            try:
                count = os.copy_file_range(source, target, length, start, at)
            except OSError as error:
                if error.errno not in _NOT_IN_KERNEL:
                    raise
                in_kernel = False
                continue
        else:
            data = os.pread(source, min(length, COPY_BYTES), start)
            count = os.pwrite(target, data, at) if data else 0
        if not count:
            return
        start, at, length = start + count, at + count, length - count
