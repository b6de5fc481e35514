# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A store of twenty models that share blobs, and a table of what was tampered with and found.

The seed is printed; RAMPART_SEED repeats a run.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.approval import Approval, approvals_from_entries
from ansible_collections.rampart.ollama.plugins.module_utils.manifest import CONFIG_TYPE, LAYER_PREFIX, MANIFEST_TYPE
from ansible_collections.rampart.ollama.plugins.module_utils.names import parse_name
from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore

SEED = int(os.environ.get("RAMPART_SEED") or secrets.randbelow(1 << 32))
ROWS = pytest.StashKey[list[tuple[str, int, int, float]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


def pytest_report_header() -> str:
    return "RAMPART_SEED={0}".format(SEED)


@pytest.fixture
def table(request: pytest.FixtureRequest) -> list[tuple[str, int, int, float]]:
    """The rows (what was done, how often, how often found, seconds) to append to."""
    return request.config.stash[ROWS]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = config.stash[ROWS]
    if rows:
        terminalreporter.section("tampered with -> found (RAMPART_SEED={0})".format(SEED))
        for what, done, found, seconds in rows:
            terminalreporter.write_line(
                "{0:24} {1:4} times, found {2:4} times {3:6.1f} s".format(what, done, found, seconds)
            )


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class TestModel:
    """A model in the store: its name, manifest and the digests of its blobs."""

    __test__ = False

    name: str
    path: Path
    manifest: bytes
    blobs: set[str]


@dataclass
class TestStore:
    """Twenty models as the publisher leaves them, and the bytes they should have."""

    __test__ = False

    root: Path
    dice: random.Random
    models: list[TestModel] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    approvals: dict[str, Approval] = field(default_factory=dict)

    @property
    def store(self) -> ModelStore:
        return ModelStore(self.root, os.getuid(), os.getgid())

    def fill(self, count: int) -> None:
        """Make `count` models; templates and licenses are shared, and a few have the weights of another."""
        shared = [self.dice.randbytes(self.dice.randrange(1, 30_000)) for _number in range(6)]
        entries, weights = [], b""
        for number in range(count):
            if number % 5 != 4:
                weights = self.dice.randbytes(self.dice.randrange(1, 600_000))
            layers = [
                (weights, "model"),
                (self.dice.choice(shared[:3]), "template"),
                (self.dice.choice(shared[3:]), "license"),
            ]
            config = json.dumps(
                {"model_format": "gguf", "number": number, "pad": self.dice.randbytes(99).hex()}
            ).encode()
            entries.append(self._put("family{0}:{1}b".format(number % 7, number), config, layers))
        self.approvals = approvals_from_entries(entries)

    def _put(self, reference: str, config: bytes, layers: list[tuple[bytes, str]]) -> dict[str, Any]:
        def describe(data: bytes, media_type: str) -> dict[str, Any]:
            return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": describe(config, CONFIG_TYPE),
                "layers": [describe(data, LAYER_PREFIX + kind) for data, kind in layers],
            }
        ).encode()
        blobs = {digest_of(data): data for data in (config, *(data for data, _kind in layers))}
        name = parse_name(reference)
        path = self.store.manifest_path(name)
        self.write(path, manifest)
        for digest, data in blobs.items():
            self.write(self.store.blob_path(digest), data)
        self.blobs.update(blobs)
        self.models.append(TestModel(name.full, path, manifest, set(blobs)))
        return {
            "reference": reference,
            "digest": digest_of(manifest),
            "blobs": [{"digest": digest, "size": len(data)} for digest, data in blobs.items()],
        }

    def write(self, path: Path, data: bytes) -> None:
        """Write a file as the publisher leaves it, or over one that is there."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        if path.exists():
            path.chmod(0o644)
        path.write_bytes(data)
        path.chmod(0o444)

    def users(self, digest: str) -> set[str]:
        """Return the names of the models that use a blob."""
        return {model.name for model in self.models if digest in model.blobs}


@pytest.fixture
def twenty(tmp_path: Path) -> TestStore:
    """The store of twenty models, made from the seed."""
    old = os.umask(0o022)
    root = tmp_path / "store"
    root.mkdir(mode=0o755)
    made = TestStore(root, random.Random(SEED))
    made.fill(20)
    os.umask(old)
    return made
