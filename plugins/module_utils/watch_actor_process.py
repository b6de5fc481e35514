# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verb `process`: kill an Ollama, or what listens on its port, outside the server's container. Nothing else."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Optional

from .engine import Engine, EngineError
from .isolation_host import OLLAMA_PORT, SERVER_PROGRAMS
from .isolation_report import dig
from .procfs import TCP_LISTEN, ProcError, ProcFS
from .watch_actor_config import ActorConfig
from .watch_actor_plan import ActError, Plan, RefusedError

# Programs that hold the host, its administrator's connection or its containers: never killed, whatever they do.
PROTECTED = (
    "/usr/sbin/sshd",
    "/usr/lib/openssh/sshd-session",
    "/usr/lib/openssh/sshd-auth",
    "/usr/lib/systemd/systemd",
    "/usr/lib/systemd/systemd-journald",
    "/usr/lib/systemd/systemd-logind",
    "/usr/lib/systemd/systemd-networkd",
    "/usr/lib/systemd/systemd-resolved",
    "/usr/bin/dbus-daemon",
    "/usr/bin/dockerd",
    "/usr/sbin/dockerd",
    "/usr/bin/docker-proxy",
    "/usr/sbin/docker-proxy",
    "/usr/libexec/docker/docker-proxy",
    "/usr/bin/containerd",
    "/usr/bin/containerd-shim-runc-v2",
    "/usr/sbin/runc",
    "/usr/bin/runc",
)
FILES_MAX = 65536
DEATH_SECONDS = 2.0


class ProcessActs:
    """Plans of the verb. The engine is asked which container is the server's; a host's own process needs no answer."""

    def __init__(
        self, config: ActorConfig, engine: Engine, proc: Optional[ProcFS] = None, protected: Iterable[str] = PROTECTED
    ) -> None:
        self.config = config
        self.engine = engine
        self.proc = proc or ProcFS()
        self.protected = tuple(protected)

    def process(self, target: dict[str, Any]) -> Plan:
        """Plan to kill one process. Raises RefusedError, ProcError."""
        pid = target["pid"]
        try:
            handle = os.pidfd_open(pid)
        except OSError as error:
            raise RefusedError("process {0}: {1}".format(pid, error.strerror)) from None
        try:
            checked, before = self._judge(pid, target["start_time"])
            # The number may have been given away between two looks, but not while its first owner lives: all that was
            # read is about the process behind the handle if that one is alive now.
            if _ended(handle, 0):
                raise RefusedError("process {0} has ended".format(pid))
        except BaseException:
            os.close(handle)
            raise

        def act() -> list[str]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            if not _ended(handle, DEATH_SECONDS):
                raise ActError("process {0} did not end within {1:g} s".format(pid, DEATH_SECONDS), ["sent SIGKILL"])
            return ["killed process {0} ({1})".format(pid, before["program"])]

        return Plan(checked, {"process": before}, {"action": "none"}, act, lambda: os.close(handle))

    def _judge(self, pid: int, start_time: int) -> tuple[list[str], dict[str, Any]]:
        if pid in (1, os.getpid(), os.getppid()):
            raise RefusedError("process {0} is never killed".format(pid))
        if start_time_of(self.proc, pid) != start_time:
            raise RefusedError("process {0} is another one than was seen".format(pid))
        path = self.proc.executable(pid)
        if path is None:
            raise RefusedError("process {0} has no program that can be seen".format(pid))
        in_host = self.proc.pid_namespace(pid) in self._host_namespaces("pid")
        if self._is_protected(pid, path, in_host):
            raise RefusedError("process {0} is {1}, which is never killed".format(pid, os.path.basename(path)))
        status = self.proc.status(pid)
        before = {"pid": pid, "start_time": start_time, "program": os.path.basename(path), "uid": status.uids[1],
                  "parent": status.parent, "in_host": in_host}  # fmt: skip
        name = self._server_name(pid, path)
        if name and self._outside(pid, "pid", in_host):
            return ["process {0} is {1}, outside the server's container".format(pid, name)], before
        if self._listens(pid):
            in_host_network = self.proc.namespace(pid, "net") in self._host_namespaces("net")
            if self._outside(pid, "net", in_host_network):
                seen = "process {0} listens on {1} outside the server's namespace".format(pid, OLLAMA_PORT)
                return [seen], before
        raise RefusedError("process {0} is no server and no listener outside the server's container".format(pid))

    def _host_namespaces(self, kind: str) -> set[str]:
        """Return the host's namespaces of a kind: our own, and the first process's where it can be seen."""
        found = {self.proc.namespace("self", kind)}
        with suppress(ProcError):
            found.add(self.proc.namespace(1, kind))
        return found

    def _outside(self, pid: int, kind: str, in_host: bool) -> bool:
        """Whether a process is in another namespace than the server. Raises RefusedError where that is not known."""
        if in_host:
            return True
        try:
            inspect = self.engine.container_or_none(self.config.server)
        except EngineError as error:
            raise RefusedError("the engine does not say which container is the server's ({0})".format(error)) from None
        identity, first = dig(inspect, "Id"), dig(inspect, "State", "Pid")
        # Also while it starts, when the engine does not call it running yet.
        if isinstance(identity, str) and any(identity in path for path in self.proc.cgroups(pid).values()):
            return False
        if dig(inspect, "State", "Running") is not True or not isinstance(first, int) or first <= 1:
            return True
        return self.proc.namespace(pid, kind) != self.proc.namespace(first, kind)

    def _is_protected(self, pid: int, path: str, in_host: bool) -> bool:
        """By the program's file, not by its name: anybody can call a program sshd, in a container even by full path."""
        try:
            own = os.stat(self.proc.path(pid, "exe"))
        except OSError:
            own = None
        for name in self.protected:
            with suppress(OSError):
                found = os.stat(name)
                if own is not None and (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino):
                    return True
        # A program that was upgraded while it runs has no file any more.
        old = path.removesuffix(" (deleted)")
        return in_host and old != path and old in self.protected and self.proc.status(pid).uids[1] == 0

    def _server_name(self, pid: int, path: str) -> Optional[str]:
        name = os.path.basename(path.removesuffix(" (deleted)"))
        comm = self.proc.read(pid, "comm").strip()
        return next((item for item in SERVER_PROGRAMS if item in (name, comm)), None)

    def _listens(self, pid: int) -> bool:
        """Whether the process itself holds a socket that listens on the server's port."""
        inodes = {
            "socket:[{0}]".format(item.inode)
            for family in ("tcp", "tcp6")
            for item in self.proc.sockets(pid, family) or []
            if item.state == TCP_LISTEN and item.local_port == OLLAMA_PORT
        }
        if not inodes:
            return False
        try:
            with os.scandir(self.proc.path(pid, "fd")) as entries:
                for count, entry in enumerate(entries):
                    if count >= FILES_MAX:
                        return False
                    with suppress(OSError):
                        if os.readlink(entry.path) in inodes:
                            return True
        except OSError as error:
            raise ProcError("open files of process {0}: {1}".format(pid, error.strerror)) from error
        return False


def start_time_of(proc: ProcFS, pid: int) -> int:
    """Return when a process started, in clock ticks since boot (field 22 of its stat). Raises ProcError."""
    # The name in parentheses may hold anything, a parenthesis too: count from the last one.
    words = proc.read(pid, "stat").rpartition(")")[2].split()
    try:
        return int(words[19])
    except (IndexError, ValueError):
        raise ProcError("process {0}: not a stat file".format(pid)) from None


def _ended(handle: int, seconds: float) -> bool:
    """Whether the process behind a handle ends within `seconds`: its handle then becomes readable."""
    waiter = select.poll()
    waiter.register(handle, select.POLLIN)
    return bool(waiter.poll(int(seconds * 1000)))
