# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model of a few bytes, and a store that holds it."""

from __future__ import annotations

import hashlib
import json
import pathlib
import struct

import pytest
from ollama_standin import names
from ollama_standin.store import Store


def packed(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


@pytest.fixture
def tiny_gguf() -> bytes:
    """A header with one value of each kind that matters and one tensor of 2 x 3."""
    values = packed("general.architecture") + struct.pack("<I", 8) + packed("llama")
    values += packed("llama.context_length") + struct.pack("<II", 4, 8192)
    values += packed("llama.epsilon") + struct.pack("<If", 6, 1e-5)
    values += packed("tokens") + struct.pack("<IIQ", 9, 8, 2) + packed("a") + packed("bc")
    values += packed("kinds") + struct.pack("<IIQ", 9, 5, 2) + struct.pack("<ii", 1, 2)
    tensor = packed("weight") + struct.pack("<IQQIQ", 2, 2, 3, 3, 0)
    return b"GGUF" + struct.pack("<IQQ", 3, 1, 5) + values + tensor


@pytest.fixture
def store(tmp_path: pathlib.Path, tiny_gguf: bytes) -> Store:
    """A store with the model `tiny:1`, whose weights are `tiny_gguf`."""
    made = Store(tmp_path / "store")
    made.blobs.mkdir(parents=True, exist_ok=True)

    def put(data: bytes, kind: str) -> dict[str, str | int]:
        digest = hashlib.sha256(data).hexdigest()
        (made.blobs / f"sha256-{digest}").write_bytes(data)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    layer = "application/vnd.ollama.image."
    manifest = {
        "config": put(b'{"model_format": "gguf", "model_family": "llama"}', "config"),
        "layers": [put(tiny_gguf, layer + "model"), put(b'{"stop": ["x"]}', layer + "params")],
    }
    parsed = names.parse("tiny:1")
    assert parsed is not None
    path = made.manifest_path(parsed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(manifest), encoding="ascii")
    return made
