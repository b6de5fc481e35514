# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where attacks start: inside a container, from a container of one's own, as a user, as the fetcher, from a neighbour.

A place is entered once for all attacks that start there, and left again with nothing behind. Every attack runs in a
child process of its own. In a container the child joins the namespaces and takes the ids, groups, capabilities and
the no-new-privileges bit of the container's first process. So it can do what that process could do, but for two
things the kernel lets nobody share: its seccomp filter and its AppArmor profile. What those refuse is tried in a
clone (`attack_clone`).
"""

from __future__ import annotations

import ctypes
import glob
import ipaddress
import os
import shutil
import signal
import socket
import tempfile
import time
from contextlib import suppress
from typing import Any, Optional

from . import attack_probe
from .attack_attempts import Parameters
from .attack_clone import LABEL, Clone, write_program
from .attack_functions import FUNCTIONS
from .attack_route import zoned
from .engine import Engine, EngineError
from .isolation_report import dig
from .nsenter import NAMESPACES, Privileges, in_child, take
from .procfs import ProcError, ProcFS

CLONE_NEWNET = 0x40000000
STRANGER_NAME = "rampart-attack-stranger"
START_SECONDS = 10.0
NO_CAPABILITIES = {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0}


class Place:
    """A place from which nothing special is needed: the machine itself, as root. Also what a neighbour host is."""

    # The process whose network namespace is attacked from, for its counters.
    pid: Optional[int] = None

    def __init__(self, proc: Optional[ProcFS] = None) -> None:
        self.proc = proc or ProcFS()
        self._canary: Optional[socket.socket] = None
        self._victim = 0

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._canary is not None:
            self._canary.close()
        if self._victim:
            with suppress(OSError):
                os.kill(self._victim, signal.SIGKILL)
                os.waitpid(self._victim, 0)

    def prepare(self, function: str, parameters: Parameters) -> None:
        """Add to the parameters what has to be made or looked up outside for an attack."""
        if function in ("tcp", "icmp", "udp"):
            parameters["addresses"] = zoned(parameters["addresses"], self.proc)
        if function == "abstract_socket":
            if self._canary is None:
                name = "rampart-attack-{0}".format(os.getpid())
                self._canary = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._canary.bind("\0" + name)
                self._canary.listen(4)
            parameters["canary"] = "rampart-attack-{0}".format(os.getpid())
        if function == "trace_process":
            parameters["victim"] = self._victim = self._victim or _sleeper()
        if function == "host_processes":
            parameters["host_pid_namespace"] = self.proc.namespace("self", "pid")

    def attempt(self, function: str, parameters: Parameters, seconds: float) -> Any:
        """Run a function of FUNCTIONS there and return what it returned. Raises EnterError, OSError, ValueError."""
        return in_child(lambda: FUNCTIONS[function](parameters), seconds)


class Inside(Place):
    """Inside a container, as its first process."""

    def __init__(self, pid: int, proc: Optional[ProcFS] = None) -> None:
        super().__init__(proc)
        self.pid = pid

    def attempt(self, function: str, parameters: Parameters, seconds: float) -> Any:
        """As `Place.attempt`, in the container's namespaces with its first process's privileges."""
        privileges = Privileges.of(self.proc.status(self.pid or 0))
        return in_child(
            lambda: FUNCTIONS[function](parameters), seconds, self.pid, NAMESPACES, privileges, self.proc.root
        )


class User(Place):
    """An unprivileged local user without an account, a group or a capability."""

    def __init__(self, uid: int, proc: Optional[ProcFS] = None) -> None:
        super().__init__(proc)
        self._privileges = Privileges(uid, uid, (), dict(NO_CAPABILITIES), False)

    def prepare(self, function: str, parameters: Parameters) -> None:
        """Look up as root what is there: what the user cannot even find has to be attacked by its name."""
        super().prepare(function, parameters)
        if "paths" in parameters:
            parameters["paths"] = _found(parameters["paths"])
            if function in ("read_files", "hard_links"):
                parameters["paths"] = [path for path in parameters["paths"] if os.path.isfile(path)]
            elif function == "unix_sockets":
                parameters["paths"] = [path for path in parameters["paths"] if not os.path.isdir(path)]
        if "directories" in parameters:
            parameters["directories"] = [path for path in _found(parameters["directories"]) if os.path.isdir(path)]

    def attempt(self, function: str, parameters: Parameters, seconds: float) -> Any:
        """As `Place.attempt`."""
        return in_child(lambda: FUNCTIONS[function](parameters), seconds, privileges=self._privileges)


class Fetcher(Place):
    """Where the fetcher is: its uid and group, an empty network namespace, no capability, the proxy's socket."""

    def __init__(self, uid: int, gid: int, proc: Optional[ProcFS] = None) -> None:
        super().__init__(proc)
        self._privileges = Privileges(uid, gid, (), dict(NO_CAPABILITIES), True)

    def attempt(self, function: str, parameters: Parameters, seconds: float) -> Any:
        """As `Place.attempt`."""

        def enter() -> Any:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
            take(self._privileges)
            return FUNCTIONS[function](parameters)

        return in_child(enter, seconds)


class InClone(Place):
    """Inside a throw-away clone of a container, under its seccomp filter and limits."""

    def __init__(self, clone: Clone, proc: Optional[ProcFS] = None) -> None:
        super().__init__(proc)
        self._clone = clone

    def attempt(self, function: str, parameters: Parameters, seconds: float) -> Any:
        """As `Place.attempt`."""
        return self._clone.attempt(function, parameters)


class Stranger(Place):
    """A container that somebody starts by hand, as Docker makes it by default, on the given networks."""

    def __init__(
        self, engine: Engine, image: str, networks: list[str], directory: str, proc: Optional[ProcFS] = None
    ) -> None:
        super().__init__(proc)
        self._engine = PlaceEngine(engine.socket_path, engine.timeout)
        self._image, self._networks, self._directory = image, networks, directory
        self._place = ""
        self._inside: Optional[Inside] = None

    def __enter__(self) -> Place:
        self._place = tempfile.mkdtemp(prefix=".attack-", dir=self._directory)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        program = write_program(self._place, attack_probe.pause(), 0o755)
        names = [str(item.get("Name")) for item in self._engine.networks()]
        wanted = [name for name in self._networks if name in names]
        if not wanted:
            raise ValueError("none of the networks {0} is there".format(", ".join(self._networks)))
        self._engine.remove_container(STRANGER_NAME)
        config = {
            "Image": self._image,
            "User": "0:0",
            "Entrypoint": ["/rampart-probe"],
            "Cmd": [],
            "Healthcheck": {"Test": ["NONE"]},
            "Labels": {LABEL: "attack"},
            "HostConfig": {
                "NetworkMode": wanted[0],
                "Memory": 64 * 1024 * 1024,
                "PidsLimit": 32,
                "Mounts": [{"Type": "bind", "Source": program, "Target": "/rampart-probe", "ReadOnly": True}],
            },
        }
        self._engine.create_container(STRANGER_NAME, config)
        for name in wanted[1:]:
            self._engine.join(name, STRANGER_NAME)
        self._engine.start_container(STRANGER_NAME)
        deadline = time.monotonic() + START_SECONDS
        while self._inside is None:
            pid = first_process(self._engine, STRANGER_NAME)
            if pid is not None:
                self.pid, self._inside = pid, Inside(pid, self.proc)
            elif time.monotonic() > deadline:
                raise ValueError("{0} did not start".format(STRANGER_NAME))

    def __exit__(self, *_exception: object) -> None:
        with suppress(EngineError):
            self._engine.remove_container(STRANGER_NAME)
        shutil.rmtree(self._place, ignore_errors=True)
        super().__exit__()

    def attempt(self, function: str, parameters: Parameters, seconds: float) -> Any:
        """As `Place.attempt`."""
        if self._inside is None:
            raise ValueError("the container does not run")
        return self._inside.attempt(function, parameters, seconds)


class PlaceEngine(Engine):
    """The engine's client with the one thing that only an attacker's container needs."""

    def join(self, network: str, container: str) -> None:
        """Connect a container to a network. Raises EngineError."""
        self._request("POST", "/networks/{0}/connect".format(network), {"Container": container}, self.timeout)


def first_process(engine: Engine, name: str) -> Optional[int]:
    """Return the process id of a running container, or None. Raises EngineError when the engine does not answer."""
    inspect = engine.container_or_none(name)
    pid = dig(inspect, "State", "Pid")
    return pid if dig(inspect, "State", "Running") is True and isinstance(pid, int) and pid > 0 else None


def _found(patterns: list[str]) -> list[str]:
    return sorted({path for pattern in patterns for path in glob.glob(str(pattern))})


def _sleeper() -> int:
    """Start a process of root's that only waits, and return its id."""
    child = os.fork()
    if child == 0:
        while True:
            signal.pause()
    return child


def own_addresses(proc: ProcFS) -> list[str]:
    """Return the host's own addresses but loopback and link-local ones: what a container would attack it by.

    IPv4 from fib_trie (`/32 host LOCAL`), IPv6 from if_inet6; a family that cannot be read adds none.
    """
    found: set[str] = set()
    try:
        lines = proc.read("self", "net", "fib_trie").splitlines()
        for previous, line in zip(lines, lines[1:]):
            if "/32 host LOCAL" in line:
                found.add(previous.split("--")[-1].strip())
    except ProcError:
        pass
    try:
        for line in proc.read("self", "net", "if_inet6").splitlines():
            found.add(str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0]))))
    except (ProcError, ValueError, IndexError):
        pass
    usable = []
    for text in sorted(found):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        if not (address.is_loopback or address.is_link_local):
            usable.append(text)
    return usable


def container_addresses(engine: Engine) -> list[str]:
    """Return the IPv4 addresses of the engine's bridges and of the containers on them. Raises EngineError."""
    found = []
    for item in engine.networks():
        if item.get("Driver") != "bridge":
            continue
        network = engine.inspect_network(str(item.get("Id")))
        configs = dig(network, "IPAM", "Config")
        found += [entry.get("Gateway") for entry in configs or [] if isinstance(entry, dict)]
        members = network.get("Containers")
        for member in (members if isinstance(members, dict) else {}).values():
            found.append(str(dig(member, "IPv4Address") or "").partition("/")[0])
    return sorted({text for text in found if text and ":" not in text})
