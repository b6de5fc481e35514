# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a delivered model has to pass before it is published: its layers are judged, its files are scanned (S4, S5).

Both look at files in quarantine that nobody else can write any more, and at the blobs of this model that the store
has already: nothing says with which signatures, or whether at all, those were scanned. The publisher then copies and
hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from .findings import Finding, FindingError, Severity, refuse
from .layers import inspect_files
from .manifest import Manifest, parse_manifest
from .revocation import Revoked
from .revocation_memory import read_memory
from .scan import ScanReport, scan_files
from .scan_engine import ScanSettings
from .store import ModelStore


@dataclass
class Screening:
    """Judges one model's delivery; `policy` as in gguf_policy, `scan` None where no scanner is to be asked,
    `revocations` the host's memory of them.

    After a call `findings` holds what was seen and did not stop the model, `scanned` what the scanner read.
    """

    store: ModelStore
    subject: str
    policy: Mapping[str, Any]
    scan: Optional[ScanSettings]
    revocations: Optional[Path] = None
    findings: list[Finding] = field(default_factory=list)
    scanned: Optional[ScanReport] = None

    def __call__(self, manifest: bytes, files: Mapping[str, Path]) -> None:
        """Raise FindingError with the worst finding of medium severity or more; the others are counted in it."""
        try:
            parsed = parse_manifest(manifest, self.subject)
        except FindingError:
            # The publisher refuses it for that, and there is nothing to look at.
            return
        self._refuse_revoked(parsed)
        # Blobs that another model brought earlier are in the store already; layers are judged together with them.
        there = {digest: self.store.blob_path(digest) for digest in parsed.blobs}
        there.update(files)
        found = inspect_files(parsed, there, self.subject, self.policy)
        if self.scan is not None:
            self.scanned = scan_files(there, self.scan)
            found += self.scanned.findings
        bad = [finding for finding in found if finding.severity.rank >= Severity.MEDIUM.rank]
        if bad:
            raise FindingError(_together(bad))
        self.findings = found

    def _refuse_revoked(self, manifest: Manifest) -> None:
        """Ask the host's memory once more: a long download may have begun before somebody revoked the model."""
        if self.revocations is None:
            return
        hit = Revoked(read_memory(self.revocations)).find((manifest.digest, *manifest.blobs))
        if hit is not None:
            raise refuse(
                "APPROVAL-REVOKED",
                self.subject,
                "this host remembers its revocation",
                "Do not use it. Take the model out of those that are served.",
                Severity.CRITICAL,
            )


def _together(bad: list[Finding]) -> Finding:
    worst = max(bad, key=lambda finding: finding.severity.rank)
    if len(bad) == 1:
        return worst
    others = sorted({finding.code for finding in bad if finding is not worst})
    evidence = "{0}; and {1} more ({2})".format(
        worst.evidence.rstrip("."), len(bad) - 1, ", ".join(others) or worst.code
    )
    return Finding(worst.code, worst.severity, worst.subject, evidence, worst.remedy)
