# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers, whole and streamed, on the four generation routes (rows P1, P9)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from gateway_rig import KEYS, Rig, StartGateway, eventually
from model_stand_in import MODEL, RECORDED

TALK = {"model": MODEL, "messages": [{"role": "user", "content": "What is the capital of France?"}]}
BARE = {"model": MODEL, "prompt": "The sky is"}
BODIES: dict[str, dict[str, Any]] = {
    "/api/chat": TALK,
    "/api/generate": BARE,
    "/v1/chat/completions": TALK,
    "/v1/completions": BARE,
}
ROUTES = list(BODIES)
pytestmark = pytest.mark.row("P1")


def recorded(name: str) -> Any:
    return json.loads(RECORDED[name]["response"]["body"])


def events(path: str, text: str) -> list[Any]:
    """The events of a stream, each framed as its API frames them."""
    if path.startswith("/api/"):
        assert text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]
    assert text.endswith("\n\n")
    blocks = text.split("\n\n")[:-1]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [json.loads(block[6:]) if block != "data: [DONE]" else "[DONE]" for block in blocks]


def said(path: str, stream: list[Any]) -> str:
    if path == "/api/chat":
        return "".join(event["message"]["content"] for event in stream)
    if path == "/api/generate":
        return "".join(event["response"] for event in stream)
    choices = [choice for event in stream if event != "[DONE]" for choice in event["choices"]]
    if path == "/v1/completions":
        return "".join(choice["text"] for choice in choices)
    return "".join(choice["delta"].get("content", "") for choice in choices)


async def test_whole_chat_is_the_recorded_answer(rig: Rig) -> None:
    answer = await rig.call("POST", "/api/chat", {**TALK, "stream": False})
    assert (answer.status, answer.json) == (200, recorded("chat"))
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"


async def test_whole_generate_lacks_the_tokenised_prompt(rig: Rig) -> None:
    """``context`` holds the tokens of the security system prompt: it must not leave (row P2)."""
    answer = await rig.call("POST", "/api/generate", {**BARE, "stream": False})
    expected = recorded("generate")
    assert expected.pop("context")
    assert (answer.status, answer.json) == (200, expected)


async def test_whole_v1_chat_is_the_recorded_answer(rig: Rig) -> None:
    answer = await rig.call("POST", "/v1/chat/completions", TALK)
    assert (answer.status, answer.json) == (200, recorded("v1-chat"))


async def test_whole_v1_completion_has_the_text_completion_shape(rig: Rig) -> None:
    answer = await rig.call("POST", "/v1/completions", BARE)
    source = recorded("v1-chat")
    assert answer.json == {
        "id": "cmpl-" + source["id"].removeprefix("chatcmpl-"),
        "object": "text_completion",
        "created": source["created"],
        "model": MODEL,
        "system_fingerprint": "fp_ollama",
        "choices": [{"text": source["choices"][0]["message"]["content"], "index": 0, "finish_reason": "stop"}],
        "usage": source["usage"],
    }
    assert rig.upstream.generations[0].path == "/v1/chat/completions"


@pytest.mark.parametrize("path", ROUTES)
async def test_stream_has_every_event_in_its_api_framing(rig: Rig, path: str) -> None:
    answer = await rig.call("POST", path, {**BODIES[path], "stream": True})
    assert answer.status == 200
    stream = events(path, answer.text)
    kind = "application/x-ndjson" if path.startswith("/api/") else "text/event-stream"
    assert answer.headers["content-type"].startswith(kind)
    expected = "The sky is a beautiful place, filled with the colors of"
    assert said(path, stream) == (expected if path == "/api/generate" else "The capital of France is Paris.")
    if path.startswith("/api/"):
        assert [event["done"] for event in stream] == [False] * (len(stream) - 1) + [True]
        assert "context" not in stream[-1]
    else:
        assert stream[-1] == "[DONE]"
        assert {event["object"] for event in stream[:-1]} == {
            "text_completion" if path == "/v1/completions" else "chat.completion.chunk"
        }
    assert rig.log()[-1]["response_length"] == len(said(path, stream))


async def test_native_routes_stream_by_default_and_v1_does_not(rig: Rig) -> None:
    for path in ROUTES:
        answer = await rig.call("POST", path, BODIES[path])
        body = rig.upstream.generations[-1].body
        assert answer.status == 200
        assert body is not None
        assert body["stream"] is path.startswith("/api/")


@pytest.mark.parametrize("path", ROUTES)
async def test_stream_is_passed_on_while_the_server_still_generates(rig: Rig, path: str) -> None:
    """The first event arrives although the server waits before its third: nothing buffers the stream."""
    rig.upstream.gate = asyncio.Event()
    headers = {"Authorization": f"Bearer {rig.key}"}
    body = json.dumps({**BODIES[path], "stream": True})
    async with rig.client.post(path, data=body, headers=headers) as response:
        first = await asyncio.wait_for(response.content.readline(), 5)
        assert b"The" in first
        rig.upstream.gate.set()
        rest = await response.content.read()
    assert said(path, events(path, (first + rest).decode())).startswith("The ")


@pytest.mark.row("P9")
@pytest.mark.parametrize("stream", [True, False])
async def test_client_disconnect_cancels_the_generation_and_is_recorded(rig: Rig, stream: bool) -> None:
    rig.upstream.gate = asyncio.Event()
    headers = {"Authorization": f"Bearer {rig.key}"}
    body = json.dumps({**TALK, "stream": stream})
    request = asyncio.create_task(rig.client.post("/api/chat", data=body, headers=headers))
    await eventually(lambda: rig.upstream.generations)
    if stream:
        (await request).close()
    else:
        request.cancel()
    await eventually(lambda: rig.upstream.cancelled == 1)
    await eventually(rig.log)
    record = rig.log()[-1]
    assert (record["action"], record["finding"]) == ("FAILED_CLIENT_GONE", "GW-CLIENT-GONE")


@pytest.mark.row("P9")
@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    ("fault", "code"),
    [("die", "GW-UPSTREAM-DOWN"), ("no-end", "GW-UPSTREAM-DOWN"), ("error-line", "GW-UPSTREAM-ERROR"),
     ("garbage", "GW-UPSTREAM-ERROR")],
)  # fmt: skip
async def test_stream_that_breaks_ends_with_an_error_object(rig: Rig, path: str, fault: str, code: str) -> None:
    """No regular end is faked, nothing of the server's own error text leaves, and the record says so."""
    rig.upstream.fault = fault
    answer = await rig.call("POST", path, {**BODIES[path], "stream": True})
    stream = events(path, answer.text)
    assert "The" in said(path, stream[:-1])
    assert stream[-1]["error"]["code"] == code
    assert "secret path" not in answer.text
    record = rig.log()[-1]
    assert (record["finding"], record["action"]) == (code, code.replace("GW-", "FAILED_").replace("-", "_"))
    assert record["response_length"] > 0


@pytest.mark.row("P9")
@pytest.mark.parametrize("fault", ["status", "garbage", "huge", "error-whole"])
@pytest.mark.parametrize("path", ROUTES)
async def test_broken_whole_answer_is_a_502_without_the_servers_words(rig: Rig, path: str, fault: str) -> None:
    rig.upstream.fault = fault
    answer = await rig.call("POST", path, {**BODIES[path], "stream": False})
    assert (answer.status, answer.code) == (502, "GW-UPSTREAM-ERROR")
    assert "/models" not in answer.text


@pytest.mark.row("P9")
@pytest.mark.parametrize("path", ROUTES)
async def test_server_down_is_a_502_and_the_gateway_recovers(start: StartGateway, path: str) -> None:
    rig: Rig = await start(upstream=False)
    answer = await rig.call("POST", path, BODIES[path])
    assert (answer.status, answer.code) == (502, "GW-UPSTREAM-DOWN")
    assert rig.log()[-1]["action"] == "FAILED_UPSTREAM_DOWN"
    await rig.upstream.start()
    try:
        assert (await rig.call("POST", path, BODIES[path])).status == 200
    finally:
        await rig.upstream.stop()


@pytest.mark.row("P9")
async def test_answer_that_takes_too_long_is_cut(start: StartGateway) -> None:
    rig: Rig = await start(upstream_timeout_seconds=1)
    rig.upstream.gate = asyncio.Event()
    answer = await asyncio.wait_for(rig.call("POST", "/api/chat", {**TALK, "stream": False}), 4)
    assert (answer.status, answer.code) == (504, "GW-UPSTREAM-TIMEOUT")
    streamed = await rig.call("POST", "/api/chat", TALK)
    assert events("/api/chat", streamed.text)[-1]["error"]["code"] == "GW-UPSTREAM-TIMEOUT"
    assert rig.upstream.cancelled == 2


async def test_two_users_stream_at_once_without_mixing(rig: Rig) -> None:
    answers = await asyncio.gather(
        *(rig.call("POST", path, {**BODIES[path], "stream": True}, key=key)
          for path in ROUTES for key in KEYS.values())
    )  # fmt: skip
    for n, answer in enumerate(answers):
        path = ROUTES[n // 2]
        first = "The sky" if path == "/api/generate" else "The capital"
        assert said(path, events(path, answer.text)).startswith(first)
