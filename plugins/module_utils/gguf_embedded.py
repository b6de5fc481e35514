# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other files hidden in a GGUF file: archives, executables, pickles and scripts where no weights are (row S4).

Weights are arbitrary numbers, in which any short signature occurs by chance; so only metadata, gaps and what
follows the last tensor are searched, and each signature is long or checked enough not to occur in a vocabulary.
An archive that ends where the file ends is found wherever it begins.
"""

from __future__ import annotations

import os
import re
import struct
from typing import NamedTuple

PIECE_BYTES = 1024 * 1024
OVERLAP_BYTES = 512
HITS_MAX = 16
# A real header has some twenty byte sequences that begin like a signature.
CANDIDATES_MAX = 20_000
_ZIP_TAIL_BYTES = 65535 + 22
_ZIP_END = struct.Struct("<4sHHHHIIH")


class Hit(NamedTuple):
    """Something that looks like another file: where it begins in the file, and what it is."""

    offset: int
    kind: str


# (kind, the fixed bytes it begins with, what has to follow). The fixed bytes find candidates at some 400 MB/s; what
# follows keeps a vocabulary, or numbers, from looking like a file.
_SIGNATURES: tuple[tuple[str, bytes, bytes], ...] = (
    ("a ZIP archive", b"PK\x03\x04", rb"[\x0a-\x3f]\x00..[\x00-\x0e\x5f-\x63]\x00"),
    ("a ZIP archive's end", b"PK\x05\x06", rb"\x00\x00\x00\x00"),
    ("an ELF executable", b"\x7fELF", rb"[\x01\x02][\x01\x02]\x01"),
    ("a Windows executable", b"PE\x00\x00", rb"(?:\x4c\x01|\x64\x86|\x64\xaa|\xc0\x01|\xc4\x01)[\x01-\x60]\x00"),
    ("a 7z archive", b"7z\xbc\xaf", rb"\x27\x1c\x00"),
    ("a gzip file", b"\x1f\x8b\x08", rb"[\x00-\x1f]....[\x00\x02\x04][\x00-\x0d\xff]"),
    ("an xz file", b"\xfd7zXZ", rb"\x00"),
    ("a bzip2 file", b"BZh", rb"[1-9]1AY&SY"),
    ("a RAR archive", b"Rar!", rb"\x1a\x07[\x00\x01]"),
    ("a tar archive", b"ustar", rb"(?:\x0000|  \x00)"),
    ("a Mach-O executable", b"\xcf\xfa\xed\xfe", rb"[\x07\x0c]\x00\x00\x01"),
    ("a Mach-O executable", b"\xfe\xed\xfa", rb"[\xce\xcf][\x00\x01]\x00\x00"),
    ("a fat Mach-O or a Java class", b"\xca\xfe\xba\xbe", rb"\x00\x00\x00[\x01-\x46]"),
    ("an OLE document", b"\xd0\xcf\x11\xe0", rb"\xa1\xb1\x1a\xe1"),
    ("a PDF document", b"%PDF-", rb"[12]\.[0-9]"),
    ("a second GGUF file", b"GGUF", rb"[\x01-\x04]\x00\x00\x00"),
    ("a Python pickle", b"\x80\x04\x95", rb"....\x00\x00\x00\x00"),
    ("a Python pickle", b"\x80\x05\x95", rb"....\x00\x00\x00\x00"),
    ("a Python pickle", b"\x80\x02c", rb"[\w.]{2,60}\n[\w.]{1,60}\n"),
    ("a Python pickle", b"\x80\x03c", rb"[\w.]{2,60}\n[\w.]{1,60}\n"),
    ("a Python pickle", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j", b""),
    ("a script", b"#!", rb"[ \t]{0,2}/[^\x00\n]{2,120}\n"),
)
# How far before the signature the file begins.
_BEFORE = {"a tar archive": 257}


# One alternative for each first byte: the engine then jumps from one such byte to the next.
_BY_FIRST: dict[bytes, list[tuple[str, bytes, re.Pattern[bytes]]]] = {}
for _kind, _prefix, _rest in _SIGNATURES:
    _full = re.compile(re.escape(_prefix) + _rest, re.DOTALL)
    _BY_FIRST.setdefault(_prefix[:1], []).append((_kind, _prefix, _full))
_SEARCH = re.compile(
    b"|".join(
        re.escape(first) + b"(?:" + b"|".join(re.escape(prefix[1:]) for _kind, prefix, _full in those) + b")"
        for first, those in _BY_FIRST.items()
    )
)


class Search:
    """One file's search, bounded: `exhausted` says that it held more candidates than an honest file has, and was
    not searched to its end.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.candidates = 0
        self._seen: set[Hit] = set()
        self.hits: list[Hit] = []

    @property
    def exhausted(self) -> bool:
        """Whether the search ended early."""
        return self.candidates > CANDIDATES_MAX

    def look_in(self, start: int, end: int) -> None:
        """Search the bytes [start, end) of the file, which callers bound. Raises OSError."""
        place = start
        while place < end:
            data = os.pread(self._descriptor, min(PIECE_BYTES, end - place), place)
            self._piece(data, place)
            if not data or place + len(data) >= end:
                return
            # Pieces overlap by more than any signature is long: none is missed at a seam.
            place += max(1, len(data) - OVERLAP_BYTES)

    def _piece(self, data: bytes, base: int) -> None:
        candidate = _SEARCH.search(data)
        while candidate and len(self.hits) < HITS_MAX:
            self.candidates += 1
            if self.exhausted:
                return
            place = candidate.start()
            for kind, _prefix, pattern in _BY_FIRST[data[place : place + 1]]:
                if pattern.match(data, place):
                    self._add(Hit(max(0, base + place - _BEFORE.get(kind, 0)), kind))
            # From the next byte on: a candidate that comes to nothing must not swallow the beginning of another.
            candidate = _SEARCH.search(data, place + 1)

    def _add(self, hit: Hit) -> None:
        if hit not in self._seen:
            self._seen.add(hit)
            self.hits.append(hit)


def zip_at_end(descriptor: int, size: int) -> list[Hit]:
    """Return the ZIP archive whose directory ends the file, wherever it begins: such a file is two files at
    once. Raises OSError.
    """
    start = max(0, size - _ZIP_TAIL_BYTES)
    tail = os.pread(descriptor, size - start, start)
    place = len(tail)
    # Weights may hold the signature by chance: a few candidates are tried, each has to lead to a directory.
    for _attempt in range(8):
        place = tail.rfind(b"PK\x05\x06", 0, place)
        if place < 0:
            return []
        if len(tail) - place < _ZIP_END.size:
            continue
        _magic, disk, first, here, total, length, _offset, comment = _ZIP_END.unpack_from(tail, place)
        directory = start + place - length
        # 0xffff: a ZIP64 record of 20 bytes stands between the directory and this one.
        if disk or first or here != total or not total or place + _ZIP_END.size + comment > len(tail):
            continue
        if total == 0xFFFF or length == 0xFFFFFFFF:
            if tail[max(0, place - 20) : place].startswith(b"PK\x06\x07"):
                return [Hit(start + place, "a ZIP64 archive")]
        elif directory >= 0 and os.pread(descriptor, 4, directory) == b"PK\x01\x02":
            return [Hit(directory, "a ZIP archive of {0} files".format(total))]
    return []
