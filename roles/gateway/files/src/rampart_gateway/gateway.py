# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ASGI application: who, how often, what, then audit, then the model server, in that order."""

from __future__ import annotations

import asyncio
import contextlib
import secrets as random
import time
from collections.abc import Callable, Mapping

import orjson
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from . import answers
from .audit import AuditLog, Record
from .auth import KeyRing, Sessions, keyed_hash
from .config import Config, Secrets, User
from .errors import ErrorStyle, RefusalError, complain
from .fields import GENERATION, Plan, Route, approved_model, check_length, read_plan, route_label
from .jsonio import parse_object
from .metrics import Metrics
from .quota import Concurrency, RateLimits
from .upstream import Upstream, lines, read_bounded, wait_for_either

_JSON = "application/json; charset=utf-8"
_STREAM_TYPE = {False: "application/x-ndjson", True: "text/event-stream"}


class Exchange:
    """One request on its way: what will be audited, and how the answer goes out."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        self.headers = Headers(scope=scope)
        self.route = GENERATION.get(self.path) if self.method == "POST" else None
        self.known_route = route_label(self.method, self.path)
        self.style: ErrorStyle = "openai" if self.path.startswith("/v1/") else "native"
        self.started = time.perf_counter()
        self.record = Record("req_" + random.token_hex(8), self.known_route or "other")
        self.asked = False  # was the model server asked to generate?
        self.begun = False  # has the answer's head gone out?
        self.audited = False
        self._send = send

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the answer's head."""
        self.begun = True
        common = {
            "x-request-id": self.record.request_id,
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        }
        raw = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in {**common, **headers}.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def body(self, data: bytes, *, more: bool) -> None:
        """Send a piece of the answer."""
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def whole(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        """Send an answer in one piece."""
        await self.begin(status, {**headers, "content-length": str(len(data))})
        await self.body(b"" if self.method == "HEAD" else data, more=False)


class Gateway:
    """The application on the public socket. ``upstream`` and ``audit`` are opened by the server."""

    def __init__(self, config: Config, secrets: Secrets, upstream: Upstream, audit: AuditLog, metrics: Metrics) -> None:
        self._config = config
        self._query_hash_key = secrets.query_hash_key
        self._keys = KeyRing(secrets.hash_key, secrets.users)
        self._rates = RateLimits(config.limits)
        self._concurrency = Concurrency(config.limits)
        self._sessions = Sessions()
        self._upstream = upstream
        self._audit = audit
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            return
        if scope["path"] == "/healthz" and scope["method"] in ("GET", "HEAD"):  # liveness, nothing else
            await Response('{"status":"ok"}', media_type="application/json")(scope, receive, send)
            return
        exchange = Exchange(scope, send)
        try:
            await self._serve(exchange, receive)
        except RefusalError as refusal:
            await self._refuse(exchange, refusal)
        except asyncio.CancelledError:  # the gateway is being stopped
            with contextlib.suppress(RefusalError):
                self._close_record(exchange, RefusalError("GW-INTERNAL"))
            raise
        except Exception as error:  # noqa: BLE001  a fault of ours must end in a refusal, not in a half answer
            # No traceback: it could quote a prompt.
            complain(f"GW-INTERNAL: {type(error).__name__} in {exchange.record.request_id}")
            await self._refuse(exchange, RefusalError("GW-INTERNAL"))

    async def _serve(self, exchange: Exchange, receive: Receive) -> None:
        record = exchange.record
        user = self._keys.identify(exchange.headers.getlist("authorization"))
        record.user_id = user.id
        record.session_id = self._sessions.of(user.id, exchange.started)
        if exchange.route is not None:
            self._rates.admit(user)  # before the body is read: refused attempts count too
            plan = await self._plan(exchange, exchange.route, receive)
            await self._generate(exchange, user, plan, receive)
        elif exchange.method in ("GET", "HEAD") and exchange.path in self._lists():
            await self._list(exchange, user)
        else:
            raise RefusalError("GW-ROUTE-REFUSED", status=403 if exchange.known_route else 404)

    # --- lists ------------------------------------------------------------------------------------------

    def _lists(self) -> Mapping[str, Callable[[bytes], bytes]]:
        models = self._config.models
        return {
            "/": lambda _: b"Ollama is running",
            "/api/version": answers.version,
            "/api/tags": lambda data: answers.tags(data, models),
            "/v1/models": lambda data: answers.v1_models(data, models),
        }

    async def _list(self, exchange: Exchange, user: User) -> None:
        with self._concurrency.slot(user):
            try:
                async with asyncio.timeout(min(30, self._config.upstream_timeout_seconds)):
                    data = await self._upstream.fetch(exchange.path)
            except TimeoutError:
                raise RefusalError("GW-UPSTREAM-TIMEOUT") from None
        answer = self._lists()[exchange.path](data)
        self._close_record(exchange, None)
        kind = "text/plain; charset=utf-8" if exchange.path == "/" else _JSON
        await exchange.whole(200, answer, {"content-type": kind})

    # --- generation -------------------------------------------------------------------------------------

    async def _plan(self, exchange: Exchange, route: Route, receive: Receive) -> Plan:
        document = parse_object(await self._read_body(exchange, receive))
        record = exchange.record
        record.model = approved_model(document, self._config)
        try:
            plan = read_plan(route, document, self._config)
        except RefusalError as refusal:
            if refusal.code.name == "GW-CONTROL-TOKEN":
                record.injection_detected = True
            raise
        record.query_hash = keyed_hash(self._query_hash_key, plan.digest_input())
        record.query_length = plan.length
        check_length(plan, self._config)
        return plan

    async def _read_body(self, exchange: Exchange, receive: Receive) -> bytes:
        limit = self._config.max_body_bytes
        declared = exchange.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared[:19]) > limit:
            raise RefusalError("GW-BODY-TOO-LARGE", str(limit))
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._config.body_timeout_seconds):
                while True:
                    message: Message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RefusalError("GW-CLIENT-GONE")
                    chunk: bytes = message.get("body", b"")
                    size += len(chunk)
                    if size > limit:  # also when the length was not declared
                        raise RefusalError("GW-BODY-TOO-LARGE", str(limit))
                    chunks.append(chunk)
                    if not message.get("more_body", False):
                        return b"".join(chunks)
        except TimeoutError:
            raise RefusalError("GW-BODY-TIMEOUT") from None

    async def _generate(self, exchange: Exchange, user: User, plan: Plan, receive: Receive) -> None:
        with self._concurrency.slot(user), self._metrics.in_flight.track_inprogress():
            self._audit.write(exchange.record.started())  # no trace, no request
            exchange.asked = True
            work = asyncio.ensure_future(self._relay(exchange, plan))
            watch = asyncio.ensure_future(_disconnected(receive))
            if not await wait_for_either(work, watch):
                raise RefusalError("GW-CLIENT-GONE")
            work.result()

    async def _relay(self, exchange: Exchange, plan: Plan) -> None:
        try:
            async with asyncio.timeout(self._config.upstream_timeout_seconds):
                if plan.stream:
                    await self._relay_stream(exchange, plan)
                else:
                    await self._relay_whole(exchange, plan)
        except TimeoutError:
            raise RefusalError("GW-UPSTREAM-TIMEOUT") from None

    async def _relay_whole(self, exchange: Exchange, plan: Plan) -> None:
        async with self._upstream.generate(plan) as reader:
            data = await read_bounded(reader)
        piece = answers.rebuild(plan.route, answers.load(data))
        exchange.record.response_length = piece.length
        answer = orjson.dumps(piece.document)
        self._close_record(exchange, None)
        await exchange.whole(200, answer, {"content-type": _JSON})

    async def _relay_stream(self, exchange: Exchange, plan: Plan) -> None:
        last = b""
        async with self._upstream.generate(plan) as reader:
            async for batch in lines(reader):
                out = b""
                said = 0
                for line in batch:
                    data, length, is_last = answers.event(plan.route, line)
                    said += length
                    if is_last:
                        last = data
                        break
                    out += data
                if out:
                    await self._send_events(exchange, plan, out)
                exchange.record.response_length += said  # only now: it counts what was sent
                if last:  # kept back until the record is written
                    break
        if not last:
            raise RefusalError("GW-UPSTREAM-DOWN", "the stream ended early")
        self._close_record(exchange, None)
        await self._send_events(exchange, plan, last, more=False)

    @staticmethod
    async def _send_events(exchange: Exchange, plan: Plan, data: bytes, *, more: bool = True) -> None:
        if not exchange.begun:
            kind = _STREAM_TYPE[plan.route.openai]
            await exchange.begin(200, {"content-type": kind, "x-accel-buffering": "no"})
        await exchange.body(data, more=more)

    # --- the end of a request ---------------------------------------------------------------------------

    def _close_record(self, exchange: Exchange, refusal: RefusalError | None) -> None:
        """Write the request's audit record, once, and count it. Raises ``RefusalError`` GW-AUDIT-DOWN."""
        if exchange.audited:
            return
        exchange.audited = True
        seconds = time.perf_counter() - exchange.started
        action = "ALLOWED" if refusal is None else f"{refusal.code.action}_{refusal.code.reason}"
        status = 200 if refusal is None else refusal.status
        exchange.record.rate_limit_hit = action == "BLOCKED_RATE_LIMIT"
        finding = None if refusal is None else refusal.code.name
        try:
            self._audit.write(exchange.record.completed(action, status, finding, round(seconds * 1000)))
        except RefusalError:
            action = "FAILED_AUDIT_DOWN"
            raise
        finally:
            self._metrics.request(exchange.record.user_id, exchange.record.model, action)
            if exchange.asked:
                self._metrics.answered(seconds)

    async def _refuse(self, exchange: Exchange, refusal: RefusalError) -> None:
        try:
            self._close_record(exchange, refusal)
        except RefusalError as audit_down:
            refusal = audit_down
        if refusal.code.name == "GW-CLIENT-GONE":
            return
        body = refusal.body(exchange.style, self._config.languages)
        if exchange.begun:  # inside a stream: an error object, and no sign of a regular end
            if exchange.route is not None:
                body = answers.error_event(exchange.route, body)
            await exchange.body(body, more=False)
            return
        headers = {"content-type": _JSON}
        if refusal.retry_after is not None:
            headers["retry-after"] = str(refusal.retry_after)
        if refusal.status == 401:
            headers["www-authenticate"] = "Bearer"
        if refusal.status in (408, 413):  # the rest of the body is not read
            headers["connection"] = "close"
        await exchange.whole(refusal.status, body, headers)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
