# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How isolated the language model of a host is: every probe of containers and host, put together.

Law: the same code serves the facts module, the tests and the watch. It never writes, and it never raises:
what cannot be seen is `unknown`. Whoever is root on the host can lie to every probe; looks from a neighbour
complement it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional, Protocol

from .engine import EngineError
from .findings import Finding, Severity
from .isolation_container import HostView, Target, host_view
from .isolation_engine import EngineProbes
from .isolation_host import HostProbes, SocketDirectory
from .isolation_kernel import FlagsReader, KernelProbes
from .isolation_mounts import MountProbes
from .isolation_report import Report, dig
from .procfs import ProcError, ProcFS

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


def inspect_isolation(
    expected: Expectation,
    engine: Inspector,
    proc: Optional[ProcFS] = None,
    flags: Optional[FlagsReader] = None,
    sysfs: str = "/sys",
) -> Report:
    """Look at everything once and return the report. Never raises for what it finds or cannot see."""
    proc = proc or ProcFS()
    report = Report()
    report.facts = {"containers": {}, "listeners": [], "foreign_connections": [], "native_processes": []}
    try:
        host = host_view(proc, expected.docker_socket, sysfs)
    except ProcError as error:
        report.unknown("isolation-no-native-ollama", "/proc", error)
        host = HostView(
            {kind: set() for kind in ("net", "pid", "ipc", "uts", "mnt")}, frozenset(), frozenset({0}), False
        )
    targets = _targets(expected, engine, proc, report)
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
    return report


def inspect_container(
    target: Target,
    proc: ProcFS,
    host: HostView,
    report: Report,
    flags: Optional[FlagsReader] = None,
    network: tuple[str, ...] = ("none",),
    image: Optional[str] = None,
) -> dict[str, Any]:
    """Run every probe of one container into `report` and return the container's facts."""
    facts = KernelProbes(proc, host, target, report, flags).run()
    facts.update(MountProbes(proc, host, target, report).run())
    facts.update(EngineProbes(proc, host, target, report, network, image).run())
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


def _targets(expected: Expectation, engine: Inspector, proc: ProcFS, report: Report) -> dict[str, Target]:
    """Return the containers that run, by role; for the others every check becomes unknown, with one finding."""
    found: dict[str, Target] = {}
    down: Optional[EngineError] = None
    for role, name in expected.containers.items():
        running = "{0}-running".format(role)
        report.facts["containers"][role] = {"name": name, "running": False}
        try:
            inspect = engine.container_or_none(name) if down is None else None
        except EngineError as error:
            inspect, down = None, error
        if down is not None:
            _skip(report, role, running, None, "the engine does not answer")
            continue
        pid = dig(inspect, "State", "Pid")
        alive = dig(inspect, "State", "Running") is True and isinstance(pid, int) and pid > 0
        if not alive:
            state = (
                "there is no such container"
                if inspect is None
                else "its state is {0}".format(dig(inspect, "State", "Status"))
            )
            _skip(report, role, running, False, state)
            remedy = "Start it (run phase 3 again) and look at its log."
            report.findings.append(Finding("ISO-CONTAINER-ABSENT", Severity.HIGH, name, state, remedy))
            continue
        report.record(running, True, "runs as process {0}".format(pid))
        report.facts["containers"][role].update({"running": True, "pid": pid, "id": dig(inspect, "Id")})
        found[role] = Target(
            role,
            name,
            expected.uids[role],
            pid,
            inspect or {},
            expected.mounts.get(role, {}),
            expected.devices,
        )
    if down is None:
        report.record("isolation-engine-reachable", True, "the Docker API answers")
    else:
        report.record("isolation-engine-reachable", False, str(down))
        remedy = "Start Docker (systemctl start docker); until then nothing is known of the containers."
        report.findings.append(Finding("ISO-ENGINE-DOWN", Severity.HIGH, "Docker Engine", str(down), remedy))
    return found


def _skip(report: Report, role: str, running: str, holds: Optional[bool], reason: str) -> None:
    report.record(running, holds, reason)
    for check_id in check_ids(role):
        report.record(check_id, None, reason)
