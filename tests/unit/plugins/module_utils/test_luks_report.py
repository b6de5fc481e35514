# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row W1: the checks of the disks, on a made-up host; what cannot be seen is never a pass."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.hostinfo import Host
from ansible_collections.rampart.ollama.plugins.module_utils.luks_report import look_at_disks
from ansible_collections.rampart.ollama.plugins.module_utils.luks_tools import Answer
from ansible_collections.rampart.ollama.plugins.module_utils.luks_volume import LuksVolume
from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcFS

pytestmark = pytest.mark.row("W1")


def look(machine: Any, volume: LuksVolume | None = None, pcrs: str = "") -> dict[str, Any]:
    host = Host(root=machine.root, proc=ProcFS(str(machine.proc.root)))
    return look_at_disks(host, volume, pcrs)


def status(report: dict[str, Any]) -> dict[str, str]:
    return {item["id"]: item["status"] for item in report["checks"]}


def mounts(machine: Any, *lines: str) -> None:
    machine.proc.write("self", "mountinfo", "".join(line + "\n" for line in lines))


def volume(pcrs: list[int], pin: bool = False, opens: bool = True) -> LuksVolume:
    token = {"type": "systemd-tpm2", "keyslots": ["1"], "tpm2-pcrs": pcrs, "tpm2-pin": pin}
    data = {"keyslots": {"0": {}, "1": {}}, "segments": {}, "tokens": {"0": token, "1": {"type": "other"}}}

    def runner(command: list[str], **_options: Any) -> Answer:
        return Answer(0, json.dumps(data), "") if "luksDump" in command else Answer(0 if opens else 2, "", "")

    return LuksVolume("/dev/x", runner)


def test_a_host_that_is_encrypted_whole_passes(machine: Any) -> None:
    report = look(machine)
    assert set(status(report)) == {
        "disk-data-encrypted", "disk-root-encrypted", "disk-docker-encrypted", "disk-swap-encrypted",
    }  # fmt: skip
    assert set(status(report).values()) == {"passed"}
    assert report["findings"] == []


def test_each_plain_place_fails_its_own_check(machine: Any) -> None:
    crypt, plain = "253:0 / {0} rw - ext4 /dev/mapper/x rw", "8:1 / {0} rw - ext4 /dev/vda1 rw"
    mounts(machine, "1 0 " + plain.format("/"), "2 1 " + crypt.format("/srv/rampart"))
    assert status(look(machine)) == {
        "disk-data-encrypted": "passed", "disk-root-encrypted": "failed", "disk-docker-encrypted": "failed",
        "disk-swap-encrypted": "passed",
    }  # fmt: skip
    mounts(machine, "1 0 " + crypt.format("/"), "2 1 " + plain.format("/srv/rampart"))
    report = look(machine)
    assert status(report)["disk-data-encrypted"] == "failed"
    assert [(item["code"], item["severity"], item["subject"]) for item in report["findings"]] == [
        ("DISK-PLAIN", "high", "/srv/rampart")
    ]


def test_plain_swap_is_a_finding(machine: Any) -> None:
    machine.put("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/swap.img file 1 0 -2\n")
    mounts(machine, "1 0 8:1 / / rw - ext4 /dev/vda1 rw")
    report = look(machine)
    assert status(report)["disk-swap-encrypted"] == "failed"
    assert "DISK-SWAP-PLAIN" in {item["code"] for item in report["findings"]}


def test_what_cannot_be_seen_is_unknown(machine: Any) -> None:
    mounts(machine, "1 0 0:30 / / rw - overlay overlay rw")
    (machine.root / "proc/swaps").unlink()
    report = look(machine)
    assert set(status(report).values()) == {"unknown"}
    assert {item["code"] for item in report["findings"]} == {"DISK-LOOK-FAILED"}


@pytest.mark.parametrize(
    ("made", "asked", "expected"),
    [
        (volume([7]), "7", "passed"),
        (volume([0, 7]), "7+0", "passed"),
        (volume([7], opens=False), "7", "failed"),
        (volume([0]), "7", "failed"),
        (volume([7], pin=True, opens=False), "7", "passed"),
        (volume([7]), "", "unknown"),
    ],
)
def test_an_enrolment_counts_when_it_opens_the_volume_now(
    machine: Any, made: LuksVolume, asked: str, expected: str
) -> None:
    assert status(look(machine, made, asked))["disk-tpm-enrolled"] == expected


def test_a_header_that_cannot_be_read_is_unknown(machine: Any) -> None:
    broken = LuksVolume("/dev/x", lambda _command, **_options: Answer(1, "", "broken"))
    assert status(look(machine, broken, "7"))["disk-tpm-enrolled"] == "unknown"
