# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row W1: which device may be formatted. One blank, confirmed, unused disk; everything else is refused."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import luks_disks as disks
from luks_disks import BY_ID, LINKS, MOUNTS, SIZE, SWAPS, confirmed, lsblk, node, seen, system, target

from ansible_collections.rampart.ollama.plugins.module_utils.luks_decide import Wanted, decide
from ansible_collections.rampart.ollama.plugins.module_utils.luks_look import Observation
from ansible_collections.rampart.ollama.plugins.module_utils.luks_tools import Answer

pytestmark = pytest.mark.row("W1")


def codes(observation: Observation, wanted: Wanted | None = None) -> list[str]:
    decision = decide(observation, wanted or confirmed())
    assert (decision.verdict == "refused") is bool(decision.findings)
    return sorted({finding.code for finding in decision.findings})


def mounted(number: str, point: str, source: str, kind: str = "ext4") -> str:
    return MOUNTS + "40 29 {0} / {1} rw,relatime shared:9 - {3} {2} rw\n".format(number, point, source, kind)


def raid(where: str, mount: str | None = None) -> dict[str, Any]:
    return node("md0", "9:0", "raid1", SIZE - 10**8, fstype="ext4", mountpoints=[mount], path="/dev/" + where)


def test_a_blank_confirmed_disk_beside_the_systems_may_be_formatted() -> None:
    assert codes(seen()) == []
    assert decide(seen(), confirmed()).verdict == "format"
    assert decide(seen(), confirmed(serial="", wwn="0x5002538f00000001")).verdict == "format"


def test_an_empty_partition_of_another_disk_may_be_formatted() -> None:
    part = node("sdb1", "8:17", "part", 10**11, pttype="gpt")
    where = {**LINKS, BY_ID + "-part1": "/dev/sdb1"}
    view = seen(system(), target([part], pttype="gpt"), path="/dev/sdb1", device="8:17", size=10**11, links=where)
    assert codes(view, confirmed(by_id=BY_ID + "-part1", size=10**11)) == []


# Contents that util-linux knows: what it really said about each of them is in luks_signatures.json.
KNOWN = sorted(set(disks.SIGNATURES) - {"blank", "random", "xfs"})


@pytest.mark.parametrize("content", KNOWN)
def test_any_signature_is_refused(content: str) -> None:
    wanted = confirmed(label="another-label")
    assert "DISK-HOLDS-SIGNATURE" in codes(seen(holds=content), wanted)
    # Each of the three looks is enough, so that none of them is trusted alone.
    silent = disks.said("blkid", "blank"), disks.said("wipefs", "blank")
    if disks.said("blkid", content).rc == 0:
        assert codes(seen(holds=content, wipefs=silent[1], content="blank"), wanted) == ["DISK-HOLDS-SIGNATURE"]
    assert codes(seen(holds=content, blkid=silent[0], content="blank"), wanted) == ["DISK-HOLDS-SIGNATURE"]
    assert codes(seen(system(), target(fstype="ext4"), holds="blank")) == ["DISK-HOLDS-SIGNATURE"]


@pytest.mark.parametrize("content", ["random", "xfs"])
def test_data_without_a_signature_is_refused(content: str) -> None:
    assert codes(seen(holds=content)) == ["DISK-HOLDS-DATA"]


def test_two_signatures_that_exclude_each_other_are_refused() -> None:
    ambivalent = Answer(8, "TYPE=ext4\nTYPE=LVM2_member\n", "")
    assert codes(seen(blkid=ambivalent)) == ["DISK-HOLDS-SIGNATURE"]
    assert codes(seen(blkid=Answer(8, "", "ambivalent result"))) == ["DISK-LOOK-FAILED"]


UGLY: dict[str, tuple[Observation, str]] = {
    "mounted, and lsblk does not know it": (seen(mounts=mounted("8:16", "/mnt", "/dev/sdb")), "DISK-MOUNTED"),
    "mounted by its name in by-id": (seen(mounts=mounted("0:44", "/mnt", BY_ID, "btrfs")), "DISK-MOUNTED"),
    "mounted, and mountinfo of this namespace hides it": (
        seen(system(), target(mountpoints=["/mnt/data"])),
        "DISK-MOUNTED",
    ),
    "partition mounted": (
        seen(
            system(),
            target([node("sdb1", "8:17", "part", 10**11, mountpoint="/mnt")]),
            mounts=mounted("8:17", "/mnt", "/dev/sdb1"),
        ),
        "DISK-MOUNTED",
    ),
    "partition with a space in its mount point": (
        seen(
            system(),
            target([node("sdb1", "8:17", "part", 10**11)]),
            mounts=mounted("8:17", "/media/a\\040b", "/dev/sdb1"),
        ),
        "DISK-MOUNTED",
    ),
    "partitioned, nothing in use": (
        seen(system(), target([node("sdb1", "8:17", "part", 10**11)], pttype="gpt"), holds="gpt"),
        "DISK-PARTITIONED",
    ),
    "a table without partitions": (seen(system(), target(pttype="dos"), holds="dos"), "DISK-PARTITIONED"),
    "active swap": (seen(swaps=SWAPS + "/dev/sdb partition 1000 0 -2\n"), "DISK-SWAP-ACTIVE"),
    "active swap on a partition": (
        seen(system(), target([node("sdb2", "8:18", "part", 10**9)]), swaps=SWAPS + "/dev/sdb2 partition 1000 0 -2\n"),
        "DISK-SWAP-ACTIVE",
    ),
    "RAID member, array running": (
        seen(system(), target([raid("md0")], fstype="linux_raid_member"), holds="md12", holders=("md0",)),
        "DISK-HELD",
    ),
    "RAID member, array stopped": (seen(holds="md10"), "DISK-HOLDS-SIGNATURE"),
    "LVM physical volume with a volume": (
        seen(
            system(),
            target([node("vg-data", "253:0", "lvm", 10**11, path="/dev/mapper/vg-data")], fstype="LVM2_member"),
            holds="lvm",
            holders=("dm-0",),
        ),
        "DISK-HELD",
    ),
    "device-mapper holds it, lsblk shows nothing": (seen(holders=("dm-3",)), "DISK-HELD"),
    "bcache backing device": (
        seen(system(), target([node("bcache0", "252:0", "disk", 10**11)]), holds="bcache", holders=("bcache0",)),
        "DISK-HELD",
    ),
    "ZFS member, pool imported": (seen(holds="zfs"), "DISK-HOLDS-SIGNATURE"),
    "an open LUKS volume of somebody": (
        seen(
            system(),
            target([node("secret", "253:1", "crypt", 10**11, path="/dev/mapper/secret")]),
            holds="luks2-foreign",
            holders=("dm-1",),
        ),
        "DISK-HELD",
    ),
    "path of a multipath device": (
        seen(
            system(),
            target([node("mpatha", "253:0", "mpath", SIZE, path="/dev/mapper/mpatha")], fstype="mpath_member"),
        ),
        "DISK-MULTIPATH",
    ),
    "multipath member, daemon not running": (seen(system(), target(fstype="mpath_member")), "DISK-MULTIPATH"),
    "a second path to the same disk": (
        seen(system(), target(), node("sdc", "8:32", "disk", SIZE, wwn="0x5002538f00000001")),
        "DISK-IDENTITY-AMBIGUOUS",
    ),
    "two USB sticks with one serial": (
        seen(system(), target(), node("sdc", "8:32", "disk", 10**9, serial="S62ANJ0R123456")),
        "DISK-IDENTITY-AMBIGUOUS",
    ),
    "read-only by lsblk": (seen(system(), target(ro=True)), "DISK-READ-ONLY"),
    "read-only by sysfs": (seen(read_only=True), "DISK-READ-ONLY"),
    "read-only not known": (seen(read_only=None), "DISK-READ-ONLY"),
    "removable": (seen(system(), target(rm=True, tran="usb", hotplug=True)), "DISK-REMOVABLE"),
    "a USB disk that says it is fixed": (seen(system(), target(tran="usb")), "DISK-REMOVABLE"),
    "removable not known": (seen(system(), target(rm=None)), "DISK-REMOVABLE"),
    "a loop device": (seen(system(), target(type="loop")), "DISK-KIND-REFUSED"),
    "a CD": (seen(system(), target(type="rom")), "DISK-KIND-REFUSED"),
    "a kind that is not known": (seen(system(), target(type="quantum")), "DISK-KIND-REFUSED"),
    "no identity": (seen(system(), target(serial=None, wwn=None)), "DISK-NO-IDENTITY"),
    "no name in by-id": (seen(links={}), "DISK-NO-IDENTITY"),
    "the name leads to another disk": (seen(links={**LINKS, BY_ID: "/dev/sdc"}), "DISK-IDENTITY-MISMATCH"),
    "another serial": (seen(system(), target(serial="OTHER")), "DISK-IDENTITY-MISMATCH"),
    "another size": (seen(system(), target(size=SIZE + 512), size=SIZE + 512), "DISK-IDENTITY-MISMATCH"),
    "the system's disk": (
        seen(path="/dev/sda", device="8:0", size=250059350016, links={BY_ID: "/dev/sda"}),
        "DISK-SYSTEM-DISK",
    ),
    "an empty partition of the system's disk": (
        seen(path="/dev/sda3", device="8:3", size=10 * 10**9, links={BY_ID: "/dev/sda3"}),
        "DISK-SYSTEM-DISK",
    ),
    "a partition beside active swap": (
        seen(
            system(),
            target([node("sdb1", "8:17", "part", 10**9), node("sdb2", "8:18", "part", 10**9)], pttype="gpt"),
            path="/dev/sdb1",
            device="8:17",
            size=10**9,
            links={BY_ID: "/dev/sdb1"},
            swaps=SWAPS + "/dev/sdb2 partition 1000 0 -2\n",
        ),
        "DISK-SYSTEM-DISK",
    ),
    "a partition beside /home": (
        seen(
            system(),
            target([node("sdb1", "8:17", "part", 10**9), node("sdb2", "8:18", "part", 10**9)], pttype="gpt"),
            path="/dev/sdb1",
            device="8:17",
            size=10**9,
            links={BY_ID: "/dev/sdb1"},
            mounts=mounted("8:18", "/home", "/dev/sdb2"),
        ),
        "DISK-SYSTEM-DISK",
    ),
    "the root is on ZFS, its disk unknown": (
        seen(mounts="29 1 0:25 / / rw - zfs rpool/ROOT/debian rw,xattr\n"),
        "DISK-SYSTEM-UNKNOWN",
    ),
    "the root is an overlay": (
        seen(mounts="29 1 0:25 / / rw - overlay overlay rw,lowerdir=/x\n"),
        "DISK-SYSTEM-UNKNOWN",
    ),
    "lsblk fails": (seen(lsblk=Answer(-1, "", "No such file or directory")), "DISK-LOOK-FAILED"),
    "lsblk talks no JSON": (seen(lsblk=Answer(0, "NAME\nsdb\n", "")), "DISK-LOOK-FAILED"),
    "lsblk shows a list": (seen(lsblk=Answer(0, "[]", "")), "DISK-LOOK-FAILED"),
    "lsblk is deep": (seen(lsblk=Answer(0, "[" * 100000, "")), "DISK-LOOK-FAILED"),
    "lsblk does not know the device": (seen(system()), "DISK-LOOK-FAILED"),
    "lsblk and sysfs see two sizes": (seen(system(), target(size=SIZE - 512)), "DISK-LOOK-FAILED"),
    "lsblk and sysfs see two names": (seen(system(), target(path="/dev/sdx")), "DISK-LOOK-FAILED"),
    "blkid fails": (seen(blkid=Answer(4, "", "usage")), "DISK-LOOK-FAILED"),
    "blkid is not allowed to": (
        seen(blkid=Answer(2, "", "blkid: error: /dev/sdb: Operation not permitted")),
        "DISK-LOOK-FAILED",
    ),
    "blkid is missing": (seen(blkid=Answer(-1, "", "No such file or directory")), "DISK-LOOK-FAILED"),
    "wipefs is not allowed to": (
        seen(wipefs=Answer(1, "", "wipefs: error: /dev/sdb: probing initialization failed")),
        "DISK-LOOK-FAILED",
    ),
    "wipefs complains": (seen(wipefs=Answer(0, "", "wipefs: error: /dev/sdb: input/output")), "DISK-LOOK-FAILED"),
    "mountinfo cannot be read": (seen(mounts=""), "DISK-LOOK-FAILED"),
    "mountinfo is garbage": (seen(mounts="what is this\n"), "DISK-LOOK-FAILED"),
    "/proc/swaps cannot be read": (seen(swaps=""), "DISK-LOOK-FAILED"),
    "holders cannot be read": (seen(holders_seen=False), "DISK-LOOK-FAILED"),
    "head and tail cannot be read": (seen(content="unread"), "DISK-LOOK-FAILED"),
    "a bad disk of no size": (seen(system(), target(size=0), size=0), "DISK-LOOK-FAILED"),
    "gone": (Observation(BY_ID, BY_ID), "DISK-NOT-FOUND"),
    "a directory": (Observation("/srv", "/srv", "directory"), "DISK-NOT-BLOCK"),
    "a file": (Observation("/x", "/x", "file"), "DISK-NOT-BLOCK"),
}


@pytest.mark.parametrize("name", UGLY)
def test_an_ugly_disk_is_refused(name: str) -> None:
    observation, code = UGLY[name]
    found = codes(observation)
    assert code in found
    # A recording is judged as what was recorded.
    again = Observation.from_dict(json.loads(json.dumps(observation.as_dict())))
    assert codes(again) == found


@pytest.mark.parametrize(
    "changes",
    [{"by_id": ""}, {"size": 0}, {"serial": ""}, {"by_id": "", "serial": "", "size": 0}],
)
def test_a_device_that_was_not_confirmed_whole_is_refused(changes: dict[str, Any]) -> None:
    assert codes(seen(), confirmed(**changes)) == ["DISK-NOT-CONFIRMED"]


@pytest.mark.parametrize(
    "changes",
    [
        {"by_id": "/dev/sdb"},
        {"by_id": "/dev/disk/by-id/../by-id/" + BY_ID.rpartition("/")[2]},
        {"by_id": BY_ID + "x"},
        {"by_id": BY_ID + "\n"},
        {"serial": "s62anj0r123456"},
        {"serial": "S62ANJ0R12345"},
        {"wwn": "0x5002538f00000002"},
        {"size": SIZE - 1},
    ],
)
def test_one_wrong_word_of_the_confirmation_is_refused(changes: dict[str, Any]) -> None:
    assert codes(seen(), confirmed(**changes)) == ["DISK-IDENTITY-MISMATCH"]


def test_the_size_that_is_needed_and_removable_disks_can_be_named() -> None:
    assert codes(seen(), confirmed(least=SIZE + 1)) == ["DISK-TOO-SMALL"]
    small = 32 * 1024 * 1024
    assert codes(seen(system(), target(size=small), size=small), confirmed(size=small, least=0)) == ["DISK-TOO-SMALL"]
    stick = seen(system(), target(rm=True, tran="usb", hotplug=True))
    assert codes(stick, confirmed(removable=True)) == []


def test_a_volume_of_ours_is_left_as_it_is() -> None:
    ours = {"holds": "luks2-ours", "content": "data"}
    assert decide(seen(**ours), confirmed()).verdict == "present"
    opened = node("rampart-data", "253:0", "crypt", 10**11, path="/dev/mapper/rampart-data", mountpoint="/srv/rampart")
    use = {**ours, "holders": ("dm-0",), "mounts": mounted("253:0", "/srv/rampart", "/dev/mapper/rampart-data")}
    assert decide(seen(system(), target([opened], fstype="crypto_LUKS"), **use), confirmed()).verdict == "present"
    # The label alone makes nothing ours: the disk has to be the confirmed one, and LUKS2.
    assert codes(seen(**ours), confirmed(serial="OTHER")) != []
    assert decide(seen(**ours), confirmed(label="other")).verdict == "refused"
    assert decide(seen(holds="luks2-second-header"), confirmed()).verdict == "refused"
    luks1 = dataclasses.replace(seen(holds="luks1"), content="data")
    assert decide(luks1, confirmed(label="")).verdict == "refused"


def test_what_an_interrupted_format_left_may_be_formatted_and_nothing_like_it() -> None:
    half = {"holds": "luks2-second-header"}
    assert decide(seen(**half, content="interrupted"), confirmed(label="new")).verdict == "format"
    assert "DISK-HOLDS-SIGNATURE" in codes(seen(**half, content="data"), confirmed(label="new"))
    assert codes(seen(holds="ext4", content="interrupted")) == ["DISK-HOLDS-SIGNATURE"]


def test_every_change_between_look_and_act_is_seen() -> None:
    before = seen().fingerprint()
    assert seen(system(fsavail=1), target()).fingerprint() == before
    changed = [
        seen(system(), target(serial="OTHER")),
        seen(holds="ext4"),
        seen(holders=("dm-0",)),
        seen(size=SIZE - 512),
        seen(content="data"),
        seen(links={BY_ID: "/dev/sdb"}),
        seen(device="8:32"),
        seen(read_only=True),
        seen(system(), target(), node("sdc", "8:32", "disk", 10**9)),
    ]
    assert before not in {item.fingerprint() for item in changed}
    assert len({item.fingerprint() for item in changed}) == len(changed)


def test_evidence_of_a_hostile_disk_stays_one_short_line() -> None:
    evil = "x\n\x1b[2J" + "A" * 10000
    view = seen(system(), target(serial=evil, fstype=evil, children=None), wipefs=Answer(1, "", evil))
    for finding in decide(view, confirmed()).findings:
        assert finding.as_text().isprintable()
        assert len(finding.evidence) <= 500
    broken = seen(lsblk=lsblk({**system(), "children": [1, 2]}))
    assert codes(broken) == ["DISK-LOOK-FAILED"]
    assert codes(seen(wipefs=Answer(0, '{"signatures": 5}', ""))) == ["DISK-LOOK-FAILED"]
