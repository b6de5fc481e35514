# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence of an incident from the kernel: processes, their programs, sockets of every namespace, mounts (row C7).

Environments are never read: they hold secrets. In command lines, values that look like secrets are masked.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from contextlib import suppress
from typing import Any, Optional

from .incident_archive import CHUNK, Sink, utc
from .procfs import ProcError, ProcFS

COMMAND_MAX_CHARS = 4096
FDS_MAX = 200000
PROGRAM_MAX_BYTES = 4 * 1024 * 1024 * 1024
# Address families whose tables show who talks to whom; `raw` texts are kept beside, for what is not read here.
TABLES = ("tcp", "tcp6", "udp", "udp6")
RAW_TABLES = ("raw", "raw6", "icmp", "icmp6", "unix", "packet", "netlink", "sctp/assocs", "route", "ipv6_route", "arp")
_SECRET = re.compile(
    r"(?i)((?:pass(?:word|wd|phrase)?|secret|token|api[-_]?key|private[-_]?key|credential)[\w-]*)"
    r"([=:\s]\s*)(\S+)"
)
_HEADER = re.compile(r"(?is)((?:proxy-)?authorization|cookie)(\s*[:=]\s*)(.+)")
_SECRET_OPTION = re.compile(r"(?i)^--?[\w-]*(?:pass|secret|token|key|credential)[\w-]*$")
_STATES = {1: "established", 2: "syn-sent", 3: "syn-received", 6: "time-wait", 8: "close-wait", 10: "listen"}


def processes(proc: ProcFS, sink: Sink) -> None:
    """Keep one entry a process: program, command line, ids, namespaces, control group and time of start."""
    booted = _boot_time(proc)
    found, gone = [], 0
    for pid in proc.pids():
        try:
            found.append(_process(proc, pid, booted))
        except ProcError:
            gone += 1  # ended meanwhile
    sink.put_json("processes.json", {"processes": found, "ended_meanwhile": gone}, "/proc/PID (no environments)")


def _process(proc: ProcFS, pid: int, booted: Optional[int]) -> dict[str, Any]:
    status = proc.status(pid)
    entry: dict[str, Any] = {
        "pid": pid,
        "parent": status.parent,
        "name": status.name,
        "uids": status.uids,
        "gids": status.gids,
        "groups": status.groups,
        "capabilities": {name: "{0:016x}".format(mask) for name, mask in status.capabilities.items()},
        "seccomp": status.seccomp,
        "no_new_privs": status.no_new_privs,
        "exe": proc.executable(pid),
        "command": masked(proc.command(pid)),
        "namespaces": {},
    }
    for kind in ("net", "pid", "mnt", "user", "ipc", "uts"):
        with suppress(ProcError):
            entry["namespaces"][kind] = proc.namespace(pid, kind)
    with suppress(ProcError):
        entry["cgroup"] = sorted(set(proc.cgroups(pid).values()))
    for link in ("cwd", "root"):
        with suppress(OSError):
            entry[link] = os.readlink(proc.path(pid, link))
    started = _start_ticks(proc, pid)
    if started is not None and booted is not None:
        entry["started"] = utc(booted + started // os.sysconf("SC_CLK_TCK"))
    return entry


def masked(words: list[str]) -> list[str]:
    """Return a command line without what looks like a secret, at most COMMAND_MAX_CHARS long."""
    kept, room, hide = [], COMMAND_MAX_CHARS, False
    for word in words:
        text = "***" if hide else _SECRET.sub(r"\1\2***", _HEADER.sub(r"\1\2***", word))
        hide = bool(_SECRET_OPTION.match(word))
        if room <= 0:
            kept.append("...")
            break
        kept.append(text[:room])
        room -= len(text)
    return kept


def _boot_time(proc: ProcFS) -> Optional[int]:
    match = re.search(r"^btime (\d{1,18})$", proc.read("stat"), re.MULTILINE)
    return int(match.group(1)) if match else None


def _start_ticks(proc: ProcFS, pid: int) -> Optional[int]:
    # The name of a program may hold anything, brackets and spaces too: count from the last bracket.
    with suppress(ProcError, IndexError, ValueError):
        return int(proc.read(pid, "stat").rpartition(")")[2].split()[19])
    return None


def programs(proc: ProcFS, sink: Sink) -> None:
    """Keep the sha256 of every program that runs, read through the process: a deleted file has one too."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for pid in proc.pids():
        link = proc.path(pid, "exe")
        try:
            status = os.stat(link)
        except OSError:
            continue  # a kernel thread, or it has ended
        entry = found.setdefault((status.st_dev, status.st_ino), {"pids": []})
        entry["pids"].append(pid)
        if "sha256" not in entry and "error" not in entry:
            entry.update({"path": proc.executable(pid), "size": status.st_size, **_hash(link)})
    ordered = sorted(found.values(), key=lambda item: (str(item.get("path")), item["pids"]))
    sink.put_json("programs.json", ordered, "sha256 of /proc/PID/exe")


def _hash(path: str) -> dict[str, str]:
    digest, total = hashlib.sha256(), 0
    try:
        with open(path, "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return {"error": "no regular file"}
            while True:
                chunk = stream.read(CHUNK)
                if not chunk:
                    return {"sha256": digest.hexdigest()}
                digest.update(chunk)
                total += len(chunk)
                if total > PROGRAM_MAX_BYTES:
                    return {"error": "longer than {0} bytes".format(PROGRAM_MAX_BYTES)}
    except OSError as error:
        return {"error": error.strerror or "cannot be read"}


def sockets(proc: ProcFS, sink: Sink) -> None:
    """Keep the sockets of every network namespace that a process is in, and which processes hold each."""
    owners = _owners(proc)
    seen: dict[str, int] = {}
    for pid in proc.pids():
        with suppress(ProcError):
            seen.setdefault(proc.namespace(pid, "net"), pid)
    index = []
    for namespace, pid in sorted(seen.items()):
        directory = "net-{0}".format(namespace[5:-1])
        index.append({"namespace": namespace, "directory": directory, "seen_through": pid})
        for table in TABLES:
            _table(proc, sink, pid, directory, table, owners)
        for table in RAW_TABLES:
            with suppress(ProcError):
                text = proc.read(pid, "net", table)
                name = "{0}/{1}.txt".format(directory, table.replace("/", "-"))
                sink.put(name, text.encode("utf-8", "surrogateescape"), "/proc/{0}/net/{1}".format(pid, table))
    sink.put_json("namespaces.json", index, "/proc/PID/ns/net")


def _table(proc: ProcFS, sink: Sink, pid: int, directory: str, table: str, owners: dict[int, list[int]]) -> None:
    how, name = "/proc/{0}/net/{1}".format(pid, table), "{0}/{1}.json".format(directory, table)
    try:
        rows = proc.sockets(pid, table)
    except ProcError as error:
        sink.failed(name, how, error)
        return
    if rows is None:
        return
    found = [
        {
            "local": str(row.local),
            "local_port": row.local_port,
            "remote": str(row.remote),
            "remote_port": row.remote_port,
            "state": _STATES.get(row.state, str(row.state)) if table.startswith("tcp") else str(row.state),
            "inode": row.inode,
            "pids": owners.get(row.inode, []),
        }
        for row in rows
    ]
    sink.put_json(name, found, how)


def _owners(proc: ProcFS) -> dict[int, list[int]]:
    """Return {inode of a socket: processes that hold it}."""
    found: dict[int, list[int]] = {}
    room = FDS_MAX
    for pid in proc.pids():
        try:
            handles = os.listdir(proc.path(pid, "fd"))
        except OSError:
            continue
        for handle in handles[: max(room, 0)]:
            with suppress(OSError, ValueError):
                target = os.readlink(proc.path(pid, "fd", handle))
                if target.startswith("socket:["):
                    found.setdefault(int(target[8:-1]), []).append(pid)
        room -= len(handles)
    return {inode: sorted(set(pids)) for inode, pids in found.items()}


def mounts(proc: ProcFS, sink: Sink) -> None:
    """Keep the mounts of every mount namespace, as the kernel writes them, and the kernel's modules."""
    seen: dict[str, int] = {}
    for pid in proc.pids():
        with suppress(ProcError):
            seen.setdefault(proc.namespace(pid, "mnt"), pid)
    for namespace, pid in sorted(seen.items()):
        how = "/proc/{0}/mountinfo".format(pid)
        name = "mnt-{0}.txt".format(namespace[5:-1])
        try:
            sink.put(name, proc.read(pid, "mountinfo").encode("utf-8", "surrogateescape"), how)
        except ProcError as error:
            sink.failed(name, how, error)
    for name in ("modules", "cmdline", "version"):
        try:
            sink.put("kernel-{0}.txt".format(name), proc.read(name).encode("utf-8", "surrogateescape"), "/proc/" + name)
        except ProcError as error:
            sink.failed(name, "/proc/" + name, error)
