# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel's files hold, read with care: bounded, regular files alone, and numbers as the kernel writes them."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import stat
import sys
from functools import lru_cache
from typing import Union

CHUNK_BYTES = 256 * 1024
DECIMAL = re.compile(r"^[0-9]{1,20}\Z")
HEX = re.compile(r"^[0-9a-fA-F]{1,32}\Z")

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def contents(path: str, limit: int) -> bytes:
    """Return a regular file's bytes. Raises OSError, and ValueError where there are more than `limit`.

    A pipe, a device or a directory in a file's place is refused, and opening one does not wait for its other
    end.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        pieces: list[bytes] = []
        size = 0
        while True:
            piece = os.read(handle, CHUNK_BYTES)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise ValueError("longer than {0} bytes".format(limit))
    finally:
        os.close(handle)


def number(text: str) -> int:
    """Return a number as the kernel writes it: digits and nothing else. Raises ValueError."""
    if not DECIMAL.match(text):
        raise ValueError("not a number: {0!r}".format(text[:40]))
    return int(text)


def hexadecimal(text: str) -> int:
    """Return a hexadecimal number as the kernel writes it. Raises ValueError."""
    if not HEX.match(text):
        raise ValueError("not a hexadecimal number: {0!r}".format(text[:40]))
    return int(text, 16)


@lru_cache(maxsize=4096)
def decode_address(text: str) -> Address:
    """Decode an address of /proc/net/tcp{,6}: 32-bit words in the byte order of the machine, as hex."""
    if not HEX.match(text) or len(text) not in (8, 32):
        raise ValueError("not an address: {0!r}".format(text[:40]))
    raw = bytes.fromhex(text)
    if sys.byteorder == "little":
        raw = b"".join(raw[index : index + 4][::-1] for index in range(0, len(raw), 4))
    return ipaddress.IPv4Address(raw) if len(raw) == 4 else ipaddress.IPv6Address(raw)
