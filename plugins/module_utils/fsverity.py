# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""fs-verity: files that the kernel itself checks on every read (rows S2, S3).

A sealed file can be written no more, and each of its blocks is held against a tree of hashes when it comes
from the disk: a changed block is a read error. The tree's root names the content in constant time. ext4 (made
with `-O verity`), btrfs and f2fs offer it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from dataclasses import dataclass
from typing import Optional

from .hashing import AnyPath, open_plain

# <linux/fsverity.h>: _IOW('f', 133, struct fsverity_enable_arg), _IOWR('f', 134, struct fsverity_digest).
# These are the numbers of x86-64, arm64, s390x and riscv64; elsewhere the kernel answers ENOTTY, "not
# offered".
ENABLE = 0x40806685
MEASURE = 0xC0046686
BLOCK_BYTES = 4096

# version, hash algorithm, block size, salt size, salt, signature size, reserved, signature, reserved.
_ENABLE_ARGUMENT = struct.Struct("=IIIIQIIQ88x")
# algorithm, size of the digest (in: room for it, out: its length); the digest follows.
_DIGEST_HEAD = struct.Struct("=HH")
_DIGEST_ROOM = 64
_VERSION = 1
_ALGORITHMS = {1: "sha256", 2: "sha512"}
# EINVAL: an older kernel whose pages are not BLOCK_BYTES long. EPERM: the kernel wants signatures, and we
# have none to give.
_NOT_OFFERED = (errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM)


@dataclass(frozen=True)
class Measured:
    """What the kernel says of a file: `digest` of its tree ("sha256:<hex>", empty when it is not sealed)."""

    digest: str
    device: int
    inode: int


def _control(descriptor: int, request: int, argument: bytearray) -> None:
    """Make the call itself. Raises OSError."""
    fcntl.ioctl(descriptor, request, argument, True)


def seal(descriptor: int) -> bool:
    """Seal the file of a read-only descriptor; return False where the file system does not offer it.

    No process may have the file open for writing. Raises OSError, the file then not sealed.
    """
    argument = bytearray(_ENABLE_ARGUMENT.pack(_VERSION, 1, BLOCK_BYTES, 0, 0, 0, 0, 0))
    try:
        _control(descriptor, ENABLE, argument)
    except OSError as error:
        if error.errno == errno.EEXIST:
            return True
        if error.errno in _NOT_OFFERED:
            return False
        raise
    return True


def measure(descriptor: int) -> Optional[str]:
    """Return the digest the kernel holds a file's reads against, "" when it is not sealed, None if not
    offered.

    Raises OSError for anything else.
    """
    argument = bytearray(_DIGEST_HEAD.pack(0, _DIGEST_ROOM) + bytes(_DIGEST_ROOM))
    try:
        _control(descriptor, MEASURE, argument)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return ""
        if error.errno in _NOT_OFFERED:
            return None
        raise
    algorithm, size = _DIGEST_HEAD.unpack_from(argument)
    if algorithm not in _ALGORITHMS or not 0 < size <= _DIGEST_ROOM:
        raise OSError(errno.EPROTO, "fs-verity answered algorithm {0}, {1} bytes".format(algorithm, size))
    digest = bytes(argument[_DIGEST_HEAD.size : _DIGEST_HEAD.size + size])
    return "{0}:{1}".format(_ALGORITHMS[algorithm], digest.hex())


def measure_file(path: AnyPath) -> Optional[Measured]:
    """Measure a plain file by its path; None where it is not offered or the file cannot be opened."""
    try:
        descriptor = open_plain(path)
    except OSError:
        return None
    try:
        digest = measure(descriptor)
        status = os.fstat(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None if digest is None else Measured(digest, status.st_dev, status.st_ino)
