# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks to be judged: trees in the shape of lsblk 2.38 --json --bytes --output-all, and what blkid and wipefs said.

luks_signatures.json is what the two programs of util-linux 2.38 really said about devices with these contents.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.luks_decide import Wanted
from ansible_collections.rampart.ollama.plugins.module_utils.luks_look import BLANK, Observation
from ansible_collections.rampart.ollama.plugins.module_utils.luks_tools import Answer

SIGNATURES: dict[str, Any] = json.loads((Path(__file__).parent / "luks_signatures.json").read_text())
SIZE = 500107862016
BY_ID = "/dev/disk/by-id/ata-Samsung_SSD_870_EVO_500GB_S62ANJ0R123456"
LINKS = {BY_ID: "/dev/sdb", "/dev/disk/by-id/wwn-0x5002538f00000001": "/dev/sdb"}
SWAPS = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
MOUNTS = """\
22 29 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
29 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw,errors=remount-ro
30 29 8:1 / /boot/efi rw,relatime shared:2 - vfat /dev/sda1 rw,fmask=0077
"""


def node(
    name: str, number: str, kind: str, size: int, children: list[Any] | None = None, **more: Any
) -> dict[str, Any]:
    """One device as lsblk shows it; of its fifty columns those that say something here, and some that do not."""
    data = {
        "name": name, "kname": name, "path": "/dev/" + name, "maj:min": number, "type": kind, "size": size,
        "ro": False, "rm": False, "hotplug": False, "tran": "sata" if kind == "disk" else None, "serial": None,
        "wwn": None, "fstype": None, "pttype": None, "mountpoint": None, "mountpoints": [None], "label": None,
        "uuid": None, "state": "running", "fsavail": None, "rota": False, "sched": "mq-deadline",
    }  # fmt: skip
    data.update(more)
    if children:
        data["children"] = children
    return data


def system(**more: Any) -> dict[str, Any]:
    """The disk of the system: /boot/efi, /, and an encrypted swap area."""
    parts = [
        node("sda1", "8:1", "part", 536870912, fstype="vfat", pttype="gpt", mountpoint="/boot/efi"),
        node("sda2", "8:2", "part", 100 * 10**9, fstype="ext4", pttype="gpt", mountpoints=["/"], fsavail=77927677952),
        node("sda3", "8:3", "part", 10 * 10**9, pttype="gpt"),
    ]
    known = {"serial": "SYSTEM0001", "wwn": "0x5002538f00000000", "pttype": "gpt"}
    return node("sda", "8:0", "disk", 250059350016, parts, **{**known, **more})


def target(children: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    """The disk that was confirmed."""
    known = {"serial": "S62ANJ0R123456", "wwn": "0x5002538f00000001"}
    return {**node("sdb", "8:16", "disk", SIZE, children, **known), **more}


def lsblk(*devices: dict[str, Any]) -> Answer:
    return Answer(0, json.dumps({"blockdevices": list(devices)}), "")


def said(program: str, content: str) -> Answer:
    return Answer(**SIGNATURES[content][program])


def seen(*devices: dict[str, Any], holds: str = "blank", **changes: Any) -> Observation:
    """What is seen of /dev/sdb on a host with these devices; a blank disk beside the system's where none is named."""
    known: dict[str, Any] = {
        "requested": BY_ID,
        "path": "/dev/sdb",
        "kind": "block",
        "device": "8:16",
        "size": SIZE,
        "read_only": False,
        "lsblk": lsblk(*(devices or (system(), target()))),
        "blkid": said("blkid", holds),
        "wipefs": said("wipefs", holds),
        "mounts": MOUNTS,
        "swaps": SWAPS,
        "holders_seen": True,
        "links": LINKS,
        "content": BLANK if holds == "blank" else "data",
    }
    return Observation(**{**known, **changes})


def confirmed(**changes: Any) -> Wanted:
    """What a person confirmed of that disk."""
    return Wanted(**{"by_id": BY_ID, "serial": "S62ANJ0R123456", "size": SIZE, **changes})
