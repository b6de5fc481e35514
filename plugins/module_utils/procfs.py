# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's view of processes, sockets, mounts and limits, read from a proc file system.

The root of the file system is a parameter, so that tests can hand in a made-up one. Whatever cannot be read
or does not look as the kernel writes it raises ProcError, and nothing else: callers turn that into
`unknown`, never into a pass.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional, Union

from .procfs_text import HEX, Address, contents, decode_address, hexadecimal, number

# Hostile or broken files must not be able to fill the memory: a namespace's socket table is the longest file read here,
# and of the rest a status with 65,536 groups.
READ_MAX_BYTES = 16 * 1024 * 1024
SMALL_MAX_BYTES = 1024 * 1024
CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
TCP_LISTEN = 0x0A
TCP_ESTABLISHED = 0x01
TCP_SYN_SENT = 0x02


class ProcError(Exception):
    """Something under /proc could not be read, or is not what the kernel writes."""


@dataclass(frozen=True)
class Status:
    """What /proc/PID/status says; ids are (real, effective, saved, file system), capability sets are bit masks."""

    name: str
    parent: int
    uids: tuple[int, ...]
    gids: tuple[int, ...]
    groups: tuple[int, ...]
    capabilities: dict[str, int]
    no_new_privs: Optional[bool]
    seccomp: Optional[int]


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo; `root` is the mounted directory within its file system, options are sets of words."""

    device: str
    root: str
    point: str
    options: frozenset[str]
    fs_type: str
    source: str
    super_options: frozenset[str]

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written through this mount (its own option, or the file system's)."""
        return "ro" in self.options or "ro" in self.super_options


@dataclass(frozen=True)
class Socket:
    """One line of /proc/PID/net/{tcp,tcp6}; `state` is the kernel's number (10 listens, 1 is established)."""

    local: Address
    local_port: int
    remote: Address
    remote_port: int
    state: int
    inode: int


class ProcFS:
    """Reads one proc file system. `root` is its mount point; every method raises ProcError alone."""

    def __init__(self, root: str = "/proc") -> None:
        self.root = root

    def path(self, *parts: object) -> str:
        """Return the path of a file below the root."""
        return os.path.join(self.root, *(str(part) for part in parts))

    def read(self, *parts: object, limit: int = SMALL_MAX_BYTES) -> str:
        """Return a file's text (undecodable bytes kept as surrogates); longer than `limit` bytes is an error."""
        path = self.path(*parts)
        try:
            return contents(path, limit).decode("utf-8", "surrogateescape")
        except (OSError, ValueError) as error:
            raise ProcError("{0}: {1}".format(path, getattr(error, "strerror", None) or error)) from error

    def pids(self) -> list[int]:
        """Return the process ids that are there now, in order."""
        try:
            return sorted(int(name) for name in os.listdir(self.root) if name.isascii() and name.isdigit())
        except OSError as error:
            raise ProcError("{0}: {1}".format(self.root, error.strerror)) from error

    def alive(self, pid: int) -> bool:
        """Whether a process is still there and can act; what cannot be told is taken for alive."""
        if not os.path.isdir(self.path(pid)):
            return False
        try:
            text = self.read(pid, "status")
        except ProcError:
            return os.path.isdir(self.path(pid))
        # A zombie (Z, X) keeps its number until its parent asks, and has no namespaces any more.
        return re.search(r"^State:\s*[ZX]", text, re.MULTILINE) is None

    def status(self, pid: Union[int, str]) -> Status:
        """Return the parsed /proc/PID/status; ids and capability sets are required, the rest may be absent."""
        fields: dict[str, str] = {}
        # Not splitlines: a process may have a vertical tab in its name, which would make a line of its own.
        for line in self.read(pid, "status").split("\n"):
            key, colon, value = line.partition(":")
            if colon:
                fields[key] = value.strip()
        try:
            capabilities = {name: hexadecimal(fields[name]) for name in CAPABILITY_SETS if name in fields}
            uids = tuple(number(word) for word in fields["Uid"].split())
            gids = tuple(number(word) for word in fields["Gid"].split())
            groups = tuple(number(word) for word in fields.get("Groups", "").split())
            parent = number(fields["PPid"])
            seccomp = number(fields["Seccomp"]) if "Seccomp" in fields else None
            no_new_privs = {"0": False, "1": True}.get(fields.get("NoNewPrivs", ""))
        except (KeyError, ValueError) as error:
            raise ProcError("{0}: not a status file ({1})".format(self.path(pid, "status"), error)) from error
        if len(uids) != 4 or len(gids) != 4 or not {"CapEff", "CapPrm", "CapBnd"} <= set(capabilities):
            raise ProcError("{0}: ids or capability sets are missing".format(self.path(pid, "status")))
        return Status(fields.get("Name", ""), parent, uids, gids, groups, capabilities, no_new_privs, seccomp)

    def namespace(self, pid: Union[int, str], kind: str) -> str:
        """Return the identity of a process's namespace, such as "net:[4026531840]"."""
        path = self.path(pid, "ns", kind)
        try:
            target = os.readlink(path)
        except OSError as error:
            raise ProcError("{0}: {1}".format(path, error.strerror)) from error
        if not re.match(r"^{0}:\[[0-9]+\]\Z".format(kind), target):
            raise ProcError("{0}: not a namespace ({1})".format(path, target[:60]))
        return target

    def pid_namespace(self, pid: int) -> str:
        """Return the PID namespace of a process, also of one with more privileges than we have.

        The kernel hides the link of such a process from us, but not that it has one number only (NSpid): then it lives
        in the namespace of this very /proc, which is our own.
        """
        try:
            return self.namespace(pid, "pid")
        except ProcError:
            if re.search(r"^NSpid:\s*[0-9]+\s*$", self.read(pid, "status"), re.MULTILINE):
                return self.namespace("self", "pid")
            raise

    def command(self, pid: int) -> list[str]:
        """Return the words of a process's command line (none for a kernel thread)."""
        words = self.read(pid, "cmdline").split("\0")
        return words[:-1] if words and not words[-1] else words

    def executable(self, pid: int) -> Optional[str]:
        """Return the path of the program a process runs, or None where the kernel does not tell."""
        try:
            return os.readlink(self.path(pid, "exe"))
        except OSError:
            return None

    def environment(self, pid: int) -> dict[str, str]:
        """Return the environment a process was started with. Holds secrets: pass on only what is needed.

        Of a name that is set twice the first value counts, as it does for the process itself.
        """
        found: dict[str, str] = {}
        for item in self.read(pid, "environ").split("\0"):
            name, equals, value = item.partition("=")
            if equals:
                found.setdefault(name, value)
        return found

    def uid_inside(self, pid: int, uid: int) -> int:
        """Return a uid of ours as the process's own user namespace numbers it (differs with userns-remap)."""
        return self._inside(pid, "uid_map", uid)

    def gid_inside(self, pid: int, gid: int) -> int:
        """Return a gid of ours as the process's own user namespace numbers it."""
        return self._inside(pid, "gid_map", gid)

    def _inside(self, pid: int, name: str, identity: int) -> int:
        for line in self.read(pid, name).splitlines():
            words = line.split()
            try:
                inside, outside, count = (number(word) for word in words)
            except ValueError as error:
                raise ProcError("{0}: not an id map".format(self.path(pid, name))) from error
            if outside <= identity < outside + count:
                return inside + identity - outside
        raise ProcError("{0}: {1} is not mapped".format(self.path(pid, name), identity))

    def interfaces(self, pid: Union[int, str]) -> list[str]:
        """Return the names of all interfaces of a process's network namespace, from its net/dev."""
        lines = self.read(pid, "net", "dev").rstrip("\n").split("\n")
        # Two header lines, then "name: counters"; anything else is not the kernel's file.
        if len(lines) < 2 or not lines[0].startswith("Inter-") or not all(":" in line for line in lines[2:]):
            raise ProcError("{0}: not a device table".format(self.path(pid, "net", "dev")))
        return [line.partition(":")[0].strip() for line in lines[2:]]

    def sockets(
        self, pid: Union[int, str], family: str, states: Optional[Iterable[int]] = None
    ) -> Optional[list[Socket]]:
        """Return the TCP sockets of a process's network namespace; `family` is "tcp" or "tcp6".

        `states` narrows them to those states. None means that the file is not there: the address family does
        not exist in this kernel, or /proc is odd.
        """
        if not os.path.lexists(self.path(pid, "net", family)):
            self.interfaces(pid)  # the process may just have ended: that is an error, not a missing family
            return None
        if self._no_socket(pid, family):
            return []
        lines = self.read(pid, "net", family, limit=READ_MAX_BYTES).split("\n")
        if "local_address" not in lines[0]:
            raise ProcError("{0}: not a socket table".format(self.path(pid, "net", family)))
        wanted = None if states is None else {"{0:02X}".format(state) for state in states}
        found = []
        for line in lines[1:]:
            words = line.split(None, 4)
            # A line without a state is judged as a socket, and is none.
            if words and (wanted is None or len(words) < 4 or not HEX.match(words[3]) or words[3] in wanted):
                found.append(self._socket(pid, family, line))
        return found

    def _no_socket(self, pid: Union[int, str], family: str) -> bool:
        """Whether the kernel counts no socket of this family in the namespace.

        For a socket table it walks through the whole machine's, for this counter it does not: on a host of many
        namespaces most tables need not be asked for. Where the counter cannot be read, the table is.
        """
        name, key = ("sockstat", "TCP") if family == "tcp" else ("sockstat6", "TCP6")
        try:
            text = self.read(pid, "net", name)
        except ProcError:
            return False
        return re.search(r"^{0}: inuse 0( |$)".format(key), text, re.MULTILINE) is not None

    def _socket(self, pid: Union[int, str], family: str, line: str) -> Socket:
        words = line.split()
        try:
            local, remote = words[1], words[2]
            ends = [end.split(":") for end in (local, remote)]
            return Socket(
                decode_address(ends[0][0]),
                hexadecimal(ends[0][1]),
                decode_address(ends[1][0]),
                hexadecimal(ends[1][1]),
                hexadecimal(words[3]),
                number(words[9]),
            )
        except (IndexError, ValueError) as error:
            raise ProcError("{0}: not a socket line".format(self.path(pid, "net", family))) from error

    def mounts(self, pid: Union[int, str]) -> list[Mount]:
        """Return the mounts a process sees, in mount order (of two on one point the later one hides the former)."""
        found = []
        for line in self.read(pid, "mountinfo", limit=READ_MAX_BYTES).rstrip("\n").split("\n"):
            before, dash, after = line.partition(" - ")
            fields, tail = before.split(" "), after.split(" ")
            sound = len(fields) >= 6 and len(tail) >= 3 and fields[0].isdigit() and fields[1].isdigit()
            if not dash or not sound or not all(fields[2:6] + tail[:3]) or not fields[4].startswith("/"):
                raise ProcError("{0}: not a mount line".format(self.path(pid, "mountinfo")))
            found.append(
                Mount(
                    device=fields[2],
                    root=unescape(fields[3]),
                    point=unescape(fields[4]),
                    options=frozenset(fields[5].split(",")),
                    fs_type=tail[0],
                    source=unescape(tail[1]),
                    super_options=frozenset(tail[2].split(",")),
                )
            )
        if not found:
            raise ProcError("{0}: empty".format(self.path(pid, "mountinfo")))
        return found

    def cgroups(self, pid: int) -> dict[str, str]:
        """Return {controller: path}; the key of the unified hierarchy is the empty text."""
        paths = {}
        for line in self.read(pid, "cgroup").rstrip("\n").split("\n"):
            words = line.split(":", 2)
            if len(words) != 3 or not words[0].isdigit():
                raise ProcError("{0}: not a cgroup line".format(self.path(pid, "cgroup")))
            for controller in words[1].split(","):
                paths[controller] = words[2]
        return paths

    def cgroup_file(self, pid: int, controller: str, v1_name: str, v2_name: str) -> tuple[str, str]:
        """Return (text, path) of a limit file of the cgroup a process is in; cgroup v1 first, then v2.

        The mount points are those that we see ourselves (/proc/self/mountinfo), the path is the process's.
        """
        paths = self.cgroups(pid)
        reasons = []
        for mount in self.mounts("self"):
            if mount.fs_type == "cgroup" and controller in mount.super_options:
                key, name = controller, v1_name
            elif mount.fs_type == "cgroup2":
                key, name = "", v2_name
            else:
                continue
            if key not in paths or "/.." in paths[key]:
                continue
            relative = paths[key]
            if mount.root != "/" and relative.startswith(mount.root):
                relative = relative[len(mount.root) :]
            path = os.path.join(mount.point, relative.lstrip("/"), name)
            try:
                return contents(path, 4096).decode("ascii").strip(), path
            except (OSError, ValueError) as error:
                reasons.append("{0}: {1}".format(path, getattr(error, "strerror", None) or error))
        raise ProcError("; ".join(reasons) or "no cgroup of process {0} is visible for {1}".format(pid, controller))


def is_loopback(address: Address) -> bool:
    """Whether an address never leaves the namespace; an IPv4 address mapped into IPv6 counts as what it is."""
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def unescape(text: str) -> str:
    r"""Undo the kernel's octal escapes of mountinfo (a space is \040)."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)


def visible_mount(mounts: list[Mount], path: str) -> Optional[Mount]:
    """Return the mount that a process really meets at exactly `path`: the last one there, or None."""
    return next((mount for mount in reversed(mounts) if mount.point == path), None)


def host_paths(mount: Mount, host: list[Mount]) -> set[str]:
    """Return where on the host the directory lies that a container has mounted, whatever it is called there.

    `host` are the host's own mounts. A file system that is mounted in several places gives several paths; one that is
    mounted inside the container alone gives none. The engine's word is not needed: a volume can hide a bind mount.
    """
    found = set()
    for item in host:
        inner = item.root.rstrip("/") + "/"
        if item.device == mount.device and (mount.root + "/").startswith(inner):
            found.add(os.path.normpath(os.path.join(item.point, mount.root[len(inner) :])))
    return found
