# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's view of processes, sockets, mounts and limits, read from a proc file system.

The root of the file system is a parameter, so that tests can hand in a made-up one. Whatever cannot be read
or does not look as the kernel writes it raises ProcError, and nothing else: callers turn that into
`unknown`, never into a pass.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from dataclasses import dataclass
from typing import Optional, Union

# Hostile or broken files must not be able to fill the memory: a process's socket table is the longest file read here.
READ_MAX_BYTES = 16 * 1024 * 1024
CAPABILITY_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
TCP_LISTEN = 0x0A
TCP_ESTABLISHED = 0x01
TCP_SYN_SENT = 0x02

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


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

    def read(self, *parts: object) -> str:
        """Return a file's text (undecodable bytes kept as surrogates), at most READ_MAX_BYTES of it."""
        path = self.path(*parts)
        try:
            with open(path, "rb") as stream:
                data = stream.read(READ_MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            raise ProcError("{0}: {1}".format(path, getattr(error, "strerror", None) or error)) from error
        if len(data) > READ_MAX_BYTES:
            raise ProcError("{0}: longer than {1} bytes".format(path, READ_MAX_BYTES))
        return data.decode("utf-8", "surrogateescape")

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
        for line in self.read(pid, "status").splitlines():
            key, colon, value = line.partition(":")
            if colon:
                fields[key] = value.strip()
        try:
            capabilities = {name: int(fields[name], 16) for name in CAPABILITY_SETS if name in fields}
            uids = tuple(int(word) for word in fields["Uid"].split())
            gids = tuple(int(word) for word in fields["Gid"].split())
            groups = tuple(int(word) for word in fields.get("Groups", "").split())
            parent = int(fields["PPid"])
            seccomp = int(fields["Seccomp"]) if "Seccomp" in fields else None
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
        if not re.match(r"^[a-z_]+:\[[0-9]+\]$", target):
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
        """Return the environment a process was started with. Holds secrets: pass on only what is needed."""
        pairs = (item.partition("=") for item in self.read(pid, "environ").split("\0") if item)
        return {name: value for name, equals, value in pairs if equals}

    def uid_inside(self, pid: int, uid: int) -> int:
        """Return a uid of ours as the process's own user namespace numbers it (differs with userns-remap)."""
        for line in self.read(pid, "uid_map").splitlines():
            words = line.split()
            try:
                inside, outside, count = (int(word) for word in words)
            except ValueError as error:
                raise ProcError("{0}: not an id map".format(self.path(pid, "uid_map"))) from error
            if outside <= uid < outside + count:
                return inside + uid - outside
        raise ProcError("{0}: uid {1} is not mapped".format(self.path(pid, "uid_map"), uid))

    def interfaces(self, pid: Union[int, str]) -> list[str]:
        """Return the names of all interfaces of a process's network namespace, from its net/dev."""
        lines = self.read(pid, "net", "dev").splitlines()
        # Two header lines, then "name: counters"; anything else is not the kernel's file.
        if len(lines) < 2 or not lines[0].startswith("Inter-") or not all(":" in line for line in lines[2:]):
            raise ProcError("{0}: not a device table".format(self.path(pid, "net", "dev")))
        return [line.partition(":")[0].strip() for line in lines[2:]]

    def sockets(self, pid: Union[int, str], family: str) -> Optional[list[Socket]]:
        """Return the TCP sockets of a process's network namespace; `family` is "tcp" or "tcp6".

        None means that the file is not there: the address family does not exist in this kernel, or /proc is
        odd.
        """
        if not os.path.lexists(self.path(pid, "net", family)):
            self.interfaces(pid)  # the process may just have ended: that is an error, not a missing family
            return None
        lines = self.read(pid, "net", family).splitlines()
        if not lines or "local_address" not in lines[0]:
            raise ProcError("{0}: not a socket table".format(self.path(pid, "net", family)))
        return [self._socket(pid, family, line) for line in lines[1:] if line.strip()]

    def _socket(self, pid: Union[int, str], family: str, line: str) -> Socket:
        words = line.split()
        try:
            local, remote = words[1], words[2]
            return Socket(
                decode_address(local.split(":")[0]),
                int(local.split(":")[1], 16),
                decode_address(remote.split(":")[0]),
                int(remote.split(":")[1], 16),
                int(words[3], 16),
                int(words[9]),
            )
        except (IndexError, ValueError) as error:
            raise ProcError("{0}: not a socket line".format(self.path(pid, "net", family))) from error

    def mounts(self, pid: Union[int, str]) -> list[Mount]:
        """Return the mounts a process sees, in mount order (of two on one point the later one hides the former)."""
        found = []
        for line in self.read(pid, "mountinfo").splitlines():
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
        for line in self.read(pid, "cgroup").splitlines():
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
                with open(path, encoding="ascii") as stream:
                    return stream.read(4096).strip(), path
            except (OSError, ValueError) as error:
                reasons.append("{0}: {1}".format(path, getattr(error, "strerror", None) or error))
        raise ProcError("; ".join(reasons) or "no cgroup of process {0} is visible for {1}".format(pid, controller))


def decode_address(text: str) -> Address:
    """Decode an address of /proc/net/tcp{,6}: 32-bit words in the byte order of the machine, as hex."""
    raw = bytes.fromhex(text)
    if len(raw) not in (4, 16):
        raise ValueError("not an address: {0}".format(text[:40]))
    if sys.byteorder == "little":
        raw = b"".join(raw[index : index + 4][::-1] for index in range(0, len(raw), 4))
    return ipaddress.IPv4Address(raw) if len(raw) == 4 else ipaddress.IPv6Address(raw)


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
