# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which capabilities a container host gets.

Docker's `--cap-add ALL --cap-drop SYS_RESOURCE` means different things where the machine itself lacks a capability:
20.10 asks for it anyway, 26 refuses to drop what is not there. So they are named one by one.
"""

from __future__ import annotations

from pathlib import Path

# In the kernel's order (linux/capability.h): the position is the bit.
NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
    "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP "
    "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()
# With the first systemd would raise limits beyond the machine's; clock and modules are the machine's own;
# the last three are unknown to Docker 20.10.
WITHHELD = frozenset({"SYS_RESOURCE", "SYS_TIME", "SYS_MODULE", "PERFMON", "BPF", "CHECKPOINT_RESTORE"})


def bounding_set(status: str) -> list[str]:
    """Names of the capabilities in the CapBnd line of a /proc/PID/status text."""
    line = next((line for line in status.splitlines() if line.startswith("CapBnd:")), "CapBnd: 0")
    mask = int(line.split()[1], 16)
    return [name for bit, name in enumerate(NAMES) if mask >> bit & 1]


def for_hosts(pid: int) -> list[str]:
    """Docker arguments that give a container host all that process `pid` (the engine) may give, but WITHHELD."""
    names = bounding_set(Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    return ["--cap-drop=ALL", *(f"--cap-add={name}" for name in names if name not in WITHHELD)]
