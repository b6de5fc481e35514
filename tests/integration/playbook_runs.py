# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running playbooks against the laboratory's hosts, and looking at those hosts from outside.

Needs the hosts of molecule's default scenario, converged (make molecule, or molecule converge).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PHASES = {
    1: "phase1_prepare",
    2: "phase2_install",
    3: "phase3_harden",
    4: "phase4_test",
    5: "phase5_production",
}
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


class Run:
    """One run of a playbook: exit status, output, and the recap's figures by host."""

    def __init__(self, *arguments: str, directory: Path = ROOT, settings: Mapping[str, str] | None = None) -> None:
        inventories = ["-i", str(ROOT / "inventories/demo"), "-i", str(ROOT / "molecule/default/inventory/hosts.yml")]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
        done = subprocess.run(
            ["ansible-playbook", *inventories, *arguments],
            cwd=directory,
            env={**environment, **(settings or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        self.status = done.returncode
        self.output = done.stdout + done.stderr
        self.changed = {match[1]: int(match[3]) for match in RECAP.finditer(done.stdout)}


def on(host: str, command: str) -> str:
    """Run a command on a host as root."""
    return subprocess.run(
        ["ssh", "-F", ".lab/ssh_config", host, "sudo", "sh", "-c", f"'{command}'"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    ).stdout


def fingerprint(host: str) -> str:
    """Everything the collection owns on a host, by name, owner, mode and time of change; not what the watch writes
    while it looks.
    """
    return on(
        host,
        "find /etc/rampart /srv/rampart/store /var/lib/rampart /etc/docker /etc/apt /etc/systemd/system "
        '-path /var/lib/rampart/watch -prune -o -type f -printf "%p %u %g %m %C@\\n" | sort; '
        'docker ps --all --no-trunc --format "{{.ID}} {{.Names}}" | sort; '
        "nft --stateless list table inet rampart",
    )
