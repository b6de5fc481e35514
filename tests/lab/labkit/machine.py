# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the laboratory needs of the machine: a few Debian packages, none of their services."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from labkit.errors import LabError
from labkit.run import run

POLICY = Path("/usr/sbin/policy-rc.d")
# Units that docker.io and its containerd would enable for the machine's next boot.
UNITS = ("docker.service", "docker.socket", "containerd.service")


def missing_packages(wanted: Sequence[str]) -> list[str]:
    """Those of `wanted` that dpkg does not have installed."""
    done = run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n", *wanted], check=False)
    installed = {line.split()[0] for line in done.stdout.decode().splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in installed]


def available_packages(wanted: Sequence[str]) -> list[str]:
    """Those of `wanted` that apt could install here."""
    done = run(["apt-cache", "--quiet", "policy", *wanted], check=False)
    found: list[str] = []
    name = ""
    for line in done.stdout.decode().splitlines():
        if not line.startswith(" "):
            name = line.rstrip(":")
        elif line.strip().startswith("Candidate:") and not line.endswith("(none)"):
            found.append(name)
    return found


@contextlib.contextmanager
def no_services(policy: Path = POLICY) -> Iterator[None]:
    """While inside, packages' maintainer scripts start no service; the machine's own policy is put back."""
    kept = policy.with_name(policy.name + ".rampart-lab")
    # A run that was killed left the original aside: that one is the truth.
    if policy.exists() and not kept.exists():
        policy.rename(kept)
    try:
        policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
        policy.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        yield
    finally:
        policy.unlink(missing_ok=True)
        if kept.exists():
            kept.rename(policy)


def install(required: Sequence[str], optional: Sequence[str]) -> list[str]:
    """Install what is missing; returns the names. Raises LAB-NOT-DEBIAN, LAB-COMMAND."""
    if shutil.which("dpkg-query") is None:
        raise LabError("LAB-NOT-DEBIAN", "dpkg is not there. Run the laboratory on Debian 12 or 13.")
    wanted = missing_packages([*required, *optional])
    if not set(wanted) & set(required):
        # What is optional comes along with a first installation only.
        return []
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-q"], environment=quiet)
    optional_missing = available_packages([name for name in wanted if name in optional])
    names = [name for name in wanted if name in required] + optional_missing
    with no_services():
        run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *names], environment=quiet, timeout=1200)
    if "docker.io" in names and shutil.which("systemctl") and Path("/run/systemd/system").is_dir():
        run(["systemctl", "disable", *UNITS], check=False)
    return names


def require_sudo(terminal: Path = Path("/dev/tty")) -> None:
    """Raises LAB-ROOT where there is no sudo, or where it would ask for a password with no terminal to ask on."""
    try:
        silent = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        raise LabError("LAB-ROOT", "namespaces need root. Run as root, or install sudo.") from None
    if silent:
        return
    try:
        os.close(os.open(terminal, os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise LabError(
            "LAB-ROOT",
            "sudo asks for a password and there is no terminal to ask on. Run as root, or from a terminal.",
        ) from None
