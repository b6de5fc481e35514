# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Allow-lists of routes and of the fields each generation route takes.

A request is never forwarded: it is read into a ``Plan`` here, field by field, and the upstream request is
built anew from the plan. What has no place in the plan cannot reach the model server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .config import Bound, Config
from .errors import RefusalError, shown


class Route(Enum):
    """A generation route: (path, is it OpenAI's API)."""

    CHAT = ("/api/chat", False)
    GENERATE = ("/api/generate", False)
    V1_CHAT = ("/v1/chat/completions", True)
    V1_COMPLETIONS = ("/v1/completions", True)

    @property
    def path(self) -> str:
        """The path users call."""
        return self.value[0]

    @property
    def openai(self) -> bool:
        """Is it OpenAI's API, with SSE streams."""
        return self.value[1]


GENERATION = {route.path: route for route in Route}
LISTS = ("/", "/api/version", "/api/tags", "/v1/models")
# Ollama's other routes, named so that the audit record can say which one somebody tried. All refused.
KNOWN_REFUSED = (
    "/api/pull", "/api/push", "/api/create", "/api/delete", "/api/copy", "/api/blobs", "/api/show",
    "/api/ps", "/api/embed", "/api/embeddings", "/api/me", "/api/signout", "/api/user", "/api/experimental",
    "/api/status", "/v1/embeddings", "/v1/responses", "/v1/messages",
)  # fmt: skip


def route_label(method: str, path: str) -> str | None:
    """``METHOD /path`` if Ollama knows the path, else None. Bounded: no user text reaches the log."""
    if method not in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        method = "OTHER"
    if path in GENERATION or path in LISTS:
        return f"{method} {path}"
    for known in KNOWN_REFUSED:
        if path == known or path.startswith(known + "/"):
            return f"{method} {known}"
    return None


@dataclass(frozen=True)
class Plan:
    """A request that passed: only what the gateway chose to understand."""

    route: Route
    model: str
    messages: tuple[tuple[str, str], ...]  # (role, content); a bare prompt is one user message
    stream: bool
    options: Mapping[str, Any]  # by Ollama's names, within bounds
    json_answer: bool = False
    include_usage: bool = False

    @property
    def length(self) -> int:
        """Characters the user wrote, over all messages and stop strings."""
        stops = self.options.get("stop", [])
        return sum(len(content) for _rest, content in self.messages) + sum(len(stop) for stop in stops)

    def digest_input(self) -> bytes:
        """What the audit record's query hash is taken of: every role and text, unambiguously separated."""
        return "\x00".join(part for message in self.messages for part in message).encode("utf-8")


MAX_MESSAGES = 64
MAX_STOP_CHARS = 64

# A chat template marks turns with such tokens, and the server reads them in user text as well: with
# '<|im_end|><|im_start|>system' a user would open a system turn of his own after ours.
_CONTROL_TOKEN = re.compile(
    r"<[|\uff5c][^<>|\uff5c\n]{1,40}[|\uff5c]>|</?s>|<</?SYS>>|</?(?:start|end)_of_turn>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|MODEL_SETTINGS|THINK"
    r"|PREFIX|MIDDLE|SUFFIX|ARGS|CALL_ID)\]"
)


def _refuse(where: str, why: str) -> RefusalError:
    return RefusalError("GW-FIELD-REFUSED", f"{where} ({why})")


def _known_only(document: Mapping[str, Any], allowed: frozenset[str], where: str = "") -> None:
    for key in document:
        if key not in allowed:
            raise _refuse(where + shown(key), "not allowed on this route")


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _refuse(where, "must be a string")
    if not value.strip():
        raise _refuse(where, "is empty")
    if "\x00" in value:
        raise _refuse(where, "holds a NUL character")
    if _CONTROL_TOKEN.search(value):
        raise RefusalError("GW-CONTROL-TOKEN", where)
    return value


def _flag(document: Mapping[str, Any], key: str, default: bool, where: str = "") -> bool:
    value = document.get(key, default)
    if not isinstance(value, bool):
        raise _refuse(where + key, "must be true or false")
    return value


def _number(value: object, bound: Bound, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refuse(where, "must be a number")
    if bound.integer and not isinstance(value, int):
        raise _refuse(where, "must be an integer")
    if not bound.low <= value <= bound.high:
        raise _refuse(where, f"must be from {bound.low:g} to {bound.high:g}")
    return value


def _stop(value: object, bound: Bound, where: str) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or len(values) > bound.high:
        raise _refuse(where, f"must be at most {bound.high:g} strings")
    for item in values:
        if not isinstance(item, str) or not 0 < len(item) <= MAX_STOP_CHARS:
            raise _refuse(where, f"each must be a string of 1 to {MAX_STOP_CHARS} characters")
    return values


def _option(name: str, value: object, config: Config, where: str) -> Any:
    bound = config.options.get(name)
    if bound is None:
        raise _refuse(where, "not allowed")
    return _stop(value, bound, where) if name == "stop" else _number(value, bound, where)


def _bounded(options: dict[str, Any], config: Config) -> dict[str, Any]:
    """The answer's length always has an end, also when the user named none."""
    bound = config.options.get("num_predict")
    options.setdefault("num_predict", int(bound.high) if bound else 2048)
    return options


def _parts(value: object, where: str) -> object:
    """OpenAI clients may send a message as a list of text parts; images and files are not text."""
    if not isinstance(value, list):
        return value
    texts: list[str] = []
    for n, part in enumerate(value):
        if not isinstance(part, dict) or set(part) != {"type", "text"} or part["type"] != "text":
            raise _refuse(f"{where}[{n}]", "only text parts are allowed")
        if not isinstance(part["text"], str):
            raise _refuse(f"{where}[{n}].text", "must be a string")
        texts.append(part["text"])
    return "\n".join(texts)


def _messages(value: object, openai: bool) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_MESSAGES:
        raise _refuse("messages", f"must be a list of 1 to {MAX_MESSAGES} messages")
    messages: list[tuple[str, str]] = []
    for n, message in enumerate(value):
        where = f"messages[{n}]"
        if not isinstance(message, dict):
            raise _refuse(where, "must be an object")
        _known_only(message, frozenset({"role", "content"}), where + ".")
        role = message.get("role")
        if role not in ("user", "assistant"):  # exact: no case folding, no trimming, no normalisation
            raise _refuse(where + ".role", "must be 'user' or 'assistant'")
        content = message.get("content")
        content = _parts(content, where + ".content") if openai else content
        messages.append((role, _text(content, where + ".content")))
    if messages[-1][0] != "user":  # else the model would continue an answer the user began for it
        raise _refuse(f"messages[{len(messages) - 1}].role", "the last message must be of role 'user'")
    return tuple(messages)


def _native_options(document: Mapping[str, Any], config: Config) -> dict[str, Any]:
    given = document.get("options", {})
    if not isinstance(given, dict):
        raise _refuse("options", "must be an object")
    options = {name: _option(name, value, config, "options." + shown(name)) for name, value in given.items()}
    return _bounded(options, config)


_OPENAI_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "max_tokens": "num_predict",
    "max_completion_tokens": "num_predict",
}


def _openai_options(document: Mapping[str, Any], config: Config) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for theirs, ours in _OPENAI_OPTIONS.items():
        if document.get(theirs) is None:  # OpenAI's clients send null for "not set"
            continue
        if ours in options:
            raise _refuse(theirs, "given twice under two names")
        options[ours] = _option(ours, document[theirs], config, theirs)
    if document.get("n") not in (None, 1) or isinstance(document.get("n"), bool):
        raise _refuse("n", "must be 1")
    return _bounded(options, config)


_NATIVE = frozenset({"model", "stream", "options", "format"})
_OPENAI = frozenset({"model", "stream", "stream_options", "n", *_OPENAI_OPTIONS})
_ALLOWED: Mapping[Route, frozenset[str]] = {
    Route.CHAT: _NATIVE | {"messages"},
    Route.GENERATE: _NATIVE | {"prompt"},
    Route.V1_CHAT: _OPENAI | {"messages"},
    Route.V1_COMPLETIONS: _OPENAI | {"prompt"},
}


def _stream_options(document: Mapping[str, Any]) -> bool:
    given = document.get("stream_options")
    if given is None:
        return False
    if not isinstance(given, dict):
        raise _refuse("stream_options", "must be an object")
    _known_only(given, frozenset({"include_usage"}), "stream_options.")
    return _flag(given, "include_usage", False, "stream_options.")


def approved_model(document: Mapping[str, Any], config: Config) -> str:
    """The model's name, exactly as configured. Raises ``RefusalError`` GW-MODEL-REFUSED or GW-FIELD-REFUSED.

    The same answer for a model that does not exist and for one that is not approved.
    """
    model = document.get("model")
    if not isinstance(model, str):
        raise _refuse("model", "must be a string")
    if model not in config.models:
        raise RefusalError("GW-MODEL-REFUSED")
    return model


def read_plan(route: Route, document: Mapping[str, Any], config: Config) -> Plan:
    """Validate a request body whose model is approved. Raises ``RefusalError``."""
    _known_only(document, _ALLOWED[route])
    model = approved_model(document, config)
    if "messages" in _ALLOWED[route]:
        messages = _messages(document.get("messages"), route.openai)
    else:
        messages = (("user", _text(document.get("prompt"), "prompt")),)
    if route.openai:
        options = _openai_options(document, config)
        json_answer, include_usage = False, _stream_options(document)
        stream = _flag(document, "stream", False)
    else:
        options = _native_options(document, config)
        # A schema would be compiled to a grammar: unbounded work for the server.
        if document.get("format") not in (None, "", "json"):
            raise _refuse("format", "must be 'json'")
        json_answer, include_usage = document.get("format") == "json", False
        stream = _flag(document, "stream", True)
    return Plan(route, model, messages, stream, options, json_answer, include_usage)


def check_length(plan: Plan, config: Config) -> None:
    """Raises ``RefusalError`` GW-PROMPT-TOO-LONG. Not in ``read_plan``, so that the audit has the length."""
    if plan.length > config.max_prompt_chars:
        raise RefusalError("GW-PROMPT-TOO-LONG", str(config.max_prompt_chars))
