# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host around the containers: listeners and connections in every network namespace, strangers, files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Optional

from .findings import Severity
from .isolation_container import HostView
from .isolation_report import NotSeenError, Report
from .procfs import TCP_ESTABLISHED, TCP_LISTEN, TCP_SYN_SENT, ProcError, ProcFS, Socket, is_loopback

OLLAMA_PORT = 11434
SERVER_PROGRAMS = ("ollama", "llama-server")
STORE_FILES_MAX = 20000
HIDDEN = "net:[hidden]"
STATES = (TCP_LISTEN, TCP_ESTABLISHED, TCP_SYN_SENT)


@dataclass(frozen=True)
class SocketDirectory:
    """A directory of Unix sockets and who owns it: `uid` and `gid` (None: not compared)."""

    role: str
    path: str
    uid: Optional[int]
    gid: Optional[int]


class HostProbes:
    """The probes that look at the whole host. `targets` maps a role to its container's first process.

    `absent` are the roles whose container does not run, or is unknown because the engine does not answer: what could be
    theirs is then neither named as a stranger's nor passed.
    """

    def __init__(
        self, proc: ProcFS, host: HostView, report: Report, targets: dict[str, int], absent: Iterable[str] = ()
    ) -> None:
        self.proc = proc
        self.host = host
        self.report = report
        self.targets = targets
        self.absent = sorted(absent)
        self._namespaces: Optional[dict[str, list[int]]] = None
        self._tables: Optional[dict[str, list[Socket]]] = None

    def namespaces(self) -> dict[str, list[int]]:
        """Return {network namespace: the processes in it}; those that end meanwhile are left out."""
        if self._namespaces is None:
            found: dict[str, list[int]] = {}
            for pid in self.proc.pids():
                try:
                    found.setdefault(self.proc.namespace(pid, "net"), []).append(pid)
                except ProcError:
                    if not self.proc.alive(pid):
                        continue
                    # A process with more privileges than ours hides its namespaces. One of the host counts as in a
                    # place of its own: its sockets are looked at all the same. One of a container's makes it unknown.
                    if self.proc.pid_namespace(pid) not in self.host.namespaces["pid"]:
                        raise
                    found.setdefault(HIDDEN, []).append(pid)
            self._namespaces = found
        if not self._namespaces:
            raise NotSeenError("no process of the host can be seen")
        return self._namespaces

    def _sockets(self) -> dict[str, list[Socket]]:
        """Return {namespace: its TCP sockets of both families that listen, are connected or connect}.

        Raises NotSeenError when a namespace cannot be read.
        """
        # The kernel walks through every socket of the machine for each table: read once, judged twice.
        if self._tables is None:
            self._tables = self._read_sockets()
        return self._tables

    def _read_sockets(self) -> dict[str, list[Socket]]:
        found: dict[str, list[Socket]] = {}
        ipv6 = os.path.isdir(self.proc.path("sys", "net", "ipv6"))
        for namespace, pids in self.namespaces().items():
            reason: Optional[Exception] = None
            # Any member shows its namespace; another one is asked when the first has just ended.
            for pid in pids if namespace == HIDDEN else pids[:20]:
                try:
                    first, second = (self.proc.sockets(pid, family, STATES) for family in ("tcp", "tcp6"))
                except ProcError as error:
                    reason = error
                    continue
                if first is None or (second is None and ipv6):
                    raise NotSeenError(
                        "{0} shows no {1} sockets".format(namespace, "IPv4" if first is None else "IPv6")
                    )
                found.setdefault(namespace, []).extend(first + (second or []))
                # Those whose namespace is hidden may be in several: each of them is asked.
                if namespace != HIDDEN:
                    break
            if namespace not in found and any(self.proc.alive(pid) for pid in pids):
                raise NotSeenError("{0}: {1}".format(namespace, reason))
        return found

    def _role_namespaces(self) -> dict[str, str]:
        """Return {network namespace: role} of the containers that run."""
        found: dict[str, str] = {}
        for role, pid in self.targets.items():
            found.setdefault(self.proc.namespace(pid, "net"), role)
        return found

    def listeners(self) -> list[dict[str, Any]]:
        """11434 is listened on in the server's own namespace, on loopback, and nowhere else on the host."""
        check_id = "isolation-listeners"
        facts: list[dict[str, Any]] = []
        with self.report.probe(check_id, "port 11434"):
            server = {self.proc.namespace(pid, "net") for role, pid in self.targets.items() if role == "ollama"}
            bad, unclear = [], []
            for namespace, sockets in sorted(self._sockets().items()):
                for item in sockets:
                    if item.state != TCP_LISTEN or item.local_port != OLLAMA_PORT:
                        continue
                    place = "host" if namespace in self.host.namespaces["net"] else namespace
                    own = namespace in server and namespace not in self.host.namespaces["net"]
                    facts.append({"address": str(item.local), "namespace": place, "server": own})
                    if "ollama" in self.absent and place != "host" and is_loopback(item.local):
                        unclear.append("{0} in {1}".format(item.local, place))
                    elif not (own and is_loopback(item.local)):
                        bad.append("{0} in {1}".format(item.local, place))
            if unclear and not bad:
                self.report.record(check_id, None, "the server is not known: {0} may be its own".format(unclear[0]))
                return facts
            evidence = (
                "listens on {0}".format("; ".join(bad))
                if bad
                else "{0} listeners, all of the server's own loopback".format(len(facts))
            )
            remedy = "Stop what listens on 11434 outside the server's namespace; Ollama is reached by its relay alone."
            self.report.expect(check_id, not bad, evidence, "ISO-LISTENER", Severity.CRITICAL, "port 11434", remedy)
        return facts

    def connections(self) -> list[dict[str, Any]]:
        """Nothing isolated, and nothing on 11434, is connected to a peer off loopback."""
        check_id = "isolation-no-foreign-connections"
        facts: list[dict[str, Any]] = []
        with self.report.probe(check_id, "connections"):
            roles = self._role_namespaces()
            for namespace, sockets in sorted(self._sockets().items()):
                for item in sockets:
                    if item.state not in (TCP_ESTABLISHED, TCP_SYN_SENT) or is_loopback(item.remote):
                        continue
                    if namespace in roles or OLLAMA_PORT in (item.local_port, item.remote_port):
                        place = roles.get(namespace) or (
                            "host" if namespace in self.host.namespaces["net"] else namespace
                        )
                        facts.append(
                            {"namespace": place, "local": _end(item.local, item.local_port),
                             "remote": _end(item.remote, item.remote_port)}
                        )  # fmt: skip
            if self.absent and not facts:
                self.report.record(check_id, None, "not known: {0}".format(", ".join(self.absent)))
                return facts
            evidence = (
                "; ".join("{local} - {remote} in {namespace}".format(**item) for item in facts[:5]) or "none seen"
            )
            remedy = "Find the process (ss -tnp in that namespace), stop it, and look at how it got a way out."
            self.report.expect(
                check_id,
                not facts,
                evidence,
                "ISO-FOREIGN-CONNECTION",
                Severity.CRITICAL,
                "connections",
                remedy,
            )
        return facts

    def members(self, role: str, name: str) -> None:
        """A container's network namespace holds the processes of the expected containers and nobody else's."""
        check_id = "{0}-namespace-members".format(role)
        with self.report.probe(check_id, name):
            # Relay and server share one namespace by design; every other one is alone in its own.
            allowed_roles = {"relay", "ollama"} if role in ("relay", "ollama") else {role}
            allowed = {self.proc.namespace(pid, "pid") for item, pid in self.targets.items() if item in allowed_roles}
            strangers = []
            for pid in self.namespaces().get(self.proc.namespace(self.targets[role], "net"), []):
                try:
                    if self.proc.namespace(pid, "pid") not in allowed:
                        strangers.append("{0}({1})".format(self.proc.read(pid, "comm").strip(), pid))
                except ProcError:
                    if self.proc.alive(pid):
                        raise
            evidence = "others in its namespace: {0}".format(", ".join(strangers[:5])) if strangers else "nobody else"
            remedy = "Remove the container or process that joined the namespace."
            self.report.expect(
                check_id, not strangers, evidence, "ISO-NAMESPACE-STRANGER", Severity.CRITICAL, name, remedy
            )

    def native(self) -> list[dict[str, Any]]:
        """No Ollama or llama-server runs outside the server's container."""
        check_id = "isolation-no-native-ollama"
        facts: list[dict[str, Any]] = []
        with self.report.probe(check_id, "processes"):
            own = {self.proc.namespace(pid, "pid") for role, pid in self.targets.items() if role == "ollama"}
            own -= self.host.namespaces["pid"]
            unclear = []
            for pid in self.proc.pids():
                try:
                    program = self._server_program(pid)
                    namespace = self.proc.pid_namespace(pid) if program else ""
                except ProcError:
                    if self.proc.alive(pid):
                        raise
                    continue
                if not program or namespace in own:
                    continue
                if "ollama" in self.absent and namespace not in self.host.namespaces["pid"]:
                    unclear.append("{0} (process {1})".format(program, pid))
                else:
                    facts.append({"pid": pid, "program": program, "uid": self._uid(pid)})
            if unclear and not facts:
                self.report.record(check_id, None, "the server is not known: {0} may be it".format(unclear[0]))
                return facts
            evidence = (
                "; ".join("{program} (process {pid}, uid {uid})".format(**item) for item in facts[:5]) or "none seen"
            )
            remedy = "Stop and disable the native Ollama (systemctl disable --now ollama), or adopt its models first."
            self.report.expect(
                check_id, not facts, evidence, "ISO-NATIVE-OLLAMA", Severity.CRITICAL, "processes", remedy
            )
        return facts

    def _uid(self, pid: int) -> Optional[int]:
        try:
            return self.proc.status(pid).uids[1]
        except ProcError:
            return None

    def _server_program(self, pid: int) -> Optional[str]:
        """Return "ollama" or "llama-server" when a process is one, by its program's file or its own name."""
        path = self.proc.executable(pid) or ""
        name = os.path.basename(path.removesuffix(" (deleted)"))
        comm = self.proc.read(pid, "comm").strip()
        return next((item for item in SERVER_PROGRAMS if item in (name, comm)), None)

    # --- files --------------------------------------------------------------------------------------------
    def socket_directory(self, item: SocketDirectory) -> None:
        """A socket directory may be entered by its owner and group alone, and so may the sockets in it."""
        check_id = "{0}-socket-permissions".format(item.role)
        with self.report.probe(check_id, item.path):
            entries = [item.path]
            try:
                entries += [entry.path for entry in os.scandir(item.path)]
                modes = {path: os.lstat(path) for path in entries}
            except OSError as error:
                raise NotSeenError("{0}: {1}".format(item.path, error.strerror)) from error
            bad = []
            for path, found in modes.items():
                if found.st_mode & 0o007:
                    bad.append("{0} is open to others (mode {1:04o})".format(path, stat.S_IMODE(found.st_mode)))
                if item.uid is not None and found.st_uid != item.uid:
                    bad.append("{0} belongs to uid {1}".format(path, found.st_uid))
                if item.gid is not None and found.st_gid != item.gid:
                    bad.append("{0} belongs to group {1}".format(path, found.st_gid))
            evidence = "; ".join(bad) or "{0} and {1} entries: owner and group alone".format(item.path, len(modes) - 1)
            remedy = "Let systemd-tmpfiles make the directory again (2750) and restart the container."
            self.report.expect(check_id, not bad, evidence, "ISO-SOCKET-MODE", Severity.HIGH, item.path, remedy)

    def store(self, path: str) -> None:
        """The model store belongs to root and nobody else may write to it."""
        check_id = "isolation-store-permissions"
        with self.report.probe(check_id, path):
            if not os.path.isdir(path):
                raise NotSeenError("{0} is not there".format(path))
            bad, count = [], 0
            for name in _walk(path):
                count += 1
                if count > STORE_FILES_MAX:
                    raise NotSeenError("more than {0} files".format(STORE_FILES_MAX))
                found = os.lstat(name)
                if found.st_uid != 0 or (found.st_mode & 0o022 and not stat.S_ISLNK(found.st_mode)):
                    bad.append("{0} (uid {1}, mode {2:04o})".format(name, found.st_uid, stat.S_IMODE(found.st_mode)))
            evidence = "; ".join(bad[:5]) or "{0} entries, root's alone".format(count)
            remedy = "chown -R root:root the store and remove the write bits; then verify every blob again."
            self.report.expect(check_id, not bad, evidence, "ISO-STORE-MODE", Severity.HIGH, path, remedy)


def _walk(path: str) -> Iterable[str]:
    yield path
    for directory, directories, files in os.walk(path):
        for name in directories + files:
            yield os.path.join(directory, name)


def _end(address: object, port: int) -> str:
    return "[{0}]:{1}".format(address, port) if ":" in str(address) else "{0}:{1}".format(address, port)
