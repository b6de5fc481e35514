# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole gateway for each test: real uvicorn on Unix sockets, between an HTTP client and the stand-in server.

At the end of every test all requests that reached the stand-in are checked: each begins with the security system
prompt, whatever the test was about (row P2).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from model_stand_in import MODEL, StandIn

from rampart_gateway.auth import keyed_hash
from rampart_gateway.config import load
from rampart_gateway.server import serve

HASH_KEY = bytes(range(32))
KEYS = {"alice": "rmp_" + "a" * 43, "bob@example.org": "rmp_" + "b" * 43}
PROMPT = "Tu es un assistant de Test SARL. Refuse poliment."


@dataclass
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


@dataclass
class Rig:
    """A running gateway and everything around it."""

    directory: Path
    upstream: StandIn
    client: aiohttp.ClientSession
    metrics: aiohttp.ClientSession
    key: str = KEYS["alice"]

    async def call(
        self, method: str, path: str, body: Any = None, *, headers: Any = None, key: str | None = ""
    ) -> Answer:
        """One request. ``body``: bytes as they are, anything else as JSON. ``key`` None: without a key."""
        sent: list[tuple[str, str]] = list(headers or [])
        if key is not None:
            sent.append(("Authorization", f"Bearer {key or self.key}"))
        data = body if isinstance(body, bytes) or body is None or hasattr(body, "__aiter__") else json.dumps(body)
        async with self.client.request(method, path, data=data, headers=sent) as response:
            return Answer(response.status, response.headers.copy(), await response.text())

    async def chat(self, content: str = "Bonjour", **fields: Any) -> Answer:
        """POST /api/chat without streaming."""
        body = {"model": MODEL, "stream": False, "messages": [{"role": "user", "content": content}], **fields}
        return await self.call("POST", "/api/chat", body)

    def log_text(self) -> str:
        return (self.directory / "audit.jsonl").read_text("utf-8")

    def log(self, event: str = "request_completed") -> list[dict[str, Any]]:
        """The audit log's records of one kind."""
        records = [json.loads(line) for line in self.log_text().splitlines()]
        return [record for record in records if record["event"] == event]

    async def samples(self) -> dict[str, float]:
        """The metrics, by name with labels."""
        async with self.metrics.get("/metrics") as response:
            lines = (await response.text()).splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


def config_of(directory: Path, **changes: Any) -> dict[str, Any]:
    """A valid config.json for a test, with changes."""
    limits = {"per_hour": 1000, "per_day": 1000, "suspension_seconds": 60, **changes.pop("limits", {})}
    return {
        "version": 1,
        "socket": str(directory / "gateway.sock"),
        "metrics_socket": str(directory / "metrics.sock"),
        "upstream": str(directory / "ollama.sock"),
        "audit_log": str(directory / "audit.jsonl"),
        "models": [MODEL],
        "system_prompt": PROMPT,
        "limits": limits,
        **changes,
    }


def secrets_of(**users: Mapping[str, Any]) -> dict[str, Any]:
    """A valid secrets.json for the test's users."""
    return {
        "hash_key": HASH_KEY.hex(),
        "query_hash_key": bytes(range(32, 64)).hex(),
        "users": [
            {"id": name, "key_hash": keyed_hash(HASH_KEY, key.encode()), **users.get(name.partition("@")[0], {})}
            for name, key in KEYS.items()
        ],
    }


def write_files(directory: Path, config: dict[str, Any], secrets: dict[str, Any]) -> None:
    """Both files, as the role would place them."""
    (directory / "config.json").write_text(json.dumps(config), "utf-8")
    (directory / "secrets.json").write_text(json.dumps(secrets), "utf-8")
    (directory / "secrets.json").chmod(0o640)


def assert_prompt_first(body: dict[str, Any], prompt: str = PROMPT) -> None:
    """The body begins with the security system prompt and holds no other system text."""
    if "messages" in body:
        assert body["messages"][0] == {"role": "system", "content": prompt}
        assert all(message["role"] in ("user", "assistant") for message in body["messages"][1:])
        assert "system" not in body
    else:
        assert body["system"] == prompt
    assert not {"template", "raw", "suffix", "context", "images", "tools"} & set(body)


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until the condition holds; fail after 5 seconds."""
    for _nr in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("did not happen within 5 s")


StartGateway = Callable[..., Any]


class _Hurried:
    """asyncio as uvicorn sees it here: its polling loops (0.1 s) turn faster, which saves a minute in all."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / 50)


@pytest_asyncio.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StartGateway]:
    """``await start(limits=..., users=...)``: a rig with that configuration."""
    monkeypatch.setattr("uvicorn.server.asyncio", _Hurried())
    async with AsyncExitStack() as stack:

        async def begin(*, users: Mapping[str, Any] | None = None, upstream: bool = True, **changes: Any) -> Rig:
            write_files(tmp_path, config_of(tmp_path, **changes), secrets_of(**(users or {})))
            config, secrets = load(tmp_path)
            stand_in = StandIn(config.upstream)
            if upstream:
                await stand_in.start()
                stack.push_async_callback(stand_in.stop)
            stop, ready = asyncio.Event(), asyncio.Event()
            server = asyncio.create_task(serve(config, secrets, stop, ready))

            async def end() -> None:
                stop.set()
                await server

            stack.push_async_callback(end)
            await asyncio.wait([asyncio.ensure_future(ready.wait()), server], return_when=asyncio.FIRST_COMPLETED)
            clients = [
                await stack.enter_async_context(
                    aiohttp.ClientSession("http://gateway", connector=aiohttp.UnixConnector(str(path), limit=0))
                )
                for path in (config.socket, config.metrics_socket)
            ]
            rig = Rig(tmp_path, stand_in, clients[0], clients[1])
            stack.callback(_check_all_prompts, rig)
            return rig

        yield begin


def _check_all_prompts(rig: Rig) -> None:
    for seen in rig.upstream.generations:
        assert seen.body is not None
        assert_prompt_first(seen.body)


@pytest_asyncio.fixture
async def rig(start: StartGateway) -> Rig:
    """A gateway with generous limits."""
    running: Rig = await start()
    return running
