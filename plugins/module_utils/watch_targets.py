# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a finding and an action to what the actor is asked: which container, which network, which process."""

from __future__ import annotations

import re
from typing import Any, Optional

from .findings import Finding
from .isolation_host import OLLAMA_PORT, SERVER_PROGRAMS
from .isolation_report import dig
from .procfs import TCP_LISTEN, ProcError, ProcFS, is_loopback
from .watch_actor_process import start_time_of
from .watch_look import Sight, socket_owners, strangers
from .watch_policy import DISCONNECT, LOG, QUARANTINE, Observation
from .watch_protocol import Request, WatchError
from .watch_sources import CONTAINER_ID

PROCESSES_MAX = 20
_IN_PATH = re.compile(r"[0-9a-f]{64}")


def requests_for(seen: Observation, action: str, sight: Sight, proc: ProcFS, tried: set[str]) -> list[Request]:
    """Return what to ask the actor for, in order; nothing when nobody can be named.

    `tried` names the verbs that were done for this finding before and did not help: a container whose networks were
    taken away and that still has an interface is stopped.
    """
    finding = seen.finding
    if action == LOG:
        return []
    if action == QUARANTINE:
        return _checked([("host", {})], finding)
    if finding.code in ("ISO-LISTENER", "ISO-NATIVE-OLLAMA"):
        pids = _listening(sight, proc) if finding.code == "ISO-LISTENER" else _native(sight)
        return _processes(pids, finding, proc)
    if finding.code == "ISO-FOREIGN-CONNECTION":
        return _containers([sight.ids.get(name) for name in _connected(sight, proc)], finding)
    identity = sight.ids.get(finding.subject)
    if finding.code == "ISO-NAMESPACE-STRANGER":
        return _strangers(finding, sight, proc, identity)
    if action == DISCONNECT and "network" not in tried:
        targets = [("network", target) for target in _networks(identity, sight)]
        if targets or finding.code != "ISO-INTERFACE":
            return _checked(targets, finding)
    if action == DISCONNECT and finding.code != "ISO-INTERFACE":
        # Another mode than expected, without an interface, is a deployment in the middle of its work.
        return []
    return _containers([identity], finding)


def _networks(identity: Optional[str], sight: Sight) -> list[dict[str, str]]:
    """Return the networks to disconnect: a container's own, and those of the one whose namespace it joined."""
    found = []
    inspect = sight.inspects.get(identity or "")
    mode = str(dig(inspect, "HostConfig", "NetworkMode") or "")
    owner = mode.partition(":")[2] if mode.startswith("container:") else None
    for item in (identity, sight.ids.get(owner or "", owner)):
        networks = dig(sight.inspects.get(item or ""), "NetworkSettings", "Networks") or {}
        for name, network in networks.items() if isinstance(networks, dict) else ():
            network_id = dig(network, "NetworkID")
            if name not in ("none", "host") and item and isinstance(network_id, str):
                found.append({"container": item, "network": network_id})
    return found


def _native(sight: Sight) -> list[int]:
    return [item["pid"] for item in sight.facts.get("native_processes", []) if isinstance(item.get("pid"), int)]


def _listening(sight: Sight, proc: ProcFS) -> list[int]:
    """Return the processes that listen on the server's port where the server does not."""
    server = _namespace(proc, sight.roles.get("ollama"))
    inodes: set[int] = set()
    looked: set[str] = set()
    for pid in proc.pids():
        namespace = _namespace(proc, pid)
        if namespace is None or namespace in looked:
            continue
        looked.add(namespace)
        try:
            sockets = [item for family in ("tcp", "tcp6") for item in proc.sockets(pid, family) or []]
        except ProcError:
            continue
        for item in sockets:
            own = namespace == server and is_loopback(item.local)
            if item.state == TCP_LISTEN and item.local_port == OLLAMA_PORT and not own:
                inodes.add(item.inode)
    return socket_owners(proc, inodes)


def _connected(sight: Sight, proc: ProcFS) -> list[str]:
    """Return the names of our containers that have a foreign connection, from inside their namespace.

    A connection in the host's own namespace can be made by anybody who picks 11434 as his source port: it names nobody.
    """
    places = {str(item.get("namespace")) for item in sight.facts.get("foreign_connections", [])}
    host = {_namespace(proc, pid) for pid in ("self", 1)}
    found = []
    for role, pid in sight.roles.items():
        if role in places and _namespace(proc, pid) not in host:
            names = [name for name, identity in sight.ids.items() if _first(sight, identity) == pid]
            found += names
    return found


def _first(sight: Sight, identity: str) -> Any:
    return dig(sight.inspects.get(identity), "State", "Pid")


def _strangers(finding: Finding, sight: Sight, proc: ProcFS, identity: Optional[str]) -> list[Request]:
    """Stop the container that joined; where it is a process of the host's, stop ours, which is then no longer alone."""
    role = next((role for role, pid in sight.roles.items() if identity and _first(sight, identity) == pid), "")
    ours = set(sight.roles.values())
    own = {item for item in sight.ids.values() if _first(sight, item) in ours}
    found: list[Optional[str]] = []
    for pid in strangers(proc, sight.roles, role)[:PROCESSES_MAX]:
        container = container_of(proc, pid)
        found.append(identity if container is None or container in own else container)
    return _containers(found, finding)


def container_of(proc: ProcFS, pid: int) -> Optional[str]:
    """Return the id of the container a process is in, from its control group, or None."""
    try:
        paths = proc.cgroups(pid).values()
    except ProcError:
        return None
    for path in paths:
        found = _IN_PATH.findall(path)
        if found:
            return str(found[-1])
    return None


def is_server_program(proc: ProcFS, pid: int) -> bool:
    """Whether a process that was just started is an Ollama or a llama-server, by its program's file or its name."""
    path = proc.executable(pid) or ""
    name = path.removesuffix(" (deleted)").rpartition("/")[2]
    try:
        return name in SERVER_PROGRAMS or proc.read(pid, "comm").strip() in SERVER_PROGRAMS
    except ProcError:
        return False


def _processes(pids: list[int], finding: Finding, proc: ProcFS) -> list[Request]:
    targets: list[tuple[str, dict[str, Any]]] = []
    for pid in pids[:PROCESSES_MAX]:
        try:
            targets.append(("process", {"pid": pid, "start_time": start_time_of(proc, pid)}))
        except ProcError:
            continue  # it has ended by itself
    return _checked(targets, finding)


def _containers(identities: list[Optional[str]], finding: Finding) -> list[Request]:
    wanted = dict.fromkeys(item for item in identities if item is not None and CONTAINER_ID.fullmatch(item))
    return _checked([("container", {"container": item}) for item in wanted], finding)


def _checked(targets: list[tuple[str, dict[str, Any]]], finding: Finding) -> list[Request]:
    """Return the requests that the protocol allows; what an engine full of garbage said is left out."""
    found = []
    for verb, target in targets:
        try:
            found.append(Request(verb, target, finding))
        except WatchError:
            continue
    return found


def _namespace(proc: ProcFS, pid: Any) -> Optional[str]:
    try:
        return proc.namespace(pid, "net") if pid is not None else None
    except ProcError:
        return None
