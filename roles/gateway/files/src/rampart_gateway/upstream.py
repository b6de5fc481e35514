# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model server behind its Unix socket. The one place where a request to it is built.

Every generation request begins with the security system prompt because ``_body`` is the only function that
makes one, and it has no way to leave the prompt out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from .errors import RefusalError
from .fields import Plan, Route

MAX_ANSWER_BYTES = 8 * 2**20
# /v1/completions has no place for a system prompt: it is served as a chat and its answer re-shaped.
_UPSTREAM_PATH = {
    Route.CHAT: "/api/chat",
    Route.GENERATE: "/api/generate",
    Route.V1_CHAT: "/v1/chat/completions",
    Route.V1_COMPLETIONS: "/v1/chat/completions",
}
_OPENAI_NAMES = {"num_predict": "max_tokens"}


class Upstream:
    """A client of the model server. Raises ``RefusalError`` GW-UPSTREAM-DOWN or GW-UPSTREAM-ERROR."""

    def __init__(self, socket: Path, system_prompt: str, connections: int) -> None:
        self._socket = str(socket)
        self._system_prompt = system_prompt
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # No time limit here: the gateway bounds the whole exchange, waiting for a slow reader included.
        self._session = aiohttp.ClientSession(
            "http://ollama",
            connector=aiohttp.UnixConnector(self._socket, limit=self._connections),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Host": "127.0.0.1:11434", "User-Agent": "rampart-gateway"},
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def _body(self, plan: Plan) -> bytes:
        """The request body for the model server, the security system prompt first."""
        body: dict[str, Any] = {"model": plan.model, "stream": plan.stream}
        if plan.route is Route.GENERATE:
            body["system"] = self._system_prompt
            body["prompt"] = plan.messages[0][1]
        else:
            messages = [{"role": "system", "content": self._system_prompt}]
            messages += [{"role": role, "content": content} for role, content in plan.messages]
            body["messages"] = messages
        if plan.route.openai:
            body.update({_OPENAI_NAMES.get(name, name): value for name, value in plan.options.items()})
            if plan.stream and plan.include_usage:
                body["stream_options"] = {"include_usage": True}
        else:
            body["options"] = dict(plan.options)
            if plan.json_answer:
                body["format"] = "json"
        return orjson.dumps(body)

    @asynccontextmanager
    async def generate(self, plan: Plan) -> AsyncIterator[aiohttp.StreamReader]:
        """Ask for an answer; the body's reader, after a status of 200. Leaving early closes the connection,
        which makes the server stop generating.
        """
        async with self._request("POST", _UPSTREAM_PATH[plan.route], self._body(plan)) as response:
            yield response.content

    async def fetch(self, path: str) -> bytes:
        """GET one of the list routes."""
        async with self._request("GET", path, None) as response:
            return await read_bounded(response.content)

    @asynccontextmanager
    async def _request(self, method: str, path: str, body: bytes | None) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            raise RuntimeError("Upstream is used outside its context")
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            async with self._session.request(
                method, path, data=body, headers=headers, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise RefusalError("GW-UPSTREAM-ERROR", str(response.status))
                yield response
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError):
            raise RefusalError("GW-UPSTREAM-DOWN", "connection lost") from None
        except (aiohttp.ClientConnectionError, ConnectionError):
            raise RefusalError("GW-UPSTREAM-DOWN", "no connection") from None
        except aiohttp.ClientError:
            raise RefusalError("GW-UPSTREAM-ERROR", "not HTTP") from None


async def read_bounded(reader: aiohttp.StreamReader) -> bytes:
    """The whole body, at most ``MAX_ANSWER_BYTES``. Raises ``RefusalError`` GW-UPSTREAM-ERROR beyond."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in reader.iter_any():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise RefusalError("GW-UPSTREAM-ERROR", "answer too large")
        chunks.append(chunk)
    return b"".join(chunks)


async def lines(reader: aiohttp.StreamReader) -> AsyncIterator[list[bytes]]:
    """The complete lines of each piece as it arrives, without newlines; the last one may lack its own.

    Raises ``RefusalError`` GW-UPSTREAM-ERROR on a line over ``MAX_ANSWER_BYTES``.
    """
    rest = b""
    async for piece in reader.iter_any():
        *complete, rest = (rest + piece).split(b"\n")
        if len(rest) > MAX_ANSWER_BYTES:
            raise RefusalError("GW-UPSTREAM-ERROR", "line too large")
        if complete:
            yield complete
    if rest:
        yield [rest]


async def wait_for_either(work: asyncio.Task[None], other: asyncio.Task[None]) -> bool:
    """Run ``work`` unless ``other`` ends first. True if ``work`` came to its end; on return both have."""
    try:
        await asyncio.wait({work, other}, return_when=asyncio.FIRST_COMPLETED)
        finished = work.done()
    finally:
        work.cancel()
        other.cancel()
        await asyncio.gather(work, other, return_exceptions=True)
    return finished
