# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `ollama`: serve, ls, ps, --version."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import signal
import sys
import threading
from typing import Any

from ollama_standin import VERSION, settings

_USAGE = "usage: ollama serve | ls | ps | --version   (a stand-in: other commands of Ollama are not there)"


def _prepare_home(home: pathlib.Path) -> None:
    """Ollama writes its key below HOME at its first start and does not start when it cannot."""
    folder = home / ".ollama"
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    key = folder / "id_ed25519"
    if not key.exists():
        with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
            stream.write("stand-in: there is no key\n")


def _serve(options: settings.Settings) -> int:
    # Imported here: `ls` is a health command and starts every few seconds.
    from ollama_standin import native, openai, writes
    from ollama_standin.engine import Engine
    from ollama_standin.errors import os_error_text
    from ollama_standin.store import Store
    from ollama_standin.web import Server

    store = Store(options.models)
    try:
        _prepare_home(options.home)
        store.blobs.mkdir(parents=True, exist_ok=True)
        if not options.no_prune:
            print(f"total unused blobs removed: {store.prune()}", flush=True)
    except OSError as error:
        print(f"Error: {os_error_text('open', error)}", file=sys.stderr)
        return 1
    engine = Engine(options)
    try:
        server = Server(options, store, engine, {**native.ROUTES, **openai.ROUTES, **writes.ROUTES})
    except OSError as error:
        print(f"Error: listen tcp {options.host}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1

    def stop(_number: int, _frame: object) -> None:
        # shutdown() waits for serve_forever, which this thread is in.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(
        f"Listening on {options.host}:{options.port} (version {VERSION}, models in {options.models})",
        flush=True,
    )
    try:
        server.serve_forever()
    finally:
        engine.close()
        server.server_close()
    return 0


def _ask(options: settings.Settings, path: str) -> list[dict[str, Any]]:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)
    connection = http.client.HTTPConnection(host, options.port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    if response.status != 200:
        raise OSError(f"status {response.status}")
    models: list[dict[str, Any]] = json.loads(response.read())["models"]
    return models


def _size(count: int) -> str:
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"


def _table(options: settings.Settings, path: str, last: str, key: str) -> int:
    try:
        models = _ask(options, path)
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        print("Error: could not connect to ollama server, run 'ollama serve' to start it", file=sys.stderr)
        return 1
    rows = [("NAME", "ID", "SIZE", last)]
    rows += [(item["name"], item["digest"][:12], _size(item["size"]), item[key][:19]) for item in models]
    widths = [max(len(row[column]) for row in rows) + 4 for column in range(4)]
    for row in rows:
        print("".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)))
    return 0


def main(arguments: list[str]) -> int:
    """Run a command; the exit status."""
    try:
        options = settings.from_environment()
    except settings.SettingsError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if arguments == ["serve"]:
        return _serve(options)
    if arguments in (["ls"], ["list"]):
        return _table(options, "/api/tags", "MODIFIED", "modified_at")
    if arguments == ["ps"]:
        return _table(options, "/api/ps", "UNTIL", "expires_at")
    if arguments in (["--version"], ["-v"]):
        print(f"ollama version is {VERSION}")
        return 0
    print(_USAGE, file=sys.stderr)
    return 2
