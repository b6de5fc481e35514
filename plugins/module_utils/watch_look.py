# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the watch looks: the probes of `isolation`, all of them or those of one container, and what they were about.

Law: the same probes serve the facts module and the watch. What is added here is only which of them to run after a hint,
which containers a finding is about, and a judgement of containers that are none of ours.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Optional

from .engine import Engine, EngineError
from .findings import Finding, FindingError, Severity
from .isolation import Expectation, contradiction, inspect_container, inspect_isolation, network_of
from .isolation_container import HostView, Target, host_view
from .isolation_engine import EngineProbes
from .isolation_host import HostProbes
from .isolation_kernel import FlagsReader, KernelProbes
from .isolation_mounts import MountProbes
from .isolation_report import Report, dig
from .procfs import ProcError, ProcFS
from .procfs_snapshot import Snapshot
from .revocation import look_for_revoked
from .revocation_memory import read_memory
from .store import ModelStore
from .watch_flags import sysfs_flags
from .watch_policy import Observation
from .watch_queue import Hint

HOST_CODES = frozenset(["ISO-LISTENER", "ISO-NATIVE-OLLAMA", "ISO-FOREIGN-CONNECTION"])
STORE_CODES = frozenset(["STORE-REVOKED-MODEL", "STORE-REVOKED-BLOB", "REVOCATION-MEMORY", "ISO-STORE-MODE"])
# Findings of the reports that say "this could not be seen": nothing may be closed on the strength of such a look.
BLIND_CODES = frozenset(["ISO-ENGINE-DOWN", "ISO-PROBE-FAILED"])
FOREIGN_MAX = 200
VIEW_SECONDS = 60.0


@dataclass
class Sight:
    """What one look saw.

    `ids` maps a container's name (the subject of its findings) to its id, `inspects` an id to the engine's answer,
    `roles` a role to its container's first process. `covered` says which open findings this look would have seen.
    """

    observations: list[Observation] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    inspects: dict[str, dict[str, Any]] = field(default_factory=dict)
    roles: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    covered: Callable[[str, str], bool] = lambda _code, _subject: False

    @property
    def blind(self) -> bool:
        """Whether something could not be seen."""
        return any(seen.finding.code in BLIND_CODES for seen in self.observations)

    def hint(self, seen: Observation) -> Hint:
        """Return the smallest look that would see an observation again."""
        finding = seen.finding
        if finding.subject in self.ids:
            return Hint("container", self.ids[finding.subject], urgent=True)
        if finding.code in HOST_CODES:
            return Hint("host", urgent=True)
        if finding.code in STORE_CODES:
            return Hint("store")
        return Hint("sockets") if finding.code == "ISO-SOCKET-MODE" else Hint("sweep")


class Eyes:
    """Runs looks. Never raises for what it finds or cannot see; one instance for each thread."""

    def __init__(
        self,
        expected: Expectation,
        engine: Engine,
        revocations: str = "",
        allowed: Iterable[str] = (),
        proc: Optional[ProcFS] = None,
        flags: Optional[FlagsReader] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.expected = expected
        self.engine = engine
        self.revocations = revocations
        self.allowed = frozenset(allowed)
        self.root = (proc or ProcFS()).root
        self.proc: ProcFS = Snapshot(self.root)
        self.flags = flags or (lambda pid, names: sysfs_flags(self.proc, pid, names))
        self.clock = clock
        self._view: Optional[tuple[float, HostView]] = None
        self._names = {name: role for role, name in expected.containers.items()}

    def _begin(self) -> None:
        """Begin a look: within one, each file is read once."""
        self.proc = Snapshot(self.root)

    # --- everything ---------------------------------------------------------------------------------------
    def sweep(self) -> Sight:
        """Look at everything once."""
        self._begin()
        self._view = None
        report = inspect_isolation(self.expected, self.engine, self.proc, self.flags)
        sight = Sight(facts=report.facts, covered=lambda code, _subject: code.startswith(("ISO-", "STORE-", "REVOC")))
        for role, facts in report.facts["containers"].items():
            if facts.get("running") and isinstance(facts.get("id"), str):
                sight.roles[role] = facts["pid"]
                sight.ids[facts["name"]] = facts["id"]
                self._inspect_into(sight, facts["id"])
        sight.observations = [Observation(finding) for finding in report.findings]
        try:
            running = self.engine.containers(all_states=False)
        except EngineError:
            running = []  # inspect_isolation has said so
        known = set(sight.ids.values())
        for item in running[:FOREIGN_MAX]:
            identity = item.get("Id")
            if isinstance(identity, str) and identity not in known:
                self._foreign_into(sight, identity)
        sight.observations += self.revoked().observations
        return sight

    # --- parts --------------------------------------------------------------------------------------------
    def container(self, identity: str) -> Sight:
        """Look at one container, by id: with every probe when it is one of ours, else for what endangers the host."""
        self._begin()
        sight = Sight()
        roles = self._roles(sight)
        role = next((role for role, target in roles.items() if dig(target.inspect, "Id") == identity), None)
        if role is None:
            self._foreign_into(sight, identity)
            names = {*sight.ids, identity[:12]}
            sight.covered = lambda code, subject: subject in names and code not in HOST_CODES
            # Whoever joined one of our namespaces is named by the namespace's owner.
            pid = dig(sight.inspects.get(identity), "State", "Pid")
            self._members_into(sight, roles, self._sharing(roles, pid))
            return sight
        target = roles[role]
        report = Report()
        try:
            inspect_container(
                target, self.proc, self.view(), report, self.flags, network_of(role, roles),
                self.expected.images.get(role),
            )  # fmt: skip
        except ProcError as error:
            report.unknown("{0}-running".format(role), target.name, error)
        sight.observations += [Observation(finding, "container") for finding in report.findings]
        self._members_into(sight, roles, [role])
        sight.covered = lambda code, subject: subject == target.name
        return sight

    def host(self) -> Sight:
        """Look at the processes and listeners of the whole host."""
        self._begin()
        sight = Sight()
        roles = self._roles(sight)
        report = Report()
        try:
            around = HostProbes(self.proc, self.view(), report, sight.roles, set(self.expected.containers) - set(roles))
            sight.facts = {
                "listeners": around.listeners(),
                "foreign_connections": around.connections(),
                "native_processes": around.native(),
            }
        except ProcError as error:
            report.unknown("isolation-listeners", "/proc", error)
        sight.observations += [Observation(finding, "process") for finding in report.findings]
        sight.covered = lambda code, _subject: code in HOST_CODES
        return sight

    def sockets(self) -> Sight:
        """Look at the directories of sockets."""
        self._begin()
        report = Report()
        around = HostProbes(self.proc, self.view(), report, {})
        for directory in self.expected.socket_directories:
            around.socket_directory(directory)
        seen = [Observation(finding, "file") for finding in report.findings]
        return Sight(seen, covered=lambda code, _subject: code == "ISO-SOCKET-MODE")

    def revoked(self) -> Sight:
        """Look for revoked models in the store, and at who may write to it."""
        covered = STORE_CODES - {"ISO-STORE-MODE"}
        sight = Sight(covered=lambda code, _subject: code in covered)
        if not self.revocations or not self.expected.store:
            return sight
        try:
            known = read_memory(self.revocations)
            findings = look_for_revoked(ModelStore(self.expected.store), known).findings() if known else []
        except FindingError as error:
            findings = [error.finding]
        except OSError as error:
            findings = [
                Finding(
                    "REVOCATION-MEMORY", Severity.HIGH, self.revocations, error.strerror or "not readable",
                    "Put it back from a backup; what is revoked cannot be seen meanwhile.",
                )
            ]  # fmt: skip
        sight.observations = [Observation(finding, "file") for finding in findings]
        return sight

    def view(self) -> HostView:
        """Return the host's side, read anew every minute. Raises ProcError."""
        if self._view is None or self.clock() - self._view[0] > VIEW_SECONDS:
            self._view = (self.clock(), host_view(self.proc, self.expected.docker_socket))
        return self._view[1]

    # --- details ------------------------------------------------------------------------------------------
    def _roles(self, sight: Sight) -> dict[str, Target]:
        """Return our containers that run, by role, and note them in `sight`."""
        found: dict[str, Target] = {}
        for role, name in self.expected.containers.items():
            try:
                inspect = self.engine.container_or_none(name)
            except EngineError as error:
                sight.observations.append(Observation(_engine_down(error), "container"))
                return {}
            pid, identity = dig(inspect, "State", "Pid"), dig(inspect, "Id")
            if inspect is None or not isinstance(pid, int) or pid <= 0 or not isinstance(identity, str):
                continue
            if contradiction(self.proc, pid, identity):
                continue  # the sweep says so
            sight.ids[name], sight.inspects[identity], sight.roles[role] = identity, inspect, pid
            mounts, uid = self.expected.mounts.get(role, {}), self.expected.uids[role]
            found[role] = Target(role, name, uid, pid, inspect, mounts, self.expected.devices)
        return found

    def _inspect_into(self, sight: Sight, identity: str) -> Optional[dict[str, Any]]:
        try:
            inspect = self.engine.container_or_none(identity)
        except EngineError as error:
            if error.timed_out:
                # The engine is silent about a container while it starts or removes it: one more look, later.
                name = identity[:12]
                sight.ids[name] = identity
                sight.observations.append(Observation(_silent(name, error), "container"))
            else:
                sight.observations.append(Observation(_engine_down(error), "container"))
            return None
        if inspect is not None:
            sight.inspects[identity] = inspect
        return inspect

    def _foreign_into(self, sight: Sight, identity: str) -> None:
        """Judge a container that is none of ours: what would let it out onto the host, or into our place."""
        inspect = self._inspect_into(sight, identity)
        name, pid = str(dig(inspect, "Name") or "").lstrip("/"), dig(inspect, "State", "Pid")
        if inspect is None or not name or name in self.allowed:
            return
        sight.ids.setdefault(name, identity)
        if not isinstance(pid, int) or pid <= 0 or contradiction(self.proc, pid, identity):
            return
        report = Report()
        try:
            view = self.view()
        except ProcError as error:
            report.unknown("foreign-running", name, error)
        else:
            target = Target("foreign", name, 0, pid, inspect)
            kernel, mounts = (kind(self.proc, view, target, report) for kind in (KernelProbes, MountProbes))
            probes: dict[str, Callable[[], None]] = {
                "not-privileged": EngineProbes(self.proc, view, target, report).privileged,
                "own-network-namespace": kernel.probes()["own-network-namespace"],
                "own-pid-namespace": kernel.probes()["own-pid-namespace"],
                "no-docker-socket": mounts.probes()["no-docker-socket"],
                "mounts-expected": mounts.probes()["mounts-expected"],
            }
            for suffix, probe in probes.items():
                with report.probe("foreign-" + suffix, name):
                    probe()
        # What a container of somebody else's has mounted is its own affair, unless it is the host itself.
        sight.observations += [
            Observation(finding, "container")
            for finding in report.findings
            if finding.code != "ISO-UNEXPECTED-MOUNT" and (finding.code != "ISO-PROBE-FAILED" or self.proc.alive(pid))
        ]

    def _sharing(self, roles: dict[str, Target], pid: Any) -> list[str]:
        """Return the roles in whose network namespace a process is."""
        if not isinstance(pid, int) or pid <= 0:
            return []
        try:
            namespace = self.proc.namespace(pid, "net")
            return [role for role, target in roles.items() if self.proc.namespace(target.pid, "net") == namespace]
        except ProcError:
            return []

    def _members_into(self, sight: Sight, roles: dict[str, Target], wanted: list[str]) -> None:
        """Look who else is in the namespaces of some roles."""
        if not wanted:
            return
        report = Report()
        around = HostProbes(self.proc, self.view(), report, {role: target.pid for role, target in roles.items()})
        for role in wanted:
            around.members(role, roles[role].name)
        sight.observations += [Observation(finding, "container") for finding in report.findings]


def _engine_down(error: EngineError) -> Finding:
    remedy = "Start Docker (systemctl start docker); until then nothing is known of the containers."
    return Finding("ISO-ENGINE-DOWN", Severity.HIGH, "Docker Engine", str(error), remedy)


def _silent(name: str, error: EngineError) -> Finding:
    remedy = "Look at it by hand (docker inspect); what it may do is not known meanwhile."
    return Finding("ISO-PROBE-FAILED", Severity.MEDIUM, name, str(error), remedy)


def strangers(proc: ProcFS, roles: dict[str, int], role: str) -> list[int]:
    """Return the processes in a role's network namespace that belong to none of the containers that may be there."""
    may = {"relay", "ollama"} if role in ("relay", "ollama") else {role}
    try:
        namespace = proc.namespace(roles[role], "net")
        allowed = {proc.namespace(pid, "pid") for name, pid in roles.items() if name in may}
    except (KeyError, ProcError):
        return []
    found = []
    for pid in proc.pids():
        try:
            if proc.namespace(pid, "net") == namespace and proc.namespace(pid, "pid") not in allowed:
                found.append(pid)
        except ProcError:
            continue
    return found


def socket_owners(proc: ProcFS, inodes: set[int]) -> list[int]:
    """Return the processes that hold one of these sockets open."""
    wanted = {"socket:[{0}]".format(inode) for inode in inodes}
    found = []
    for pid in proc.pids() if wanted else []:
        try:
            with os.scandir(proc.path(pid, "fd")) as entries:
                if any(_link(entry.path) in wanted for entry in entries):
                    found.append(pid)
        except OSError:
            continue
    return found


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
