# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server the contract is tried on: OLLAMA_URL, or one started hardened in the laboratory."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from contract_client import Client, connect_to  # noqa: E402

CHECKOUT = HERE.parents[1]
IMAGES = CHECKOUT / "tests" / "images" / "ollama"
DEFAULT_MODEL = "smollm2:135m-instruct-q4_1"
CONTAINER = "standin-contract"

# The shape in which roles/ollama runs the server; the recording was made in it, too.
HARDENED = [
    *("--network", "none", "--user", "10001:10001", "--read-only", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--pids-limit", "256", "--memory", "1g"),
    *("--tmpfs", "/tmp:noexec,nosuid,nodev"),
    *("--tmpfs", "/home/ollama:noexec,nosuid,nodev,uid=10001,gid=10001,mode=0700"),
    *("-e", "HOME=/home/ollama", "-e", "OLLAMA_HOST=127.0.0.1:11434", "-e", "OLLAMA_MODELS=/models"),
    *("-e", "OLLAMA_NOPRUNE=1", "-e", "OLLAMA_NO_CLOUD=1"),
]


@dataclasses.dataclass(frozen=True)
class Target:
    """What the suite runs against."""

    client: Client
    model: str
    hardened: bool  # the store is read-only, the cloud is off and there is no way out
    container: str | None = None  # when the suite started the server itself


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.exit(f"CONTRACT-SERVER: {' '.join(command[:4])}: {done.stderr.strip()[-400:]}. See above.", 2)
    return done.stdout


@contextlib.contextmanager
def _own_server() -> Iterator[str]:
    """Start the server in the laboratory's engine, as hardened as on a host; the URL."""
    docker_socket = CHECKOUT / ".lab" / "docker.sock"
    if "DOCKER_HOST" not in os.environ:
        if not docker_socket.exists():
            pytest.exit("CONTRACT-SERVER: no server. Set OLLAMA_URL, or start the laboratory (make up).", 2)
        os.environ["DOCKER_HOST"] = f"unix://{docker_socket}"
    cache = pathlib.Path(os.environ.get("RAMPART_CACHE") or pathlib.Path.home() / ".cache" / "rampart")
    store = cache / "contract-store"
    _run(sys.executable, str(IMAGES / "model.py"), "--store", str(store))
    built = _run(sys.executable, str(IMAGES / "build.py"), "--docker-host", os.environ["DOCKER_HOST"])
    image = json.loads(built.strip().splitlines()[-1])["id"]
    subprocess.run(["docker", "rm", "-f", CONTAINER], capture_output=True, check=False)
    _run("docker", "run", "-d", "--name", CONTAINER, *HARDENED, "-v", f"{store}:/models:ro", image)
    try:
        yield f"docker://{CONTAINER}"
    finally:
        subprocess.run(["docker", "rm", "-f", CONTAINER], capture_output=True, check=False)


@pytest.fixture(scope="session")
def target() -> Iterator[Target]:
    model = os.environ.get("OLLAMA_MODEL", DEFAULT_MODEL)
    with contextlib.ExitStack() as stack:
        url = os.environ.get("OLLAMA_URL", "")
        hardened = os.environ.get("OLLAMA_STORE_READONLY") == "1" or not url
        own = None if url else CONTAINER
        try:
            client = Client(connect_to(url or stack.enter_context(_own_server())))
        except ValueError as error:
            pytest.exit(f"CONTRACT-URL: {error}. Mend OLLAMA_URL.", 2)
        deadline = time.monotonic() + 30
        while True:
            try:
                client.ask("GET", "/")
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    pytest.exit(f"CONTRACT-SERVER: nothing answers at {url or own}: {error}. Start it first.", 2)
                time.sleep(0.1)
        yield Target(client, model, hardened, own)


@pytest.fixture(scope="session")
def client(target: Target) -> Client:
    return target.client


@pytest.fixture(scope="session")
def model(target: Target) -> str:
    return target.model


@pytest.fixture
def hardened(target: Target) -> Target:
    """Only on a server with a read-only store and no way out."""
    if not target.hardened:
        pytest.skip("the store is writable; OLLAMA_STORE_READONLY=1 adds the refusals")
    return target
