# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide's counters, on a socket of their own. Labels are bounded: configured ids and fixed words."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router

from .config import Config, Secrets

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 13, 20, 30, 60, 120, 300)


class Metrics:
    """The registry of one gateway."""

    def __init__(self, config: Config, secrets: Secrets) -> None:
        self.registry = CollectorRegistry()
        self._users = frozenset(user.id for user in secrets.users)
        self._models = frozenset(config.models)
        self._requests = Counter(
            "ollama_requests", "Requests, refused ones included", ["user_id", "model"], registry=self.registry
        )
        self._blocked = Counter(
            "ollama_blocked_requests", "Requests refused, by reason", ["reason"], registry=self.registry
        )
        self._seconds = Histogram(
            "ollama_response_seconds",
            "Time to the end of a generated answer",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        # Declared for the guide's dashboards; it has no samples until documents come through the gateway.
        Counter(
            "ollama_rag_documents_accessed",
            "RAG documents accessed",
            ["document_category"],
            registry=self.registry,
        )
        self._failed = Counter(
            "rampart_gateway_failed_requests",
            "Allowed requests that could not be served, by reason",
            ["reason"],
            registry=self.registry,
        )
        self.in_flight = Gauge("rampart_gateway_requests_in_flight", "Generations under way", registry=self.registry)
        ProcessCollector(registry=self.registry)

    def request(self, user_id: str, model: str | None, action: str) -> None:
        """Count one finished request by its audit record's action."""
        self._requests.labels(
            user_id=user_id if user_id in self._users else "unknown",
            model=model if model in self._models else "none",
        ).inc()
        kind, _rest, reason = action.partition("_")
        if kind == "BLOCKED":
            self._blocked.labels(reason=reason.lower()).inc()
        elif kind == "FAILED":
            self._failed.labels(reason=reason.lower()).inc()

    def answered(self, seconds: float) -> None:
        """Observe the time one generated answer took."""
        self._seconds.observe(seconds)

    def app(self) -> Router:
        """The ASGI application of the metrics socket: GET /metrics and nothing else."""

        async def expose(_request: Request) -> Response:
            return Response(generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE})

        async def absent(_request: Request) -> Response:
            return PlainTextResponse("only GET /metrics\n", status_code=404)

        return Router(
            routes=[Route("/metrics", expose, methods=["GET"]), Route("/{rest:path}", absent)],
            redirect_slashes=False,
        )
