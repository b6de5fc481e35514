# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model server in the test's own process: Unix socket, answers recorded from a real Ollama, and planted faults."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

RECORDED = {
    entry["name"]: entry
    for entry in map(json.loads, Path(__file__).with_name("recorded.jsonl").read_text("utf-8").splitlines())
}
MODEL = "smollm2:135m-instruct-q4_1"
_WHOLE = {"/api/chat": "chat", "/api/generate": "generate", "/v1/chat/completions": "v1-chat"}
_LISTS = {"/": "root", "/api/version": "version", "/api/tags": "tags", "/v1/models": "v1-models"}


@dataclass
class Seen:
    """A request that reached the model server."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any] | None


@dataclass
class StandIn:
    """Replays recordings. ``fault`` and ``gate`` change how the next generations end."""

    socket: Path
    seen: list[Seen] = field(default_factory=list)
    fault: str = ""  # die | error-line | garbage | status | huge | error-whole | no-end
    gate: asyncio.Event | None = None  # when set, a stream pauses before its third event until it is released
    cancelled: int = 0
    extra_models: tuple[str, ...] = ("not-approved:latest",)
    _runner: web.AppRunner | None = None

    @property
    def generations(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == "POST"]

    async def start(self) -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read()) if request.method == "POST" else None
        self.seen.append(Seen(request.method, request.path, dict(request.headers), body))
        if request.method in ("GET", "HEAD") and request.path in _LISTS:
            return self._list(_LISTS[request.path])
        if body is None or request.path not in _WHOLE:
            return web.Response(status=404, text="404 page not found")
        try:
            return await self._generate(request, _WHOLE[request.path], body)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def _list(self, name: str) -> web.Response:
        text = RECORDED[name]["response"]["body"]
        if name in ("tags", "v1-models"):
            document = json.loads(text)
            entries = document["models" if name == "tags" else "data"]
            for other in self.extra_models:
                copy = dict(entries[0])
                copy.update({"name": other, "model": other} if name == "tags" else {"id": other})
                entries.append(copy)
            text = json.dumps(document)
        kind = "text/plain" if name == "root" else "application/json"
        return web.Response(text=text, content_type=kind)

    async def _generate(self, request: web.Request, name: str, body: dict[str, Any]) -> web.StreamResponse:
        if self.fault == "status":
            return web.json_response({"error": "open /models/blobs/sha256-b179: no such file"}, status=500)
        if not body.get("stream", True):
            if self.gate is not None:
                await self.gate.wait()
            if self.fault == "garbage":
                return web.Response(text="<html>", content_type="text/html")
            if self.fault == "huge":
                return web.Response(body=b" " * (9 * 2**20))
            if self.fault == "error-whole":
                return web.json_response({"error": "llama runner died in /models"})
            return web.Response(text=RECORDED[name]["response"]["body"], content_type="application/json")
        return await self._stream(request, RECORDED[name + "-stream"]["response"])

    async def _stream(self, request: web.Request, recorded: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": recorded["headers"]["Content-Type"]})
        await response.prepare(request)
        text = recorded["body"]
        separator = "\n\n" if text.startswith("data:") else "\n"
        events = [event + separator for event in text.split(separator) if event]
        for n, event in enumerate(events):
            if n == 2:
                if self.gate is not None:
                    await self.gate.wait()
                if self.fault:
                    await asyncio.sleep(0.05)  # the first two events are on their way
                if self.fault == "die" and request.transport is not None:
                    request.transport.abort()
                    return response
                if self.fault == "error-line":
                    prefix = "data: " if separator == "\n\n" else ""
                    event = prefix + '{"error":"secret path"}' + separator
                if self.fault == "garbage":
                    event = "<html>" + separator
                if self.fault == "no-end":
                    return response
            half = len(event) // 2  # an event may arrive in pieces
            await response.write(event[:half].encode())
            await response.write(event[half:].encode())
        await response.write_eof()
        return response
