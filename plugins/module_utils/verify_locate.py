# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a blob differs from what its name promises (row S3).

The marks of a record (crc32 of each mebibyte) locate a difference; that there is one is known from the sha256
alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from .hashing import MARK_BYTES, AnyPath, Marks, hash_descriptor, open_plain

# So many ranges are told; a file that differs all over has no more to say.
RANGES_MAX = 16
_SHOWN = 3


@dataclass(frozen=True)
class Difference:
    """`ranges` are (first, last byte) of what differs, is missing or was added; `text` says it in a few
    words.
    """

    ranges: tuple[tuple[int, int], ...]
    text: str


def locate(path: AnyPath, digest: str, size: int, declared: int, marks: bytes) -> Difference:
    """Read a blob again and say where it differs from `digest`; never raises.

    `size` is what was found, `declared` what should be there (-1: not known), `marks` those of the right
    content (empty: not known).
    """
    try:
        descriptor = open_plain(path)
    except OSError as error:
        return Difference((), "not read again: {0}".format(error.strerror or error))
    try:
        if 0 <= declared < size:
            prefix, _count = hash_descriptor(descriptor, limit=declared)
            if prefix == digest:
                text = "the first {0} bytes are right, {1} were added from byte {0} on"
                return Difference(((declared, size - 1),), text.format(declared, size - declared))
            os.lseek(descriptor, 0, os.SEEK_SET)
        common = size if declared < 0 else min(size, declared)
        inside = _differing(descriptor, common, common == declared, marks)
    except OSError as error:
        return Difference((), "not read again: {0}".format(error.strerror or error))
    finally:
        os.close(descriptor)
    return _tell(inside, size, declared, bool(marks))


def _differing(descriptor: int, common: int, whole: bool, marks: bytes) -> list[tuple[int, int]]:
    """Return the ranges whose marks differ, within the first `common` bytes; `whole` that the last mark is
    comparable although it may stand for less than MARK_BYTES.
    """
    if not marks:
        return []
    seen = Marks()
    hash_descriptor(descriptor, seen, common)
    found = seen.finish()
    count = min(len(found), len(marks)) // 4
    if not whole and count * MARK_BYTES > common:
        count -= 1
    ranges: list[tuple[int, int]] = []
    for number in range(count):
        place = slice(4 * number, 4 * number + 4)
        if found[place] == marks[place]:
            continue
        first, last = number * MARK_BYTES, min((number + 1) * MARK_BYTES, common) - 1
        if ranges and ranges[-1][1] == first - 1:
            first = ranges.pop()[0]
        ranges.append((first, last))
    return ranges


def _tell(inside: list[tuple[int, int]], size: int, declared: int, marked: bool) -> Difference:
    said = []
    ranges = inside[:RANGES_MAX]
    if inside and inside[0] == (0, (size if declared < 0 else min(size, declared)) - 1) and size > MARK_BYTES:
        said.append("no part of it is the right one")
    elif inside:
        shown = ", ".join("{0}-{1}".format(*pair) for pair in inside[:_SHOWN])
        more = " and {0} more ranges".format(len(inside) - _SHOWN) if len(inside) > _SHOWN else ""
        said.append("bytes {0}{1} differ".format(shown, more))
    elif not marked:
        said.append("no record says where they differ")
    if 0 <= declared < size:
        ranges.append((declared, size - 1))
        said.append("{0} bytes were added from byte {1} on".format(size - declared, declared))
    elif size < declared:
        ranges.append((size, declared - 1))
        said.append("it ends at byte {0}, {1} bytes are missing".format(size, declared - size))
    return Difference(tuple(ranges), "; ".join(said))
