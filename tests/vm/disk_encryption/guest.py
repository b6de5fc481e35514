# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row W1 in the virtual machine that run.py boots: one stage for each boot, one line for each claim."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, "/")

from rampart_vm.findings import FindingError
from rampart_vm.hostinfo import Host
from rampart_vm.luks_decide import Wanted, decide
from rampart_vm.luks_format import Recipe, format_device, staged_header
from rampart_vm.luks_look import Looker
from rampart_vm.luks_report import look_at_disks
from rampart_vm.luks_volume import LuksVolume

BY_ID = "/dev/disk/by-id/virtio-RAMPARTVOL"
SYSTEM = "/dev/disk/by-id/virtio-SYSTEM1"
SIZE = 256 * 1024 * 1024
KEY = b"cbdefghi-jklnrtuv-cbdefghi-jklnrtuv"
NAME = "rampart-data"
MAPPED = "/dev/mapper/" + NAME
POINT = "/srv/rampart"
WORKSHOP = Path("/var/lib/rampart/luks")
WANTED = Wanted(by_id=BY_ID, serial="RAMPARTVOL", size=SIZE)
CHEAP = Recipe(pbkdf="pbkdf2", iterations=1000)
PCR = "8"


def claim(text: str, holds: bool, detail: object = "") -> None:
    """Print a claim and whether it was seen to hold; run.py counts them."""
    word = "ok" if holds else "FAILED"
    print("CLAIM {0} {1}{2}".format(word, text, " ({0})".format(detail) if detail != "" else ""), flush=True)


def call(*command: str, data: bytes = b"") -> str:
    done = subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    return done.stdout.decode("utf-8", "replace").strip()


def ends(*command: str) -> int:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode


def refusal(action: Any) -> str:
    try:
        action()
    except FindingError as error:
        return error.finding.code
    return "done"


def codes(device: str, wanted: Wanted) -> set[str]:
    return {item.code for item in decide(Looker().observe(device), wanted).findings}


def checks(volume: LuksVolume) -> dict[str, str]:
    seen = look_at_disks(Host(layout_root=POINT), volume, PCR)
    return {item["id"]: item["status"] for item in seen["checks"]}


def extend_pcr() -> None:
    """TPM2_PCR_Extend of PCR 8 with a sha256 of ones, as a changed boot would do."""
    password_session = struct.pack(">IHBH", 0x40000009, 0, 0, 0)
    body = struct.pack(">II", int(PCR), len(password_session)) + password_session
    body += struct.pack(">IH", 1, 0x000B) + b"\x01" * 32
    command = struct.pack(">HII", 0x8002, 10 + len(body), 0x182) + body
    tpm = os.open("/dev/tpmrm0", os.O_RDWR)
    os.write(tpm, command)
    answer = os.read(tpm, 4096)
    os.close(tpm)
    print("NOTE extend answered {0:#x}".format(struct.unpack(">I", answer[6:10])[0]), flush=True)


def make(recipe: Recipe) -> LuksVolume:
    WORKSHOP.mkdir(mode=0o700, parents=True, exist_ok=True)
    looker = Looker()
    before = looker.observe(BY_ID, staged_header(WORKSHOP, WANTED))
    decision = decide(before, WANTED)
    if decision.verdict != "format":
        print("NOTE refused: {0}".format([item.as_text() for item in decision.findings]), flush=True)
    return format_device(before, WANTED, KEY, recipe, WORKSHOP, looker)


def killed_while_formatting() -> None:
    claim("a blank confirmed disk may be formatted", codes(BY_ID, WANTED) == set(), codes(BY_ID, WANTED))
    system = Wanted(by_id=SYSTEM, serial="SYSTEM1", size=os.stat(SYSTEM).st_size or 1500 * 1024 * 1024)
    claim("the system's disk is refused", {"DISK-SYSTEM-DISK", "DISK-MOUNTED"} <= codes(SYSTEM, system))
    print("FORMATTING", flush=True)
    make(Recipe())
    while True:
        # The kill comes; a format that is done before it is a case of its own.
        pass


def format_and_enrol() -> None:
    verdict = decide(Looker().observe(BY_ID, staged_header(WORKSHOP, WANTED)), WANTED).verdict
    claim("after the kill the device is blank, half ours, or whole", verdict in ("format", "present"), verdict)
    volume = LuksVolume(BY_ID) if verdict == "present" else make(CHEAP)
    claim("the next run has a volume that the key opens", volume.opens_with(KEY))
    claim("a second run leaves it as it is", decide(Looker().observe(BY_ID), WANTED).verdict == "present")
    claim("for another label it is refused", "DISK-HOLDS-SIGNATURE" in codes(BY_ID, Wanted(label="x")))
    claim("the TPM is enrolled", volume.enrol_tpm(KEY, PCR))
    claim("and opens the volume, tried without opening it", volume.opens_with_tpm())
    claim("again: nothing to do", not volume.enrol_tpm(KEY, PCR))
    slot = volume.tpm_tokens()[0].slots[0]
    claim(
        "the TPM's slot is not removed like a key's", refusal(lambda: volume.remove_slot(slot, KEY)) == "DISK-SLOT-TPM"
    )
    claim("the last key stays", refusal(lambda: volume.remove_slot(0, KEY)) == "DISK-LAST-KEY")
    call("cryptsetup", "open", "--key-file", "-", BY_ID, NAME, data=KEY)
    claim("an open volume is ours, and in use", decide(Looker().observe(BY_ID), WANTED).verdict == "present")
    claim("in use it is refused to anybody else", "DISK-HELD" in codes(BY_ID, Wanted(label="x")))
    claim("what is mapped is refused too", "DISK-KIND-REFUSED" in codes(MAPPED, WANTED))
    call("mke2fs", "-q", "-t", "ext4", "-O", "verity", MAPPED)
    tables = Path("/role")
    Path("/etc/crypttab").write_text((tables / "crypttab").read_text().replace("@UUID@", volume.uuid()))
    with open("/etc/fstab", "a") as stream:
        stream.write((tables / "fstab").read_text())
    dropin = Path("/etc/systemd/system/docker.service.d/rampart-volume.conf")
    dropin.parent.mkdir()
    dropin.write_text((tables / "after-volume.conf").read_text())
    for path in (POINT, "/var/lib/docker"):
        Path(path).mkdir(parents=True)
    call("systemctl", "daemon-reload")
    call("mount", POINT)
    for name in ("docker", "store"):
        Path(POINT, name).mkdir()
    Path(POINT, "store", "model").write_bytes(b"weights")
    call("systemctl", "start", "docker.service")
    claim(
        "Docker's data are on the volume",
        "rampart--data" in call("findmnt", "-no", "SOURCE", "/var/lib/docker")
        or NAME in call("findmnt", "-no", "SOURCE", "/var/lib/docker"),
    )
    Path("/root/header-before").write_text(volume.header_sha256())


def opened_by_the_tpm() -> None:
    volume = LuksVolume(BY_ID)
    claim("after a reboot the TPM opened the volume", Path(POINT, "store", "model").read_bytes() == b"weights")
    claim("Docker started after it", call("systemctl", "is-active", "docker.service") == "active")
    expected = dict.fromkeys(("disk-data-encrypted", "disk-docker-encrypted", "disk-tpm-enrolled"), "passed")
    seen = checks(volume)
    claim("the checks say so", {name: seen.get(name) for name in expected} == expected, seen)
    claim("a plain root fails its check", seen["disk-root-encrypted"] == "failed")
    extend_pcr()
    claim("a changed PCR is seen", not volume.opens_with_tpm() and checks(volume)["disk-tpm-enrolled"] == "failed")
    claim(
        "without the recovery key nothing is enrolled",
        refusal(lambda: volume.enrol_tpm(b"x", PCR)) == "DISK-KEY-REFUSED",
    )
    claim("with it the TPM is enrolled anew", volume.enrol_tpm(KEY, PCR) and volume.opens_with_tpm())
    claim("in place of the old enrolment", len(volume.tpm_tokens()) == 1 and len(volume.facts()["slots"]) == 2)


def locked_out_of_the_tpm() -> None:
    # The PCR is 0 again, and the enrolment is for another value.
    claim("with the wrong PCRs the machine comes up", ends("systemctl", "is-active", "multi-user.target") == 0)
    claim(
        "without the volume, and without Docker",
        not os.path.ismount(POINT) and ends("systemctl", "is-active", "docker.service") != 0,
    )
    volume = LuksVolume(BY_ID)
    call("cryptsetup", "open", "--key-file", "-", BY_ID, NAME, data=KEY)
    call("mount", POINT)
    claim("the recovery key opens it, with all that is on it", Path(POINT, "store", "model").read_bytes() == b"weights")
    pin = b"471147"
    claim("the TPM is enrolled with a PIN", volume.enrol_tpm(KEY, PCR, pin) and volume.tpm_tokens()[0].pin)


if __name__ == "__main__":
    number = int(Path("/proc/cmdline").read_text().partition("rampart.stage=")[2].split()[0])
    stages = (killed_while_formatting, format_and_enrol, opened_by_the_tpm, locked_out_of_the_tpm)
    stages[number - 1]()
    print("END", flush=True)
