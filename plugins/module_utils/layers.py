# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge every layer of a model by what it is: weights, template, system prompt, parameters, licence (rows S3, S4).

Digests say that the bytes are the approved ones; this says whether they are fit to be approved, or to be served. It
reads, and tells everything it finds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional

from .findings import Finding, Severity, clean_text
from .gguf_cursor import Noted
from .gguf_inspect import GgufReport, checked_policy, inspect_gguf
from .gguf_policy import Policy, policy_from
from .gguf_template import judge_template, judge_text
from .gguf_types import MAGIC
from .hashing import UnsafeFileError, open_plain, read_plain
from .layers_json import JsonJudge
from .layers_params import PARAMS_MAX_BYTES, judge_config, judge_messages, judge_params
from .manifest import CONFIG_MAX_BYTES, Descriptor, Manifest, sha256_of
from .store import FindingList, ModelStore, StoredModel

# Counted up with every change of what a layer is judged by, here or in the files that this one calls (gguf*.py,
# layers*.py): what an older inspector let pass is judged again, not taken from a record.
INSPECTOR = 2
LAYERS_MAX = 64
LICENSE_MAX_BYTES = 1024 * 1024
# The header of a safetensors file: some 100 bytes for each tensor in it.
TENSOR_HEADER_BYTES = 256 * 1024
_GGUF_KINDS = ("model", "draft", "adapter", "projector")
# A draft comes in either form; embeddings are how an old version kept them.
_TENSOR_KINDS = ("tensor", "draft")
_JSON_KINDS = ("json", "embed")
_REFETCH = "Do not use it: fetch the model again from its approved source, or ask its publisher."
_SUBJECT_CHARS = 200

# Which check each finding of a layer decides, by the beginning of its code: for whoever reports on a store.
CHECK_CODES: dict[str, tuple[str, ...]] = {
    "gguf-structure": ("GGUF-",),
    "gguf-policy": ("GGUF-POLICY-", "POLICY-"),
    "gguf-template": ("TEMPLATE-",),
    "layers-judged": ("LAYER-",),
}


def check_of(code: str) -> str:
    """Return the id of the check that a finding's code belongs to; "" for a code of another domain."""
    fitting = [
        (len(start), check_id) for check_id, starts in CHECK_CODES.items() for start in starts if code.startswith(start)
    ]
    return max(fitting)[1] if fitting else ""


def inspect_model(store: ModelStore, model: StoredModel, policy: Mapping[str, Any]) -> list[Finding]:
    """Judge the config and all layers of a stored model; never raises.

    `policy` is a mapping as gguf_policy.DEFAULT_POLICY (an empty one: the default). A model whose manifest could not
    be read has its refusal already, and nothing that could be judged.
    """
    if model.manifest is None:
        return []
    paths = {digest: store.blob_path(digest) for digest in model.manifest.blobs}
    return inspect_files(model.manifest, paths, model.name.full, policy)


def inspect_files(
    manifest: Manifest, paths: Mapping[str, Path], subject: str, policy: Mapping[str, Any]
) -> list[Finding]:
    """Judge the config and all layers of a manifest whose blobs lie at `paths` (by digest); never raises.

    `subject` is the model's name in findings. A blob that is not there is a finding, not a pass.
    """
    judged, broken = checked_policy(policy)
    shown = clean_text(subject, _SUBJECT_CHARS)
    # A broken policy is told, and the default one judges in its place: nothing goes unseen.
    layers = _Layers(paths, shown, judged or policy_from())
    found = [*broken]
    # Tensors may be thousands, and each is looked at in a moment; of anything else an honest model has a few.
    others = [layer for layer in manifest.layers if layer.kind != "tensor"]
    if len(others) > LAYERS_MAX:
        evidence = "{0} layers, judged are the first {1}".format(len(others), LAYERS_MAX)
        found.append(Finding("LAYER-COUNT", Severity.HIGH, shown, evidence, _REFETCH))
    tensors = [layer for layer in manifest.layers if layer.kind == "tensor"]
    for layer in [*others[:LAYERS_MAX], *tensors]:
        found += layers.judge(layer)
    found += layers.together(manifest)
    bounded = FindingList()
    for finding in found:
        bounded.append(finding)
    # What was cut short is about this model, not about a store.
    return [replace(item, subject=shown) if item.subject == "the store" else item for item in bounded.items()]


class _Layers:
    """The layers of one model: each judged by itself, then some against each other."""

    def __init__(self, paths: Mapping[str, Path], subject: str, policy: Policy) -> None:
        self._paths = paths
        self._subject = subject
        self._policy = policy
        self._reports: dict[str, list[GgufReport]] = {}
        self._json = JsonJudge(policy)
        self._texts: dict[str, tuple[int, Callable[[bytes, Noted], None]]] = {
            "template": (policy.template_bytes, self._template),
            "prompt": (policy.template_bytes, self._template),
            "system": (policy.text_bytes, self._system),
            "messages": (policy.text_bytes, lambda data, noted: judge_messages(data, policy, noted)),
            "params": (PARAMS_MAX_BYTES, lambda data, noted: judge_params(data, policy, noted)),
            "license": (LICENSE_MAX_BYTES, self._license),
        }

    def judge(self, layer: Descriptor) -> list[Finding]:
        """Return the findings of one layer."""
        noted = self._noted(layer)
        path = self._paths.get(layer.digest)
        if path is None:
            self._unreadable("it is not there", noted)
            return noted.items()
        try:
            if layer.kind in _GGUF_KINDS and not (layer.kind == "draft" and not _is_gguf(path)):
                report = inspect_gguf(path, self._policy, layer.kind, noted.subject)
                self._reports.setdefault(layer.kind, []).append(report)
                return report.findings
            if layer.kind in self._texts:
                limit, judge = self._texts[layer.kind]
                judge(read_plain(path, limit), noted)
            elif layer.kind in _JSON_KINDS:
                self._json.judge(path, noted)
            elif layer.kind in _TENSOR_KINDS:
                self._safetensors(path, noted)
            else:
                evidence = "layers of the type {0} are not known here".format(clean_text(layer.kind, 60))
                noted.add("LAYER-UNKNOWN", Severity.HIGH, evidence, _REFETCH)
        except (OSError, UnsafeFileError, ValueError) as error:
            self._unreadable(getattr(error, "strerror", None) or str(error), noted)
        return noted.items()

    def together(self, manifest: Manifest) -> list[Finding]:
        """Return the findings of the config, and of layers that do not belong together."""
        noted = self._noted(manifest.config)
        weights = next(iter(self._reports.get("model", [])), None)
        path = self._paths.get(manifest.config.digest)
        try:
            if path is None:
                self._unreadable("it is not there", noted)
            else:
                judge_config(read_plain(path, CONFIG_MAX_BYTES), weights, noted)
        except (OSError, UnsafeFileError, ValueError) as error:
            self._unreadable(getattr(error, "strerror", None) or str(error), noted)
        for adapter in self._reports.get("adapter", []):
            if weights and adapter.file.architecture != weights.file.architecture:
                evidence = "an adapter for {0} on a model of {1}".format(
                    adapter.file.architecture, weights.file.architecture
                )
                noted.add("LAYER-CONFIG-MISMATCH", Severity.MEDIUM, evidence, _REFETCH)
        return noted.items()

    def _noted(self, layer: Descriptor) -> Noted:
        return Noted("{0} {1} {2}".format(self._subject, layer.kind, layer.digest))

    def _template(self, data: bytes, noted: Noted) -> None:
        judge_template(data, sha256_of(data), "go", "the template", self._policy, noted)

    def _system(self, data: bytes, noted: Noted) -> None:
        judge_text(data, sha256_of(data), "the system prompt", self._policy, noted)

    @staticmethod
    def _license(data: bytes, noted: Noted) -> None:
        """A licence reaches no prompt: addresses belong into it, and only its form is looked at."""
        if len(data) > LICENSE_MAX_BYTES:
            evidence = "the license has more than {0} bytes".format(LICENSE_MAX_BYTES)
            noted.add("LAYER-SIZE", Severity.MEDIUM, evidence, _REFETCH)
        try:
            data[:LICENSE_MAX_BYTES].decode("utf-8")
        except UnicodeDecodeError as error:
            # Cut in the middle of a character is no fault of the text.
            if error.start < LICENSE_MAX_BYTES - 4:
                noted.add("LAYER-ENCODING", Severity.LOW, "the license is not UTF-8", _REFETCH)

    @staticmethod
    def _safetensors(path: Path, noted: Noted) -> None:
        """A tensor in safetensors form: a JSON header of a declared length, then numbers. Raises OSError."""
        descriptor = open_plain(path)
        try:
            size = os.fstat(descriptor).st_size
            length = int.from_bytes(os.pread(descriptor, 8, 0), "little")
            header = os.pread(descriptor, min(length, TENSOR_HEADER_BYTES), 8)
        finally:
            os.close(descriptor)
        why = _wrong_safetensors(size, length, header)
        if why:
            noted.add("LAYER-TENSOR", Severity.MEDIUM, why, _REFETCH)

    @staticmethod
    def _unreadable(why: str, noted: Noted) -> None:
        noted.add("LAYER-UNREADABLE", Severity.HIGH, why, "Fetch the model again, and check the disk.")


def _is_gguf(path: Path) -> bool:
    return read_plain(path, len(MAGIC))[: len(MAGIC)] == MAGIC


def _wrong_safetensors(size: int, length: int, header: bytes) -> Optional[str]:
    """Return what is wrong with the header of a safetensors file of `size` bytes."""
    if size < 8 or length > size - 8:
        return "its header of {0} bytes does not fit into {1}".format(length, size)
    if length > TENSOR_HEADER_BYTES:
        return "its header has {0} bytes, allowed are {1}".format(length, TENSOR_HEADER_BYTES)
    try:
        entries = json.loads(header.decode("utf-8"))
    except (ValueError, RecursionError):
        return "its header is no JSON"
    if not isinstance(entries, dict):
        return "its header is no object"
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
        if not isinstance(offsets, list) or [type(item) for item in offsets] != [int, int]:
            return "the entry {0} says not where its data is".format(clean_text(name, 60))
        if not 0 <= offsets[0] <= offsets[1] <= size - 8 - length:
            return "the data of {0} is not in the file".format(clean_text(name, 60))
    return None
