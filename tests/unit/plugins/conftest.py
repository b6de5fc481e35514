# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models and stores made for a test: real files in Ollama's format, owned by whoever runs the test."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import shutil
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.manifest import CONFIG_TYPE, LAYER_PREFIX, MANIFEST_TYPE
from ansible_collections.rampart.ollama.plugins.module_utils.names import parse_name
from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore

REGISTRY = "registry.ollama.ai"
CDN = "cdn.example.org"


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Model:
    """A model in memory: its reference, raw manifest and blobs by digest."""

    reference: str
    manifest: bytes
    blobs: dict[str, bytes]
    config: str
    weights: str

    @property
    def digest(self) -> str:
        return sha256(self.manifest)

    def entry(self, **changes: Any) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "name": "test",
            "version": "1",
            "reference": self.reference,
            "digest": self.digest,
            "blobs": [{"digest": digest, "size": len(data)} for digest, data in self.blobs.items()],
            "source": "registry.ollama.ai",
            "verified_date": "2026-01-31",
            "verified_by": "security@example.org",
            "risk_level": "LOW",
            "approved_uses": ["tests"],
            "environments": ["dev", "demo"],
        }
        entry.update(changes)
        return entry


def descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data)}


def build(reference: str, weights: bytes, *extra: bytes, config: dict[str, Any] | None = None) -> Model:
    """Return a model of one weights layer and `extra` license layers."""
    head = json.dumps(config or {"model_format": "gguf", "file_type": "Q4_1", "about": reference}).encode()
    layers = [descriptor(weights, LAYER_PREFIX + "model")]
    layers += [descriptor(data, LAYER_PREFIX + "license") for data in extra]
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor(head, CONFIG_TYPE),
        "layers": layers,
    }
    blobs = {sha256(data): data for data in (head, weights, *extra)}
    return Model(reference, json.dumps(body).encode(), blobs, sha256(head), sha256(weights))


@dataclass
class StoreMaker:
    """A store's directory, and models put into it as the publisher leaves them."""

    root: Path
    models: list[Model] = field(default_factory=list)

    @property
    def store(self) -> ModelStore:
        return ModelStore(self.root, os.getuid(), os.getgid())

    def put(self, model: Model) -> Model:
        self._file(self.store.manifest_path(parse_name(model.reference)), model.manifest)
        for digest, data in model.blobs.items():
            if not self.blob(digest).exists():
                self._file(self.blob(digest), data)
        self.models.append(model)
        return model

    def blob(self, digest: str) -> Path:
        return self.store.blob_path(digest)

    def manifest(self, model: Model) -> Path:
        return self.store.manifest_path(parse_name(model.reference))

    def rewrite(self, path: Path, data: bytes) -> None:
        """Change a sealed file's content in place, mode and owner kept."""
        path.chmod(0o644)
        path.write_bytes(data)
        path.chmod(0o444)

    def _file(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        path.write_bytes(data)
        path.chmod(0o444)

    def tree(self) -> dict[str, tuple[int, str]]:
        """Return {relative path: (mode, content's digest)}: what a test compares before and after."""
        return {
            str(path.relative_to(self.root)): (
                path.lstat().st_mode,
                sha256(path.read_bytes()) if path.is_file() and not path.is_symlink() else "",
            )
            for path in sorted(self.root.rglob("*"))
        }


@pytest.fixture(autouse=True)
def _umask() -> Any:
    old = os.umask(0o022)
    yield
    os.umask(old)


@pytest.fixture
def model() -> Callable[..., Model]:
    """The factory of models: model(reference, weights, *licenses, config=None)."""
    return build


@pytest.fixture
def maker(tmp_path: Path) -> StoreMaker:
    """An empty store."""
    root = tmp_path / "store"
    root.mkdir(mode=0o755)
    return StoreMaker(root)


class FakeInternet:
    """A proxy on a Unix socket, and behind its CONNECT the TLS servers of a registry and its CDN.

    `answer(host, path, headers)` returns (status, headers, body) or (status, headers, body, cut), where `cut`
    closes the connection after so many bytes of the body. Hosts that are not in `hosts` are refused as Squid
    refuses them.
    """

    def __init__(self, directory: Path, hosts: tuple[str, ...] = (REGISTRY, CDN)) -> None:
        self.socket_path = directory / "egress.sock"
        self.ca_path = directory / "ca.pem"
        self.hosts = hosts
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.connected: list[str] = []
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.answer: Callable[[str, str, dict[str, str]], tuple[Any, ...]] = self.honest
        self.proxy_status = 200
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca_path))
        self._good = self._context(authority, hosts)
        self._throw_away = self._context(trustme.CA(), ("squid",))
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.socket_path))
        self._listening.listen(16)
        threading.Thread(target=self._serve, daemon=True).start()

    @staticmethod
    def _context(authority: trustme.CA, hosts: tuple[str, ...]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*hosts).configure_cert(context)
        return context

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def add(self, model: Model) -> None:
        self.manifests[model.reference.partition(":")[2]] = model.manifest
        self.blobs.update(model.blobs)

    def honest(self, host: str, path: str, headers: dict[str, str]) -> tuple[Any, ...]:
        """Answer as Ollama's registry does: manifests as they are, blobs by 307 to the CDN, which knows ranges."""
        if host == REGISTRY and "/manifests/" in path:
            data = self.manifests.get(path.rsplit("/", 1)[1])
            return (200, {"Content-Type": "text/plain"}, data) if data is not None else (404, {}, b"")
        digest = path.rsplit("/", 1)[1]
        if host == REGISTRY:
            return 307, {"Location": "https://{0}/data/{1}".format(CDN, digest), "Content-Length": "0"}, b""
        data = self.blobs.get(digest)
        return (404, {}, b"") if data is None else ranged(data, headers)

    def _serve(self) -> None:
        while True:
            try:
                client, _address = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._client, args=(client,), daemon=True).start()

    def _client(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError), client:
            host = self._read_head(client).split()[1].rsplit(":", 1)[0]
            self.connected.append(host)
            if self.proxy_status != 200:
                client.sendall("HTTP/1.1 {0} No\r\n\r\n".format(self.proxy_status).encode())
                return
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            listed = host in self.hosts
            with (self._good if listed else self._throw_away).wrap_socket(client, server_side=True) as tls:
                self._talk(tls, host, listed)

    def _talk(self, tls: ssl.SSLSocket, host: str, listed: bool) -> None:
        head = self._read_head(tls)
        if not listed:
            tls.sendall(b"HTTP/1.1 403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\nContent-Length: 0\r\n\r\n")
            return
        lines = head.split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        path = lines[0].split()[1]
        self.requests.append((host, path, headers))
        status, answered, body, *cut = self.answer(host, path, headers)
        tls.sendall("HTTP/1.1 {0} X\r\n".format(status).encode())
        tls.sendall("".join("{0}: {1}\r\n".format(*item) for item in answered.items()).encode() + b"\r\n")
        if callable(body):
            body(tls)
            return
        tls.sendall(body[: cut[0]] if cut else body)

    @staticmethod
    def _read_head(stream: socket.socket) -> str:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = stream.recv(1)
            if not byte:
                raise OSError("closed")
            head += byte
        return head.decode()


def ranged(data: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Answer a GET, or the open range of one, of `data`."""
    asked = headers.get("Range", "")
    if not asked:
        return 200, {"Content-Length": str(len(data))}, data
    start = int(asked[len("bytes=") :].rstrip("-"))
    if start >= len(data):
        return 416, {"Content-Range": "bytes */{0}".format(len(data)), "Content-Length": "0"}, b""
    part = data[start:]
    ends = "bytes {0}-{1}/{2}".format(start, len(data) - 1, len(data))
    return 206, {"Content-Length": str(len(part)), "Content-Range": ends}, part


@pytest.fixture
def internet(tmp_path: Path) -> Any:
    """A proxy's socket and the registry behind it."""
    made = FakeInternet(tmp_path)
    yield made
    made.close()


class FakeEngine:
    """Enough of a Docker Engine: starting a container calls `run(config)` -> (status, stdout, stderr)."""

    def __init__(self, directory: Path) -> None:
        self.socket_path = directory / "docker.sock"
        self.images = {"sha256:fetcher"}
        self.containers: dict[str, dict[str, Any]] = {}
        self.seen: list[str] = []
        self.created: list[dict[str, Any]] = []
        self.api = "1.41"
        self.run: Callable[[dict[str, Any]], tuple[int, str, str]] = lambda config: (0, "", "")
        self.fail: dict[str, int] = {}
        self.hang = threading.Event()
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def address_string(self) -> str:
                return "unix"

            def log_message(self, *_arguments: Any) -> None:
                return

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                status, body = fake.answer(self.command, self.path, self.rfile.read(length))
                self.send_response(status)
                self.send_header("Api-Version", fake.api)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

            def handle_error(self, *_arguments: Any) -> None:
                return

        self._server = Server(str(self.socket_path), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.hang.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        self.seen.append("{0} {1}".format(method, path))
        if path == "/_ping":
            return 200, b"OK"
        route = urlsplit(path).path.partition("/v{0}".format(self.api))[2] or path
        for text, status in self.fail.items():
            if text in "{0} {1}".format(method, route):
                return status, json.dumps({"message": "the test said so"}).encode()
        parts = route.strip("/").split("/")
        if parts[0] == "images":
            return (200, b'{"Id": "sha256:fetcher"}') if parts[1] in self.images else (404, b'{"message": "none"}')
        if route == "/containers/create":
            config = json.loads(body)
            self.created.append(config)
            name = urlsplit(path).query.partition("=")[2]
            self.containers[name] = {"Config": {"Labels": config["Labels"]}, "made_from": config}
            return 201, json.dumps({"Id": name}).encode()
        container = self.containers.get(parts[1])
        if container is None:
            return 404, b'{"message": "no such container"}'
        if method == "DELETE":
            del self.containers[parts[1]]
            return 204, b""
        if parts[2] == "start":
            container["result"] = self.run(container["made_from"])
            return 204, b""
        if parts[2] == "wait":
            if container["result"][0] is None:
                self.hang.wait(30)
            return 200, json.dumps({"StatusCode": container["result"][0]}).encode()
        if parts[2] == "logs":
            _status, out, err = container["result"]
            return 200, frame(1, out.encode()) + frame(2, err.encode())
        return 200, json.dumps({key: container[key] for key in ("Config",)}).encode()


def frame(stream: int, data: bytes) -> bytes:
    """Return one frame of the engine's log stream."""
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


@pytest.fixture
def fake_engine(tmp_path: Path) -> Any:
    """A Docker Engine that runs nothing yet."""
    made = FakeEngine(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def fetcher_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fetcher's package, assembled as its image is: the directory to put on Python's path."""
    home = Path(__file__).parents[3]
    context = home / "roles/model_store/files/image-fetcher"
    wanted = yaml.safe_load((context / "context.yml").read_text())
    target = tmp_path_factory.mktemp("fetcher")
    shutil.copytree(context / wanted["package"], target / wanted["package"])
    for name in wanted["files"]:
        shutil.copy(home / "plugins/module_utils" / name, target / wanted["package"] / name)
    return target
