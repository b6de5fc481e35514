# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attempts to gain power: another uid, a capability, a mount, another process.

As in `attack_attempts` each returns (outcome, evidence).
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

from .attack_attempts import ERROR, REFUSED, SUCCEEDED, Parameters, Result, name_of
from .nsenter import capability_raised

CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21
PTRACE_SEIZE = 0x4206
PTRACE_DETACH = 17
# Who is seen in /proc only by somebody who shares the host's PID namespace.
HOST_PROGRAMS = frozenset(["systemd", "dockerd", "containerd", "systemd-journal", "sshd"])


def gain_root(_parameters: Parameters) -> Result:
    """Become root."""
    if os.geteuid() == 0:
        return SUCCEEDED, "runs as root already"
    try:
        os.setresuid(0, 0, 0)
    except OSError as error:
        return REFUSED, "setresuid(0): {0}".format(name_of(error.errno))
    return SUCCEEDED, "became uid 0"


def gain_capability(_parameters: Parameters) -> Result:
    """Raise a capability that leads out."""
    for number in (CAP_SYS_ADMIN, CAP_NET_ADMIN):
        if capability_raised(number):
            return SUCCEEDED, "raised capability {0}".format(number)
    return REFUSED, "capset: EPERM"


def mount(_parameters: Parameters) -> Result:
    """Mount a file system over a directory."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0:
        libc.umount2(b"/tmp", 2)
        return SUCCEEDED, "a tmpfs was mounted"
    return REFUSED, "mount: {0}".format(name_of(ctypes.get_errno()))


def host_processes(parameters: Parameters) -> Result:
    """See the processes of the host."""
    own = "unknown"
    with suppress(OSError):
        own = os.readlink("/proc/self/ns/pid")
    if own == parameters.get("host_pid_namespace"):
        return SUCCEEDED, "shares the host's PID namespace"
    count = 0
    with suppress(OSError):
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            count += 1
            with suppress(OSError, UnicodeDecodeError), open("/proc/{0}/comm".format(name), encoding="utf-8") as stream:
                program = stream.read(64).strip()
                if program in HOST_PROGRAMS:
                    return SUCCEEDED, "sees {0} as process {1}".format(program, name)
    return (REFUSED, "sees {0} processes, none of the host's".format(count)) if count else (ERROR, "/proc is empty")


def trace_process(parameters: Parameters) -> Result:
    """Begin to trace the process `victim`, which was made for this; it is let go at once."""
    victim = int(parameters.get("victim") or 0)
    if not victim:
        return ERROR, "no process was made to be attacked"
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(PTRACE_SEIZE, victim, None, None) != 0:
        return REFUSED, "ptrace of a process of the host: {0}".format(name_of(ctypes.get_errno()))
    libc.ptrace(PTRACE_DETACH, victim, None, None)
    return SUCCEEDED, "a process of the host can be traced"
