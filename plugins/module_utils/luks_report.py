# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a host lies on dm-crypt, and how its own volume stands: the checks of row W1.

Built on the looks of `hostinfo_disks`, which preflight uses too.
"""

from __future__ import annotations

from typing import Any, Optional

from .findings import FindingError, Severity
from .hostinfo import Host
from .hostinfo_disks import Disks
from .isolation_report import NotSeenError, Report
from .luks_volume import LuksVolume

_REMEDY = "Put it on the encrypted volume (role disk_encryption), or install the host with encryption."


class DiskReport(Disks):
    """The looks of a host whose data volume is `volume` (None: nothing was named), with the PCRs that are asked for."""

    def __init__(self, host: Host, report: Report, docker_root: str = "/var/lib/docker") -> None:
        super().__init__(host, report)
        self.docker_root = docker_root

    def look(self, volume: Optional[LuksVolume] = None, pcrs: str = "") -> None:
        """Take every look; one that cannot be taken is unknown and stops no other."""
        places = {
            "disk-data-encrypted": (self.host.layout_root, Severity.HIGH),
            "disk-root-encrypted": ("/", Severity.LOW),
            "disk-docker-encrypted": (self.docker_root, Severity.MEDIUM),
        }
        for check_id, (path, severity) in places.items():
            with self.report.probe(check_id, path):
                self._place(check_id, path, severity)
        with self.report.probe("disk-swap-encrypted", "swap"):
            self._swap()
        if volume is not None:
            with self.report.probe("disk-tpm-enrolled", volume.path):
                self._tpm(volume, pcrs)

    def _place(self, check_id: str, path: str, severity: Severity) -> None:
        device = self._device_of(self._mount_of(path))
        if device is None:
            raise NotSeenError("no block device is visible behind {0}".format(path))
        holds = self._encrypted(device)
        evidence = "{0} is {1}on dm-crypt".format(path, "" if holds else "not ")
        self.report.expect(check_id, holds, evidence, "DISK-PLAIN", severity, path, _REMEDY)

    def _swap(self) -> None:
        """The look of preflight, under the name that this row knows it by."""
        look = Disks(self.host, Report())
        look.swap()
        seen = look.report.checks["host-swap-encrypted"]
        remedy = "Switch swap off, or put it on dm-crypt with a random key."
        self.report.facts["swap"] = look.report.facts["swap"]
        holds, severity = seen.status == "passed", Severity.MEDIUM
        self.report.expect("disk-swap-encrypted", holds, seen.evidence, "DISK-SWAP-PLAIN", severity, "swap", remedy)

    def _tpm(self, volume: LuksVolume, pcrs: str) -> None:
        try:
            tokens = volume.tpm_tokens()
        except FindingError as error:
            raise NotSeenError(error.finding.evidence) from error
        asked = sorted({int(item) for item in pcrs.split("+") if item.isdigit()})
        if not asked:
            self.report.not_applicable("disk-tpm-enrolled", "no PCRs are asked for")
            return
        matching = [token for token in tokens if sorted(token.pcrs) == asked]
        # With a PIN nobody can try without the person who knows it.
        opens = bool(matching) and (matching[0].pin or volume.opens_with_tpm())
        evidence = "PCRs {0}{1}".format(
            "+".join(map(str, asked)), ", with a PIN" if matching and matching[0].pin else ""
        )
        if not opens:
            evidence += ": not enrolled" if not matching else ": enrolled, and the TPM does not open the volume now"
        remedy = "Run the role with the recovery key: it enrols the TPM anew. Ask first why the PCRs changed."
        self.report.expect("disk-tpm-enrolled", opens, evidence, "DISK-TPM-STALE", Severity.MEDIUM, volume.path, remedy)


def look_at_disks(
    host: Host, volume: Optional[LuksVolume] = None, pcrs: str = "", docker_root: str = "/var/lib/docker"
) -> dict[str, Any]:
    """Return {schema, facts, findings, checks, verdict} of a host's disks."""
    report = Report("DISK-LOOK-FAILED")
    DiskReport(host, report, docker_root).look(volume, pcrs)
    return report.as_dict()
