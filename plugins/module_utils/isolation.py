# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How isolated the language model of a host is: every probe of containers and host, put together.

Law: the same code serves the facts module, the tests and the watch. It never writes, and it never raises:
what cannot be seen is `unknown`. Whoever is root on the host can lie to every probe; looks from a neighbour
complement it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Optional, Protocol

from .engine import EngineError
from .findings import Finding, Severity, clean_text
from .isolation_container import HostView, Target, host_view
from .isolation_engine import EngineProbes
from .isolation_host import HostProbes, SocketDirectory
from .isolation_kernel import FlagsReader, KernelProbes
from .isolation_mounts import MountProbes
from .isolation_report import Report, dig, whole
from .procfs import ProcError, ProcFS
from .procfs_snapshot import Snapshot

ROLES = ("relay", "ollama", "gateway")
DEFAULT_CONTAINERS = {"relay": "rampart-relay", "ollama": "rampart-ollama", "gateway": "rampart-gateway"}
DEFAULT_UIDS = {"relay": 10005, "ollama": 10001, "gateway": 10002}
DEFAULT_MOUNTS = {
    "relay": {"/run/ollama": "rw"},
    "ollama": {"/models": "ro"},
    "gateway": {"/run/ollama": "rw", "/run/gateway": "rw", "/etc/gateway": "ro", "/var/log/gateway": "rw"},
}


class Inspector(Protocol):
    """The part of the engine's client that is needed here."""

    def container_or_none(self, name: str) -> Optional[dict[str, Any]]:
        """Return what the engine knows of a container, or None. Raises EngineError."""


@dataclass
class Expectation:
    """What a host should look like. Keys of the dictionaries are roles; roles without a container name are left out."""

    containers: dict[str, str] = field(default_factory=lambda: dict(DEFAULT_CONTAINERS))
    uids: dict[str, int] = field(default_factory=lambda: dict(DEFAULT_UIDS))
    mounts: dict[str, dict[str, str]] = field(default_factory=lambda: {k: dict(v) for k, v in DEFAULT_MOUNTS.items()})
    images: dict[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    store: Optional[str] = None
    socket_directories: list[SocketDirectory] = field(default_factory=list)
    docker_socket: str = "/var/run/docker.sock"


# Finds the container of a role that has not the expected name: its description, or None. Raises EngineError.
Finder = Callable[[str], Optional[dict[str, Any]]]


@dataclass
class Observation:
    """One look: the report, and what it was made from, for those who look on."""

    report: Report
    proc: ProcFS
    host: HostView
    targets: dict[str, Target]


def inspect_isolation(
    expected: Expectation,
    engine: Inspector,
    proc: Optional[ProcFS] = None,
    flags: Optional[FlagsReader] = None,
    sysfs: str = "/sys",
) -> Report:
    """Look at everything once and return the report. Never raises for what it finds or cannot see."""
    return observe(expected, engine, proc, flags, sysfs).report


def observe(
    expected: Expectation,
    engine: Inspector,
    proc: Optional[ProcFS] = None,
    flags: Optional[FlagsReader] = None,
    sysfs: str = "/sys",
    finder: Optional[Finder] = None,
) -> Observation:
    """Look at everything once; `finder` is asked for a role whose container has not the expected name."""
    # A reader of a kind of its own (a test's, a snapshot) is used as it is.
    proc = Snapshot(proc.root) if proc is not None and proc.__class__ is ProcFS else proc or Snapshot()
    report = Report()
    report.facts = {"containers": {}, "listeners": [], "foreign_connections": [], "native_processes": []}
    try:
        host = host_view(proc, expected.docker_socket, sysfs)
    except ProcError as error:
        report.unknown("isolation-no-native-ollama", "/proc", error)
        host = HostView(
            {kind: set() for kind in ("net", "pid", "ipc", "uts", "mnt")}, frozenset(), frozenset({0}), False
        )
    targets = _targets(expected, engine, proc, report, finder)
    for role, target in targets.items():
        report.facts["containers"][role].update(
            inspect_container(target, proc, host, report, flags, network_of(role, targets), expected.images.get(role))
        )
    first = {role: target.pid for role, target in targets.items()}
    around = HostProbes(proc, host, report, first, set(expected.containers) - set(targets))
    report.facts["listeners"] = around.listeners()
    report.facts["foreign_connections"] = around.connections()
    report.facts["native_processes"] = around.native()
    for role, target in targets.items():
        around.members(role, target.name)
    for directory in expected.socket_directories:
        around.socket_directory(directory)
    if expected.store:
        around.store(expected.store)
    return Observation(report, proc, host, targets)


def inspect_container(
    target: Target,
    proc: ProcFS,
    host: HostView,
    report: Report,
    flags: Optional[FlagsReader] = None,
    network: tuple[str, ...] = ("none",),
    image: Optional[str] = None,
    without: Iterable[str] = (),
) -> dict[str, Any]:
    """Run every probe of one container but those in `without` into `report` and return the container's facts."""
    facts: dict[str, Any] = {}
    left_out = set(without)
    for probes in (
        KernelProbes(proc, host, target, report, flags),
        MountProbes(proc, host, target, report),
        EngineProbes(proc, host, target, report, network, image),
    ):
        for suffix, probe in probes.probes().items():
            if suffix not in left_out:
                with report.probe(probes.check(suffix), target.name):
                    probe()
        facts.update(probes.facts)
    return facts


def network_of(role: str, targets: dict[str, Target]) -> tuple[str, ...]:
    """Return the network modes that the design has for a role: none, or the relay's namespace for the server."""
    if role != "ollama":
        return ("none",)
    relay = targets.get("relay")
    if relay is None:
        return ()
    return ("container:{0}".format(dig(relay.inspect, "Id")), "container:{0}".format(relay.name))


def check_ids(role: str) -> list[str]:
    """Return the ids of every check of one container, as they are recorded when it runs."""
    target = Target(role, role, 0, 0, {}, DEFAULT_MOUNTS.get(role, {}))
    host = HostView({}, frozenset(), frozenset(), False)
    report, proc = Report(), ProcFS()
    suffixes = [
        *KernelProbes(proc, host, target, report).probes(),
        *MountProbes(proc, host, target, report).probes(),
        *EngineProbes(proc, host, target, report).probes(),
        "namespace-members",
    ]
    return ["{0}-{1}".format(role, suffix) for suffix in suffixes]


def _targets(
    expected: Expectation, engine: Inspector, proc: ProcFS, report: Report, finder: Optional[Finder]
) -> dict[str, Target]:
    """Return the containers that run, by role; for the others every check becomes unknown, with one finding."""
    found: dict[str, Target] = {}
    down: Optional[str] = None
    for role, name in expected.containers.items():
        running = "{0}-running".format(role)
        report.facts["containers"][role] = {"name": name, "running": False}
        inspect: Optional[dict[str, Any]] = None
        renamed = False
        try:
            if down is None:
                inspect = engine.container_or_none(name)
            if down is None and inspect is None and finder is not None:
                inspect = finder(role)
                renamed = inspect is not None
        # Whatever a hostile answer breaks in its reader: then the engine has not said how it is.
        except Exception as error:  # noqa: BLE001
            down = clean_text(error if isinstance(error, EngineError) else type(error).__name__, 300)
        if down is not None:
            _skip(report, role, running, None, "the engine does not answer")
            continue
        pid = dig(inspect, "State", "Pid")
        alive = dig(inspect, "State", "Running") is True and whole(pid) and pid > 0
        if not alive:
            status = dig(inspect, "State", "Status")
            state = "there is no such container" if inspect is None else "its state is {0}".format(status)
            _skip(report, role, running, False, state)
            _absent(report, name, state)
            continue
        reason = contradiction(proc, pid, dig(inspect, "Id"))
        if reason:
            _skip(report, role, running, None, reason)
            report.unknown(running, name, reason)
            continue
        seen = clean_text(str(dig(inspect, "Name") or name).lstrip("/"), 200) if renamed else name
        if renamed:
            state = "no container has this name; its component runs as {0}".format(seen)
            report.record(running, False, state)
            _absent(report, name, state)
        else:
            report.record(running, True, "runs as process {0}".format(pid))
        report.facts["containers"][role].update({"name": seen, "running": True, "pid": pid, "id": dig(inspect, "Id")})
        found[role] = Target(
            role,
            seen,
            expected.uids[role],
            pid,
            inspect or {},
            expected.mounts.get(role, {}),
            expected.devices,
        )
    if down is None:
        report.record("isolation-engine-reachable", True, "the Docker API answers")
    else:
        report.record("isolation-engine-reachable", False, down)
        remedy = "Start Docker (systemctl start docker); until then nothing is known of the containers."
        report.findings.append(Finding("ISO-ENGINE-DOWN", Severity.HIGH, "Docker Engine", down, remedy))
    return found


def contradiction(proc: ProcFS, pid: int, identity: Any) -> str:
    """Return how the kernel contradicts the engine on whose process `pid` is; an empty text where it does not.

    Docker puts a container's processes into control groups that carry its id. Where none can be read the
    kernel says nothing; then the probes of this process say what can be known.
    """
    if not isinstance(identity, str) or not re.match(r"^[0-9a-f]{64}\Z", identity):
        return ""
    try:
        paths = set(proc.cgroups(pid).values())
    except ProcError:
        return ""
    if any(identity in path for path in paths):
        return ""
    return "the engine names process {0}, which the kernel has in no control group of this container".format(pid)


def _absent(report: Report, name: str, state: str) -> None:
    remedy = "Start it (run phase 3 again) and look at its log."
    report.findings.append(Finding("ISO-CONTAINER-ABSENT", Severity.HIGH, name, state, remedy))


def _skip(report: Report, role: str, running: str, holds: Optional[bool], reason: str) -> None:
    report.record(running, holds, reason)
    for check_id in check_ids(role):
        report.record(check_id, None, reason)
