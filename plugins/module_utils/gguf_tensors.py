# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tensor table of a GGUF file: names, shapes, types, and sizes that cannot overflow (row S4)."""

from __future__ import annotations

import hashlib
import struct
from typing import NamedTuple, Optional

from .findings import Severity
from .gguf_cursor import Cursor, Noted, StopReadingError, shown_name
from .gguf_types import DIMENSIONS_MAX, I64_MAX, KEY_MAX_BYTES, TENSOR_NAME_BYTES, TENSOR_TYPES, tensor_name


class Tensor(NamedTuple):
    """An entry of the tensor table: `offset` from the data section's beginning, `size` in bytes (None when it
    cannot be known), `elements` how many weights.
    """

    name: str
    kind: int
    elements: int
    offset: int
    size: Optional[int]

    @property
    def type_name(self) -> str:
        """The name of its ggml type."""
        return tensor_name(self.kind)


def read_tensors(cursor: Cursor, count: int, noted: Noted, result: list[Tensor]) -> None:
    """Read `count` entries into `result`. Raises StopReadingError where they cannot be read on, OSError."""
    seen: set[bytes] = set()
    for number in range(count):
        what = "tensor {0}".format(number)
        raw = cursor.take(cursor.string_length("the name of " + what, KEY_MAX_BYTES))
        name = shown_name(raw, what, TENSOR_NAME_BYTES - 1, noted)
        mark = raw if len(raw) <= 64 else hashlib.sha256(raw).digest()
        if mark in seen:
            noted.add("GGUF-TENSOR-DUPLICATE", Severity.HIGH, "the tensor {0} is there twice".format(name))
        seen.add(mark)
        dimensions = cursor.u32()
        if dimensions > DIMENSIONS_MAX:
            evidence = "{0} has {1} dimensions, allowed are {2}".format(name, dimensions, DIMENSIONS_MAX)
            raise StopReadingError("GGUF-LIMIT", evidence)
        shape = struct.unpack("<{0}Q".format(dimensions), cursor.take(8 * dimensions))
        kind, offset = cursor.u32(), cursor.u64()
        result.append(_tensor(name, shape, kind, offset, noted))


def _tensor(name: str, shape: tuple[int, ...], kind: int, offset: int, noted: Noted) -> Tensor:
    elements = 1
    for dimension in shape:
        elements *= dimension
    known = TENSOR_TYPES.get(kind)
    if known is None:
        noted.add("GGUF-TENSOR-TYPE", Severity.HIGH, "{0} has the unknown type {1}".format(name, kind))
        return Tensor(name, kind, 0, offset, None)
    if not shape or not elements:
        noted.add("GGUF-TENSOR-SHAPE", Severity.MEDIUM, "{0} has the shape {1}".format(name, shape))
    elif shape[0] % known.block:
        evidence = "{0}: rows of {1} are no whole blocks of {2} ({3})".format(name, shape[0], known.block, known.name)
        noted.add("GGUF-TENSOR-SHAPE", Severity.HIGH, evidence)
    size = -(-elements // known.block) * known.size
    if max(*shape, elements, size, offset + size, 0) > I64_MAX:
        noted.add(
            "GGUF-OVERFLOW",
            Severity.CRITICAL,
            "{0}: shape {1} at offset {2} overflows 64 bits".format(name, shape, offset),
            "Do not load it: such numbers are made to overflow a parser.",
        )
        return Tensor(name, kind, 0, offset, None)
    return Tensor(name, kind, elements, offset, size)
