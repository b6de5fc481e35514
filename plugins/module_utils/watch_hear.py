# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sensor listens to, and what it makes of it: hints and counted findings, never a verdict."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional

from .isolation_host import OLLAMA_PORT
from .isolation_kernel import FALLBACK_DEVICES
from .isolation_report import dig
from .procfs import TCP_LISTEN, ProcError, ProcFS
from .watch_config import Config
from .watch_look import Sight
from .watch_policy import Observation
from .watch_queue import Hint, HintQueue
from .watch_self import drops_seen, exec_seen, firewall_changed, firewall_gone, store_changed
from .watch_sources import DockerEvents, Source
from .watch_sources_files import FileEvents
from .watch_sources_netlink import DropEvents, FirewallEvents, ProcessEvents, listeners
from .watch_targets import is_server_program

OnEvent = Callable[[Observation, Optional[float]], None]
EVENT_SECONDS = 900.0
DROPS_SECONDS = 10.0
# The same condition, seen again and again by the cheap check, is looked at only this often.
REPEAT_SECONDS = 5.0
# A program that began in a namespace we do not know is asked about the port for this long; so many at a time.
HOT_SECONDS, HOT_MAX = 15.0, 16
PREFIXES_MAX = 32
_IN_USE = re.compile(r"^TCP6?: inuse ([0-9]+)", re.MULTILINE)
_PREFIX = re.compile(r"rampart-[a-z0-9-]{1,40}")


@dataclass
class _Hot:
    """A namespace that is not known: one process in it, until when it is asked, and its counts of sockets."""

    pid: int
    until: float
    sockets: str = "0"


class Hearing:
    """The sources and their handlers. All handlers run in the listening thread; `know` is called by the others."""

    def __init__(
        self,
        config: Config,
        queue: HintQueue,
        proc: ProcFS,
        on_event: OnEvent,
        on_over: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.queue = queue
        self.proc = proc
        self.on_event = on_event
        self.on_over = on_over
        self.clock = clock
        self.sources = self._sources()
        self._lock = threading.Lock()
        # {role: (container's id, first process)}, {namespace: id} of our containers, {id: (name, health command)}
        self._roles: dict[str, tuple[str, int]] = {}
        self._net: dict[str, str] = {}
        self._pid: dict[str, str] = {}
        self._known: dict[str, tuple[str, str]] = {}
        self._host_net = self._namespace("self", "net")
        self._hot: dict[str, _Hot] = {}
        self._said: dict[str, tuple[object, float]] = {}
        self._drops: dict[str, tuple[int, str]] = {}
        self._prefixes: set[str] = set()
        self._drops_told = 0.0

    def _sources(self) -> list[Source]:
        config, expected = self.config, self.config.expected
        found: list[Source] = [
            DockerEvents(config.engine_socket, self.queue.put, self._on_docker_exec),
            ProcessEvents(self.on_exec, lambda: self.queue.put(Hint("sweep"))),
        ]
        if config.nflog_group is not None:
            found.append(DropEvents(config.nflog_group, self._on_drop))
        if config.firewall_table:
            found.append(
                FirewallEvents(config.firewall_table, self._on_firewall, lambda: self.queue.put(Hint("sweep")))
            )
        directories = [item.path for item in expected.socket_directories]
        if expected.store or directories:
            found.append(
                FileEvents(
                    expected.store,
                    directories,
                    self._on_store,
                    lambda: self.queue.put(Hint("store")),
                    lambda _path: self.queue.put(Hint("sockets")),
                    lambda: self.queue.put(Hint("sweep")),
                )
            )
        return found

    def know(self, sight: Sight) -> None:
        """Learn from a look which containers are ours, and where they live."""
        if not sight.roles or sight.blind:
            return
        roles, net, pids, known = {}, {}, {}, {}
        for role, pid in sight.roles.items():
            name = self.config.expected.containers[role]
            identity = sight.ids.get(name)
            if identity is None:
                continue
            roles[role] = (identity, pid)
            net[self._namespace(pid, "net")] = identity
            pids[self._namespace(pid, "pid")] = identity
            test = dig(sight.inspects.get(identity), "Config", "Healthcheck", "Test")
            known[identity] = (name, " ".join(map(str, test[1:])) if isinstance(test, list) else "")
        with self._lock:
            self._roles, self._net, self._pid, self._known = roles, net, pids, known

    # --- processes ----------------------------------------------------------------------------------------
    def on_exec(self, pid: int) -> None:
        """A process has started a program: is it ours, in one of our namespaces, or a server where none may be?"""
        try:
            net, own = self.proc.namespace(pid, "net"), self.proc.namespace(pid, "pid")
        except ProcError:
            return  # it has ended, or shows nothing to us: the sweep says so
        with self._lock:
            container = self._pid.get(own) or self._net.get(net)
            known = own in self._pid
        if container is not None:
            self.queue.put(Hint("container", container, urgent=True))
        if not known and is_server_program(self.proc, pid):
            self.queue.put(Hint("host", urgent=True))
        if container is None and net != self._host_net and (net in self._hot or len(self._hot) < HOT_MAX):
            self._hot[net] = _Hot(pid, self.clock() + HOT_SECONDS)

    def cheap_check(self) -> None:
        """Ask the kernel who listens on the server's port, and which interfaces our namespaces have."""
        try:
            found: Any = sorted(inode for _address, inode in listeners(OLLAMA_PORT))
        except OSError:
            found = self._listening("self")
        self._hint_if(found, "host", Hint("host", urgent=True))
        now = self.clock()
        for net, hot in list(self._hot.items()):
            if now > hot.until:
                del self._hot[net]
                continue
            # A socket table takes a walk through all buckets of the kernel; how many sockets there are does not.
            sockets = self._sockets_in(hot.pid)
            if sockets != hot.sockets:
                hot.sockets = sockets
                self._hint_if(self._listening(hot.pid), net, Hint("host", urgent=True))
        with self._lock:
            places = {net: identity for net, identity in self._net.items() if net}
            roles = dict(self._roles.values())
        for identity in places.values():
            try:
                names = set(self.proc.interfaces(roles[identity])) - FALLBACK_DEVICES - {"lo"}
            except (KeyError, ProcError):
                names = set()  # it has ended: Docker says so, and the sweep
            self._hint_if(sorted(names), identity, Hint("container", identity, urgent=True))

    def _hint_if(self, condition: Any, place: str, hint: Hint) -> None:
        """Put a hint when something is there: at once when it is new, else now and then."""
        if not condition:
            self._said.pop(place, None)
            return
        said, date = self._said.get(place, (None, 0.0))
        if said != condition or self.clock() - date >= REPEAT_SECONDS:
            self._said[place] = (condition, self.clock())
            self.queue.put(hint)

    def _listening(self, pid: Any) -> list[int]:
        try:
            sockets = [item for family in ("tcp", "tcp6") for item in self.proc.sockets(pid, family) or []]
        except ProcError:
            return []
        return sorted(item.inode for item in sockets if item.state == TCP_LISTEN and item.local_port == OLLAMA_PORT)

    def _sockets_in(self, pid: int) -> str:
        """Return the kernel's counts of TCP sockets in use in a process's namespace, as it writes them."""
        try:
            text = self.proc.read(pid, "net", "sockstat") + self.proc.read(pid, "net", "sockstat6")
        except ProcError:
            return ""
        return " ".join(_IN_USE.findall(text))

    def _namespace(self, pid: Any, kind: str) -> str:
        try:
            return self.proc.namespace(pid, kind)
        except ProcError:
            return ""

    # --- the others ---------------------------------------------------------------------------------------
    def _on_docker_exec(self, container: str, command: str) -> None:
        with self._lock:
            name, health = self._known.get(container, ("", ""))
        if name and command != health:
            self.on_event(exec_seen(name, command), EVENT_SECONDS)

    def _on_store(self, path: str, what: str) -> None:
        self.on_event(store_changed(path, what), EVENT_SECONDS)
        self.queue.put(Hint("store"))

    def _on_firewall(self, present: bool, less: bool) -> None:
        table = self.config.firewall_table
        if present:
            self.on_over("WATCH-FIREWALL-GONE", "firewall")
        else:
            self.on_event(firewall_gone(table), None)
        if less:
            self.on_event(firewall_changed(table), EVENT_SECONDS)

    def _on_drop(self, prefix: str, example: str, count: int) -> None:
        """Add up. Names that are no prefix of ours, and more of them than there are rules, are all one."""
        if not _PREFIX.fullmatch(prefix) or (prefix not in self._prefixes and len(self._prefixes) >= PREFIXES_MAX):
            prefix = "other"
        self._prefixes.add(prefix)
        former = self._drops.get(prefix, (0, ""))[0]
        self._drops[prefix] = (former + count, example)

    def drops(self, on_event: OnEvent) -> dict[str, int]:
        """Return the drops since last time, by prefix; every ten seconds, and no oftener."""
        now = self.clock()
        if now - self._drops_told < DROPS_SECONDS:
            return {}
        self._drops_told = now
        drops, self._drops = self._drops, {}
        for prefix, (count, example) in drops.items():
            on_event(drops_seen(prefix, count, example), DROPS_SECONDS * 6)
        return {prefix: count for prefix, (count, _example) in drops.items()}
