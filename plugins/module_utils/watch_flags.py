# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flags of the interfaces in another network namespace, without entering it (which would take CAP_SYS_ADMIN).

A container's own /sys shows the interfaces of its namespace. It is reached through /proc/PID/root and believed only if
the file really lies on sysfs and the interface is one that /proc/PID/net/dev names.
"""

from __future__ import annotations

import ctypes
import os
import re

from .nsenter import EnterError
from .procfs import ProcError, ProcFS

SYSFS_MAGIC = 0x62656572
_FLAGS = re.compile(rb"0x([0-9a-f]{1,8})\n?")


def sysfs_flags(proc: ProcFS, pid: int, names: list[str]) -> dict[str, int]:
    """Return the kernel's flags (IFF_UP is 1) of interfaces of a process's namespace. Raises EnterError.

    An interface that cannot be seen raises: the caller's check is then unknown, never passed.
    """
    try:
        there = proc.interfaces(pid)
    except ProcError as error:
        raise EnterError(str(error)) from None
    found = {}
    for name in names:
        if name not in there or "/" in name or name in (".", ".."):
            raise EnterError("{0} is no interface of process {1}".format(name, pid))
        found[name] = _flags(proc.path(pid, "root", "sys", "class", "net", name, "flags"))
    return found


def _flags(path: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise EnterError("{0}: {1}".format(path, error.strerror)) from None
    try:
        if file_system(descriptor) != SYSFS_MAGIC:
            raise EnterError("{0} does not lie on sysfs".format(path))
        match = _FLAGS.fullmatch(os.read(descriptor, 64))
    except OSError as error:
        raise EnterError("{0}: {1}".format(path, error.strerror)) from None
    finally:
        os.close(descriptor)
    if match is None:
        raise EnterError("{0} holds no flags".format(path))
    return int(match.group(1), 16)


def file_system(descriptor: int) -> int:
    """Return the magic number of the file system that an open file lies on. Raises OSError."""
    buffer = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None, use_errno=True).fstatfs(descriptor, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return ctypes.c_long.from_buffer(buffer).value
