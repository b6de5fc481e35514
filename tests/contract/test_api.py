# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Rampart relies on beyond the shapes: real answers, streaming in time, limits obeyed."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from contract_client import Answer, Client

FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
FIXED = {"seed": 7, "temperature": 0}


def chat(client: Client, model: str, **fields: Any) -> Answer:
    body = {"model": model, "messages": FRANCE, "options": {**FIXED, "num_predict": 32}, **fields}
    return client.ask("POST", "/api/chat", body)


def test_a_model_answers(client: Client, model: str) -> None:
    answer = chat(client, model, stream=False).json()
    assert "Paris" in answer["message"]["content"]
    assert answer["message"]["role"] == "assistant"
    assert answer["done"] is True
    assert answer["prompt_eval_count"] > 5
    assert answer["eval_count"] > 1
    assert answer["total_duration"] >= answer["eval_duration"] > 0


def test_a_model_answers_on_the_openai_routes(client: Client, model: str) -> None:
    body = {"model": model, "messages": FRANCE, "temperature": 0, "max_tokens": 32}
    answer = client.ask("POST", "/v1/chat/completions", body).json()
    assert "Paris" in answer["choices"][0]["message"]["content"]
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_the_same_seed_gives_the_same_answer_streamed_or_not(client: Client, model: str) -> None:
    whole = chat(client, model, stream=False).json()["message"]["content"]
    pieces = chat(client, model).lines()
    assert "".join(piece["message"]["content"] for piece in pieces) == whole
    assert [piece["done"] for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_pieces_come_as_they_are_made(client: Client, model: str) -> None:
    """A gateway that screens a stream needs it in pieces; a buffering server would send all at the end."""
    body = {"model": model, "prompt": "Count from one to thirty.", "options": {**FIXED, "num_predict": 40}}
    answer = client.ask("POST", "/api/generate", body)
    made = answer.lines()[-1]["eval_duration"] / 1e9
    assert len(answer.arrivals) > 5
    assert answer.arrivals[-1] - answer.arrivals[0] > made / 2


def test_openai_stream_is_one_answer(client: Client, model: str) -> None:
    body = {"model": model, "messages": FRANCE, "temperature": 0, "max_tokens": 32, "stream": True}
    events = client.ask("POST", "/v1/chat/completions", body).events()
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert "Paris" in "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert not any("usage" in chunk for chunk in chunks), "usage comes only when it is asked for"


def test_num_predict_limits_the_answer(client: Client, model: str) -> None:
    answer = chat(client, model, stream=False, options={**FIXED, "num_predict": 2}).json()
    assert answer["done_reason"] == "length"
    assert answer["eval_count"] == 2


def test_stop_ends_the_answer(client: Client, model: str) -> None:
    answer = chat(client, model, stream=False, options={**FIXED, "num_predict": 32, "stop": ["Paris"]}).json()
    assert "Paris" not in answer["message"]["content"]
    assert answer["done_reason"] == "stop"


def test_a_system_message_reaches_the_model(client: Client, model: str) -> None:
    """The gateway's security prompt is a system message: it must be part of what the model reads."""
    system = {"role": "system", "content": "You are a pirate. " * 10}
    alone = chat(client, model, stream=False).json()["prompt_eval_count"]
    both = chat(client, model, stream=False, messages=[system, *FRANCE]).json()["prompt_eval_count"]
    assert both >= alone + 30


def test_raw_leaves_the_template_out(client: Client, model: str) -> None:
    body = {"model": model, "prompt": "The sky is", "stream": False, "options": {**FIXED, "num_predict": 2}}
    raw = client.ask("POST", "/api/generate", {**body, "raw": True}).json()
    cooked = client.ask("POST", "/api/generate", body).json()
    assert raw["prompt_eval_count"] < cooked["prompt_eval_count"]
    assert "context" not in raw
    assert len(cooked["context"]) >= cooked["prompt_eval_count"]


def test_json_format_gives_json(client: Client, model: str) -> None:
    body = {"model": model, "prompt": "A JSON object with the key name.", "format": "json", "stream": False}
    answer = client.ask("POST", "/api/generate", {**body, "options": {**FIXED, "num_predict": 60}}).json()
    text = answer["response"].strip()
    assert text.startswith("{")
    if answer["done_reason"] == "stop":
        assert isinstance(json.loads(text), dict)


def test_a_schema_is_obeyed(client: Client, model: str) -> None:
    schema = {
        "type": "object",
        "properties": {"capital": {"enum": ["Rome", "Oslo"]}},
        "required": ["capital"],
    }
    answer = chat(client, model, stream=False, format=schema).json()
    assert json.loads(answer["message"]["content"])["capital"] in ("Rome", "Oslo")


def test_load_and_unload(client: Client, model: str) -> None:
    def loaded() -> list[str]:
        return [entry["model"] for entry in client.ask("GET", "/api/ps").json()["models"]]

    assert client.ask("POST", "/api/generate", {"model": model}).json()["done_reason"] == "load"
    assert model in loaded()
    assert client.ask("POST", "/api/generate", {"model": model, "keep_alive": 0}).json()["done_reason"] == "unload"
    for _nr in range(50):
        if model not in loaded():
            break
    assert model not in loaded()


def test_tags_show_and_models_agree(client: Client, model: str) -> None:
    entry = next(item for item in client.ask("GET", "/api/tags").json()["models"] if item["name"] == model)
    assert re.fullmatch(r"[0-9a-f]{64}", entry["digest"])
    assert entry["size"] > 0
    shown = client.ask("POST", "/api/show", {"model": model}).json()
    assert {"modelfile", "parameters", "template", "details", "model_info"} <= shown.keys()
    assert shown["details"]["family"] == entry["details"]["family"]
    assert shown["model_info"]["general.architecture"]
    assert shown["model_info"]["general.parameter_count"] > 0
    assert "/blobs/sha256-" in shown["modelfile"], "show tells paths: it is for administrators only"
    assert model in [item["id"] for item in client.ask("GET", "/v1/models").json()["data"]]


def test_version_is_a_version(client: Client) -> None:
    assert re.match(r"\d+\.\d+\.\d+", client.ask("GET", "/api/version").json()["version"])


def test_the_connection_is_kept(client: Client) -> None:
    """The gateway keeps connections open: two requests on one."""
    with client.open() as connection:
        for _nr in range(2):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(b"Ollama is running"):
                piece = connection.recv(4096)
                assert piece, answer
                answer += piece


def test_a_chunked_request_is_read(client: Client, model: str) -> None:
    body = json.dumps({"model": model}).encode()
    head = b"POST /api/show HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    with client.open() as connection:
        connection.sendall(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        assert connection.recv(64).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_the_generation(client: Client, model: str, stream: bool) -> None:
    """Otherwise anybody could keep the processor busy with answers that nobody waits for."""

    def next_answer() -> float:
        started = time.monotonic()
        assert chat(client, model, stream=False, options={**FIXED, "num_predict": 2}).status == 200
        return time.monotonic() - started

    usual = next_answer()
    # A model that counts does not end by itself: 3500 tokens are half a minute of two idle cores, or more.
    options = {**FIXED, "num_predict": 3500, "repeat_penalty": 1.0}
    fields = {"model": model, "prompt": "1, 2, 3, 4, 5, 6, 7, 8,", "raw": True, "stream": stream}
    body = json.dumps({**fields, "options": options})
    head = f"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with client.open() as connection:
        connection.sendall((head + body).encode())
        if stream:
            assert connection.recv(64).startswith(b"HTTP/1.1 200 ")
        else:
            time.sleep(1)  # until it is being generated
    assert next_answer() < 10 + 3 * usual


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example"])
def test_a_foreign_page_is_refused(client: Client, origin: str) -> None:
    answer = client.ask("GET", "/api/tags", headers={"Origin": origin})
    assert (answer.status, answer.body) == (403, b"")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b/c/d", "x@sha256:" + "0" * 64, "x:y:z", "/x", "x y"])
def test_a_bad_name_is_refused(client: Client, name: str) -> None:
    answer = client.ask("POST", "/api/generate", {"model": name, "prompt": "x"})
    assert answer.status in (400, 404)
    assert set(answer.json()) == {"error"}


def test_a_wrong_type_is_refused(client: Client, model: str) -> None:
    answer = client.ask("POST", "/api/chat", {"model": model, "messages": "hello"})
    assert answer.status == 400
    assert answer.json()["error"].startswith("json: cannot unmarshal string into Go struct field")
