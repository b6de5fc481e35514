# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify a store against its approvals: every manifest, every blob, every byte (row S3).

Ollama verifies nothing when it loads or lists a model; this does. It only reads, and tells everything it
finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from .approval import Approval
from .findings import Check, Finding, FindingError, Severity, as_dicts, check
from .hashing import AnyPath, HashResult, UnsafeFileError, hash_files, read_plain
from .manifest import CONFIG_MAX_BYTES, Manifest, cloud_stub
from .store import FindingList, ModelStore, StoreContent, StoredModel

_REFETCH = "Run ollama_model again: it fetches the approved bytes and publishes them anew."


@dataclass(frozen=True)
class ModelReport:
    """One model of a store: `size` in bytes, `blobs` how many, `verified` that manifest and every blob are
    approved.
    """

    name: str
    digest: str
    size: int
    blobs: int
    verified: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the module's shape of a model."""
        return {
            "name": self.name,
            "digest": self.digest,
            "size": self.size,
            "blobs": self.blobs,
            "verified": self.verified,
        }


@dataclass
class VerifyReport:
    """What a verification found. `verdict` is "failed" from the first finding of medium severity on."""

    findings: list[Finding] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    models: list[ModelReport] = field(default_factory=list)
    bytes_hashed: int = 0

    @property
    def verdict(self) -> str:
        """Return "passed" or "failed"."""
        bad = any(finding.severity.rank >= Severity.MEDIUM.rank for finding in self.findings)
        return "failed" if bad else "passed"

    def as_result(self) -> dict[str, Any]:
        """Return the module's result, without `changed`."""
        return {
            "findings": as_dicts(self.findings),
            "checks": as_dicts(self.checks),
            "models": [model.as_dict() for model in self.models],
            "bytes_hashed": self.bytes_hashed,
            "verdict": self.verdict,
        }


def verify(
    store: ModelStore, approvals: Mapping[str, Approval], workers: int = 0, allow_absent: bool = False
) -> VerifyReport:
    """Hash every blob of `store` and hold everything against `approvals` (by name key); never raises, never
    writes.

    `workers` threads hash (0: one for each core). An approved model that is not in the store is a finding
    unless
    `allow_absent`.
    """
    content = store.look()
    report = VerifyReport()
    if not store.exists():
        report.findings = content.findings.items()
        report.checks = _checks(content.findings, False, "there is no store")
        return report
    hashed = _hash_blobs(store, content, workers, report)
    bad_models = _hold_against_approvals(content, approvals, allow_absent)
    bad_models |= _hold_blobs_against_manifests(store, content, hashed)
    _find_unreferenced(content, approvals)
    for model in content.models:
        manifest = model.manifest
        report.models.append(
            ModelReport(
                model.name.full,
                model.digest,
                manifest.size if manifest else 0,
                len(manifest.blobs) if manifest else 0,
                manifest is not None and model.path not in bad_models,
            )
        )
    report.findings = content.findings.items()
    report.checks = _checks(
        content.findings, True, "{0} blobs, {1} bytes hashed".format(len(hashed), report.bytes_hashed)
    )
    return report


def _hash_blobs(
    store: ModelStore, content: StoreContent, workers: int, report: VerifyReport
) -> dict[str, HashResult]:
    """Hash every blob file, referenced or not, the largest first so that no core idles at the end."""
    order = sorted(content.blobs, key=lambda digest: -content.blobs[digest].st_size)
    by_path: dict[AnyPath, str] = {store.blob_path(digest): digest for digest in order}
    hashed: dict[str, HashResult] = {}
    for result in hash_files(by_path, workers):
        digest = by_path[result.path]
        hashed[digest] = result
        report.bytes_hashed += result.size
    # Told in the order of their names, whatever thread was first: the same store gives the same report.
    for digest in sorted(hashed):
        _judge_hash(digest, hashed[digest], content.findings)
    return hashed


def _judge_hash(digest: str, result: HashResult, findings: FindingList) -> None:
    if result.error:
        findings.add(
            "STORE-READ-ERROR",
            Severity.HIGH,
            digest,
            "not read to its end: {0}".format(result.error),
            "Check the disk (its log and SMART values), then verify again.",
        )
    elif result.changed:
        findings.add(
            "STORE-CHANGED",
            Severity.HIGH,
            digest,
            "the file changed while it was read",
            "Find out what writes to the store, then verify again.",
        )
    elif result.digest != digest:
        findings.add(
            "STORE-DIGEST-MISMATCH",
            Severity.CRITICAL,
            digest,
            "its {0} bytes hash to {1}".format(result.size, result.digest),
            _REFETCH,
        )


def _hold_against_approvals(
    content: StoreContent, approvals: Mapping[str, Approval], allow_absent: bool
) -> set[str]:
    """Record models that are not approved, are not the approved ones, or are missing; return the bad ones'
    paths.
    """
    findings = content.findings
    bad: set[str] = set()
    seen: set[str] = set()
    for model in content.models:
        approval = approvals.get(model.name.key)
        if model.name.key in seen:
            bad.add(model.path)
            findings.add(
                "STORE-MANIFEST-INVALID",
                Severity.HIGH,
                model.path,
                "another manifest's name differs only by case",
                "Delete the one that is not approved.",
            )
        seen.add(model.name.key)
        if approval is None:
            bad.add(model.path)
            findings.add(
                "STORE-UNAPPROVED-MODEL",
                Severity.CRITICAL,
                model.name.full,
                "no approval entry; its digest is {0}".format(model.digest),
                "Have it approved, or remove it with ollama_model (state: absent).",
            )
            continue
        difference = _difference(model, approval)
        if difference:
            bad.add(model.path)
            findings.add("STORE-MANIFEST-MISMATCH", Severity.CRITICAL, model.name.full, difference, _REFETCH)
    for key in sorted(set(approvals) - seen):
        if not allow_absent:
            findings.add(
                "STORE-MODEL-ABSENT",
                Severity.HIGH,
                approvals[key].name.full,
                "approved, but not in the store",
                "Run ollama_model to fetch it, or set allow_absent.",
            )
    return bad


def _difference(model: StoredModel, approval: Approval) -> Optional[str]:
    if model.manifest is not None:
        return approval.difference(model.manifest)
    if model.digest != approval.digest:
        return "the manifest is {0}, approved is {1}".format(model.digest, approval.digest)
    return None


def _hold_blobs_against_manifests(
    store: ModelStore, content: StoreContent, hashed: Mapping[str, HashResult]
) -> set[str]:
    """Record missing blobs, wrong sizes and cloud stubs; return the paths of models that have any bad
    blob.
    """
    findings = content.findings
    bad: set[str] = set()
    missing: set[str] = set()
    sized: set[tuple[str, int]] = set()
    for model in content.models:
        if model.manifest is None:
            bad.add(model.path)
            continue
        for digest, blob in model.manifest.blobs.items():
            result = hashed.get(digest)
            if result is None:
                bad.add(model.path)
                if digest not in missing:
                    missing.add(digest)
                    findings.add(
                        "STORE-BLOB-MISSING",
                        Severity.HIGH,
                        digest,
                        "the {0} of {1} is not there".format(blob.kind, model.name.short),
                        _REFETCH,
                    )
                continue
            if result.digest != digest or result.changed or result.error:
                bad.add(model.path)
            status = content.blobs[digest]
            if status.st_size != blob.size:
                bad.add(model.path)
                if (digest, blob.size) not in sized:
                    sized.add((digest, blob.size))
                    findings.add(
                        "STORE-SIZE-MISMATCH",
                        Severity.CRITICAL,
                        digest,
                        "the {0} of {1} has {2} bytes, declared are {3}".format(
                            blob.kind, model.name.short, status.st_size, blob.size
                        ),
                        _REFETCH,
                    )
        if _judge_config(store, model.name.full, model.manifest, findings):
            bad.add(model.path)
    return bad


def _judge_config(store: ModelStore, subject: str, manifest: Manifest, findings: FindingList) -> bool:
    """Record a cloud stub, an unreadable config, or a model without weights; return whether there was one."""
    try:
        config = read_plain(store.blob_path(manifest.config.digest), CONFIG_MAX_BYTES)
        refusal = cloud_stub(config, subject)
    except FindingError as error:
        refusal = error
    except (OSError, UnsafeFileError):
        # A missing or strange config blob has its own finding already.
        return True
    if refusal is not None:
        findings.append(refusal.finding)
        return True
    if not manifest.has_weights:
        findings.add(
            "STORE-MANIFEST-INVALID",
            Severity.MEDIUM,
            subject,
            "no layer holds weights",
            "Remove it: such a model answers nothing on this host.",
        )
        return True
    return False


def _find_unreferenced(content: StoreContent, approvals: Mapping[str, Approval]) -> None:
    referenced = {digest for model in content.models if model.manifest for digest in model.manifest.blobs}
    approved = {digest for approval in approvals.values() for digest in approval.blobs}
    for digest in sorted(set(content.blobs) - referenced):
        known = digest in approved
        content.findings.add(
            "STORE-UNREFERENCED-BLOB",
            Severity.LOW if known else Severity.MEDIUM,
            digest,
            "{0} bytes that no manifest in the store names".format(content.blobs[digest].st_size),
            "Run ollama_model again: it belongs to an approved model." if known else "Delete the file.",
        )


_CHECKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "store-blobs-verified",
        (
            "STORE-DIGEST-MISMATCH",
            "STORE-SIZE-MISMATCH",
            "STORE-BLOB-MISSING",
            "STORE-READ-ERROR",
            "STORE-CHANGED",
        ),
    ),
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


def _checks(findings: FindingList, present: bool, evidence: str) -> list[Check]:
    checks = [check("store-present", present, evidence)]
    bad = FindingList()
    for finding in findings.items():
        if finding.severity.rank >= Severity.MEDIUM.rank:
            bad.append(finding)
    for check_id, codes in _CHECKS:
        count = bad.count(*codes)
        # Without a store nothing was seen, and what was not seen is never a pass.
        checks.append(
            check(
                check_id,
                None if not present else count == 0,
                evidence if not count else "{0} findings".format(count),
            )
        )
    return checks
