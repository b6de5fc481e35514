# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store: manifests found by name, blobs by digest. Like Ollama, it verifies nothing when it serves."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import pathlib
import re
import time
from typing import Any

from ollama_standin import names
from ollama_standin.errors import ApiError
from ollama_standin.names import Name

LAYER = "application/vnd.ollama.image."
_DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}")
_PRUNE_AGE_SECONDS = 3600


@dataclasses.dataclass(frozen=True)
class Model:
    """A model of the store."""

    name: Name
    manifest_path: pathlib.Path
    manifest: dict[str, Any]
    digest: str  # 64 hex digits: sha256 of the manifest's bytes
    modified: float  # seconds since the epoch
    blobs: pathlib.Path

    @property
    def size(self) -> int:
        """Bytes of config and layers, as the manifest claims them."""
        return sum(int(entry["size"]) for entry in self.entries())

    def entries(self) -> list[dict[str, Any]]:
        """Config and layers."""
        return [self.manifest["config"], *(self.manifest.get("layers") or [])]

    def blob_path(self, digest: str) -> pathlib.Path:
        """Path of a blob of this store."""
        return self.blobs / digest.replace(":", "-")

    def layer(self, kind: str) -> pathlib.Path | None:
        """Path of the last layer of this kind (`model`, `template`, `params`, ...), or None."""
        found = None
        for entry in self.manifest.get("layers") or []:
            if entry["mediaType"] == LAYER + kind:
                found = self.blob_path(entry["digest"])
        return found

    def text(self, kind: str) -> str:
        """Text of a layer; empty when there is none."""
        path = self.layer(kind)
        return path.read_text(encoding="utf-8") if path is not None else ""

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """The config blob."""
        loaded: dict[str, Any] = json.loads(self.blob_path(self.manifest["config"]["digest"]).read_bytes())
        return loaded

    @functools.cached_property
    def parameters(self) -> dict[str, Any]:
        """The params layer (options by name); empty when there is none."""
        loaded: dict[str, Any] = json.loads(self.text("params") or "{}")
        return loaded


class Store:
    """A directory in Ollama's format."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.manifests = root / "manifests"
        self.blobs = root / "blobs"

    def manifest_path(self, name: Name) -> pathlib.Path:
        """Where a model's manifest lies, or would lie."""
        return self.manifests / name.path()

    def blob_path(self, digest: str) -> pathlib.Path:
        """Path of a blob by digest; raises ApiError 400 when it is not a digest."""
        if not _DIGEST.fullmatch(digest):
            raise ApiError(400, "invalid digest format")
        return self.blobs / digest.replace(":", "-")

    def load(self, name: Name) -> Model:
        """Read a model; raises FileNotFoundError when absent, ValueError when its manifest is broken."""
        path = self.manifest_path(name)
        data = path.read_bytes()
        manifest = json.loads(data)
        if not isinstance(manifest, dict) or "config" not in manifest:
            raise ValueError(f"{path}: not a manifest")
        return Model(name, path, manifest, hashlib.sha256(data).hexdigest(), path.stat().st_mtime, self.blobs)

    def models(self) -> list[Model]:
        """All readable models, the newest first; broken manifests are left out."""
        found: list[Model] = []
        for path in sorted(self.manifests.glob("*/*/*/*")):
            name = names.Name(*path.relative_to(self.manifests).parts)
            if names.parse(name.full()) is None:
                continue
            with contextlib.suppress(OSError, ValueError):
                found.append(self.load(name))
        return sorted(found, key=lambda model: -model.modified)

    def find(self, text: str, cloud_refused: bool = True) -> Model:
        """The model a request names.

        Raises ApiError: 400 for no name or a bad one, 403 for a cloud model, 404 when the store lacks it.
        """
        if not text:
            raise ApiError(400, "model is required")
        if cloud_refused and names.is_cloud(text):
            raise ApiError(403, "ollama cloud is disabled: remote model is unavailable")
        name = names.parse(text)
        if name is None:
            raise ApiError(400, "invalid model name")
        try:
            return self.load(name)
        except (FileNotFoundError, NotADirectoryError):
            raise ApiError(404, f"model '{text}' not found") from None
        except (OSError, ValueError) as error:
            raise ApiError(500, str(error)) from None

    def prune(self) -> int:
        """Remove blobs that no manifest names and that are older than an hour, as Ollama does at its start.

        Returns how many; raises OSError when one cannot be removed.
        """
        used = {entry["digest"].replace(":", "-") for model in self.models() for entry in model.entries()}
        removed = 0
        for path in sorted(self.blobs.glob("*")):
            if path.name not in used and time.time() - path.stat().st_mtime > _PRUNE_AGE_SECONDS:
                path.unlink()
                removed += 1
        return removed
