# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a GGUF file's header: metadata and the list of tensors. Arrays are skipped, not read."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import struct
from typing import BinaryIO

Value = str | int | float | bool | None

_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9
_TENSOR_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K",
    11: "Q3_K", 12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 30: "BF16",
}  # fmt: skip


class GgufError(ValueError):
    """The file is not a GGUF file this reader understands."""


@dataclasses.dataclass(frozen=True)
class Header:
    """Metadata (arrays are None, as `/api/show` gives them) and tensors as (name, type, shape)."""

    metadata: dict[str, Value]
    tensors: list[tuple[str, str, list[int]]]

    def number(self, key: str) -> int:
        """An integer of the architecture (`context_length` -> `llama.context_length`); 0 when absent."""
        value = self.metadata.get(f"{self.metadata.get('general.architecture')}.{key}")
        return value if isinstance(value, int) else 0


def _scalar(stream: BinaryIO, layout: str) -> int | float | bool:
    data = stream.read(struct.calcsize(layout))
    if len(data) != struct.calcsize(layout):
        raise GgufError("unexpected EOF")
    value: int | float | bool = struct.unpack(layout, data)[0]
    # A 32-bit float has about seven digits; without this 1e-05 reads 9.999999747378752e-06.
    return float(f"{value:.7g}") if layout == "<f" else value


def _length(stream: BinaryIO, limit: int) -> int:
    length = int(_scalar(stream, "<Q"))
    if length > limit:
        raise GgufError(f"length {length} is over the limit of {limit}")
    return length


def _string(stream: BinaryIO) -> str:
    length = _length(stream, 16 << 20)
    data = stream.read(length)
    if len(data) != length:
        raise GgufError("unexpected EOF")
    return data.decode("utf-8", "replace")


def _value(stream: BinaryIO, kind: int) -> Value:
    if kind == _STRING:
        return _string(stream)
    if kind == _ARRAY:
        element, count = int(_scalar(stream, "<I")), _length(stream, 64 << 20)
        if element in _SCALARS:
            stream.seek(count * struct.calcsize(_SCALARS[element]), 1)
        elif element == _STRING:
            for _nr in range(count):
                stream.seek(_length(stream, 16 << 20), 1)
        else:
            raise GgufError(f"array of type {element}")
        return None
    if kind not in _SCALARS:
        raise GgufError(f"value of type {kind}")
    return _scalar(stream, _SCALARS[kind])


@functools.lru_cache(maxsize=8)
def read_header(path: pathlib.Path) -> Header:
    """Read the header; raises GgufError or OSError."""
    with path.open("rb") as stream:
        if stream.read(4) != b"GGUF" or _scalar(stream, "<I") not in (2, 3):
            raise GgufError("not a GGUF file of version 2 or 3")
        tensor_count, key_count = int(_scalar(stream, "<Q")), int(_scalar(stream, "<Q"))
        metadata: dict[str, Value] = {}
        for _nr in range(key_count):
            key = _string(stream)
            metadata[key] = _value(stream, int(_scalar(stream, "<I")))
        tensors: list[tuple[str, str, list[int]]] = []
        parameters = 0
        for _nr in range(tensor_count):
            name = _string(stream)
            dimensions = int(_scalar(stream, "<I"))
            if dimensions > 4:
                raise GgufError(f"tensor {name} has {dimensions} dimensions")
            shape = [int(_scalar(stream, "<Q")) for _nr in range(dimensions)]
            kind = int(_scalar(stream, "<I"))
            _scalar(stream, "<Q")  # offset of the data
            tensors.append((name, _TENSOR_TYPES.get(kind, str(kind)), shape))
            parameters += functools.reduce(lambda product, size: product * size, shape, 1)
        metadata["general.parameter_count"] = parameters
    return Header(dict(sorted(metadata.items())), tensors)
