# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judging the structure of an approvals file by its JSON Schema (row S6).

roles/model_store/files/models_registry.schema.json is the one description of the format, within what the collection's
digest covers: editors read it, and so does this. Only the keywords it uses are understood; another one is an error when
the schema is read, never a rule that is silently left out.
"""

from __future__ import annotations

import datetime
import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.findings import clean_text

SCHEMA_FILE = Path(__file__).resolve().parents[2] / "roles" / "model_store" / "files" / "models_registry.schema.json"

_NOTES = frozenset(("$schema", "$defs", "title", "description"))
_RULES = frozenset(
    (
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "enum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maximum",
        "minLength",
        "minimum",
        "pattern",
        "properties",
        "required",
        "type",
    )
)
_DATE = re.compile(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


@functools.cache
def load_schema() -> dict[str, Any]:
    """Return the schema. Raises ValueError when it uses a keyword that this file does not understand."""
    schema: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    _require_known(schema)
    return schema


def _require_known(schema: Mapping[str, Any]) -> None:
    unknown = sorted(set(schema) - _NOTES - _RULES)
    if unknown:
        raise ValueError("the schema uses {0}, which is not understood".format(", ".join(unknown)))
    inner = [*schema.get("$defs", {}).values(), *schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    if "items" in schema:
        inner.append(schema["items"])
    for part in inner:
        _require_known(part)


def key_order(definition: str) -> tuple[str, ...]:
    """Return the keys of a mapping of the schema ("entry", "revocation", "blob") in the order they are written."""
    return tuple(load_schema()["$defs"][definition]["properties"])


def structure_errors(value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield (path, what is wrong) for each departure of a parsed approvals file from the schema.

    The path is that of the value, as `("models", 0, "size")`. Dates have to be texts (`plain`).
    """
    return _errors(value, load_schema(), ())


def plain(value: Any) -> Any:
    """Return a copy of parsed YAML in plain types, dates as texts (YYYY-MM-DD); a moment stays what it is.

    Ansible's own texts and numbers carry their origin with them; what is written and signed does not.
    """
    if isinstance(value, Mapping):
        return {str(key) if isinstance(key, str) else key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value.isoformat()
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return str(value) if isinstance(value, str) else value


def _errors(
    value: Any, schema: Mapping[str, Any], path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if "$ref" in schema:
        yield from _errors(value, _definition(schema["$ref"]), path)
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not any(_is(value, name) for name in types):
            wanted = " or ".join(_NAMES[name] for name in types if name != "null")
            yield path, "is {0}, not {1}{2}".format(word(value), wanted, _hint(value, types))
            return
    if "const" in schema and (value != schema["const"] or isinstance(value, bool)):
        yield path, "is not {0!r}".format(schema["const"])
    if "enum" in schema and not any(value == item and type(value) is type(item) for item in schema["enum"]):
        known = ", ".join(str(item) for item in schema["enum"] if item is not None)
        yield path, "is {0!r}, none of {1}".format(clean_text(value, 40), known)
    if isinstance(value, str):
        yield from _text_errors(value, schema, path)
    elif isinstance(value, int) and not isinstance(value, bool):
        if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            yield path, "is out of range"
    elif isinstance(value, list):
        yield from _list_errors(value, schema, path)
    elif isinstance(value, Mapping):
        yield from _mapping_errors(value, schema, path)


def _text_errors(
    value: str, schema: Mapping[str, Any], path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if len(value) < schema.get("minLength", 0):
        yield path, "is empty"
    if len(value) > schema.get("maxLength", len(value)):
        yield path, "is longer than {0} characters".format(schema["maxLength"])
    elif "pattern" in schema and not re.search(schema["pattern"], value):
        yield path, "has not the form it must have: {0!r}".format(clean_text(value, 80))
    if schema.get("format") == "date" and not _is_date(value):
        yield path, "is no date (YYYY-MM-DD)"


def _list_errors(
    value: list[Any], schema: Mapping[str, Any], path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if len(value) > schema.get("maxItems", len(value)):
        yield path, "has more than {0} items".format(schema["maxItems"])
        return
    if "items" in schema:
        for number, item in enumerate(value):
            yield from _errors(item, schema["items"], (*path, number))


def _mapping_errors(
    value: Mapping[Any, Any], schema: Mapping[str, Any], path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    properties = schema.get("properties", {})
    for key, item in value.items():
        if key in properties:
            yield from _errors(item, properties[key], (*path, key))
        elif schema.get("additionalProperties") is False:
            yield path, "the key {0!r} is unknown".format(clean_text(key, 60))
    for key in schema.get("required", ()):
        if key not in value:
            yield path, "it has no {0}".format(key)
    if "anyOf" in schema and all(any(_errors(value, option, path)) for option in schema["anyOf"]):
        names = [key for option in schema["anyOf"] for key in option.get("required", ())]
        yield path, "it has neither {0}".format(" nor ".join(names))


def _definition(reference: str) -> Mapping[str, Any]:
    definition: Mapping[str, Any] = load_schema()["$defs"][reference.removeprefix("#/$defs/")]
    return definition


def _is_date(value: str) -> bool:
    try:
        return bool(_DATE.match(value)) and bool(datetime.date.fromisoformat(value))
    except ValueError:
        return False


_NAMES = {"string": "a text", "integer": "a number", "array": "a list", "object": "a mapping", "null": "nothing"}


def _is(value: Any, name: str) -> bool:
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if name == "null":
        return value is None
    return isinstance(value, {"string": str, "array": list, "object": Mapping}[name])


def _hint(value: Any, types: list[str]) -> str:
    quoted = "string" in types and isinstance(value, (int, float, datetime.datetime))
    return " (quote it)" if quoted else ""


def word(value: Any) -> str:
    """Return what a parsed value is, in words: `a text`, `a list`, `nothing`."""
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    names = {"str": "a text", "int": "a number", "float": "a fraction", "bool": "a yes or no", "list": "a list"}
    return names.get(type(value).__name__, type(value).__name__)
