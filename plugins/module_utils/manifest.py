# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Strict reading of Ollama's manifests and config blobs (rows S1, S2, S3).

Ollama is written in Go, whose JSON decoder matches keys without regard to case and lets the last one win. A
manifest that two parsers could read differently is therefore refused: duplicate keys, case variants and
unknown keys alike.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Optional

from .findings import FindingError, Severity, clean_text, refuse

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_PREFIX = "application/vnd.ollama.image."
LAYER_KINDS = (
    "model",
    "adapter",
    "projector",
    "template",
    "prompt",
    "system",
    "params",
    "messages",
    "license",
    "json",
    "tensor",
    "draft",
    "embed",
)
WEIGHT_KINDS = ("model", "tensor")
MANIFEST_MAX_BYTES = 1024 * 1024
CONFIG_MAX_BYTES = 4 * 1024 * 1024
LAYERS_MAX = 4096
# No model is near this; it keeps sums and disk arithmetic sane on a hostile manifest (64 TiB).
BLOB_MAX_BYTES = 1 << 46

_STRICT_DIGEST = re.compile(r"\Asha256:[0-9a-f]{64}\Z")
_LAYER_NAME = re.compile(r"\A[A-Za-z0-9_][A-Za-z0-9_./-]{0,511}\Z")
_TOP_KEYS = ("schemaVersion", "mediaType", "config", "layers", "annotations")
_DESCRIPTOR_KEYS = ("mediaType", "digest", "size", "from", "name", "annotations")


@dataclass(frozen=True)
class Descriptor:
    """One blob of a manifest: `digest` is `sha256:<hex>`, `size` in bytes, `name` only for tensor and json
    layers.
    """

    media_type: str
    digest: str
    size: int
    name: str = ""

    @property
    def kind(self) -> str:
        """The layer's kind ("model", "template", ...), "config" for the config."""
        return "config" if self.media_type == CONFIG_TYPE else self.media_type[len(LAYER_PREFIX) :]

    def as_dict(self) -> dict[str, Any]:
        """Return digest, size and media_type: the shape of an approval's blob."""
        return {"digest": self.digest, "size": self.size, "media_type": self.media_type}


@dataclass(frozen=True)
class Manifest:
    """A parsed manifest: `digest` is the sha256 of its raw bytes, which is the model's digest in Ollama."""

    digest: str
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def blobs(self) -> dict[str, Descriptor]:
        """Every blob once, by digest, the config first."""
        blobs = {self.config.digest: self.config}
        for layer in self.layers:
            blobs.setdefault(layer.digest, layer)
        return blobs

    @property
    def size(self) -> int:
        """The bytes of all its blobs, each counted once."""
        return sum(blob.size for blob in self.blobs.values())

    @property
    def has_weights(self) -> bool:
        """Whether there is a layer with weights; a model without one computes nothing on this host."""
        return any(layer.kind in WEIGHT_KINDS for layer in self.layers)


def sha256_of(data: bytes) -> str:
    """Return `sha256:<hex>` of bytes in memory."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def parse_manifest(data: bytes, subject: str) -> Manifest:
    """Return the manifest in `data`; `subject` names it in errors. Raises FindingError
    (STORE-MANIFEST-INVALID).
    """
    top = _object(strict_json(data, subject, MANIFEST_MAX_BYTES), "the manifest", _TOP_KEYS, subject)
    if top.get("schemaVersion") != 2 or isinstance(top.get("schemaVersion"), bool):
        raise invalid(subject, "schemaVersion is {0!r}, not 2".format(top.get("schemaVersion")))
    if top.get("mediaType") != MANIFEST_TYPE:
        raise invalid(subject, "the mediaType {0!r} is unknown".format(clean_text(top.get("mediaType"), 100)))
    config = _descriptor(top.get("config"), "config", subject)
    if config.media_type != CONFIG_TYPE:
        raise invalid(
            subject, "the config's mediaType {0!r} is unknown".format(clean_text(config.media_type, 100))
        )
    raw_layers = top.get("layers")
    if not isinstance(raw_layers, list) or len(raw_layers) > LAYERS_MAX:
        raise invalid(subject, "layers is no list of at most {0}".format(LAYERS_MAX))
    layers = tuple(_layer(raw, number, subject) for number, raw in enumerate(raw_layers))
    _refuse_duplicates(config, layers, subject)
    return Manifest(sha256_of(data), config, layers)


def _layer(raw: Any, number: int, subject: str) -> Descriptor:
    layer = _descriptor(raw, "layer {0}".format(number), subject)
    if not layer.media_type.startswith(LAYER_PREFIX) or layer.kind not in LAYER_KINDS:
        raise invalid(
            subject,
            "layer {0}: the mediaType {1!r} is unknown".format(number, clean_text(layer.media_type, 100)),
        )
    return layer


def _refuse_duplicates(config: Descriptor, layers: tuple[Descriptor, ...], subject: str) -> None:
    seen: dict[str, list[Descriptor]] = {config.digest: [config]}
    for layer in layers:
        for other in seen.get(layer.digest, []):
            # Two tensors may hold the same numbers (all ones) under different names; nothing else repeats
            # honestly.
            honest = (
                layer.kind == other.kind == "tensor" and layer.name != other.name and layer.size == other.size
            )
            if not honest:
                raise invalid(subject, "{0} is listed twice".format(layer.digest))
        seen.setdefault(layer.digest, []).append(layer)


def _descriptor(raw: Any, label: str, subject: str) -> Descriptor:
    data = _object(raw, label, _DESCRIPTOR_KEYS, subject)
    digest, size, media_type, name = (data.get(key) for key in ("digest", "size", "mediaType", "name"))
    if not isinstance(digest, str) or not _STRICT_DIGEST.match(digest):
        raise invalid(subject, "{0}: the digest {1!r} is not one".format(label, clean_text(digest, 100)))
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= BLOB_MAX_BYTES:
        raise invalid(subject, "{0}: the size {1!r} is not one".format(label, clean_text(size, 40)))
    if not isinstance(media_type, str):
        raise invalid(subject, "{0}: mediaType is no text".format(label))
    if name is not None and (not isinstance(name, str) or not _safe_layer_name(name)):
        raise invalid(subject, "{0}: the name {1!r} is not allowed".format(label, clean_text(name, 100)))
    return Descriptor(media_type, digest, size, name or "")


def _safe_layer_name(name: str) -> bool:
    return not name or (
        bool(_LAYER_NAME.match(name)) and not any(part in ("", ".", "..") for part in name.split("/"))
    )


def _object(raw: Any, label: str, keys: tuple[str, ...], subject: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise invalid(subject, "{0} is no object".format(label))
    for key in raw:
        if key not in keys:
            raise invalid(subject, "{0}: the key {1!r} is unknown".format(label, clean_text(key, 60)))
    return raw


def strict_json(data: bytes, subject: str, limit: int) -> Any:
    """Return the JSON value in `data`: UTF-8, at most `limit` bytes, no duplicate keys, no NaN, no deep
    nesting.
    """
    if len(data) > limit:
        raise invalid(subject, "longer than {0} bytes".format(limit))
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise invalid(subject, "this is not UTF-8") from error
    except RecursionError as error:
        raise invalid(subject, "nested too deeply") from error
    except ValueError as error:
        raise invalid(subject, clean_text(error, 150)) from error


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    folded = set()
    for key, value in pairs:
        if key.casefold() in folded:
            raise ValueError("the key {0!r} is there twice".format(clean_text(key, 60)))
        folded.add(key.casefold())
        data[key] = value
    return data


def _no_constant(text: str) -> Any:
    raise ValueError("{0} is no JSON number".format(text))


def invalid(subject: str, why: str) -> FindingError:
    """Return the refusal of a manifest or config."""
    return refuse(
        "STORE-MANIFEST-INVALID",
        subject,
        why,
        "Remove the model (state: absent) and fetch it again from an approved source.",
    )


def cloud_stub(config: bytes, subject: str) -> Optional[FindingError]:
    """Return the refusal when a config blob sends prompts to another machine (`remote_host`), else None.

    Raises FindingError (STORE-MANIFEST-INVALID) when the config cannot be read unambiguously.
    """
    data = strict_json(config, subject, CONFIG_MAX_BYTES)
    if not isinstance(data, dict):
        raise invalid(subject, "the config is no object")
    for key, value in data.items():
        if key.casefold() in ("remote_host", "remote_model") and value:
            return refuse(
                "STORE-CLOUD-STUB",
                subject,
                "its config names {0} {1}".format(key.casefold(), clean_text(value, 100)),
                "Remove it: a cloud stub sends every prompt to another machine.",
                Severity.CRITICAL,
            )
    return None
