# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""May this device be formatted? The answer is no unless everything was seen and nothing speaks against it.

Decides on an Observation alone, and touches nothing. There is no way to have a signature, a partition or data wiped:
a person does that, with the disk's name typed by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Optional

from .findings import Finding, Severity
from .luks_look import BLANK, DATA, INTERRUPTED, Observation
from .luks_tree import SYSTEM_POINTS, Node, Tree, TreeError, mounts_of, swaps_of

BY_ID = re.compile(r"^/dev/disk/by-id/[A-Za-z0-9][A-Za-z0-9_.:@+=,#%\\-]*$")
# LUKS2's header takes 16 MiB; below this nothing worth a volume is left.
LEAST_BYTES = 64 * 1024 * 1024
_OWN_SIGNATURES = frozenset({"crypto_LUKS", "crypto"})
FORMAT, PRESENT, REFUSED = "format", "present", "refused"


@dataclass(frozen=True)
class Wanted:
    """What a person confirmed: the exact device, and how large it has to be. Sizes are bytes."""

    by_id: str = ""
    serial: str = ""
    wwn: str = ""
    size: int = 0
    least: int = LEAST_BYTES
    removable: bool = False
    label: str = "rampart-data"


@dataclass(frozen=True)
class Decision:
    """`verdict` is format, present (a LUKS2 volume of ours is there) or refused; the findings say why."""

    verdict: str
    findings: tuple[Finding, ...] = ()
    facts: Optional[dict[str, Any]] = None


class _Judge:
    """Collects every refusal, so that a person sees all of them at once."""

    def __init__(self, seen: Observation, wanted: Wanted) -> None:
        self.seen = seen
        self.wanted = wanted
        self.findings: list[Finding] = []
        self.node: Optional[Node] = None
        self.first = False
        self.facts: dict[str, Any] = {"path": seen.path, "size": seen.size, "content": seen.content}

    def refuse(self, code: str, evidence: str, remedy: str) -> None:
        self.findings.append(Finding(code, Severity.HIGH, self.seen.requested, evidence, remedy))

    def unseen(self, what: str, evidence: str) -> None:
        self.refuse(
            "DISK-LOOK-FAILED",
            "{0}: {1}".format(what, evidence),
            "Mend the look (as root on the host), then run again.",
        )

    def judge(self) -> Decision:
        if not self._is_a_device():
            return Decision(REFUSED, tuple(self.findings), self.facts)
        self._tree()
        if self.node is not None:
            self._kind(self.node)
            self._identity(self.node)
        found = set(self._of_blkid()) | set(self._of_wipefs())
        # A volume of ours is open and mounted, as it should be: what follows asks about strangers.
        if not self.findings and self._ours(found):
            return Decision(PRESENT, (), self.facts)
        if self.node is not None:
            self._uses(self.node)
        self._holders()
        self._signatures(found)
        return Decision(REFUSED if self.findings else FORMAT, tuple(self.findings), self.facts)

    def _is_a_device(self) -> bool:
        kind = self.seen.kind
        if kind == "absent":
            self.refuse("DISK-NOT-FOUND", "no such device", "Check the name with ls -l /dev/disk/by-id.")
        elif kind != "block":
            self.refuse("DISK-NOT-BLOCK", "a {0}, no block device".format(kind), "Name a whole disk or a partition.")
        return kind == "block"

    def _tree(self) -> None:
        if self.seen.lsblk.rc != 0:
            self.unseen("lsblk", self.seen.lsblk.reason)
            return
        try:
            tree = Tree(self.seen.lsblk.out)
            mounts, swaps = mounts_of(self.seen.mounts), swaps_of(self.seen.swaps)
        except TreeError as error:
            self.unseen("devices", str(error))
            return
        places = tree.by_number(self.seen.device)
        if len({id(node.disk()) for node in places}) != 1 or len(places) != 1:
            self.unseen("lsblk", "shows {0} in {1} places".format(self.seen.device, len(places)))
            return
        self.node = places[0]
        self._mounted(self.node, mounts, swaps)
        self._system(tree, self.node, mounts, swaps)
        self._twins(tree, self.node)

    # --- which device it is -------------------------------------------------------------------------------
    def _kind(self, node: Node) -> None:
        kind, seen = node.text("type"), self.seen
        self.facts["type"] = kind
        if kind not in ("disk", "part"):
            self.refuse(
                "DISK-KIND-REFUSED",
                "a device of type {0}".format(kind),
                "Name a whole disk or a partition of one; nothing built on others.",
            )
        if node.text("path") != seen.path or node.size() != seen.size or seen.size <= 0:
            evidence = "{0} of {1} bytes in lsblk, {2} of {3} in sysfs".format(
                node.text("path"), node.size(), seen.path, seen.size
            )
            self.unseen("the looks disagree", evidence)
        if node.flag("ro") is not False or seen.read_only is not False:
            self.refuse("DISK-READ-ONLY", "the device is read-only, or does not say", "Take another device.")
        removable = [node.disk().flag("rm"), node.flag("rm"), node.disk().flag("hotplug"), node.flag("hotplug")]
        usb = node.disk().text("tran").lower() in ("usb", "sdio", "mmc", "ieee1394")
        if (usb or removable != [False] * 4) and not self.wanted.removable:
            self.refuse(
                "DISK-REMOVABLE",
                "the device can be pulled out (transport {0})".format(node.disk().text("tran") or "unknown"),
                "Take a built-in disk, or set allow_removable for this one.",
            )  # fmt: skip
        least = max(self.wanted.least, LEAST_BYTES)
        if seen.size < least:
            self.refuse("DISK-TOO-SMALL", "{0} bytes of {1}".format(seen.size, least), "Take a larger device.")

    def _identity(self, node: Node) -> None:
        wanted, seen = self.wanted, self.seen
        serial, wwn = (node.text(name) or node.disk().text(name) for name in ("serial", "wwn"))
        names = sorted(name for name, target in seen.links.items() if target == seen.path)
        self.facts.update({"by_id": names, "serial": serial, "wwn": wwn})
        shown = "by_id {0}, serial {1}, wwn {2}, size {3}".format(
            names[0] if names else "none", serial or "none", wwn or "none", seen.size
        )
        if not names or not (serial or wwn):
            self.refuse(
                "DISK-NO-IDENTITY",
                shown,
                "Give the disk a serial number (a virtual one: in the hypervisor); it has no name to confirm.",
            )
        if not wanted.by_id or not wanted.size or not (wanted.serial or wanted.wwn):
            self.refuse(
                "DISK-NOT-CONFIRMED", shown, "Confirm by_id, size, and serial or wwn, after looking at the disk itself."
            )
            return
        differs = []
        if not BY_ID.match(wanted.by_id) or seen.links.get(wanted.by_id) != seen.path:
            differs.append("by_id")
        if wanted.size != seen.size:
            differs.append("size")
        differs += [
            name
            for name, asked, found in (("serial", wanted.serial, serial), ("wwn", wanted.wwn, wwn))
            if asked and asked != found
        ]
        if differs:
            self.refuse(
                "DISK-IDENTITY-MISMATCH", "{0} differ: the device has {1}".format(", ".join(differs), shown),
                "It is not the disk that was confirmed. Look which one it is before anything else.",
            )  # fmt: skip

    def _twins(self, tree: Tree, node: Node) -> None:
        """Another disk with the same serial or WWN: another path to this one, or a counterfeit."""
        disk = node.disk()
        for other in tree.roots:
            same = [name for name in ("serial", "wwn") if disk.text(name) and disk.text(name) == other.text(name)]
            if other is not disk and same:
                self.refuse(
                    "DISK-IDENTITY-AMBIGUOUS", "{0} has the same {1}".format(other.text("path"), " and ".join(same)),
                    "Two paths to one disk, or two disks with one name: neither is formatted.",
                )  # fmt: skip

    # --- what it is used for ------------------------------------------------------------------------------
    def _mounted(self, node: Node, mounts: list[tuple[str, str, str]], swaps: list[str]) -> None:
        paths = {item.text("path") for item in node.walk()} | {self.seen.path, self.seen.requested}
        paths |= {name for name, target in self.seen.links.items() if target == self.seen.path}
        numbers = {item.text("maj:min") for item in node.walk()}
        points = {point for number, point, source in mounts if number in numbers or source in paths}
        in_tree = {point for item in node.walk() for point in item.mount_points()}
        self.facts["mounted"] = sorted(points | (in_tree - {"[SWAP]"}))
        self.facts["swap"] = "[SWAP]" in in_tree or bool(paths & set(swaps))

    def _system(self, tree: Tree, node: Node, mounts: list[tuple[str, str, str]], swaps: list[str]) -> None:
        root = [(number, source) for number, point, source in mounts if point == "/"]
        disks = {
            id(item.disk())
            for item in tree.nodes
            if any(item.text("maj:min") == number or item.text("path") == source for number, source in root)
        }
        if not disks:
            self.refuse(
                "DISK-SYSTEM-UNKNOWN",
                "no block device is visible behind /",
                "Which disk is the system's cannot be seen here, so none is formatted.",
            )
        inside = {item.text("maj:min") for item in node.disk().walk()}
        paths = {item.text("path") for item in node.disk().walk()}
        held = sorted(
            {
                point
                for number, point, source in mounts
                if point in SYSTEM_POINTS and (number in inside or source in paths)
            }
            | {point for item in node.disk().walk() for point in item.mount_points() if point in SYSTEM_POINTS}
        )
        if id(node.disk()) in disks or (held and node.disk() is not node) or paths & set(swaps):
            evidence = "its disk {0} holds {1}".format(
                node.disk().text("path"), ", ".join(held) or "the system or its swap"
            )
            self.refuse("DISK-SYSTEM-DISK", evidence, "Take a disk that the system does not use.")

    def _uses(self, node: Node) -> None:
        if self.facts["mounted"]:
            self.refuse(
                "DISK-MOUNTED",
                "mounted on {0}".format(", ".join(self.facts["mounted"])),
                "Take a device that nobody uses.",
            )
        if self.facts["swap"]:
            self.refuse("DISK-SWAP-ACTIVE", "an active swap area", "Take a device that nobody uses.")
        above = [item for item in node.walk() if item is not node]
        parts = [item.text("path") for item in above if item.text("type") == "part"]
        table = node.text("pttype") if node.text("type") == "disk" else ""
        if parts or table:
            self.refuse(
                "DISK-PARTITIONED",
                "a partition table ({0}) with {1}".format(table or "unknown", ", ".join(parts) or "no partition"),
                "Name a partition, or an empty disk. Nothing here deletes partitions.",
            )  # fmt: skip
        kinds = {item.text("type") for item in above} | {node.disk().text("fstype"), node.text("fstype")}
        if kinds & {"mpath", "mpath_member"}:
            self.refuse("DISK-MULTIPATH", "a path of a multipath device", "One path is never formatted by itself.")
        built = [item.text("path") for item in above if item.text("type") != "part"]
        if built:
            self.refuse(
                "DISK-HELD", "in use by {0}".format(", ".join(built)), "Take a device that nothing is built on."
            )

    def _holders(self) -> None:
        if not self.seen.holders_seen:
            self.unseen("holders", "sysfs does not say what is built on the device")
        elif self.seen.holders:
            self.refuse(
                "DISK-HELD",
                "the kernel holds it for {0}".format(", ".join(self.seen.holders)),
                "Take a device that nothing is built on.",
            )

    # --- what it holds ------------------------------------------------------------------------------------
    def _signatures(self, found: set[str]) -> None:
        if self.node is not None:
            found |= {self.node.text("fstype")} - {""}
        if self.seen.content == INTERRUPTED and found <= _OWN_SIGNATURES:
            # Half a header whose every sector is one that we were writing; its second copy shows already.
            found = set()
        if found:
            self.refuse(
                "DISK-HOLDS-SIGNATURE", "signatures: {0}".format(", ".join(sorted(found))),
                "There is something on it. Who is sure that it may go wipes it by hand, never this collection.",
            )  # fmt: skip
        if self.seen.content == DATA:
            self.refuse(
                "DISK-HOLDS-DATA", "no known signature, but its head or tail is not blank",
                "A volume without a header? A database? If it may go, overwrite it by hand (blkdiscard -z).",
            )  # fmt: skip
        elif self.seen.content not in (BLANK, INTERRUPTED):
            self.unseen("content", "head and tail could not be read")

    def _of_blkid(self) -> Iterable[str]:
        answer = self.seen.blkid
        if answer.rc == 2 and not answer.out.strip() and not answer.err.strip():
            return []
        # 8: blkid found two that exclude each other. Both are signatures.
        names = [
            line.partition("=")[2]
            for line in answer.out.splitlines()
            if line.startswith(("TYPE=", "PTTYPE=", "USAGE="))
        ]
        if not names or answer.rc not in (0, 8):
            self.unseen("blkid", answer.reason)
        return names

    def _of_wipefs(self) -> Iterable[str]:
        answer = self.seen.wipefs
        if answer.rc == 0 and not answer.err.strip() and not answer.out.strip():
            return []
        try:
            signatures = json.loads(answer.out)["signatures"]
            if answer.rc != 0 or answer.err.strip() or not isinstance(signatures, list):
                raise ValueError(answer.reason)
            self.first = any(item.get("offset") == "0x0" for item in signatures)
            return [str(item["type"]) for item in signatures]
        except (ValueError, KeyError, TypeError, RecursionError):
            self.unseen("wipefs", answer.reason)
            return []

    def _ours(self, found: set[str]) -> bool:
        """A LUKS2 volume with our label, where nothing else claims to be on the device.

        Its first header has to be there: the second alone is what a format leaves that was cut off.
        """
        fields = dict(line.split("=", 1) for line in self.seen.blkid.out.splitlines() if "=" in line)
        named = (fields.get("TYPE"), fields.get("VERSION"), fields.get("LABEL"))
        return self.first and named == ("crypto_LUKS", "2", self.wanted.label) and found == _OWN_SIGNATURES


def decide(seen: Observation, wanted: Wanted) -> Decision:
    """Judge a device. Everything that is unknown is a refusal."""
    return _Judge(seen, wanted).judge()
