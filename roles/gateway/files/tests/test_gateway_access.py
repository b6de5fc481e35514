# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, routes and models: who may ask, and for what (row P1)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from gateway_rig import KEYS, Rig, StartGateway
from model_stand_in import MODEL, RECORDED

pytestmark = pytest.mark.row("P1")

CHAT = {"model": MODEL, "stream": False, "messages": [{"role": "user", "content": "x"}]}


# --- keys


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer rmp_" + "z" * 43,  # well formed, unknown
        "Bearer rmp_" + "a" * 42,
        "Bearer rmp_" + "a" * 44,
        "Bearer  " + KEYS["alice"],
        "Bearer " + KEYS["alice"] + " x",
        "Bearer " + KEYS["alice"].upper(),
        "Basic " + KEYS["alice"],
        KEYS["alice"],
        "Bearer " + "a" * 4000,
        "Bearer rmp_" + "\u00e9" * 43,
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/api/chat"), ("GET", "/api/tags"), ("POST", "/api/pull")])
async def test_without_a_known_key_nothing_is_served(rig: Rig, value: str | None, method: str, path: str) -> None:
    headers = [] if value is None else [("Authorization", value)]
    answer = await rig.call(method, path, CHAT, headers=headers, key=None)
    assert (answer.status, answer.code) == (401, "GW-UNAUTHENTICATED")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert rig.upstream.seen == []
    assert rig.log()[-1]["user_id"] == "unknown"
    assert rig.log()[-1]["action"] == "BLOCKED_UNAUTHENTICATED"


async def test_two_authorization_headers_are_refused_even_if_one_is_right(rig: Rig) -> None:
    right = ("Authorization", "Bearer " + KEYS["alice"])
    for pair in ([right, ("Authorization", "Bearer rmp_" + "z" * 43)], [right, right]):
        answer = await rig.call("POST", "/api/chat", CHAT, headers=pair, key=None)
        assert (answer.status, answer.code) == (401, "GW-UNAUTHENTICATED")
    assert rig.upstream.seen == []


async def test_headers_of_proxies_do_not_say_who_is_asking(rig: Rig) -> None:
    tricks = ["X-Forwarded-User", "X-Remote-User", "Remote-User", "X-User-Id", "X-Session-Id", "X-Auth-Request-User"]
    headers = [(name, "bob@example.org") for name in tricks]
    assert (await rig.call("GET", "/api/tags", headers=headers, key=None)).status == 401
    assert (await rig.call("POST", "/api/chat", CHAT, headers=headers)).status == 200
    record = rig.log()[-1]
    assert record["user_id"] == "alice"
    assert record["session_id"].startswith("sess_")
    forwarded = rig.upstream.generations[0].headers
    assert not {name.lower() for name in forwarded} & {name.lower() for name in (*tricks, "Authorization")}


async def test_header_that_renames_method_or_path_has_no_effect(rig: Rig) -> None:
    headers = [("X-HTTP-Method-Override", "DELETE"), ("X-Original-URL", "/api/delete"), ("X-Rewrite-URL", "/api/pull")]
    assert (await rig.call("POST", "/api/chat", CHAT, headers=headers)).status == 200
    assert [(seen.method, seen.path) for seen in rig.upstream.seen] == [("POST", "/api/chat")]


async def test_each_key_is_its_own_user(rig: Rig) -> None:
    for name, key in KEYS.items():
        assert (await rig.call("POST", "/api/chat", CHAT, key=key)).status == 200
        assert rig.log()[-1]["user_id"] == name
    assert len({record["session_id"] for record in rig.log()}) == 2


async def test_keys_are_in_no_log_and_no_answer(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    unknown = "rmp_" + "z" * 43
    answers = [await rig.call("POST", "/api/chat", CHAT, key=key) for key in (*KEYS.values(), unknown)]
    printed = capfd.readouterr()
    for key in (*KEYS.values(), unknown):
        for text in (rig.log_text(), printed.out, printed.err, *(answer.text for answer in answers)):
            assert key not in text


async def test_health_needs_no_key_and_tells_nothing(rig: Rig) -> None:
    answer = await rig.call("GET", "/healthz", key=None)
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    assert rig.upstream.seen == []
    assert (await rig.call("POST", "/healthz", b"{}", key=None)).status == 401


# --- routes

REFUSED = [
    ("POST", "/api/pull"), ("POST", "/api/push"), ("POST", "/api/create"), ("DELETE", "/api/delete"),
    ("POST", "/api/copy"), ("POST", "/api/blobs/sha256:" + "0" * 64), ("HEAD", "/api/blobs/sha256:" + "0" * 64),
    ("POST", "/api/show"), ("GET", "/api/ps"), ("POST", "/api/embed"), ("POST", "/api/embeddings"),
    ("POST", "/api/me"), ("POST", "/api/signout"), ("GET", "/api/status"), ("POST", "/v1/embeddings"),
    ("POST", "/v1/responses"), ("POST", "/v1/messages"), ("DELETE", "/api/user/keys/x"),
    ("GET", "/api/experimental/x"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), REFUSED)
async def test_route_of_ollama_that_users_do_not_need_is_refused(rig: Rig, method: str, path: str) -> None:
    """pull, push, create, delete, copy, blobs, show, ps and the rest."""
    answer = await rig.call(method, path, None if method in ("GET", "HEAD") else {"model": MODEL, "name": MODEL})
    assert answer.status == 403
    if method != "HEAD":
        assert answer.code == "GW-ROUTE-REFUSED"
    assert rig.upstream.seen == []
    assert rig.log()[-1]["action"] == "BLOCKED_ROUTE"
    assert rig.log()[-1]["route"].split("/")[2] in path


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/chat", 403),
        ("PUT", "/api/chat", 403),
        ("DELETE", "/api/chat", 403),
        ("OPTIONS", "/api/chat", 403),
        ("CONNECT", "/api/chat", 403),
        ("POST", "/api/tags", 403),
        ("POST", "/", 403),
        ("GET", "/nothing", 404),
        ("GET", "/metrics", 404),
        ("POST", "/api/chat/", 404),
        ("POST", "//api/chat", 404),
        ("POST", "/API/CHAT", 404),
        ("POST", "/api/pull/../chat", 403),
        ("POST", "/v1/../api/chat", 404),
    ],
)
async def test_anything_that_is_not_exactly_an_open_route_is_refused(
    rig: Rig, method: str, path: str, status: int
) -> None:
    raw = await _raw(rig, f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {rig.key}\r\n"
                          "Content-Length: 0\r\nConnection: close\r\n\r\n")  # fmt: skip
    assert raw.split(b" ")[1] == str(status).encode()
    assert b"GW-ROUTE-REFUSED" in raw
    assert rig.upstream.seen == []


async def _raw(rig: Rig, text: str) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(rig.directory / "gateway.sock"))
    writer.write(text.encode("latin-1"))
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


async def test_upgrade_to_a_websocket_is_not_offered(rig: Rig) -> None:
    head = f"GET /api/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {rig.key}\r\n"
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade, close\r\nSec-WebSocket-Version: 13\r\n"
    raw = await _raw(rig, head + upgrade + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    assert b" 101 " not in raw.split(b"\r\n")[0]
    assert rig.upstream.seen == []


async def test_length_and_chunked_together_are_not_two_requests(rig: Rig) -> None:
    """Request smuggling: the second request inside the first one's body must not be served."""
    head = f"POST /api/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {rig.key}\r\n"
    inner = head + "Content-Length: 2\r\n\r\n{}"
    both = f"Content-Length: {len(inner) + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    raw = await _raw(rig, head + both + inner)
    assert raw.count(b"HTTP/1.1") == 1
    assert raw.split(b" ")[1] == b"400"
    assert rig.upstream.seen == []


# --- lists


def recorded(name: str) -> Any:
    return json.loads(RECORDED[name]["response"]["body"])


async def test_lists_show_approved_models_only_in_the_recorded_shape(rig: Rig) -> None:
    tags = (await rig.call("GET", "/api/tags")).json
    expected = recorded("tags")
    for entry in expected["models"]:
        entry["details"] = {k: v for k, v in entry["details"].items() if not k.endswith("_length")}
    assert tags == expected
    assert (await rig.call("GET", "/v1/models")).json == recorded("v1-models")
    assert (await rig.call("GET", "/api/version")).json == recorded("version")
    root = await rig.call("GET", "/")
    assert (root.status, root.text) == (200, "Ollama is running")
    assert (await rig.call("HEAD", "/")).text == ""


@pytest.mark.row("P9")
@pytest.mark.parametrize("path", ["/", "/api/version", "/api/tags", "/v1/models"])
async def test_lists_say_when_the_server_is_down(start: StartGateway, path: str) -> None:
    rig: Rig = await start(upstream=False)
    answer = await rig.call("GET", path)
    assert (answer.status, answer.code) == (502, "GW-UPSTREAM-DOWN")


# --- models

MODELS = [
    "not-approved:latest", "nope", "", "smollm2", "smollm2:latest", MODEL.upper(), MODEL + " ", " " + MODEL,
    MODEL + "\n", MODEL + "\x00", "library/" + MODEL, "registry.ollama.ai/library/" + MODEL, MODEL + "-cloud",
    "gpt-oss:120b-cloud", "gpt-oss:cloud", "../../etc/passwd", MODEL + "@sha256:" + "0" * 64,
    MODEL.replace("o", "\u043e"),  # Cyrillic
    MODEL.replace("s", "\uff53", 1),  # full width, equal under NFKC
    MODEL.replace("m", "m\u200b", 1),  # zero width space
]  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
async def test_only_the_exact_name_of_an_approved_model_is_served(rig: Rig, name: str) -> None:
    answer = await rig.call("POST", "/api/chat", {**CHAT, "model": name})
    assert (answer.status, answer.code) == (403, "GW-MODEL-REFUSED")
    assert rig.upstream.seen == []
    assert rig.log()[-1]["model"] is None  # a made-up name is user text: not logged
    assert (await rig.samples())['ollama_requests_total{model="none",user_id="alice"}'] == 1


@pytest.mark.parametrize("value", [None, 1, True, ["x"], {"a": 1}])
async def test_model_of_another_type_is_refused(rig: Rig, value: object) -> None:
    answer = await rig.call("POST", "/api/chat", {**CHAT, "model": value})
    assert (answer.status, answer.code) == (400, "GW-FIELD-REFUSED")


# --- errors


async def test_errors_come_in_both_languages_and_in_the_api_s_shape(rig: Rig, start: StartGateway) -> None:
    native = (await rig.call("POST", "/api/chat", {**CHAT, "system": "x"})).json["error"]
    assert native["code"] == "GW-FIELD-REFUSED"
    assert "Champ refusé : system" in native["message"]["fr"]
    assert "Refused field: system" in native["message"]["en"]
    openai = (await rig.call("POST", "/v1/chat/completions", {**CHAT, "system": "x"})).json["error"]
    assert set(openai) == {"message", "type", "param", "code"}
    assert openai["message"].startswith("GW-FIELD-REFUSED: Champ refusé : system")
    assert "Refused field: system" in openai["message"]


async def test_error_in_one_language_when_configured(start: StartGateway) -> None:
    rig: Rig = await start(languages=["en"])
    assert set((await rig.chat(content="")).json["error"]["message"]) == {"en"}
