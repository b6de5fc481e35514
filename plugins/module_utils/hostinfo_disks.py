# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host's data lies: which file systems and swap areas are on dm-crypt, and how the system disk is
partitioned.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, Optional

from .findings import Severity
from .hostinfo import Host
from .isolation_report import NotSeenError, Report
from .procfs import Mount

# A dm device may lie on another one (LVM on LUKS on RAID); more levels than this nobody builds.
LEVELS_MAX = 8


class Disks:
    """The looks at block devices."""

    def __init__(self, host: Host, report: Report) -> None:
        self.host = host
        self.report = report

    def run(self) -> None:
        """Take every look."""
        with self.report.probe("host-disk-encryption", "disks"):
            self.encryption()
        with self.report.probe("host-swap-encrypted", "swap"):
            self.swap()
        with self.report.probe("host-gpt", "system disk"):
            self.partition_table()

    def encryption(self) -> None:
        """The root and the directory of models, logs and backups lie on dm-crypt."""
        states: dict[str, Optional[bool]] = {}
        for name in ("/", self.host.layout_root, "/var/lib/docker"):
            mount = self._mount_of(name)
            device = self._device_of(mount)
            states[name] = None if device is None else self._encrypted(device)
        self.report.facts["encrypted"] = states
        plain = [name for name, state in states.items() if state is False]
        if not plain and None in states.values():
            hidden = [name for name, state in states.items() if state is None]
            raise NotSeenError("no block device is visible behind {0}".format(", ".join(hidden)))
        severity = Severity.MEDIUM if self.host.profile == "prod" else Severity.LOW
        evidence = "not encrypted: {0}".format(", ".join(plain)) if plain else "all on dm-crypt"
        remedy = "Put the data on a LUKS2 volume before models and logs are written."
        self.report.expect(
            "host-disk-encryption", not plain, evidence, "HOST-DISK-PLAIN", severity, "disks", remedy
        )  # fmt: skip

    def swap(self) -> None:
        """Swap is off, in memory (zram), or on dm-crypt."""
        lines = self.host.text("proc/swaps").splitlines()
        if not lines or not lines[0].startswith("Filename"):
            raise NotSeenError("/proc/swaps is not the kernel's")
        plain, areas = [], []
        for line in lines[1:]:
            name = line.split()[0] if line.split() else ""
            if not name:
                continue
            areas.append(name)
            if name.startswith("/dev/zram"):
                continue
            device = self._swap_device(name)
            if device is None:
                raise NotSeenError("no block device is visible behind {0}".format(name))
            if not self._encrypted(device):
                plain.append(name)
        self.report.facts["swap"] = areas
        evidence = (
            "plain swap: {0}".format(", ".join(plain)) if plain else "swap: {0}".format(", ".join(areas) or "off")
        )
        remedy = "Switch swap off, or put it on dm-crypt with a random key."
        self.report.expect(
            "host-swap-encrypted", not plain, evidence, "HOST-SWAP-PLAIN", Severity.MEDIUM, "swap", remedy
        )  # fmt: skip

    def partition_table(self) -> None:
        """The disk of the root file system has a GPT."""
        self.report.facts["gpt"] = None
        device = self._device_of(self._mount_of("/"))
        disk = None if device is None else self._disk(device)
        if disk is None:
            raise NotSeenError("no disk is visible behind /")
        try:
            with self.host.path("dev/{0}".format(disk)).open("rb") as stream:
                stream.seek(0)
                head = stream.read(4104)
        except OSError as error:
            raise NotSeenError("/dev/{0}: {1}".format(disk, error.strerror)) from error
        # The header is in the second sector: of 512 or of 4096 bytes.
        found = head[512:520] == b"EFI PART" or head[4096:4104] == b"EFI PART"
        self.report.facts["gpt"] = found
        evidence = "{0} has {1}".format(disk, "a GPT" if found else "no GPT")
        remedy = "Install the host on a disk with a GPT."
        self.report.expect("host-gpt", found, evidence, "HOST-NO-GPT", Severity.LOW, disk, remedy)

    # --- from a path to a disk ----------------------------------------------------------------------------
    def _mount_of(self, path: str) -> Mount:
        """Return the mount that a path lies on (the deepest one; of two on one point the later)."""
        best: Optional[Mount] = None
        for mount in self.host.proc.mounts("self"):
            inside = path == mount.point or path.startswith(mount.point.rstrip("/") + "/")
            if inside and (best is None or len(mount.point) >= len(best.point)):
                best = mount
        if best is None:
            raise NotSeenError("no mount holds {0}".format(path))
        return best

    def _device_of(self, mount: Mount) -> Optional[str]:
        """Return "major:minor" of the block device behind a mount, or None (overlay, tmpfs, network)."""
        if not mount.device.startswith("0:"):
            return mount.device
        # btrfs and its like have a number of their own; the device is what was mounted.
        return self._number(mount.source) if mount.source.startswith("/dev/") else None

    def _number(self, name: str) -> Optional[str]:
        try:
            found = self.host.path(name).stat()
        except OSError:
            return None
        if not stat.S_ISBLK(found.st_mode):
            return None
        return "{0}:{1}".format(os.major(found.st_rdev), os.minor(found.st_rdev))

    def _swap_device(self, name: str) -> Optional[str]:
        return self._number(name) if name.startswith("/dev/") else self._device_of(self._mount_of(name))

    def _sysfs(self, device: str) -> Path:
        path = self.host.path("sys/dev/block/{0}".format(device))
        if not path.exists():
            raise NotSeenError("{0} is not there".format(path))
        return path

    def _encrypted(self, device: str) -> bool:
        """Whether every way down from a device goes through dm-crypt. Raises NotSeenError."""
        return self._encrypted_below(self._sysfs(device), 0)

    def _encrypted_below(self, path: Path, level: int) -> bool:
        if level > LEVELS_MAX:
            raise NotSeenError("{0}: too many levels".format(path))
        try:
            if (path / "dm" / "uuid").read_text(encoding="ascii").startswith("CRYPT-"):
                return True
        except (OSError, ValueError):
            pass
        below = sorted((path / "slaves").iterdir()) if (path / "slaves").is_dir() else []
        return bool(below) and all(self._encrypted_below(item, level + 1) for item in below)

    def _disk(self, device: str) -> Optional[str]:
        """Return the name of the whole disk below a device ("vda"), following the first of each level."""
        path = self._sysfs(device)
        for _level in range(LEVELS_MAX):
            below = sorted((path / "slaves").iterdir()) if (path / "slaves").is_dir() else []
            if not below:
                break
            path = below[0]
        real: Any = path.resolve()
        return str(real.parent.name if (real / "partition").exists() else real.name) or None
