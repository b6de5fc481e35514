# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Strict JSON for request bodies: what two parsers could read in two ways is refused."""

from __future__ import annotations

import json
from typing import Any

import orjson

from .errors import RefusalError, shown


class _DuplicateKeyError(ValueError):
    """An object that holds a key twice; the argument is the key."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _rest in pairs:
            if key in seen:
                raise _DuplicateKeyError(shown(key))
            seen.add(key)
    return result


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in ``body``. Raises ``RefusalError`` GW-BAD-JSON for anything else.

    orjson goes first: it refuses bad UTF-8, lone surrogates, NaN and nesting beyond 1024. The standard
    library's parser then sees duplicate keys, which orjson would silently merge.
    """
    if not body:
        raise RefusalError("GW-BAD-JSON", "empty body")
    try:
        orjson.loads(body)
        document = json.loads(body.decode("utf-8"), object_pairs_hook=_unique)
    except _DuplicateKeyError as error:
        raise RefusalError("GW-BAD-JSON", f"duplicate key {error}") from None
    except RecursionError:
        raise RefusalError("GW-BAD-JSON", "nested too deeply") from None
    except ValueError:
        raise RefusalError("GW-BAD-JSON", "syntax or encoding") from None
    if not isinstance(document, dict):
        raise RefusalError("GW-BAD-JSON", "not an object")
    return document
