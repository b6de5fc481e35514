# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs `network` and `container`: what the engine can contain, after a look of the actor's own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Optional

from .engine import Engine, EngineError
from .findings import Finding, Severity
from .isolation_mounts import ENGINE_SOCKETS, SENSITIVE
from .isolation_report import dig
from .procfs import Mount, ProcError, ProcFS, host_paths
from .watch_actor_config import ActorConfig, Guarded
from .watch_actor_plan import ActError, Plan, RefusedError
from .watch_records import container_excerpt, container_name, restart_policy

HOST_MODES = ("NetworkMode", "PidMode", "IpcMode", "UTSMode")
# Networks without a way anywhere, and the one that is not a network: neither can be disconnected.
NOT_NETWORKS = {"none": "it leads nowhere", "host": "that container has to be stopped"}


class ContainmentEngine(Engine):
    """The engine's client with the two calls that only containment and its release need."""

    def disconnect(self, network: str, container: str) -> None:
        """Take a container out of a network at once."""
        self._request(
            "POST", "/networks/{0}/disconnect".format(network), {"Container": container, "Force": True}, self.timeout
        )

    def set_restart_policy(self, container: str, policy: dict[str, Any]) -> None:
        """Replace a container's restart policy; nothing else of it changes."""
        self._request("POST", "/containers/{0}/update".format(container), {"RestartPolicy": policy}, self.timeout)


class EngineActs:
    """Plans of both verbs. `look` returns the findings of the actor's own look at isolation."""

    def __init__(
        self, config: ActorConfig, engine: ContainmentEngine, look: Callable[[], list[Finding]], proc: ProcFS
    ) -> None:
        self.config = config
        self.engine = engine
        self.look = look
        self.proc = proc

    # --- network
    def network(self, target: dict[str, Any]) -> Plan:
        """Plan to disconnect a guarded container from a network it may not be in. Raises RefusedError, EngineError."""
        inspect = self._inspect(target["container"])
        name, identity, network = container_name(inspect), target["container"], target["network"]
        guarded = self.config.guarded.get(name)
        if guarded is None and dig(inspect, "Image") not in self.config.expected.images.values():
            raise RefusedError("{0} is no guarded container".format(name))
        attached = self._attached(inspect, network)
        if attached is None:
            raise RefusedError("{0} is not in that network".format(name))
        if attached in NOT_NETWORKS:
            raise RefusedError("{0} is in network {1}: {2}".format(name, attached, NOT_NETWORKS[attached]))
        if attached in (guarded or Guarded()).networks:
            raise RefusedError("{0} may be in network {1}".format(name, attached))

        def act() -> list[str]:
            self.engine.disconnect(network, identity)
            if self._attached(self._inspect(identity), network) is not None:
                raise ActError("{0} is in network {1} still".format(name, attached), [])
            return ["disconnected {0} from network {1}".format(name, attached)]

        checked = "{0} is guarded, is in network {1}, and may not be".format(name, attached)
        return Plan([checked], {"container": container_excerpt(inspect)}, {"action": "none"}, act)

    # --- container
    def container(self, target: dict[str, Any]) -> Plan:
        """Plan to stop a container that violates isolation. Raises RefusedError, EngineError."""
        inspect = self._inspect(target["container"])
        name, identity = container_name(inspect), target["container"]
        if dig(inspect, "State", "Running") is not True and dig(inspect, "State", "Restarting") is not True:
            raise RefusedError("{0} does not run".format(name))
        reasons = self.violations(inspect)
        if not reasons and name in self.config.expected.containers.values():
            reasons = self._own_findings(name)
        if not reasons:
            raise RefusedError("{0} violates nothing that can be seen".format(name))
        policy = restart_policy(inspect)
        release = {"action": "start-container", "container": identity, "name": name, "restart_policy": policy}
        before = {"container": container_excerpt(inspect)}
        return Plan(reasons, before, release, lambda: self._stop(identity, name, inspect, policy))

    def violations(self, inspect: dict[str, Any]) -> list[str]:
        """Return what a container has that none on this host may have, from the engine's answer; none: it is sound."""
        config = dig(inspect, "HostConfig") or {}
        name = container_name(inspect)
        own = self.config.guarded.get(name, Guarded())
        found = ["it is privileged"] if config.get("Privileged") is True else []
        for key in HOST_MODES:
            mode = config.get(key)
            if mode == "host":
                found.append("{0} is host".format(key))
            elif isinstance(mode, str) and mode.startswith("container:"):
                owner = self._guarded_name(mode.partition(":")[2])
                if owner is not None and not (owner in own.joins and key == "NetworkMode"):
                    found.append("{0} joins {1}".format(key, owner))
        found += self._bad_mounts(inspect, own)
        networks = dig(inspect, "NetworkSettings", "Networks") or {}
        extra = sorted(item for item in networks if item not in own.networks and item != "none")
        if name in self.config.guarded and extra:
            found.append("it is in network {0}".format(", ".join(extra)))
        if name != self.config.server and dig(inspect, "Image") == self.config.server_image and extra:
            found.append("it is a second server, with a network")
        return found

    def _bad_mounts(self, inspect: dict[str, Any], own: Guarded) -> list[str]:
        inside, host = self._mounts(inspect)
        found = []
        for item in dig(inspect, "Mounts") or []:
            kind, source = dig(item, "Type"), str(dig(item, "Source"))
            if kind not in ("bind", "volume"):
                continue
            # The kernel's word counts, of every mount that lies at that point, also of one below another.
            places = [host_paths(mount, host) for mount in inside if mount.point == dig(item, "Destination")]
            if kind == "bind" and not any(places):
                # Docker follows links when it mounts. Where they lead now is the best that is left to ask.
                places = [{os.path.realpath(source)}]
            for paths in places:
                if kind == "volume":
                    # One of the engine's own is a directory; one with something else behind it is mounted there.
                    if source in paths and not any(mount.point == source for mount in host):
                        continue
                    paths.discard(source)
                # A directory that is allowed may have other names, where its file system is mounted twice.
                if not any(_within(path, allowed) for path in paths for allowed in own.mounts):
                    found += [reason for reason in map(self._endangers, sorted(paths)) if reason]
        return found

    def _endangers(self, path: str) -> str:
        """Return what is wrong with a path of the host inside a container; empty: nothing."""
        if path.endswith(ENGINE_SOCKETS) or path == os.path.realpath(self.config.engine_socket):
            return "it has the engine's socket ({0})".format(path)
        guarded = self.config.protected_paths
        if path in SENSITIVE or any(_within(path, other) or _within(other, path) for other in guarded):
            return "it has {0} of the host".format(path)
        return ""

    def _mounts(self, inspect: dict[str, Any]) -> tuple[list[Mount], list[Mount]]:
        """Return the kernel's word of what a container and the host have mounted; nothing where it cannot be had."""
        pid, identity = dig(inspect, "State", "Pid"), str(dig(inspect, "Id"))
        if isinstance(pid, bool) or not isinstance(pid, int) or pid <= 1:
            return [], []
        try:
            if any(identity in path for path in self.proc.cgroups(pid).values()):
                return self.proc.mounts(pid), self.proc.mounts(1)
        except ProcError:
            pass
        return [], []

    def _own_findings(self, name: str) -> list[str]:
        """Return what the actor's own look says of a guarded container: its own high findings."""
        return [
            "{0}: {1}".format(finding.code, finding.evidence)
            for finding in self.look()
            if finding.subject == name and finding.severity.rank >= Severity.HIGH.rank
        ]

    def _stop(self, identity: str, name: str, inspect: dict[str, Any], policy: dict[str, Any]) -> list[str]:
        """Stop first, because every moment counts; then see to it that the engine does not start it again."""
        done: list[str] = []
        try:
            self.engine.stop_container(identity, self.config.stop_grace_seconds)
            done.append("stopped {0}".format(name))
        except EngineError as error:
            if not self._kill_first_process(identity, dig(inspect, "State", "Pid")):
                raise ActError(error, done) from error
            done.append("killed the first process of {0}, because the engine did not stop it".format(name))
        if policy["Name"] != "no":
            try:
                self.engine.set_restart_policy(identity, {"Name": "no", "MaximumRetryCount": 0})
                done.append("set its restart policy from {0} to no".format(policy["Name"]))
            except EngineError as error:
                if error.status != 404:
                    raise ActError(error, done) from error
        after = self.engine.container_or_none(identity)
        if dig(after, "State", "Running") is True:
            raise ActError("{0} runs still".format(name), done)
        return done

    def _kill_first_process(self, identity: str, pid: Any) -> bool:
        """Kill a container's first process when the engine hangs. It must be in that container's own control group."""
        if isinstance(pid, bool) or not isinstance(pid, int) or pid <= 1:
            return False
        handle = None
        try:
            handle = os.pidfd_open(pid)
            if not any(identity in path for path in self.proc.cgroups(pid).values()):
                return False
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            return True
        except (OSError, ProcError):
            return False
        finally:
            if handle is not None:
                os.close(handle)

    # --- looking
    def _inspect(self, identity: str) -> dict[str, Any]:
        inspect = self.engine.container_or_none(identity)
        if inspect is None:
            raise RefusedError("there is no such container")
        if dig(inspect, "Id") != identity:
            raise RefusedError("the engine answered for another container")
        return inspect

    def _attached(self, inspect: dict[str, Any], network: str) -> Optional[str]:
        """Return the name of the network with this id that a container is in, or None."""
        networks = dig(inspect, "NetworkSettings", "Networks") or {}
        return next((str(name) for name, item in networks.items() if dig(item, "NetworkID") == network), None)

    def _guarded_name(self, reference: str) -> Optional[str]:
        """Return the name of the guarded container that an id or a name refers to, or None."""
        if reference in self.config.guarded:
            return reference
        inspect = None
        with suppress(EngineError):
            inspect = self.engine.container_or_none(reference)
        name = container_name(inspect) if inspect else ""
        return name if name in self.config.guarded else None


def _within(path: str, directory: str) -> bool:
    """Whether a path is a directory or lies below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")
