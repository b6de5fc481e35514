# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host is and what it already has: the facts and checks that preflight judges before anything is
changed.

Nothing is written. Each look is for itself: one that cannot be taken is `unknown` and stops no other.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from .engine import Engine
from .findings import Severity
from .isolation_report import NotSeenError, Report
from .procfs import ProcFS
from .ssh_peer import find_connection

# What preflight refuses to go on with, when it is at least `high`.
BLOCKING = ("HOST-OS-UNSUPPORTED", "HOST-TPM-MISSING", "HOST-MEMORY-LOW", "HOST-DISK-LOW")
SUPPORTED = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04")}
NATIVE_UNITS = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
NATIVE_PROGRAMS = ("usr/local/bin/ollama", "usr/bin/ollama", "opt/ollama/bin/ollama", "snap/bin/ollama")
NATIVE_STORES = ("usr/share/ollama/.ollama", "root/.ollama/models", "var/snap/ollama")
COMMAND_SECONDS = 20.0

Runner = Callable[[list[str]], tuple[int, str, str]]


def run_command(command: list[str]) -> tuple[int, str, str]:
    """Run a program and return (exit status, output, errors). Raises NotSeenError when it cannot run or hangs."""
    try:
        # The watch calls this too, without any module at hand.
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            command, capture_output=True, timeout=COMMAND_SECONDS, check=False, env={"PATH": _PATH, "LC_ALL": "C"}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or "no answer within {0:g} s".format(COMMAND_SECONDS)
        raise NotSeenError("{0}: {1}".format(command[0], reason)) from error
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Host:
    """Where to look and what is asked of the host. `root` is its file system, `pid` the process that is asked for."""

    root: Path = Path("/")
    proc: ProcFS = field(default_factory=ProcFS)
    engine: Engine = field(default_factory=Engine)
    run: Runner = run_command
    pid: int = field(default_factory=os.getpid)
    profile: str = "dev"
    min_memory_mb: int = 2048
    min_disk_gb: int = 5
    min_cpus: int = 2
    layout_root: str = "/srv/rampart"

    def path(self, relative: str) -> Path:
        """Return a path of the host's file system."""
        return self.root / relative.lstrip("/")

    def text(self, relative: str) -> str:
        """Return a small file's text. Raises NotSeenError."""
        try:
            with self.path(relative).open("rb") as stream:
                return stream.read(1024 * 1024).decode("utf-8", "replace")
        except OSError as error:
            raise NotSeenError("{0}: {1}".format(self.path(relative), error.strerror)) from error

    def text_or_none(self, relative: str) -> Optional[str]:
        """Return a small file's text, or None when it is not there. Raises NotSeenError for anything else."""
        return self.text(relative) if os.path.lexists(self.path(relative)) else None


class Preflight:
    """The looks at machine and operating system."""

    def __init__(self, host: Host, report: Report) -> None:
        self.host = host
        self.report = report

    def run(self) -> None:
        """Take every look."""
        looks = {
            "host-supported-os": self.system,
            "host-cpus": self.processors,
            "host-memory": self.memory,
            "host-disk": self.disk,
            "host-tpm": self.tpm,
            "host-uefi": self.uefi,
            "host-secure-boot": self.secure_boot,
            "host-no-native-ollama": self.native,
        }
        for check_id, look in looks.items():
            with self.report.probe(check_id, "host"):
                look()
        self._devices()
        self.report.facts["ssh_connection"] = find_connection(self.host.proc, self.host.pid)
        self.report.facts["virtualisation"] = self._virtualisation()
        try:
            self.report.facts["kernel"] = self.host.text("proc/sys/kernel/osrelease").strip()
        except NotSeenError:
            self.report.facts["kernel"] = None

    def system(self) -> None:
        """The operating system is one that this collection is tested on."""
        values = {}
        for line in self.host.text("etc/os-release").splitlines():
            name, equals, value = line.partition("=")
            if equals:
                values[name.strip()] = value.strip().strip("\"'")
        name, version = values.get("ID", ""), values.get("VERSION_ID", "")
        supported = version in SUPPORTED.get(name, ())
        self.report.facts["os"] = {
            "id": name, "version": version, "name": values.get("PRETTY_NAME", ""), "supported": supported
        }  # fmt: skip
        remedy = "Use Debian 12 or 13, or Ubuntu 22.04 or 24.04."
        evidence = "{0} {1}".format(name or "no ID", version or "no VERSION_ID")
        self._expect("host-supported-os", supported, evidence, "HOST-OS-UNSUPPORTED", Severity.HIGH, remedy)

    def processors(self) -> None:
        """There are enough processors."""
        count = sum(line.startswith("processor") for line in self.host.text("proc/cpuinfo").splitlines())
        if not count:
            raise NotSeenError("cpuinfo names no processor")
        self.report.facts["cpus"] = count
        remedy = "Give the host at least {0} processors.".format(self.host.min_cpus)
        holds = count >= self.host.min_cpus
        self._expect("host-cpus", holds, "{0} processors".format(count), "HOST-CPUS-LOW", Severity.MEDIUM, remedy)

    def memory(self) -> None:
        """There is enough memory."""
        line = next((line for line in self.host.text("proc/meminfo").splitlines() if line.startswith("MemTotal:")), "")
        try:
            total = int(line.split()[1]) // 1024
        except (IndexError, ValueError) as error:
            raise NotSeenError("meminfo names no MemTotal") from error
        self.report.facts["memory_mb"] = total
        needed = self.host.min_memory_mb
        remedy = "Give the host at least {0} MB of memory, or lower the demand for a smaller model.".format(needed)
        evidence = "{0} MB of {1} MB".format(total, needed)
        self._expect("host-memory", total >= needed, evidence, "HOST-MEMORY-LOW", Severity.HIGH, remedy)

    def disk(self) -> None:
        """There is enough space where models, logs and Docker's data go."""
        free = {}
        for name in (self.host.layout_root, "/var/lib/docker"):
            path = self.host.path(name)
            while not path.is_dir() and path != path.parent:
                path = path.parent
            found = os.statvfs(path)
            free[name] = found.f_bavail * found.f_frsize // 1024**3
        self.report.facts["disk_free_gb"] = free
        needed, least = self.host.min_disk_gb, min(free.values())
        evidence = ", ".join("{0}: {1} GB free".format(name, space) for name, space in free.items())
        remedy = "Free or add space: {0} GB are needed.".format(needed)
        self._expect("host-disk", least >= needed, evidence, "HOST-DISK-LOW", Severity.HIGH, remedy)

    def tpm(self) -> None:
        """There is a TPM 2.0: demanded in prod, advised elsewhere."""
        major = self.host.text_or_none("sys/class/tpm/tpm0/tpm_version_major")
        version = None if major is None else {"2": "2.0", "1": "1.2"}.get(major.strip(), major.strip())
        self.report.facts["tpm"] = version
        evidence = "no TPM" if version is None else "TPM {0}".format(version)
        severity = Severity.HIGH if self.host.profile == "prod" else Severity.LOW
        remedy = "Switch the TPM on in the firmware, or add a (virtual) TPM 2.0; prod demands it."
        self._expect("host-tpm", version == "2.0", evidence, "HOST-TPM-MISSING", severity, remedy)

    def uefi(self) -> None:
        """The machine was started by UEFI."""
        if not self.host.path("sys").is_dir():
            raise NotSeenError("/sys is not mounted")
        found = self.host.path("sys/firmware/efi").is_dir()
        self.report.facts["uefi"] = found
        evidence = "started by {0}".format("UEFI" if found else "BIOS or a container engine")
        self._expect("host-uefi", found, evidence, "HOST-NO-UEFI", Severity.LOW, "Install the host in UEFI mode.")

    def secure_boot(self) -> None:
        """Secure Boot is on."""
        self.report.facts["secure_boot"] = None
        names = sorted(self.host.path("sys/firmware/efi/efivars").glob("SecureBoot-*"))
        state = False
        if names:
            try:
                # Four bytes of attributes, then the value.
                state = names[0].read_bytes()[4:5] == b"\x01"
            except OSError as error:
                raise NotSeenError("{0}: {1}".format(names[0], error.strerror)) from error
        elif self.host.path("sys/firmware/efi").is_dir():
            raise NotSeenError("the firmware's variables are not mounted (efivarfs)")
        self.report.facts["secure_boot"] = state
        remedy = "Switch Secure Boot on in the firmware."
        evidence = "Secure Boot is {0}".format("on" if state else "off or not there")
        self._expect("host-secure-boot", state, evidence, "HOST-NO-SECURE-BOOT", Severity.LOW, remedy)

    def native(self) -> None:
        """No Ollama is installed beside the one this collection runs."""
        found = []
        for directory in NATIVE_UNITS:
            unit = self.host.path(directory) / "ollama.service"
            # Masked (a link to /dev/null) is what undoing a native service leaves behind.
            if os.path.lexists(unit) and not (unit.is_symlink() and str(unit.readlink()) == "/dev/null"):
                found.append("service {0}".format(unit))
        found += [
            "program {0}".format(self.host.path(name)) for name in NATIVE_PROGRAMS if self.host.path(name).exists()
        ]
        stores = [self.host.path(name) for name in NATIVE_STORES]
        homes = self.host.path("home")
        if homes.is_dir():
            stores += sorted(path / ".ollama" / "models" for path in homes.iterdir())
        found += ["store {0}".format(path) for path in stores if path.is_dir()]
        self.report.facts["native_ollama"] = found
        remedy = "Stop and disable it (systemctl disable --now ollama), move its models away, then run again."
        evidence = ", ".join(found) or "no service, program or store of Ollama"
        self._expect("host-no-native-ollama", not found, evidence, "HOST-NATIVE-OLLAMA", Severity.MEDIUM, remedy)

    def _devices(self) -> None:
        """Collect the accelerators: reported, never demanded (Ollama uses no NPU)."""
        gpus, npus = [], []
        vendors = {"0x10de": "nvidia", "0x1002": "amd", "0x8086": "intel"}
        for card in sorted(self.host.path("sys/class/drm").glob("card[0-9]*")):
            if "-" in card.name:
                continue  # a connector of the card
            try:
                vendor = (card / "device" / "vendor").read_text(encoding="ascii").strip()
            except (OSError, ValueError):
                continue
            gpus.append({"device": card.name, "vendor": vendors.get(vendor, vendor)})
        npus = [{"device": item.name} for item in sorted(self.host.path("sys/class/accel").glob("accel*"))]
        self.report.facts["gpus"], self.report.facts["npus"] = gpus, npus

    def _virtualisation(self) -> Optional[str]:
        try:
            return self.host.run(["systemd-detect-virt"])[1].strip() or None
        except NotSeenError:
            return None

    def _expect(self, check_id: str, holds: bool, evidence: str, code: str, severity: Severity, remedy: str) -> None:
        self.report.expect(check_id, holds, evidence, code, severity, "host", remedy)


def verdict(report: Report) -> str:
    """Return "blocked" when a finding of preflight forbids to go on, else "ready".

    What a later role puts right (Docker, the firewall, updates) never blocks; an operating system that
    could not be seen does, for nothing is known about it.
    """
    blocking = any(item.code in BLOCKING and item.severity.rank >= Severity.HIGH.rank for item in report.findings)
    unseen = report.checks.get("host-supported-os")
    return "blocked" if blocking or unseen is None or unseen.status == "unknown" else "ready"
