# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the tensors of a GGUF file lie, and whether anything else lies between, over or behind them (row S4).

llama.cpp wants them one after the other in the order of the table, each aligned, zeros between: what deviates is
refused by it, or made for something that is no model.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple, Optional

from .findings import Severity
from .gguf_cursor import MALFORMED, REFETCH, Noted
from .gguf_embedded import Search, zip_at_end
from .gguf_metadata import Metadata
from .gguf_tensors import Tensor
from .gguf_types import (
    ALIGNMENT_MAX,
    DEFAULT_ALIGNMENT,
    HEADER_MAX_BYTES,
    I64_MAX,
    U32,
    value_name,
)

# How much of a gap, and of what follows the last tensor, is looked at; and how much of all gaps together.
PROBE_BYTES = 1024 * 1024
GAPS_BYTES = 8 * 1024 * 1024


class Layout(NamedTuple):
    """Bytes from the file's beginning: where the tensors' section begins and ends (None: cannot be known)."""

    alignment: int
    data_start: int
    data_end: Optional[int]
    gaps: list[tuple[int, int]]


def check_layout(
    descriptor: int, size: int, metadata: Metadata, tensors: list[Tensor], header_end: int, noted: Noted
) -> Optional[Layout]:
    """Record what is wrong with the places of `tensors` in a file of `size` bytes; None when no place can be
    known, for want of an alignment. Raises OSError.
    """
    alignment = _alignment(metadata, noted)
    if alignment is None:
        return None
    data_start = _up(header_end, alignment) if tensors else header_end
    zeros = _Zeros(descriptor, size, noted)
    zeros.look(header_end, min(data_start, size), "the end of the header")
    if any(tensor.size is None for tensor in tensors):
        return Layout(alignment, data_start, None, [])
    ordered = sorted(tensors, key=lambda tensor: (tensor.offset, tensor.size or 0))
    if [tensor.offset for tensor in ordered] != [tensor.offset for tensor in tensors]:
        noted.add("GGUF-TENSOR-ORDER", Severity.MEDIUM, "the table's order is not that of the data")
    end = 0
    gaps = []
    for tensor in ordered:
        if tensor.offset % alignment:
            evidence = "{0} begins at {1}, no multiple of {2}".format(tensor.name, tensor.offset, alignment)
            noted.add("GGUF-ALIGNMENT", Severity.HIGH, evidence)
        if tensor.offset < end:
            evidence = "{0} begins at {1}, the tensor before it ends at {2}".format(tensor.name, tensor.offset, end)
            noted.add("GGUF-TENSOR-OVERLAP", Severity.HIGH, evidence)
        elif tensor.offset > _up(end, alignment):
            evidence = "{0} bytes of no tensor before {1}".format(tensor.offset - end, tensor.name)
            noted.add("GGUF-TENSOR-GAP", Severity.MEDIUM, evidence)
            gaps.append((data_start + end, data_start + tensor.offset))
        if data_start + tensor.offset <= size:
            zeros.look(data_start + end, data_start + tensor.offset, tensor.name)
        end = max(end, tensor.offset + (tensor.size or 0))
    data_end = data_start + end
    if data_end > I64_MAX:
        noted.add("GGUF-OVERFLOW", Severity.CRITICAL, "the tensors end at {0}, beyond 64 bits".format(data_end))
    elif data_end > size:
        lost = sum(data_start + tensor.offset + (tensor.size or 0) > size for tensor in tensors)
        evidence = "{0} of {1} tensors reach beyond the file: it has {2} bytes and needs {3}".format(
            lost, len(tensors), size, data_end
        )
        noted.add("GGUF-TRUNCATED", Severity.HIGH, evidence, REFETCH)
    else:
        _check_tail(descriptor, size, data_end, alignment, noted)
    return Layout(alignment, data_start, data_end, gaps)


def search_other_files(descriptor: int, size: int, header_end: int, layout: Optional[Layout], noted: Noted) -> None:
    """Record archives and executables in metadata, gaps and tail, and a ZIP that ends the file. Raises OSError."""
    search = Search(descriptor)
    # A header that could not be read to its end may hide something just behind the place where reading stopped.
    known = layout is not None and layout.data_end is not None
    end = header_end if known else header_end + PROBE_BYTES
    search.look_in(4, min(size, end, HEADER_MAX_BYTES + PROBE_BYTES))
    left = GAPS_BYTES
    for start, stop in layout.gaps if layout else []:
        for first, last in _ends(start, min(stop, size)):
            if left > 0:
                search.look_in(first, last)
                left -= last - first
    if layout is not None and layout.data_end is not None:
        for first, last in _ends(layout.data_end, size):
            search.look_in(first, last)
    for hit in [*search.hits, *zip_at_end(descriptor, size)]:
        noted.add(
            "GGUF-EMBEDDED-FILE",
            Severity.CRITICAL,
            "{0} at byte {1}".format(hit.kind, hit.offset),
            "Do not load it: quarantine the file and find out who put this there.",
        )
    if search.exhausted:
        noted.add("GGUF-LIMIT", Severity.HIGH, "too much in it looks like another file to search it to its end")


def _alignment(metadata: Metadata, noted: Noted) -> Optional[int]:
    value = metadata.values.get("general.alignment", DEFAULT_ALIGNMENT)
    kind = metadata.types.get("general.alignment", U32)
    if kind != U32 or not isinstance(value, int):
        noted.add("GGUF-ALIGNMENT", Severity.HIGH, "general.alignment is of type {0}".format(value_name(kind)))
        return None
    if value < 8 or value > ALIGNMENT_MAX or value & (value - 1):
        evidence = "general.alignment is {0}, no power of two between 8 and {1}".format(value, ALIGNMENT_MAX)
        noted.add("GGUF-ALIGNMENT", Severity.HIGH, evidence)
        return None
    return value


def _check_tail(descriptor: int, size: int, data_end: int, alignment: int, noted: Noted) -> None:
    """Record what follows the last tensor; zeros up to the next aligned place belong to it."""
    extra = size - data_end
    if not extra:
        return
    zero = not any(os.pread(descriptor, last - first, first).strip(b"\0") for first, last in _ends(data_end, size))
    if extra >= alignment or not zero:
        noted.add(
            "GGUF-APPENDED-DATA",
            Severity.MEDIUM if zero else Severity.HIGH,
            "{0} bytes{1} follow the last tensor, which ends at {2}".format(
                extra, " of zeros" if zero else "", data_end
            ),
            REFETCH,
        )


class _Zeros:
    """Looks whether what lies between tensors is zero, up to a limit for all of it together."""

    def __init__(self, descriptor: int, size: int, noted: Noted) -> None:
        self._descriptor = descriptor
        self._size = size
        self._noted = noted
        self._left = GAPS_BYTES

    def look(self, start: int, end: int, what: str) -> None:
        """Record bytes in [start, end) that are not zero."""
        for first, last in _ends(start, min(end, self._size)):
            if self._left <= 0:
                return
            self._left -= last - first
            if os.pread(self._descriptor, last - first, first).strip(b"\0"):
                evidence = "bytes before {0} (at {1}) belong to nothing and are not zero".format(what, first)
                self._noted.add("GGUF-PADDING", Severity.MEDIUM, evidence, MALFORMED)
                return


def _ends(start: int, end: int) -> Sequence[tuple[int, int]]:
    """Return the range, or the two ends of a long one."""
    if end <= start:
        return ()
    if end - start <= 2 * PROBE_BYTES:
        return ((start, end),)
    return ((start, start + PROBE_BYTES), (end - PROBE_BYTES, end))


def _up(number: int, alignment: int) -> int:
    return -(-number // alignment) * alignment
