# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of the model server, rebuilt from an allow-list of fields.

What is not listed does not leave: ``context`` of /api/generate, for one, is the tokenised system prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from .errors import RefusalError
from .fields import Route

_Json = dict[str, Any]

_NATIVE_HEAD = ("model", "created_at")
_NATIVE_TAIL = (
    "done", "done_reason", "total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration",
    "eval_count", "eval_duration",
)  # fmt: skip
_OPENAI_HEAD = ("id", "object", "created", "model", "system_fingerprint")
_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")
_TAGS = ("name", "model", "modified_at", "size", "digest", "details", "capabilities")
_DETAILS = ("parent_model", "format", "family", "families", "parameter_size", "quantization_level")


@dataclass(frozen=True)
class Piece:
    """A whole answer or one event of a stream: the rebuilt document, characters of text, is it the last."""

    document: _Json
    length: int
    last: bool


def _broken(why: str) -> RefusalError:
    return RefusalError("GW-UPSTREAM-ERROR", why)


def _pick(source: Mapping[str, Any], keys: tuple[str, ...]) -> _Json:
    return {key: source[key] for key in keys if key in source}


def load(data: bytes) -> _Json:
    """The JSON object the model server sent. Raises ``RefusalError`` GW-UPSTREAM-ERROR, also for errors."""
    try:
        document = orjson.loads(data)
    except ValueError:
        raise _broken("not JSON") from None
    if not isinstance(document, dict) or "error" in document:
        raise _broken("an error object")
    return document


def _string(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _broken("an answer that is not text")
    return value


def _object(value: object) -> _Json:
    if not isinstance(value, dict):
        raise _broken("an unknown shape")
    return value


def _native_chat(source: _Json) -> Piece:
    content = _string(_object(source.get("message")).get("content"))
    document = _pick(source, _NATIVE_HEAD)
    document["message"] = {"role": "assistant", "content": content}
    document.update(_pick(source, _NATIVE_TAIL))
    return Piece(document, len(content), source.get("done") is True)


def _native_generate(source: _Json) -> Piece:
    content = _string(source.get("response"))
    document = _pick(source, _NATIVE_HEAD)
    document["response"] = content
    document.update(_pick(source, _NATIVE_TAIL))
    return Piece(document, len(content), source.get("done") is True)


def _openai(source: _Json, choice_of: Callable[[_Json, str], _Json]) -> Piece:
    document = _pick(source, _OPENAI_HEAD)
    length = 0
    choices = []
    for entry in source.get("choices") or []:
        choice = _object(entry)
        said = _object(choice.get("message", choice.get("delta")))
        content = _string(said.get("content"))
        length += len(content)
        choices.append(choice_of(choice, content))
    document["choices"] = choices
    if isinstance(source.get("usage"), dict):
        document["usage"] = _pick(source["usage"], _USAGE)
    return Piece(document, length, False)


def _chat_choice(choice: _Json, content: str) -> _Json:
    key = "message" if "message" in choice else "delta"
    said = _object(choice[key])
    kept: _Json = {"role": "assistant"} if "role" in said else {}
    if "content" in said:
        kept["content"] = content
    return {"index": choice.get("index", 0), key: kept, "finish_reason": choice.get("finish_reason")}


def _text_choice(choice: _Json, content: str) -> _Json:
    return {"text": content, "index": choice.get("index", 0), "finish_reason": choice.get("finish_reason")}


def rebuild(route: Route, source: _Json) -> Piece:
    """The answer, or event of a stream, as the caller of ``route`` may see it."""
    if route is Route.CHAT:
        return _native_chat(source)
    if route is Route.GENERATE:
        return _native_generate(source)
    if route is Route.V1_CHAT:
        return _openai(source, _chat_choice)
    piece = _openai(source, _text_choice)
    document = piece.document
    document["id"] = "cmpl-" + str(document.get("id", "")).removeprefix("chatcmpl-")
    document["object"] = "text_completion"
    return piece


def event(route: Route, line: bytes) -> tuple[bytes, int, bool]:
    """One line of the server's stream: (bytes for the caller, characters of text, was it the last).

    Lines without content for the caller (SSE's blank lines and comments) give empty bytes.
    """
    line = line.strip()
    if not line or (route.openai and line.startswith(b":")):
        return b"", 0, False
    if not route.openai:
        piece = rebuild(route, load(line))
        return orjson.dumps(piece.document) + b"\n", piece.length, piece.last
    if not line.startswith(b"data:"):
        raise _broken("not an event")
    data = line[5:].strip()
    if data == b"[DONE]":
        return b"data: [DONE]\n\n", 0, True
    piece = rebuild(route, load(data))
    return b"data: " + orjson.dumps(piece.document) + b"\n\n", piece.length, False


def error_event(route: Route, body: bytes) -> bytes:
    """An error object inside a stream that has begun."""
    return b"data: " + body + b"\n\n" if route.openai else body + b"\n"


def version(data: bytes) -> bytes:
    """/api/version."""
    return orjson.dumps({"version": _string(load(data).get("version"))})


def tags(data: bytes, models: tuple[str, ...]) -> bytes:
    """/api/tags, approved models only."""
    entries = []
    for entry in load(data).get("models") or []:
        if _object(entry).get("name") in models:
            kept = _pick(entry, _TAGS)
            if isinstance(kept.get("details"), dict):
                kept["details"] = _pick(kept["details"], _DETAILS)
            entries.append(kept)
    return orjson.dumps({"models": entries})


def v1_models(data: bytes, models: tuple[str, ...]) -> bytes:
    """/v1/models, approved models only."""
    entries = [
        _pick(entry, ("id", "object", "created", "owned_by"))
        for entry in load(data).get("data") or []
        if _object(entry).get("id") in models
    ]
    return orjson.dumps({"object": "list", "data": entries})
