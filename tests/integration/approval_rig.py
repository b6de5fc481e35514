# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys, a registry and repositories for the tests of approvals: real ssh-keygen, git and TLS, no laboratory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import trustme

NAMESPACE = "rampart-approval@v1"

# Section 2D of the guide as its text has it: copied from print, the keys have lost their indentation.
GUIDE_AS_PRINTED = """\
# models_registry.yaml
models:
- name: mistral-7b-instruct
version: v0.3-q4_K_M
sha256: abcd1234efgh5678...
source: registry.ollama.ai
verified_date: 2025-11-09
verified_by: security_team@company.com
risk_level: LOW
approved_uses:
- internal_chatbot
- document_analysis
prohibited_uses:
- customer_data_processing
- external_api
"""
# The same, as it is meant.
GUIDE = """\
# models_registry.yaml
models:
  - name: mistral-7b-instruct
    version: v0.3-q4_K_M
    sha256: abcd1234efgh5678...
    source: registry.ollama.ai
    verified_date: 2025-11-09
    verified_by: security_team@company.com
    risk_level: LOW
    approved_uses:
      - internal_chatbot
      - document_analysis
    prohibited_uses:
      - customer_data_processing
      - external_api
"""


def run(*command: str, data: bytes = b"", env: dict[str, str] | None = None, cwd: Path | None = None) -> bytes:
    """Run a program that must succeed; return its output."""
    done = subprocess.run(command, input=data, capture_output=True, check=False, env=env, cwd=cwd, timeout=60)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


class Keys:
    """SSH keys by name, made when first asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)

    def path(self, name: str, passphrase: str = "", kind: str = "ed25519") -> Path:
        path = self.directory / name
        if not path.exists():
            run("ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", name, "-f", str(path))
        return path

    def public(self, name: str) -> str:
        """`type base64`, as a line of allowed_signers has it."""
        return " ".join(self.path(name).with_suffix(".pub").read_text().split()[:2])

    def line(self, principals: str, name: str, options: str = "") -> str:
        return " ".join(part for part in (principals, options, self.public(name)) if part) + "\n"

    def sign(self, data: bytes, name: str, namespace: str = NAMESPACE) -> str:
        return run("ssh-keygen", "-Y", "sign", "-n", namespace, "-f", str(self.path(name)), data=data).decode()

    def certificate(self, name: str, authority: str) -> str:
        """`type base64` of a certificate of one key by another."""
        public = self.path(name).with_suffix(".pub")
        run("ssh-keygen", "-q", "-s", str(self.path(authority)), "-I", name, "-n", name, str(public))
        return " ".join(self.directory.joinpath(name + "-cert.pub").read_text().split()[:2])

    def krl(self, name: str) -> bytes:
        """A key revocation list with one key in it."""
        target = self.directory / (name + ".krl")
        run("ssh-keygen", "-k", "-f", str(target), str(self.path(name).with_suffix(".pub")))
        return target.read_bytes()

    @contextlib.contextmanager
    def agent(self, name: str) -> Iterator[dict[str, str]]:
        """Yield an environment with an agent that holds one key; the private file is gone meanwhile."""
        socket = self.directory / "agent"
        agent = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while not socket.exists():
                assert agent.poll() is None
            environment = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
            run("ssh-add", "-q", str(self.path(name)), env=environment)
            self.path(name).unlink()
            yield environment
        finally:
            agent.terminate()
            agent.wait(10)


def payload(entry: dict[str, Any]) -> bytes:
    """What is signed, written down a second time: the test does not take the code's word for it."""
    signed = {key: value for key, value in entry.items() if key != "signatures"}
    return json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


REGISTRY = "registry.ollama.ai"
CDN = "dd20bb891979d25aebc8bec07b2b3bbc.r2.cloudflarestorage.com"
CONFIG = {"model_format": "gguf", "model_family": "llama", "model_type": "7.2B", "file_type": "Q4_K_M"}


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def manifest(weights: bytes = b"weights", config: dict[str, Any] | None = None) -> bytes:
    """The raw manifest of a model with one layer of weights."""

    def blob(data: bytes, media_type: str) -> dict[str, Any]:
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": blob(json.dumps(config or CONFIG).encode(), "application/vnd.docker.container.image.v1+json"),
            "layers": [blob(weights, "application/vnd.ollama.image.model")],
        }
    ).encode()


class Registry:
    """An HTTP proxy on loopback, and behind its CONNECT a registry and its CDN under their real names.

    `manifest` is what every tag names, `config` the config blob; `answer` may be replaced: (host, path) to
    (status, headers, body).
    """

    def __init__(self, directory: Path) -> None:
        self.manifest = manifest()
        self.config = json.dumps(CONFIG).encode()
        self.asked: list[tuple[str, str]] = []
        self.answer: Callable[[str, str], tuple[int, dict[str, str], bytes]] = self.honest
        self.ca = directory / "registry-ca.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.ca))
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(REGISTRY, CDN, "elsewhere.example.org").configure_cert(self._tls)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.proxy = "http://127.0.0.1:{0}".format(self._listening.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def honest(self, host: str, path: str) -> tuple[int, dict[str, str], bytes]:
        if "/manifests/" in path:
            return 200, {"Content-Type": "text/plain"}, self.manifest
        if host == REGISTRY:
            return 307, {"Location": "https://{0}/x?y=z".format(CDN), "Content-Length": "0"}, b""
        return 200, {}, self.config

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _address = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._client, args=(client,), daemon=True).start()

    def _client(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            host = _head(client).split()[1].rsplit(":", 1)[0]
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with self._tls.wrap_socket(client, server_side=True) as tls:
                path = _head(tls).split()[1]
                self.asked.append((host, path))
                status, headers, body = self.answer(host, path)
                lines = ["HTTP/1.1 {0} X".format(status), *("{0}: {1}".format(*item) for item in headers.items())]
                tls.sendall("\r\n".join([*lines, "", ""]).encode() + body)
                tls.unwrap()


def _head(stream: socket.socket) -> str:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = stream.recv(1)
        if not byte:
            raise OSError("closed")
        head += byte
    return head.decode()


class Repository:
    """A git repository with an inventory of one host in it, committed."""

    def __init__(self, root: Path, models: str = "---\n# Approved models.\nmodels: []\n") -> None:
        self.root = root
        self.inventory = root / "inventory"
        self.file = self.inventory / "models_registry.yaml"
        self.inventory.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")
        for key, value in (("user.name", "Alice"), ("user.email", "alice@example.org"), ("commit.gpgsign", "false")):
            self.git("config", key, value)
        (self.inventory / "hosts.yml").write_text("all:\n  hosts:\n    h1:\n")
        self.file.write_text(models)
        self.git("add", ".")
        self.git("commit", "--quiet", "--message=start")

    def git(self, *arguments: str) -> str:
        # The machine's own settings of git are none of the test's.
        env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        return run("git", *arguments, cwd=self.root, env=env).decode()

    def head(self) -> str:
        return self.git("rev-parse", "HEAD").strip()

    def touched(self) -> list[str]:
        """The files that the last commit changed."""
        return self.git("show", "--name-only", "--format=", "HEAD").split()
