# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies inside a model's blobs: the verdict on its layers, and which tensors a range of bytes touches (rows S3,
S4).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .findings import Finding, Severity
from .gguf import read_gguf
from .gguf_policy import DEFAULT_POLICY
from .hashing import AnyPath
from .layers import INSPECTOR, check_of, inspect_model
from .store import ModelStore, StoredModel

STRUCTURE_CHECK = "store-gguf-structure"
POLICY_CHECK = "store-layer-policy"
TENSORS_MAX = 32


@dataclass(frozen=True)
class Place:
    """What ranges of a GGUF file's bytes hold: names of `tensors` (at most TENSORS_MAX), and whether the `header` is
    touched, which names every one of them.
    """

    tensors: tuple[str, ...] = ()
    header: bool = False


def tensors_at(path: AnyPath, ranges: Iterable[tuple[int, int]]) -> Place:
    """Return what lies in (first, last byte) of a file, nothing for what is no whole GGUF file; never raises."""
    file = read_gguf(path)
    if not file.complete or file.layout is None:
        return Place()
    start = file.layout.data_start
    wanted = list(ranges)
    if any(first < start for first, _last in wanted):
        # The table of tensors lies there: what it says may be what was changed.
        return Place(header=True)
    names = []
    for tensor in file.tensors:
        begin, end = start + tensor.offset, start + tensor.offset + (tensor.size or 0)
        if any(first < end and last >= begin for first, last in wanted):
            names.append(tensor.name)
            if len(names) == TENSORS_MAX:
                break
    return Place(tuple(names))


def fingerprint(policy: Mapping[str, Any]) -> str:
    """Return what two policies share that mean the same to this inspector: a verdict stands only for the policy, and
    the inspector, that it was made with.
    """
    text = json.dumps([INSPECTOR, {**DEFAULT_POLICY, **policy}], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def layer_findings(store: ModelStore, model: StoredModel, policy: Mapping[str, Any]) -> tuple[list[Finding], bool]:
    """Return what is to be said about a model's layers, and whether it stands against the model (medium and worse)."""
    findings = inspect_model(store, model, policy)
    return findings, any(finding.severity.rank >= Severity.MEDIUM.rank for finding in findings)


def layer_check(code: str) -> str:
    """Return the id of the store's check that a finding's code decides, "" for the others."""
    check_id = check_of(code)
    if not check_id:
        return ""
    return STRUCTURE_CHECK if check_id == "gguf-structure" else POLICY_CHECK
