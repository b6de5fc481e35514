# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys and values of a GGUF file, of which only what somebody asks for is kept (row S4)."""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Optional

from .findings import Severity
from .gguf_cursor import MALFORMED, REFETCH, Cursor, Noted, StopReadingError, shown_name
from .gguf_types import (
    ARRAY,
    ARRAY_MAX_ELEMENTS,
    BOOL,
    F32,
    F64,
    KEPT_BYTES,
    KEY_MAX_BYTES,
    KEYS_MAX,
    NESTING_MAX,
    SCALARS,
    STRING,
    TEMPLATE_KEPT_BYTES,
    VALUE_KEPT_BYTES,
    value_name,
)

TEMPLATE_KEY = "tokenizer.chat_template"
_TOKENS = "tokenizer.ggml.tokens"
_KEY_USUAL_BYTES = 256


class Template(NamedTuple):
    """A chat template of the metadata: its key, `sha256:<hex>` of its bytes, their number, and the bytes
    themselves, None when they are too many to be kept.
    """

    key: str
    digest: str
    size: int
    data: Optional[bytes]


@dataclass
class Metadata:
    """`values` holds numbers, truth values and short texts by key, `types` their value types, `arrays` the
    (element type, count) of each array, of which no element is kept.
    """

    values: dict[str, Any] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    arrays: dict[str, tuple[int, int]] = field(default_factory=dict)
    templates: list[Template] = field(default_factory=list)

    def text(self, key: str) -> str:
        """Return the text at a key; "" when there is none."""
        value = self.values.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> Optional[int]:
        """Return the whole number at a key; None when there is none."""
        value = self.values.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


class MetadataReader:
    """Reads `count` keys into `result`. Raises StopReadingError where they cannot be read on, OSError."""

    def __init__(self, cursor: Cursor, noted: Noted, result: Metadata) -> None:
        self._cursor = cursor
        self._noted = noted
        self._result = result
        self._kept = 0
        self._nested = 0

    def read(self, count: int) -> None:
        """Read them all."""
        seen: set[bytes] = set()
        for number in range(count):
            what = "key {0}".format(number)
            raw = self._cursor.take(self._cursor.string_length("the name of " + what, KEY_MAX_BYTES))
            key = shown_name(raw, what, _KEY_USUAL_BYTES, self._noted)
            # A long name is remembered by its hash: 10,000 of 64 KiB would not fit into memory.
            mark = raw if len(raw) <= 64 else hashlib.sha256(raw).digest()
            if mark in seen:
                self._noted.add(
                    "GGUF-KEY-DUPLICATE",
                    Severity.HIGH,
                    "the key {0} is there twice: readers differ in which one they believe".format(key),
                )
            # What is shown of a strange name may look like another key; it must not take its place.
            self._value(key, keep=mark not in seen and raw == key.encode())
            seen.add(mark)

    def check(self) -> None:
        """Hold keys against each other: what later readers take for granted."""
        result, noted = self._result, self._noted
        if not result.text("general.architecture"):
            noted.add("GGUF-ARCHITECTURE", Severity.HIGH, "general.architecture is missing or no text", REFETCH)
        element, count = result.arrays.get(_TOKENS, (STRING, 0))
        if element != STRING:
            evidence = "{0} holds {1}, not texts".format(_TOKENS, value_name(element))
            noted.add("GGUF-VOCABULARY", Severity.HIGH, evidence, MALFORMED)
        for key in ("tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
            found = result.arrays.get(key)
            if found and found[1] != count:
                evidence = "{0} has {1} entries for {2} tokens".format(key, found[1], count)
                noted.add("GGUF-VOCABULARY", Severity.HIGH, evidence, MALFORMED)

    def _value(self, key: str, keep: bool) -> None:
        """Read one value, and keep it where that is wanted."""
        kind = self._cursor.u32()
        value: Any = None
        if kind in SCALARS:
            value = self._scalar(key, kind)
        elif kind == STRING:
            length = self._cursor.string_length("the value of {0}".format(key))
            if key == TEMPLATE_KEY or key.startswith(TEMPLATE_KEY + "."):
                # Even a second one under the same key: it is not known which of them is believed.
                self._template(key, length)
            else:
                value = self._text(key, length)
        elif kind == ARRAY:
            array = self._skip_array(key)
            if key == TEMPLATE_KEY:
                self._noted.add("GGUF-TYPE", Severity.HIGH, "{0} is an array, not a text".format(key))
            if keep:
                self._result.arrays[key] = array
        else:
            raise StopReadingError("GGUF-TYPE", "the value type {0} of {1} is unknown".format(kind, key))
        if keep and value is not None:
            self._result.values[key], self._result.types[key] = value, kind

    def _scalar(self, key: str, kind: int) -> Any:
        size, code = SCALARS[kind]
        value = struct.unpack("<" + code, self._cursor.take(size))[0]
        if kind == BOOL:
            if value > 1:
                self._note("the yes-or-no value of {0} is {1}".format(key, value))
            return bool(value)
        if kind in (F32, F64) and not math.isfinite(value):
            self._note("{0} is no finite number".format(key))
            return None
        return value

    def _text(self, key: str, length: int) -> Optional[str]:
        if length > VALUE_KEPT_BYTES or self._kept + length > KEPT_BYTES:
            self._cursor.skip(length)
            return None
        self._kept += length
        raw = self._cursor.take(length)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self._note("the text of {0} is not UTF-8".format(key))
            return raw.decode("utf-8", "replace")

    def _template(self, key: str, length: int) -> None:
        if length > TEMPLATE_KEPT_BYTES or self._kept + length > KEPT_BYTES:
            template = Template(key, "sha256:" + self._cursor.digest(length), length, None)
        else:
            self._kept += length
            data = self._cursor.take(length)
            template = Template(key, "sha256:" + hashlib.sha256(data).hexdigest(), length, data)
        self._result.templates.append(template)

    def _skip_array(self, key: str) -> tuple[int, int]:
        """Go over an array; return its (element type, count). Arrays in arrays are walked without recursion."""
        cursor = self._cursor
        outer = None
        waiting = [1]
        while waiting:
            if not waiting[-1]:
                waiting.pop()
                continue
            waiting[-1] -= 1
            element, count = cursor.u32(), cursor.u64()
            outer = outer or (element, count)
            if count > ARRAY_MAX_ELEMENTS:
                evidence = "the array {0} has {1} elements, allowed are {2}".format(key, count, ARRAY_MAX_ELEMENTS)
                raise StopReadingError("GGUF-LIMIT", evidence)
            if element in SCALARS:
                cursor.skip(count * SCALARS[element][0])
            elif element == STRING:
                cursor.skip_strings(count, "the array {0}".format(key))
            elif element == ARRAY:
                self._open_array(key, len(waiting), count)
                waiting.append(count)
            else:
                evidence = "the array {0} has elements of the unknown type {1}".format(key, element)
                raise StopReadingError("GGUF-TYPE", evidence)
        return outer or (0, 0)

    def _open_array(self, key: str, depth: int, count: int) -> None:
        if depth == 1:
            evidence = "{0} is an array of arrays, which servers refuse".format(key)
            self._noted.add("GGUF-NESTED", Severity.MEDIUM, evidence)
        self._nested += count
        if depth >= NESTING_MAX or self._nested > KEYS_MAX:
            raise StopReadingError("GGUF-LIMIT", "{0} is nested too deeply or too widely".format(key))

    def _note(self, evidence: str) -> None:
        self._noted.add("GGUF-VALUE", Severity.LOW, evidence, "Ask its publisher what wrote this file.")
