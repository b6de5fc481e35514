# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a GGUF header piece by piece: every length is held against the file before a byte of it is read
(row S4).

The file is read with pread into a window and never mapped: a mapped file that somebody cuts short while we look
would kill the process with SIGBUS.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct

from .findings import Finding, Severity, clean_text
from .gguf_types import HEADER_MAX_BYTES, STRING_MAX_BYTES, STRINGS_MAX

WINDOW_BYTES = 1024 * 1024
FINDINGS_PER_CODE = 20
# How much is shown of a name that is strange.
SHOWN_BYTES = 80
# Short strings are gone over this many at once, by one match of an expression that knows their lengths; the usual ones
# come first, and no two alternatives begin alike.
_SHORT_BYTES, _AT_ONCE = 64, 256
_SHORT_STRINGS = re.compile(
    b"(?:%s){%d}"
    % (
        b"|".join(
            b"\\x%02x\\0{7}.{%d}" % (length, length)
            for length in sorted(range(_SHORT_BYTES), key=lambda length: abs(length - 7))
        ),
        _AT_ONCE,
    ),
    re.DOTALL,
)
_MOST_BYTES = _AT_ONCE * (8 + _SHORT_BYTES)
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
REFETCH = "Do not load it: fetch the file again from its approved source, and compare its digest."
MALFORMED = "Do not load it: no honest writer makes such a file. Ask its publisher, or take another one."


class StopReadingError(Exception):
    """The header cannot be read on; `code`, `evidence` and `remedy` say why. It never leaves the reader."""

    def __init__(self, code: str, evidence: str, remedy: str = MALFORMED) -> None:
        super().__init__(evidence)
        self.code = code
        self.evidence = evidence
        self.remedy = remedy


class Noted:
    """Findings about one `subject`, at most FINDINGS_PER_CODE of one code; the rest is counted.

    A hostile file has a hundred thousand faults: those beyond the limit cost next to nothing.
    """

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self._items: list[Finding] = []
        self._counts: dict[str, int] = {}
        self._cut: dict[str, set[tuple[Severity, str]]] = {}

    def add(self, code: str, severity: Severity, evidence: str, remedy: str = MALFORMED) -> None:
        """Record one finding."""
        count = self._counts[code] = self._counts.get(code, 0) + 1
        if count <= FINDINGS_PER_CODE:
            self._items.append(Finding(code, severity, self.subject, evidence, remedy))
        else:
            self._cut.setdefault(code, set()).add((severity, remedy))

    def items(self) -> list[Finding]:
        """Return the findings in the order they were made; of a code that came too often, their number at the end,
        as grave as the worst of them.
        """
        items = list(self._items)
        for code, cut in self._cut.items():
            severity, remedy = max(cut, key=lambda item: item[0].rank)
            evidence = "{0} more like the {1} named".format(self._counts[code] - FINDINGS_PER_CODE, FINDINGS_PER_CODE)
            items.append(Finding(code, severity, self.subject, evidence, remedy))
        return items


class Cursor:
    """A position in a file's header. Every method raises StopReadingError where the file or a limit ends.

    `size` is the file's; nothing beyond HEADER_MAX_BYTES is ever read through a cursor.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self.size = size
        self._descriptor = descriptor
        self._limit = min(size, HEADER_MAX_BYTES)
        self._data = b""
        self._base = 0
        self._offset = 0
        self._strings = 0

    @property
    def position(self) -> int:
        """Bytes from the file's beginning."""
        return self._base + self._offset

    def u32(self) -> int:
        """Return the next number of 4 bytes."""
        self._need(4)
        value: int = _U32.unpack_from(self._data, self._offset)[0]
        self._offset += 4
        return value

    def u64(self) -> int:
        """Return the next number of 8 bytes."""
        self._need(8)
        value: int = _U64.unpack_from(self._data, self._offset)[0]
        self._offset += 8
        return value

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes; callers bound `count`."""
        self._need(count)
        data = self._data[self._offset : self._offset + count]
        self._offset += count
        return data

    def string_length(self, what: str, limit: int = STRING_MAX_BYTES) -> int:
        """Return the length in front of a string, which has to be in the file whole and at most `limit`."""
        length = self.u64()
        if length > limit:
            raise StopReadingError("GGUF-LIMIT", "{0} has {1} bytes, allowed are {2}".format(what, length, limit))
        self._inside(length)
        return length

    def skip(self, count: int) -> None:
        """Go on by `count` bytes without reading them."""
        self._inside(count)
        if self._offset + count <= len(self._data):
            self._offset += count
        else:
            self._base, self._offset, self._data = self.position + count, 0, b""

    def skip_strings(self, count: int, what: str) -> None:
        """Go on over `count` strings: a vocabulary, of which nothing is kept."""
        self._strings += count
        if self._strings > STRINGS_MAX:
            raise StopReadingError("GGUF-LIMIT", "{0}: more than {1} strings in arrays".format(what, STRINGS_MAX))
        self._inside(8 * count)
        left = count
        # After an attempt at many that failed, so many pass one by one: more each time, so that failing costs little.
        singly, pause = 0, _AT_ONCE
        while left:
            self._need(8)
            if not singly and left >= _AT_ONCE and self._offset + _MOST_BYTES <= len(self._data):
                found = _SHORT_STRINGS.match(self._data, self._offset)
                if found:
                    self._offset = found.end()
                    left, pause = left - _AT_ONCE, _AT_ONCE
                    continue
                singly, pause = pause, 2 * pause
            wanted = min(left, singly or left)
            passed = self._skip_singly(wanted, what)
            left, singly = left - passed, max(0, singly - passed)

    def _skip_singly(self, count: int, what: str) -> int:
        """Go on over at most `count` strings of those that begin in the window; return over how many."""
        unpack = _U64.unpack_from
        data, place = self._data, self._offset
        last = len(data) - 8
        length, passed = 0, 0
        # The hot loop of what is no usual vocabulary.
        for passed in range(1, count + 1):  # noqa: B007 - its last value is used after the loop
            length = unpack(data, place)[0]
            place += 8 + length
            if place > last:
                break
        # Only the last one of a window can be this long: the others ended within it.
        if length > STRING_MAX_BYTES:
            evidence = "{0}: a string has {1} bytes, allowed are {2}".format(what, length, STRING_MAX_BYTES)
            raise StopReadingError("GGUF-LIMIT", evidence)
        self.skip(place - self._offset)
        return passed

    def digest(self, count: int) -> str:
        """Return the sha256 (hex) of the next `count` bytes, read in pieces."""
        self._inside(count)
        digest = hashlib.sha256()
        while count:
            piece = self.take(min(count, WINDOW_BYTES))
            digest.update(piece)
            count -= len(piece)
        return digest.hexdigest()

    def _inside(self, count: int) -> None:
        """Refuse what would end beyond the file, or beyond the part of it that is read."""
        if count > self.size - self.position:
            raise StopReadingError(
                "GGUF-TRUNCATED",
                "at byte {0} another {1} are declared, the file has {2} left".format(
                    self.position, count, self.size - self.position
                ),
                REFETCH,
            )
        if count > self._limit - self.position:
            raise StopReadingError("GGUF-LIMIT", "the header is longer than {0} bytes".format(HEADER_MAX_BYTES))

    def _need(self, count: int) -> None:
        """Have the next `count` bytes in the window."""
        if self._offset + count <= len(self._data):
            return
        self._inside(count)
        start = self.position
        wanted = min(max(count, WINDOW_BYTES), self._limit - start)
        data = os.pread(self._descriptor, wanted, start)
        if len(data) < count:
            raise StopReadingError(
                "GGUF-TRUNCATED", "the file became shorter while it was read", "Find out what writes to it."
            )
        self._data, self._base, self._offset = data, start, 0


def shown_name(raw: bytes, what: str, usual: int, noted: Noted) -> str:
    """Return the name of a key or tensor as text that is safe to show; a strange one is a finding.

    `what` says whose it is; names of more than `usual` bytes are strange too.
    """
    if len(raw) > usual:
        name, why = raw[:SHOWN_BYTES].decode("utf-8", "replace"), "has {0} bytes".format(len(raw))
    else:
        try:
            name = raw.decode("utf-8")
            why = "" if name and name.isprintable() else "is empty or holds control characters"
        except UnicodeDecodeError:
            name, why = raw[:SHOWN_BYTES].decode("utf-8", "replace"), "is not UTF-8"
    if not why:
        return name
    shown = clean_text(name, SHOWN_BYTES)
    noted.add("GGUF-NAME", Severity.MEDIUM, "the name of {0} {1}: {2}".format(what, why, shown))
    return shown
