# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Typed access to a JSON request body, with the error texts of Go's decoder."""

from __future__ import annotations

import json
from typing import Any

from ollama_standin.errors import ApiError

_GO_TYPES = {"string": str, "bool": bool, "object": dict, "array": list}


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return next((name for name, kind in _GO_TYPES.items() if isinstance(value, kind)), "null")


class Fields:
    """A JSON object of a request; null and absent are the same, unknown fields are ignored."""

    def __init__(self, values: dict[str, Any], kind: str) -> None:
        self.values = values
        self._kind = kind  # name of the Go struct, for error texts

    def _get(self, name: str, wanted: type, go_type: str) -> Any:
        value = self.values.get(name)
        if value is None or (isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))):
            return value
        field = f"{self._kind}.{name} of type {go_type}"
        raise ApiError(400, f"json: cannot unmarshal {_go_type(value)} into Go struct field {field}")

    def has(self, name: str) -> bool:
        """True when the field is there and not null."""
        return self.values.get(name) is not None

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        value: str | None = self._get(name, str, "string")
        return default if value is None else value

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean."""
        value: bool | None = self._get(name, bool, "bool")
        return default if value is None else value

    def whole(self, name: str) -> int | None:
        """An integer."""
        value: int | None = self._get(name, int, "int")
        return value

    def number(self, name: str, default: float) -> float:
        """A number."""
        value: float | None = self._get(name, int | float, "float64")  # type: ignore[arg-type]
        return default if value is None else float(value)

    def mapping(self, name: str) -> dict[str, Any]:
        """An object."""
        return self._get(name, dict, "map[string]interface {}") or {}

    def items(self, name: str) -> list[Any]:
        """An array."""
        return self._get(name, list, "[]interface {}") or []


def decode(body: bytes, kind: str) -> Fields:
    """Decode a request body; raises ApiError 400 with the text Ollama answers."""
    if not body.strip():
        raise ApiError(400, "missing request body")
    text = body.decode("utf-8", "replace")
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        at_end = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        if at_end:
            raise ApiError(400, "unexpected EOF") from None
        raise ApiError(400, f"invalid character {text[error.pos]!r} looking for beginning of value") from None
    except RecursionError:
        raise ApiError(400, "exceeded max depth") from None
    if not isinstance(values, dict):
        raise ApiError(400, f"json: cannot unmarshal {_go_type(values)} into Go value of type api.{kind}")
    return Fields(values, kind)
