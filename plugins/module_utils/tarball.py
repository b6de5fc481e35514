# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The few tar headers a bundle consists of, written always alike and read with suspicion (row S2).

A bundle is a POSIX tar of plain files with short names. Nothing else is read: no links, devices or directories,
no sparse files, no long names, no extended headers, and nothing is ever written under a name found in it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .findings import FindingError, clean_text, refuse
from .manifest import BLOB_MAX_BYTES, LAYERS_MAX

BLOCK = 512
END = bytes(2 * BLOCK)
MEMBERS_MAX = LAYERS_MAX + 32
# Tar programs fill up to a whole record; more than that behind the end is not for filling.
FILLING_MAX = 20 * BLOCK
_OCTAL_MAX = 8**11
_NAME = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*\Z")
_OCTAL = re.compile(rb"\A *([0-7]{1,11})[ \0]+\Z")
# Where a header's fields begin and end.
_NAME_FIELD, _SIZE, _SUM, _TYPE, _LINK, _MAGIC, _PREFIX = (
    slice(0, 100),
    slice(124, 136),
    slice(148, 156),
    slice(156, 157),
    slice(157, 257),
    slice(257, 265),
    slice(345, 500),
)


@dataclass(frozen=True)
class Member:
    """A file in a bundle: its name, its size, and where in the bundle its bytes begin."""

    name: str
    size: int
    offset: int


def padding(size: int) -> int:
    """Return how many bytes fill the last block of a member."""
    return -size % BLOCK


def header(name: str, size: int) -> bytes:
    """Return the header of a plain file of root's, mode 0644, of the beginning of time: always the same bytes."""
    head = bytearray(BLOCK)
    head[_NAME_FIELD] = name.encode("ascii").ljust(100, b"\0")
    head[100:124] = b"0000644\x000000000\x000000000\x00"
    head[_SIZE] = b"%011o\0" % size if size < _OCTAL_MAX else b"\x80" + size.to_bytes(11, "big")
    head[136:148] = b"%011o\0" % 0
    head[_SUM] = b" " * 8
    head[_TYPE] = b"0"
    head[_MAGIC] = b"ustar\x0000"
    head[329:345] = b"0000000\x000000000\x00"
    head[_SUM] = b"%06o\0 " % sum(head)
    return bytes(head)


def members(descriptor: int, subject: str) -> Iterator[Member]:
    """Yield the members of a bundle in their order, reading their headers only.

    Raises FindingError (BUNDLE-INVALID) for whatever is no plain file with a plain name, for a name that comes
    twice, and for an end that comes too early or too late; OSError when reading fails.
    """
    length = os.fstat(descriptor).st_size
    position = 0
    seen: set[str] = set()
    while True:
        head = os.pread(descriptor, BLOCK, position)
        if len(head) < BLOCK:
            raise invalid(subject, "it ends without an end, after {0} bytes".format(length))
        if not any(head):
            _require_end(descriptor, position, length, subject)
            return
        member = _member(head, position + BLOCK, subject)
        if member.name in seen or len(seen) >= MEMBERS_MAX:
            what = "is there twice" if member.name in seen else "is one too many"
            raise invalid(subject, "{0} {1}".format(member.name, what))
        seen.add(member.name)
        position = member.offset + member.size + padding(member.size)
        if position > length:
            raise invalid(subject, "it ends within {0}".format(member.name))
        yield member


def _require_end(descriptor: int, position: int, length: int, subject: str) -> None:
    rest = os.pread(descriptor, FILLING_MAX + 1, position)
    if len(rest) < len(END) or len(rest) > FILLING_MAX or position + len(rest) != length or any(rest):
        raise invalid(subject, "something follows its end, or the end is not whole")


def _member(head: bytes, offset: int, subject: str) -> Member:
    where = "the header before byte {0}".format(offset)
    blank = head[: _SUM.start] + b" " * 8 + head[_SUM.stop :]
    if _octal(head[_SUM]) != sum(blank) or head[_MAGIC] != b"ustar\x0000":
        raise invalid(subject, "{0} is none of a bundle's".format(where))
    name = head[_NAME_FIELD].rstrip(b"\0").decode("ascii", "replace")
    if head[_TYPE] != b"0" or any(head[_LINK]):
        raise invalid(subject, "{0} is no plain file".format(clean_text(name, 100)))
    if not _NAME.match(name) or any(head[_PREFIX]):
        raise invalid(subject, "the name {0!r} is not allowed".format(clean_text(name, 100)))
    field = head[_SIZE]
    size = int.from_bytes(field[1:], "big") if field[0] == 0x80 else _octal(field)
    if not 0 <= size <= BLOB_MAX_BYTES:
        raise invalid(subject, "the size of {0} is none".format(name))
    return Member(name, size, offset)


def _octal(field: bytes) -> int:
    match = _OCTAL.match(field)
    return int(match.group(1), 8) if match else -1


def invalid(subject: str, why: str) -> FindingError:
    """Return the refusal of a file that is no bundle."""
    return refuse(
        "BUNDLE-INVALID",
        subject,
        why,
        "Make the bundle anew (playbook bundle_model) and carry it over whole; it was not unpacked.",
    )
