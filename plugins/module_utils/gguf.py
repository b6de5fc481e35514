# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read header, metadata and tensor table of a GGUF file without loading the model (row S4).

Any input is answered with findings, in bounded time and memory: what is declared is held against the file's size and
against limits before it is believed. A structure that is whole says nothing about the weights themselves: no check
of this kind can find poisoned ones.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Optional, Union

from .findings import Finding, Severity
from .gguf_cursor import Cursor, Noted, StopReadingError
from .gguf_layout import Layout, check_layout, search_other_files
from .gguf_metadata import Metadata, MetadataReader
from .gguf_tensors import Tensor, read_tensors
from .gguf_types import (
    KEY_LEAST_BYTES,
    KEYS_MAX,
    MAGIC,
    MAGIC_SWAPPED,
    TENSOR_LEAST_BYTES,
    TENSORS_MAX,
    VERSION,
    VERSIONS_READ,
)
from .hashing import AnyPath, UnsafeFileError, open_plain

_LITTLE = "Do not load it: take a little-endian GGUF file from its approved source."


@dataclass
class GgufFile:
    """What was read of one file of `size` bytes. `complete` says that the whole header was; `layout` is None when
    the tensors' places could not be judged; `findings` are those of the structure.
    """

    subject: str
    size: int = 0
    version: int = 0
    key_count: int = 0
    tensor_count: int = 0
    metadata: Metadata = field(default_factory=Metadata)
    tensors: list[Tensor] = field(default_factory=list)
    layout: Optional[Layout] = None
    findings: list[Finding] = field(default_factory=list)
    complete: bool = False

    @property
    def architecture(self) -> str:
        """general.architecture; "" when it is missing."""
        return self.metadata.text("general.architecture")

    @property
    def parameters(self) -> int:
        """The number of weights, counted from the tensors' shapes."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def quantisation(self) -> dict[str, int]:
        """How many weights there are of each tensor type, by its name."""
        counts: Counter[str] = Counter()
        for tensor in self.tensors:
            counts[tensor.type_name] += tensor.elements
        return dict(counts)


def read_gguf(source: Union[int, AnyPath], subject: str = "") -> GgufFile:
    """Read the file at a path, or behind an open descriptor (which is left open, its position untouched).

    `subject` names it in findings (a path does so itself). Links are not followed. Never raises: what cannot be
    opened or read is a finding (GGUF-UNREADABLE).
    """
    result = GgufFile(subject or str(source))
    noted = Noted(result.subject)
    descriptor = -1
    try:
        descriptor = source if isinstance(source, int) else open_plain(source)
        _read(descriptor, result, noted)
    except (OSError, UnsafeFileError, ValueError) as error:
        # ValueError: a path with a zero byte in it never reaches the kernel.
        why = getattr(error, "strerror", None) or str(error)
        noted.add("GGUF-UNREADABLE", Severity.HIGH, why, "Check the path and the disk: only a plain file is read.")
    finally:
        if descriptor >= 0 and not isinstance(source, int):
            os.close(descriptor)
    result.findings = noted.items()
    return result


def _read(descriptor: int, result: GgufFile, noted: Noted) -> None:
    """Fill the result. Raises OSError."""
    result.size = os.fstat(descriptor).st_size
    if not _is_ours(os.pread(descriptor, 8, 0), result, noted):
        return
    cursor = Cursor(descriptor, result.size)
    try:
        cursor.skip(8)
        result.tensor_count, result.key_count = cursor.u64(), cursor.u64()
        _check_count("keys", result.key_count, KEY_LEAST_BYTES, KEYS_MAX, result.size)
        _check_count("tensors", result.tensor_count, TENSOR_LEAST_BYTES, TENSORS_MAX, result.size)
        reader = MetadataReader(cursor, noted, result.metadata)
        reader.read(result.key_count)
        read_tensors(cursor, result.tensor_count, noted, result.tensors)
        result.complete = True
        reader.check()
    except StopReadingError as stop:
        noted.add(stop.code, Severity.HIGH, stop.evidence, stop.remedy)
    if result.complete:
        result.layout = check_layout(descriptor, result.size, result.metadata, result.tensors, cursor.position, noted)
    search_other_files(descriptor, result.size, cursor.position, result.layout, noted)


def _is_ours(beginning: bytes, result: GgufFile, noted: Noted) -> bool:
    """Judge magic and version; False when this is no GGUF file that we read."""
    magic, result.version = beginning[:4], int.from_bytes(beginning[4:8], "little")
    if magic != MAGIC[: len(magic)] and magic != MAGIC_SWAPPED:
        noted.add("GGUF-MAGIC", Severity.HIGH, "it begins with {0!r}, not with GGUF".format(magic), _LITTLE)
        return False
    if len(beginning) < 8:
        noted.add("GGUF-TRUNCATED", Severity.HIGH, "it has {0} bytes".format(len(beginning)), _LITTLE)
        return False
    if magic == MAGIC_SWAPPED or (result.version and not result.version & 0xFFFF):
        noted.add("GGUF-ENDIAN", Severity.HIGH, "it is written big-endian", _LITTLE)
        return False
    known = result.version in VERSIONS_READ
    if result.version != VERSION:
        noted.add(
            "GGUF-VERSION",
            Severity.LOW if known else Severity.HIGH,
            "version {0}, expected is {1}".format(result.version, VERSION),
            "Prefer a file of the version expected." if known else "Do not load it: have it converted anew.",
        )
    return known


def _check_count(what: str, count: int, least: int, limit: int, size: int) -> None:
    """Hold a declared number of entries against the file's size, before anything is counted by it."""
    if count * least > size:
        raise StopReadingError("GGUF-COUNT", "{0} {1} are declared in {2} bytes".format(count, what, size))
    if count > limit:
        raise StopReadingError("GGUF-LIMIT", "{0} {1} are declared, read are at most {2}".format(count, what, limit))
