# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a model has the size it should have: the approved one exactly, or what its parameters take (row S7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from .findings import Finding, Severity, clean_text
from .gguf_types import FILE_TYPES
from .manifest import LAYER_PREFIX, Manifest

PARAMETERS_MAX = 1 << 50

# Embeddings and output are quantised apart from the layers, less or not at all. They are at most this share of the
# parameters (small models with large vocabularies) and at most that many (the largest vocabularies known).
_APART_SHARE = 0.65
_APART_MAX = 1_500_000_000
_APART_BITS = 8.5
_APART_BITS_BY_TYPE = {"MXFP4_MOE": 16.0}
# Tokenizer, vocabulary and other metadata before the weights.
_HEADER_MAX_BYTES = 16 * 1024 * 1024


def untold(code: str, subject: str, what: str, lacking: list[str]) -> Finding:
    """Return the finding (low) that something cannot be judged, because `lacking` is not told."""
    evidence = "{0}: nothing tells {1}".format(what, ", ".join(lacking))
    return Finding(code, Severity.LOW, subject, evidence, "Have a person look at the model's page and its publisher.")


def layers_of(entry: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], str]]:
    """Return (blob, kind) of an entry's blobs; the kind is empty where the entry does not tell it."""
    blobs = entry.get("blobs")
    return [
        (blob, str(blob.get("media_type") or "").removeprefix(LAYER_PREFIX))
        for blob in (blobs if isinstance(blobs, (list, tuple)) else [])
        if isinstance(blob, Mapping)
    ]


def whole(value: Any) -> Optional[int]:
    """Return a whole number, or None for anything else (True is none)."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def expected_bytes(parameters: Any, file_type: Any, tolerance: float) -> Optional[tuple[int, int]]:
    """Return (least, most) bytes of a GGUF file with so many parameters in that file type, or None when one of
    them is not known. `file_type` is general.file_type's number or its name ("Q4_K_M").
    """
    number, count = whole(file_type), whole(parameters)
    known = FILE_TYPES.get(number) if number is not None else None
    if isinstance(file_type, str):
        known = next((kind for kind in FILE_TYPES.values() if kind.name == file_type.strip().upper()), None)
    if known is None or count is None or not 0 < count <= PARAMETERS_MAX:
        return None
    nominal = count * known.bits / 8
    extra_bits = max(0.0, _APART_BITS_BY_TYPE.get(known.name, _APART_BITS) - known.bits)
    apart = min(count * _APART_SHARE, _APART_MAX) * extra_bits / 8
    return int(nominal * (1 - tolerance)), int(nominal * (1 + tolerance) + apart) + _HEADER_MAX_BYTES


def size_indicators(
    subject: str,
    entry: Mapping[str, Any],
    info: Mapping[str, Any],
    manifest: Optional[Manifest],
    tolerance: float,
    first: bool,
) -> list[Finding]:
    """Return what is odd about a model's size: IOC-SIZE-CHANGED, IOC-SIZE-UNLIKELY or IOC-SIZE-UNKNOWN."""
    found = []
    approved, pinned, size = whole(entry.get("size")), _weights_size(entry), whole(info.get("size"))
    if approved is not None and manifest is not None and manifest.size != approved:
        found.append(_changed(subject, "{0} bytes in the manifest, {1} approved".format(manifest.size, approved)))
    if pinned is not None and size is not None and size != pinned:
        found.append(_changed(subject, "the weights have {0} bytes, approved are {1}".format(size, pinned)))
    if first or (approved is None and pinned is None):
        return found + _unlikely(subject, info, size, tolerance)
    if (approved is None or manifest is None) and (pinned is None or size is None):
        return [untold("IOC-SIZE-UNKNOWN", subject, "the approved size was held against nothing", ["the present one"])]
    return found


def _unlikely(subject: str, info: Mapping[str, Any], size: Optional[int], tolerance: float) -> list[Finding]:
    limits = expected_bytes(info.get("parameters"), info.get("file_type"), tolerance)
    if limits is None or size is None:
        lacking = [key for key in ("size", "parameters") if whole(info.get(key)) is None] or ["a known file type"]
        return [untold("IOC-SIZE-UNKNOWN", subject, "its size cannot be judged", lacking)]
    least, most = limits
    if least <= size <= most:
        return []
    evidence = "{0} bytes; {1} parameters as {2} take {3} to {4}".format(
        size, info.get("parameters"), clean_text(info.get("file_type"), 20), least, most
    )
    remedy = "Find out what else is in the file, or what is missing from it, before anyone approves it."
    return [Finding("IOC-SIZE-UNLIKELY", Severity.MEDIUM, subject, evidence, remedy)]


def _weights_size(entry: Mapping[str, Any]) -> Optional[int]:
    """Return the size of the one blob of weights that an entry pins, or None."""
    sizes = [whole(blob.get("size")) for blob, kind in layers_of(entry) if kind == "model"]
    return sizes[0] if len(sizes) == 1 else None


def _changed(subject: str, evidence: str) -> Finding:
    remedy = "Do not serve it. Compare the manifest with the approval and ask who changed which."
    return Finding("IOC-SIZE-CHANGED", Severity.HIGH, subject, evidence, remedy)
