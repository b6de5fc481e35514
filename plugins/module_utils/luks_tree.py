# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The block devices of a host as lsblk, mountinfo and /proc/swaps show them: one tree that can be asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Optional

NODES_MAX = 20000
DEPTH_MAX = 16
# What a machine cannot be without; a disk that holds one of these is the system's.
SYSTEM_POINTS = ("/", "/boot", "/boot/efi", "/efi", "/usr", "/var", "/etc", "/home", "/opt", "/root", "/srv")


class TreeError(Exception):
    """lsblk's answer does not have the shape it is known for; the text says why."""


class Node:
    """One device of the tree. Strings are stripped, absent values are ""."""

    def __init__(self, data: dict[str, Any], parent: Optional[Node], depth: int) -> None:
        if depth > DEPTH_MAX:
            raise TreeError("devices are stacked too deep")
        self.data = data
        self.parent = parent
        children = data.get("children") or []
        if not isinstance(children, list) or not all(isinstance(item, dict) for item in children):
            raise TreeError("children are no list of devices")
        self.children = [Node(item, self, depth + 1) for item in children]
        for name in ("name", "path", "type", "maj:min"):
            if not self.text(name):
                raise TreeError("a device has no {0}".format(name))

    def text(self, name: str) -> str:
        """Return a value as text."""
        value = self.data.get(name)
        return value.strip() if isinstance(value, str) else ""

    def flag(self, name: str) -> Optional[bool]:
        """Return a value that is true or false; None for anything else. Old lsblks write 0 and 1, some as text."""
        return {"True": True, "1": True, "False": False, "0": False}.get(str(self.data.get(name)))

    def size(self) -> Optional[int]:
        """Return the size in bytes, None for what is no number."""
        try:
            return int(str(self.data.get("size")))
        except ValueError:
            return None

    def mount_points(self) -> list[str]:
        """Return where lsblk says that it is mounted, "[SWAP]" among them."""
        many = self.data.get("mountpoints")
        points = [*(many if isinstance(many, list) else []), self.data.get("mountpoint")]
        return sorted({item for item in points if isinstance(item, str) and item})

    def walk(self) -> Iterator[Node]:
        """Yield the device and all that is built on it."""
        yield self
        for child in self.children:
            yield from child.walk()

    def disk(self) -> Node:
        """Return the whole disk it lies on (the top of its branch)."""
        node = self
        while node.parent is not None:
            node = node.parent
        return node


class Tree:
    """All devices of a host. Raises TreeError for what lsblk would not say."""

    def __init__(self, text: str) -> None:
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise TreeError("no JSON") from error
        devices = data.get("blockdevices") if isinstance(data, dict) else None
        if not isinstance(devices, list) or not all(isinstance(item, dict) for item in devices):
            raise TreeError("no list of blockdevices")
        self.roots = [Node(item, None, 0) for item in devices]
        self.nodes = [node for root in self.roots for node in root.walk()]
        if len(self.nodes) > NODES_MAX:
            raise TreeError("more than {0} devices".format(NODES_MAX))

    def by_number(self, number: str) -> list[Node]:
        """Return every place of a device in the tree: one that lies on two disks (RAID, multipath) has two."""
        return [node for node in self.nodes if node.text("maj:min") == number]


def mounts_of(mountinfo: str) -> list[tuple[str, str, str]]:
    """Return ("major:minor", mount point, source) of each line of mountinfo. Raises TreeError."""
    found = []
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        if "-" not in fields[6:] or len(fields) < 10:
            raise TreeError("a line of mountinfo is not the kernel's")
        after = fields.index("-", 6)
        found.append((fields[2], _plain(fields[4]), _plain(fields[after + 2])))
    if not found:
        raise TreeError("mountinfo is empty")
    return found


def swaps_of(swaps: str) -> list[str]:
    """Return the active swap areas. Raises TreeError."""
    lines = swaps.splitlines()
    if not lines or not lines[0].startswith("Filename"):
        raise TreeError("/proc/swaps is not the kernel's")
    return [_plain(line.split()[0]) for line in lines[1:] if line.split()]


def _plain(name: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        name = name.replace(code, char)
    return name
