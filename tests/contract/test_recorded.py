# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every recorded exchange, asked again: status, content type, framing, keys, types, error texts."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from contract_client import Answer, recorded

RECORDED_MODEL = "smollm2:135m-instruct-q4_1"
EXCHANGES = {exchange["name"]: exchange for exchange in recorded()}

# These hold only where the store is read-only, the cloud is off and there is no way out.
HARDENED_ONLY = {"delete-readonly", "copy-readonly", "create-readonly", "push", "me", "chat-cloud-model"}
# Recorded on an engine started without embeddings: a server that has them answers 200.
EMBEDDINGS = {"embed", "embeddings-legacy", "v1-embeddings"}
# The body was cut in the recording; test_api.py looks at it.
CUT = {"show"}
# Values that may be absent or of another type without harm to us: what a model's metadata holds.
FREE = {"model_info", "tensors", "logprobs", "context"}


def shape_differs(expected: Any, found: Any, where: str = "$") -> str | None:
    """The first place where `found` lacks a recorded key or has another type; more keys are welcome."""
    if isinstance(expected, bool) or expected is None or isinstance(expected, str):
        same = isinstance(found, type(expected))
        return None if same else f"{where}: {type(found).__name__} instead of {type(expected).__name__}"
    if isinstance(expected, int | float):
        same = isinstance(found, int | float) and not isinstance(found, bool)
        return None if same else f"{where}: {type(found).__name__} instead of a number"
    if isinstance(expected, list):
        if not isinstance(found, list):
            return f"{where}: {type(found).__name__} instead of an array"
        if expected and not found:
            return f"{where}: empty"
        return shape_differs(expected[0], found[0], f"{where}[0]") if expected else None
    if not isinstance(found, dict):
        return f"{where}: {type(found).__name__} instead of an object"
    for key, value in expected.items():
        if key in FREE:
            continue
        if key not in found:
            return f"{where}.{key}: absent"
        if difference := shape_differs(value, found[key], f"{where}.{key}"):
            return difference
    return None


def error_text(body: str) -> str | None:
    """The error's text in a JSON body, native or /v1; None when it is no error."""
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(error["message"]) if isinstance(error, dict) else None if error is None else str(error)


def error_pattern(text: str, model: str) -> re.Pattern[str]:
    """The recorded error text with what depends on the place left open."""
    if "registry.ollama.ai/v2" in text:
        # A push without a way out: which step of the look-up or the connection fails first is the network's.
        return re.compile(r'Head "https://registry\.ollama\.ai/v2/library/[^"]+": dial tcp.+', re.DOTALL)
    name, _rest, tag = model.partition(":")
    pattern = re.escape(text).replace("/models/", "/.+/")
    pattern = pattern.replace(re.escape("smollm2/135m-instruct-q4_1"), re.escape(f"{name}/{tag or 'latest'}"))
    return re.compile(re.sub(r"sha256\\-[0-9a-f]{64}", "sha256-[0-9a-f]{64}", pattern).replace("/.+/", "/(.+/)?"))


def ask(target: Any, exchange: dict[str, Any]) -> Answer:
    request = exchange["request"]
    body = request["body"]
    if body is not None:
        body = body.replace(RECORDED_MODEL, target.model)
    headers = {}
    if request["method"] == "OPTIONS":
        headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer: Answer = target.client.ask(request["method"], request["path"], body, headers)
    return answer


def compare_stream(expected: str, answer: Answer) -> None:
    """Same framing, same keys in the first and in the last objects."""
    if answer.content_type.startswith("text/event-stream"):
        old = [block.removeprefix("data: ") for block in expected.split("\n\n") if block]
        new = answer.events()
        assert old.pop() == new.pop() == "[DONE]"
    else:
        old, new = expected.splitlines(), [json.dumps(line) for line in answer.lines()]
    assert len(new) > 2, "the answer came in one piece"
    for position in (0, 1, -2, -1):
        assert not (difference := shape_differs(json.loads(old[position]), json.loads(new[position]))), difference


@pytest.mark.parametrize("name", EXCHANGES)
def test_exchange(target: Any, name: str) -> None:
    if name in HARDENED_ONLY and not target.hardened:
        pytest.skip("needs a server with a read-only store, without cloud and without a way out")
    exchange = EXCHANGES[name]
    expected = exchange["response"]
    if name.startswith("ps-"):
        target.client.ask("POST", "/api/chat", {"model": target.model, "messages": []})
    answer = ask(target, exchange)
    if name in EMBEDDINGS and answer.status == 200:
        assert {"embed": "embeddings", "embeddings-legacy": "embedding"}.get(name, "data") in answer.json()
        return

    assert answer.status == expected["status"], answer.body[:300]
    assert answer.content_type == expected["headers"].get("Content-Type", "")
    if exchange["request"]["method"] == "HEAD":
        assert answer.body == b""
        assert answer.headers["content-length"] == expected["headers"]["Content-Length"]
        return
    if expected["headers"].get("Transfer-Encoding") == "chunked" and name not in CUT:
        assert answer.headers.get("transfer-encoding") == "chunked"
        compare_stream(expected["body"], answer)
        return
    if name in CUT:
        return
    text = answer.body.decode()
    if "json" not in answer.content_type:
        assert text == expected["body"]
        return
    if (wanted := error_text(expected["body"])) is not None:
        found = error_text(text)
        assert found is not None
        assert error_pattern(wanted, target.model).fullmatch(found), found
    assert not (difference := shape_differs(json.loads(expected["body"]), json.loads(text))), difference
    assert text.endswith("\n") == expected["body"].endswith("\n")
