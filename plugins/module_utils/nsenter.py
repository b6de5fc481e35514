# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a function in a child process, in the namespaces and with the privileges of another process.

The child joins the namespaces by setns (through libc: `os.setns` needs Python 3.12), takes the target's ids
and capability sets, hands its result back as JSON over a pipe, and is killed with all its children when it
takes too long. What it does not take over is the target's seccomp filter and AppArmor profile: the kernel
lets nobody join those.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Optional

from .procfs import Status

# `mnt` last: after it the paths of this file system are gone.
NAMESPACES = ("net", "ipc", "uts", "pid", "mnt")
RESULT_MAX_BYTES = 1024 * 1024
PR_SET_KEEPCAPS = 8
PR_CAPBSET_DROP = 24
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPABILITY_VERSION_3 = 0x20080522
SIOCGIFFLAGS = 0x8913
IFF_UP = 0x1


class EnterError(Exception):
    """A namespace could not be joined, privileges could not be taken, or the child gave no result."""


@dataclass(frozen=True)
class Privileges:
    """The ids, capability sets (bit masks by name) and the no-new-privileges bit a child shall run with."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: dict[str, int]
    no_new_privs: bool

    @classmethod
    def of(cls, status: Status) -> Privileges:
        """Return what a process has, from its status: its effective ids, groups, sets and bit."""
        return cls(
            status.uids[1],
            status.gids[1],
            status.groups,
            dict(status.capabilities),
            bool(status.no_new_privs),
        )


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise EnterError("{0}: {1}".format(what, os.strerror(number)))


def join(pid: int, kinds: tuple[str, ...], proc_root: str = "/proc") -> None:
    """Join namespaces of a process. Joining `pid` shows only in children forked afterwards. Raises EnterError."""
    opened: list[tuple[str, int]] = []
    try:
        for kind in (kind for kind in NAMESPACES if kind in kinds):
            path = os.path.join(proc_root, str(pid), "ns", kind)
            opened.append((kind, os.open(path, os.O_RDONLY | os.O_CLOEXEC)))
        libc = _libc()
        for kind, handle in opened:
            _check(libc.setns(handle, 0), "setns({0})".format(kind))
    except OSError as error:
        raise EnterError("namespaces of process {0}: {1}".format(pid, error.strerror)) from error
    finally:
        for _kind, handle in opened:
            os.close(handle)


def take(privileges: Privileges) -> None:
    """Become what `privileges` describes, for good. Needs root. Raises EnterError and must then not go on."""
    libc = _libc()
    bounding = privileges.capabilities.get("CapBnd", 0)
    for capability in range(64):
        if not bounding >> capability & 1 and libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            if ctypes.get_errno() == 22:  # EINVAL: beyond the last capability this kernel has
                break
            _check(-1, "prctl(PR_CAPBSET_DROP, {0})".format(capability))
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    # Keeps the permitted set over the change of uid, so that exactly the target's sets can be put in its place.
    libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    try:
        os.setgroups(list(privileges.groups))
        os.setresgid(privileges.gid, privileges.gid, privileges.gid)
        os.setresuid(privileges.uid, privileges.uid, privileges.uid)
    except OSError as error:
        raise EnterError("ids {0}:{1}: {2}".format(privileges.uid, privileges.gid, error.strerror)) from error
    _capset(libc, privileges.capabilities)
    if privileges.no_new_privs:
        _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
    # A hostile process of the same uid in the joined PID namespace must not be able to trace this one.
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def _capset(libc: ctypes.CDLL, capabilities: dict[str, int]) -> None:
    sets = [capabilities.get(name, 0) for name in ("CapEff", "CapPrm", "CapInh")]
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    low = [value & 0xFFFFFFFF for value in sets]
    high = [value >> 32 & 0xFFFFFFFF for value in sets]
    _check(libc.capset(header, struct.pack("6I", *low, *high)), "capset")


def capability_raised(capability: int) -> bool:
    """Try to raise one capability in the own effective and permitted sets; True when the kernel let it happen."""
    libc = _libc()
    bit = 1 << capability
    try:
        _capset(libc, {"CapEff": bit, "CapPrm": bit, "CapInh": 0})
    except EnterError:
        return False
    return True


def in_child(
    function: Callable[[], Any],
    timeout: float,
    target: Optional[int] = None,
    kinds: tuple[str, ...] = (),
    privileges: Optional[Privileges] = None,
    proc_root: str = "/proc",
) -> Any:
    """Return what `function` returns (anything JSON can carry) when run in a child process.

    With `target` the child first joins the namespaces `kinds` of that process, with `privileges` it takes
    these. Raises EnterError when that fails, when the function raises, dies, or has not ended after
    `timeout` seconds; in every case the child and its children are gone afterwards.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(function, writer, target, kinds, privileges, proc_root)
    os.close(writer)
    try:
        # Also set by the child; whoever comes first makes the group exist before it may have to be killed.
        with suppress(OSError):
            os.setpgid(child, child)
        data = _read_until(reader, time.monotonic() + timeout)
    finally:
        os.close(reader)
        with suppress(OSError):
            os.killpg(child, signal.SIGKILL)
        _pid, status = os.waitpid(child, 0)
    if data is None:
        raise EnterError("no result within {0:g} s".format(timeout))
    try:
        answer = json.loads(data)
    except ValueError:
        raise EnterError("the child ended without a result (wait status {0})".format(status)) from None
    if not isinstance(answer, dict) or "result" not in answer:
        raise EnterError(str(answer.get("error")) if isinstance(answer, dict) else "the child gave no result")
    return answer["result"]


def _child(
    function: Callable[[], Any],
    writer: int,
    target: Optional[int],
    kinds: tuple[str, ...],
    privileges: Optional[Privileges],
    proc_root: str,
) -> None:
    """The child's whole life; never returns, so that nothing of the caller runs twice."""
    try:
        with suppress(OSError):
            os.setpgid(0, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        try:
            answer: dict[str, Any] = {"result": _enter_and_run(function, writer, target, kinds, privileges, proc_root)}
        except BaseException as error:  # noqa: BLE001 - the caller is told; nothing of it may run on
            answer = {"error": "{0}: {1}".format(type(error).__name__, error)}
        with suppress(OSError, ValueError):
            os.write(writer, json.dumps(answer).encode()[:RESULT_MAX_BYTES])
    finally:
        os._exit(0)


def _enter_and_run(
    function: Callable[[], Any],
    writer: int,
    target: Optional[int],
    kinds: tuple[str, ...],
    privileges: Optional[Privileges],
    proc_root: str,
) -> Any:
    if target is not None:
        # What the caller has open must not be within reach of the other side.
        highest = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        os.closerange(3, writer)
        os.closerange(writer + 1, min(highest, 65536))
        join(target, kinds, proc_root)
        if "pid" in kinds:
            child = os.fork()
            if child != 0:
                os.waitpid(child, 0)
                os._exit(0)  # the grandchild has written the answer
    if privileges is not None:
        take(privileges)
    return function()


def _read_until(reader: int, deadline: float) -> Optional[bytes]:
    """Return everything up to the end of the pipe, or None when the deadline came first."""
    data = b""
    while len(data) <= RESULT_MAX_BYTES:
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        ready, _out, _err = select.select([reader], [], [], left)
        if ready:
            chunk = os.read(reader, 65536)
            if not chunk:
                return data
            data += chunk
    return None


def interface_flags(pid: int, names: list[str], proc_root: str = "/proc", timeout: float = 5.0) -> dict[str, int]:
    """Return the kernel's flags (IFF_UP is 1) of interfaces in a process's network namespace. Raises EnterError."""

    def look() -> dict[str, int]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
            found = {}
            for name in names:
                answer = fcntl.ioctl(handle.fileno(), SIOCGIFFLAGS, struct.pack("16sH14x", name.encode()[:15], 0))
                found[name] = int(struct.unpack("16sH14x", answer)[1])
            return found

    flags: dict[str, int] = in_child(look, timeout, pid, ("net",), None, proc_root)
    return flags
