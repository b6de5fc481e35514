# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a verification of a store says: findings, checks, models, and which blobs are bad where (row S3)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Optional

from .findings import Check, Finding, Severity, as_dicts, check
from .record import Reading
from .store import FindingList, StoreContent
from .verify_layers import POLICY_CHECK, STRUCTURE_CHECK, layer_check

FULL = "full"
CHANGED = "changed"


def when(read_ns: int) -> str:
    """Return a time in nanoseconds since the epoch as UTC in ISO 8601, empty for 0."""
    if not read_ns:
        return ""
    moment = datetime.fromtimestamp(read_ns // 1_000_000_000, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class ModelReport:
    """One model of a store: `size` in bytes, `blobs` how many, `verified` that manifest and every blob are
    approved.

    `not_reread_since` is when the blob of it was read whose reading lies furthest back, 0 when all were read
    in this verification (nanoseconds since the epoch).
    """

    name: str
    digest: str
    size: int
    blobs: int
    verified: bool
    not_reread_since: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the module's shape of a model."""
        return {
            "name": self.name,
            "digest": self.digest,
            "size": self.size,
            "blobs": self.blobs,
            "verified": self.verified,
            "not_reread_since": when(self.not_reread_since),
        }


@dataclass(frozen=True)
class BadBlob:
    """A blob whose bytes are not what its name says.

    `kind` is the layer's kind, empty when no manifest names it; `models` are those that use it; `size` is what
    is there, `declared` what should be (-1: not known). `ranges` are first and last byte of what differs, as
    far as that can be known; `tensors` what lies there.
    """

    digest: str
    found: str
    kind: str
    models: tuple[str, ...]
    size: int
    declared: int = -1
    ranges: tuple[tuple[int, int], ...] = ()
    tensors: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the module's shape of a bad blob."""
        return {
            "digest": self.digest,
            "found": self.found,
            "kind": self.kind,
            "models": list(self.models),
            "size": self.size,
            "declared": self.declared,
            "ranges": [list(pair) for pair in self.ranges],
            "tensors": list(self.tensors),
        }


@dataclass
class VerifyReport:
    """What a verification found. `verdict` is "failed" from the first finding of medium severity on.

        `mode_used` is "full" when every blob was read, "changed" when `not_reread` of them were not; the oldest of
        their readings is `oldest_read` (nanoseconds since the epoch, 0: none). For what comes after: `content` is
    what the store held, `reasons` why a model (by its path) is bad, `readings` and `marks` what may be
        recorded of the blobs that were read and right, `inspected` the same of models ({digest: fingerprint of the
        policy}).
    """

    findings: list[Finding] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    models: list[ModelReport] = field(default_factory=list)
    bad_blobs: list[BadBlob] = field(default_factory=list)
    bytes_hashed: int = 0
    mode_used: str = FULL
    not_reread: int = 0
    oldest_read: int = 0
    content: StoreContent = field(default_factory=StoreContent)
    reasons: dict[str, list[Finding]] = field(default_factory=dict)
    readings: dict[str, Reading] = field(default_factory=dict)
    marks: dict[str, bytes] = field(default_factory=dict)
    inspected: dict[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Return "passed" or "failed"."""
        return verdict_of(self.findings)

    def as_result(self) -> dict[str, Any]:
        """Return the module's result, without `changed`."""
        return {
            "findings": as_dicts(self.findings),
            "checks": as_dicts(self.checks),
            "models": [model.as_dict() for model in self.models],
            "bad_blobs": [blob.as_dict() for blob in self.bad_blobs],
            "bytes_hashed": self.bytes_hashed,
            "mode_used": self.mode_used,
            "not_reread": self.not_reread,
            "oldest_read": when(self.oldest_read),
            "verdict": self.verdict,
        }


def verdict_of(findings: Iterable[Finding]) -> str:
    """Return "failed" when any finding is of medium severity or worse, else "passed"."""
    bad = any(finding.severity.rank >= Severity.MEDIUM.rank for finding in findings)
    return "failed" if bad else "passed"


_BLOBS = (
    "STORE-DIGEST-MISMATCH",
    "STORE-SIZE-MISMATCH",
    "STORE-BLOB-MISSING",
    "STORE-READ-ERROR",
    "STORE-CHANGED",
)
_CHECKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("store-blobs-verified", _BLOBS),
    (
        "store-models-approved",
        (
            "STORE-UNAPPROVED-MODEL",
            "STORE-MANIFEST-MISMATCH",
            "STORE-MANIFEST-INVALID",
            "STORE-MANIFEST-V2",
            "STORE-MODEL-ABSENT",
        ),
    ),
    ("store-no-cloud-stub", ("STORE-CLOUD-STUB",)),
    ("store-permissions", ("STORE-MODE", "STORE-OWNER", "STORE-HARDLINK")),
    (
        "store-no-unexpected-files",
        (
            "STORE-UNEXPECTED-FILE",
            "STORE-SYMLINK",
            "STORE-PARTIAL",
            "STORE-UNREFERENCED-BLOB",
            "STORE-MANIFEST-V2",
        ),
    ),
)


def checks_of(
    findings: FindingList, present: bool, evidence: str, unread: int = 0, layers: Optional[bool] = None
) -> list[Check]:
    """Return the checks for a store's findings; without a store, or for blobs not read, none passes.

    `unread` blobs stood on their record: what was not read is no pass of `store-blobs-verified`, so that a
    report cannot be made of it, and `store-blobs-unchanged` says what was seen. `layers` is whether the layers
    of every model were judged; None: nobody asked.
    """
    checks = [check("store-present", present, evidence)]
    bad = [finding for finding in findings.items() if finding.severity.rank >= Severity.MEDIUM.rank]

    def add(check_id: str, count: int, seen: bool) -> None:
        holds: Optional[bool] = count == 0
        if not present or (holds and not seen):
            holds = None
        checks.append(check(check_id, holds, "{0} findings".format(count) if count else evidence))

    for check_id, codes in _CHECKS:
        add(check_id, sum(finding.code in codes for finding in bad), not unread or check_id != _CHECKS[0][0])
    if unread:
        add("store-blobs-unchanged", sum(finding.code in _BLOBS for finding in bad), True)
    if layers is not None:
        for check_id in (STRUCTURE_CHECK, POLICY_CHECK):
            add(check_id, sum(layer_check(finding.code) == check_id for finding in bad), layers)
    return checks
