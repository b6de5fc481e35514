# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What changes the store or leaves the machine. Nothing here pretends: each tries, and reports the error.

On a read-only store delete, copy and create fail with the file system's words; on a writable one they work
(create: another name for a model that is there). Pull and push look the registry up and try to reach it, then
say why not.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import tempfile

from ollama_standin import names
from ollama_standin.errors import ApiError, os_error_text
from ollama_standin.fields import Fields
from ollama_standin.names import Name
from ollama_standin.store import Model
from ollama_standin.web import NDJSON, PLAIN_JSON, Call, Handler

_DIAL_SECONDS = 5.0


def _named(fields: Fields, key: str) -> Name:
    name = names.parse(fields.text(key) or fields.text("name"))
    if name is None:
        raise ApiError(400, "invalid model name")
    return name


def _finish(call: Call, fields: Fields, steps: list[str], error: str | None) -> None:
    """Answer as long operations do: status lines, or with `stream: false` the last one alone."""
    if fields.flag("stream", True):
        call.stream(NDJSON)
        for step in steps:
            call.write_line({"status": step})
        if error is not None:
            call.write_line({"error": error})
    elif error is not None:
        call.json({"error": error}, 500, PLAIN_JSON)
    else:
        call.json({"status": steps[-1]}, 200, PLAIN_JSON)


def _delete(call: Call) -> None:
    fields = call.fields("DeleteRequest")
    name = _named(fields, "model")
    store = call.server.store
    try:
        model = store.load(name)
    except (OSError, ValueError):
        raise ApiError(404, f"model '{fields.text('model') or fields.text('name')}' not found") from None
    try:
        model.manifest_path.unlink()
        used = {entry["digest"] for other in store.models() for entry in other.entries()}
        for entry in model.entries():
            if entry["digest"] not in used:
                with contextlib.suppress(FileNotFoundError):
                    model.blob_path(entry["digest"]).unlink()
    except OSError as error:
        raise ApiError(500, os_error_text("remove", error)) from None
    call.answer(200, "", b"")


def _copy_manifest(model: Model, target: pathlib.Path) -> None:
    """Give a model another name; raises ApiError 500 with the operation that failed."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ApiError(500, os_error_text("mkdir", error)) from None
    try:
        shutil.copyfile(model.manifest_path, target)
    except OSError as error:
        raise ApiError(500, os_error_text("open", error)) from None


def _copy(call: Call) -> None:
    fields = call.fields("CopyRequest")
    source, target = names.parse(fields.text("source")), names.parse(fields.text("destination"))
    for name, key in ((source, "source"), (target, "destination")):
        if name is None:
            raise ApiError(400, f'{key} "{fields.text(key)}" is invalid')
    assert source is not None and target is not None
    try:
        model = call.server.store.load(source)
    except (OSError, ValueError):
        raise ApiError(404, f"model '{fields.text('source')}' not found") from None
    _copy_manifest(model, call.server.store.manifest_path(target))
    call.answer(200, "", b"")


def _create(call: Call) -> None:
    fields = call.fields("CreateRequest")
    target, origin = _named(fields, "model"), fields.text("from")
    if not origin:
        raise ApiError(400, "neither 'from' or 'files' was specified")
    if set(fields.values) - {"model", "name", "from", "stream"}:
        raise ApiError(400, "the stand-in creates from another model and nothing else")
    model = call.server.store.find(origin)
    steps: list[str] = []
    error: str | None = None
    try:
        for entry in model.manifest.get("layers") or []:
            # Ollama touches the layers it uses again, so that pruning spares them.
            os.utime(model.blob_path(entry["digest"]))
            steps.append(f"using existing layer {entry['digest']}")
        steps.append("writing manifest")
        _copy_manifest(model, call.server.store.manifest_path(target))
        steps.append("success")
    except OSError as failure:
        error = os_error_text("chtimes", failure)
    except ApiError as failure:
        error = failure.message
    _finish(call, fields, steps, error)


def _dial(host: str) -> str:
    """Try to reach a registry; the reason why not, or the stand-in's own refusal when it can be reached."""
    try:
        addresses = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    except OSError as error:
        return f"dial tcp: lookup {host}: {(error.strerror or str(error)).lower()}"
    reason = ""
    for family, kind, protocol, _rest, address in addresses:
        with socket.socket(family, kind, protocol) as attempt:
            attempt.settimeout(_DIAL_SECONDS)
            try:
                attempt.connect(address)
            except TimeoutError:
                reason = f"dial tcp {address[0]}:443: i/o timeout"
            except OSError as error:
                reason = f"dial tcp {address[0]}:443: connect: {os.strerror(error.errno or 0).lower()}"
            else:
                return "the stand-in reached the registry, and neither pulls nor pushes"
    return reason


def _pull(call: Call) -> None:
    fields = call.fields("PullRequest")
    name = _named(fields, "model")
    url = f"https://{name.host}/v2/{name.namespace}/{name.model}/manifests/{name.tag}"
    error = f'pull model manifest: Get "{url}": {_dial(name.host)}'
    _finish(call, fields, ["pulling manifest"], error)


def _push(call: Call) -> None:
    fields = call.fields("PushRequest")
    model = call.server.store.find(fields.text("model") or fields.text("name"))
    name, layer = model.name, (model.manifest.get("layers") or [model.manifest["config"]])[0]
    url = f"https://{name.host}/v2/{name.namespace}/{name.model}/blobs/{layer['digest']}"
    _finish(call, fields, ["retrieving manifest"], f'Head "{url}": {_dial(name.host)}')


def _head_blob(call: Call) -> None:
    if not call.server.store.blob_path(call.argument).is_file():
        raise ApiError(404, f'blob "{call.argument}" not found')
    call.answer(200, "", b"")


def _create_blob(call: Call) -> None:
    path = call.server.store.blob_path(call.argument)
    if path.is_file():
        call.answer(200, "", b"")
        return
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix="sha256-"):
            pass
    except OSError as error:
        raise ApiError(500, os_error_text("open", error)) from None
    raise ApiError(501, "the stand-in does not take blobs")


ROUTES: dict[tuple[str, str], Handler] = {
    ("DELETE", "/api/delete"): _delete,
    ("POST", "/api/copy"): _copy,
    ("POST", "/api/create"): _create,
    ("POST", "/api/pull"): _pull,
    ("POST", "/api/push"): _push,
    ("HEAD", "/api/blobs/:digest"): _head_blob,
    ("POST", "/api/blobs/:digest"): _create_blob,
}
