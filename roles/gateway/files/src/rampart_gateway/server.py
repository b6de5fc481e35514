# Copyright: (c) 2026, Rampart contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets, signals and the two uvicorn servers: the public one and the metrics one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from .audit import AuditLog
from .config import Config, Secrets
from .gateway import Gateway
from .metrics import Metrics
from .upstream import Upstream

SOCKET_MODE = 0o660


class StartError(Exception):
    """The gateway cannot start: one sentence that says what to mend."""


def listen(path: Path) -> socket.socket:
    """A listening Unix socket of mode 0660 at ``path``; its group is the (setgid) directory's.

    A stale socket is replaced; anything else at the path, or a socket that somebody serves, is left alone.
    Raises ``StartError``.
    """
    try:
        if os.path.lexists(path):
            _remove_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o777 & ~SOCKET_MODE)  # set before bind: never wider, not even for a moment
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        path.chmod(SOCKET_MODE)
        listener.listen(1024)
        listener.setblocking(False)
    except OSError as error:
        raise StartError(f"{path}: {error.strerror or error}. Check the directory and its owner.") from None
    return listener


def _remove_stale(path: Path) -> None:
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise StartError(f"{path}: exists and is not a socket. Remove it.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise StartError(f"{path}: another process serves this socket. Stop it first.")


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals to us: two of them share this process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: Callable[..., Any], **settings: Any) -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            proxy_headers=False,  # no header says who is asking: only the key does
            server_header=False,
            access_log=False,
            log_level="error",
            timeout_graceful_shutdown=10,
            **settings,
        )
    )


async def _started(server: uvicorn.Server, running: asyncio.Task[None]) -> None:
    while not server.started and not running.done():  # noqa: ASYNC110  uvicorn has an attribute, no event
        await asyncio.sleep(0.01)


async def serve(config: Config, secrets: Secrets, stop: asyncio.Event, ready: asyncio.Event) -> None:
    """Serve until ``stop`` is set. Sets ``ready`` once both sockets answer. Raises ``StartError``."""
    audit = AuditLog(config.audit_log)
    try:
        audit.open()
    except OSError as error:
        why = error.strerror or error
        raise StartError(f"{config.audit_log}: {why}. Check the log directory.") from None
    metrics = Metrics(config, secrets)
    sockets = {path: listen(path) for path in (config.socket, config.metrics_socket)}
    try:
        async with Upstream(config.upstream, config.system_prompt, config.limits.concurrency + 8) as upstream:
            gateway = Gateway(config, secrets, upstream, audit, metrics)
            servers = [
                _server(gateway, timeout_keep_alive=75, backlog=1024),
                _server(metrics.app(), timeout_keep_alive=5),
            ]
            running = [
                asyncio.create_task(server.serve(sockets=[sock]))
                for server, sock in zip(servers, sockets.values(), strict=True)
            ]
            await asyncio.gather(*(_started(*pair) for pair in zip(servers, running, strict=True)))
            ready.set()
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait([stopping, *running], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            for server in servers:
                server.should_exit = True
            await asyncio.gather(*running)
    finally:
        for path, sock in sockets.items():
            sock.close()
            path.unlink(missing_ok=True)
        audit.close()


async def run(config: Config, secrets: Secrets) -> None:
    """``serve`` until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(config, secrets, stop, asyncio.Event())
