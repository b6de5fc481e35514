# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A blob at the laboratory's stand-in registry, brought in ranges: what the tests of ranges share."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import CDN, REGISTRY, Loopback

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.progress import Gauge
from ansible_collections.rampart.ollama.plugins.module_utils.ranges import fetch_ranges
from ansible_collections.rampart.ollama.plugins.module_utils.registry import Limits, RegistryClient
from ansible_collections.rampart.ollama.plugins.module_utils.transfer import Transfer

MIB = 1024 * 1024
SIZE = 6 * MIB + 4321
DATA = random.Random(3).randbytes(SIZE)
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


def serve(directory: Path) -> Loopback:
    """A registry that has the blob, behind a proxy on a Unix socket, over real TLS."""
    made = Loopback(directory)
    made.add("test:1", b"{}", {DIGEST: DATA})
    return made


def honest(internet: Loopback) -> Loopback:
    """The same, without faults and without memory of what was asked."""
    internet.misbehave()
    internet.forget()
    internet.cut, internet.clear = (lambda: None), b""
    return internet


def limits(**changes: Any) -> Limits:
    values = {"operation_seconds": 5.0, "total_seconds": 60.0, "attempts": 3, "retry_seconds": 0.01, **changes}
    return Limits(**values)


def client(internet: Loopback, asked: Limits | None = None) -> RegistryClient:
    return RegistryClient(
        str(internet.socket_path), REGISTRY, "library/test", (CDN,), str(internet.ca_path), asked or limits()
    )


def begun(directory: Path, data: bytes = b"", size: int = SIZE, digest: str = DIGEST) -> Transfer:
    path = directory / "blob.part"
    path.write_bytes(data)
    return Transfer(digest, size, path)


def bring(internet: Loopback, started: Transfer, asked: Limits | None = None) -> Transfer:
    fetch_ranges(client(internet, asked), started, Gauge(None, started.size))
    return started


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(FindingError) as caught:
        action()
    assert caught.value.finding.remedy
    return caught.value.finding.code


def asked_ranges(internet: Loopback) -> list[str]:
    return [line["range"] for line in internet.requests() if line["name"] == CDN]


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """No thread of a fetch outlives it, and no socket or file stays open on its side."""
    before = _open_files()
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == "rampart-fetch"] == []
    deadline = time.monotonic() + 5
    # The far end, which is in this process too, closes its sides in its own time.
    while _open_files() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _open_files() <= before


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
