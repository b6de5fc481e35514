# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at: one container, the host it is compared with, and the common ground of its probes."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from .findings import Severity
from .isolation_report import Report
from .procfs import Mount, ProcError, ProcFS


@dataclass
class Target:
    """A container to look at. `uid` is the expected one; `mounts` maps a path inside to "ro" or "rw".

    `inspect` is the engine's answer, `pid` the first process in the numbering of the /proc that is read.
    """

    role: str
    name: str
    uid: int
    pid: int
    inspect: dict[str, Any]
    mounts: dict[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()


@dataclass
class HostView:
    """What containers are compared with.

    `namespaces` are the host's own by kind, `devices` the numbers ("0:25") of the file systems mounted on
    the host, `forbidden_groups` root's and the one that may use Docker; `apparmor` says whether this kernel
    has it, `mounts` are those of the host's first process.
    """

    namespaces: dict[str, set[str]]
    devices: frozenset[str]
    forbidden_groups: frozenset[int]
    apparmor: bool
    mounts: tuple[Mount, ...] = ()


def host_view(proc: ProcFS, docker_socket: str, sysfs: str = "/sys") -> HostView:
    """Return the host's side: namespaces of our own process, of the first one and of every dockerd."""
    pids: list[Any] = ["self", 1]
    for pid in proc.pids():
        try:
            if proc.read(pid, "comm").strip() == "dockerd":
                pids.append(pid)
        except ProcError:
            continue
    namespaces: dict[str, set[str]] = {kind: set() for kind in ("net", "pid", "ipc", "uts", "mnt")}
    for pid in pids:
        for kind, known in namespaces.items():
            try:
                known.add(proc.namespace(pid, kind))
            except ProcError:
                continue
    devices: set[str] = set()
    mounts: tuple[Mount, ...] = ()
    for pid in pids:
        try:
            seen = proc.mounts(pid)
        except ProcError:
            continue
        devices |= {mount.device for mount in seen}
        if pid == 1:
            mounts = tuple(seen)
    groups = {0}
    with suppress(OSError):
        groups.add(os.stat(docker_socket).st_gid)
    try:
        with open(os.path.join(sysfs, "module/apparmor/parameters/enabled"), encoding="ascii") as stream:
            apparmor = stream.read(4).strip() == "Y"
    except (OSError, ValueError):
        apparmor = False
    return HostView(namespaces, frozenset(devices), frozenset(groups), apparmor, mounts)


class ContainerProbes:
    """Base of the probes of one container: each records one check, named `<role>-<property>`, in the report."""

    def __init__(self, proc: ProcFS, host: HostView, target: Target, report: Report) -> None:
        self.proc = proc
        self.host = host
        self.target = target
        self.report = report
        self.facts: dict[str, Any] = {}

    def probes(self) -> dict[str, Callable[[], None]]:
        """Return {suffix of the check: the probe that records it}."""
        raise NotImplementedError

    def run(self) -> dict[str, Any]:
        """Run every probe, each for itself, and return the facts they saw."""
        for suffix, probe in self.probes().items():
            with self.report.probe(self.check(suffix), self.target.name):
                probe()
        return self.facts

    def check(self, suffix: str) -> str:
        """Return the id of this container's check."""
        return "{0}-{1}".format(self.target.role, suffix)

    def expect(self, suffix: str, holds: bool, evidence: object, code: str, severity: Severity, remedy: str) -> None:
        """Record one check of this container, and its finding when it does not hold."""
        self.report.expect(self.check(suffix), holds, evidence, code, severity, self.target.name, remedy)
