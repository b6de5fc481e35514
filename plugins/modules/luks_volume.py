#!/usr/bin/python
# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide whether a device may become an encrypted volume, make it, and look after its ways in."""

from __future__ import annotations

DOCUMENTATION = r"""
module: luks_volume
short_description: Decide whether a device may become a LUKS2 volume, make it, and look after its ways in
version_added: 0.1.0
description:
  - Does what M(community.crypto.luks_device) cannot. It refuses a device that holds anything, or that is not the one a
    person confirmed. It makes the volume under an exclusive open of the device that was judged. It removes no slot
    before another one was seen to open the volume. It enrols a TPM anew when the old enrolment no longer opens.
  - Opening, closing and adding keys are left to M(community.crypto.luks_device).
  - Nothing here wipes. There is no option that has a signature, a partition table or data overwritten.
  - With O(state=report), the default, it only looks.
  - Keys go to programs through standard input and files in memory, never through arguments or the environment.
attributes:
  check_mode:
    description: Judges as a real run does, says what would be done, and writes nothing.
    support: full
  diff_mode:
    description: Shows verdict, slots and enrolments before and after.
    support: full
  idempotent:
    description: A volume that is there stays; O(state=recovery_key) makes another key each time and changes no host.
    support: partial
options:
  state:
    description:
      - V(report) judges O(device) or O(file), describes the volume that is there, and says what lies on dm-crypt.
      - V(present) makes the volume if it is not there. It needs O(passphrase), and O(confirm) for a device.
      - V(recovery_key) returns a new recovery key of 256 bits. It touches no device.
      - V(tpm2_enrolled) binds a slot to the TPM and O(tpm2_pcrs), in place of an earlier enrolment. It needs
        O(passphrase).
      - V(slot_absent) removes O(slot). O(passphrase) has to open another one.
      - V(header_saved) writes a backup of the header to O(header).
    type: str
    choices: [report, present, recovery_key, tpm2_enrolled, slot_absent, header_saved]
    default: report
  device:
    description: The device. For a new volume a whole disk or a partition.
    type: path
  file:
    description: A file that holds the volume, where there is no disk for it. A new one must not exist yet.
    type: path
  file_size:
    description: Bytes of a new O(file). They are allocated at once. At least 64 MiB.
    type: int
    default: 0
  confirm:
    description:
      - What a person read off the disk that may be formatted. Each value has to be exactly what the device has.
      - O(confirm.by_id), O(confirm.size), and one of O(confirm.serial) and O(confirm.wwn) are needed.
    type: dict
    default: {}
    suboptions:
      by_id:
        description: The device's name below C(/dev/disk/by-id).
        type: str
        default: ""
      serial:
        description: Its serial number, as C(lsblk -o SERIAL) shows it. That of the disk for a partition.
        type: str
        default: ""
      wwn:
        description: Its World Wide Name, as C(lsblk -o WWN) shows it. That of the disk for a partition.
        type: str
        default: ""
      size:
        description: Its size in bytes, as C(lsblk -b -o SIZE) shows it.
        type: int
        default: 0
  least_bytes:
    description: How large a device has to be. Less than 64 MiB is never enough.
    type: int
    default: 0
  allow_removable:
    description: Whether the device may be one that can be pulled out.
    type: bool
    default: false
  label:
    description: The volume's label. A LUKS2 volume with this label on the confirmed device is ours, and stays as it is.
    type: str
    default: rampart-data
  sector_size:
    description: Bytes of an encrypted sector of a new volume.
    type: int
    choices: [512, 4096]
    default: 4096
  pbkdf:
    description: The key derivation of a new volume's slot. Left alone, cryptsetup measures what the host can bear.
    type: dict
    default: {}
    suboptions:
      algorithm:
        description: Its kind.
        type: str
        choices: [argon2id, pbkdf2]
        default: argon2id
      iterations:
        description: A fixed number of iterations; V(0) has them measured.
        type: int
        default: 0
      memory_kib:
        description: The memory that argon2id takes, in KiB; V(0) leaves it to cryptsetup.
        type: int
        default: 0
  passphrase:
    description: A key that opens the volume, or that a new one gets.
    type: str
  tpm2_pcrs:
    description: The PCRs that the TPM has to show, such as V(7) or V(0+7). Empty asks for no enrolment.
    type: str
    default: ""
  tpm2_pin:
    description: A PIN that the TPM asks for as well.
    type: str
  tpm2_renew:
    description: Enrol anew even where an enrolment with a PIN asks for the same; it cannot be tried without a person.
    type: bool
    default: false
  slot:
    description: The number of the slot to remove.
    type: int
  header:
    description: Where the backup of the header goes, in a directory of the user's own with mode 0700.
    type: path
  workshop:
    description: A directory where new headers are made, on a disk. It is created with mode 0700.
    type: path
    default: /var/lib/rampart/luks
  data_root:
    description: The directory that has to lie on dm-crypt, for O(state=report).
    type: path
    default: /srv/rampart
  docker_root:
    description: Docker's data directory, for O(state=report).
    type: path
    default: /var/lib/docker
seealso:
  - module: community.crypto.luks_device
author:
  - Rampart contributors (@rampart)
"""

EXAMPLES = r"""
- name: Look what a device is, and what lies on dm-crypt
  rampart.ollama.luks_volume:
    device: /dev/disk/by-id/ata-Samsung_SSD_870_EVO_500GB_S62ANJ0R123456

- name: Make a recovery key
  rampart.ollama.luks_volume:
    state: recovery_key
  register: made
  no_log: true

- name: Make the volume on the disk that a person confirmed
  rampart.ollama.luks_volume:
    state: present
    device: /dev/disk/by-id/ata-Samsung_SSD_870_EVO_500GB_S62ANJ0R123456
    confirm:
      by_id: /dev/disk/by-id/ata-Samsung_SSD_870_EVO_500GB_S62ANJ0R123456
      serial: S62ANJ0R123456
      size: 500107862016
    passphrase: "{{ made.recovery_key }}"

- name: Let the TPM open it
  rampart.ollama.luks_volume:
    state: tpm2_enrolled
    device: /dev/disk/by-id/ata-Samsung_SSD_870_EVO_500GB_S62ANJ0R123456
    tpm2_pcrs: "7"
    passphrase: "{{ made.recovery_key }}"
"""

RETURN = r"""
verdict:
  description: V(format) when a volume may be made (or was), V(present) when it is there, V(refused), V(none) where
    nothing was named.
  returned: always
  type: str
  sample: present
findings:
  description: What speaks against it, and what is wrong with the host's disks.
  returned: always
  type: list
  elements: dict
  sample:
    - code: DISK-HOLDS-SIGNATURE
      severity: high
      subject: /dev/sdb
      evidence: "signatures: ext4, filesystem"
      remedy: There is something on it. Who is sure that it may go wipes it by hand, never this collection.
checks:
  description: What lies on dm-crypt, and whether the TPM opens the volume.
  returned: O(state=report)
  type: list
  elements: dict
  sample:
    - id: disk-data-encrypted
      status: passed
      evidence: /srv/rampart is on dm-crypt
device_facts:
  description: What was seen of the device; its names, serial number, WWN and size are what O(confirm) asks for.
  returned: when a device was judged
  type: dict
  sample: {path: /dev/sdb, size: 500107862016, serial: S62ANJ0R123456, wwn: "0x5002538f00000001", content: blank}
volume:
  description: The volume that is there; empty where there is none.
  returned: always
  type: dict
  sample:
    uuid: 9fb31eea-7015-461f-874f-59d8face2345
    cipher: aes-xts-plain64
    key_bits: 512
    sector_size: 4096
    slots: {"0": argon2id, "1": pbkdf2}
    tpm2: [{slots: [1], pcrs: [7], pin: false}]
    header_sha256: b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
recovery_key:
  description: The new key. Register it with C(no_log), escrow it, and do not print it.
  returned: O(state=recovery_key)
  type: str
  sample: cbdefghi-jklnrtuv-cbdefghi-jklnrtuv-cbdefghi-jklnrtuv-cbdefghi-jklnrtuv
"""

from pathlib import Path
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    Finding,
    FindingError,
    as_dicts,
    refuse,
    summary,
)
from ansible_collections.rampart.ollama.plugins.module_utils.hostinfo import Host
from ansible_collections.rampart.ollama.plugins.module_utils.luks_decide import (
    FORMAT,
    LEAST_BYTES,
    PRESENT,
    REFUSED,
    Wanted,
    decide,
)
from ansible_collections.rampart.ollama.plugins.module_utils.luks_format import (
    Recipe,
    format_device,
    make_file_volume,
    staged_header,
)
from ansible_collections.rampart.ollama.plugins.module_utils.luks_look import Looker
from ansible_collections.rampart.ollama.plugins.module_utils.luks_report import look_at_disks
from ansible_collections.rampart.ollama.plugins.module_utils.luks_tools import run
from ansible_collections.rampart.ollama.plugins.module_utils.luks_volume import LuksVolume, make_recovery_key

STATES = ["report", "present", "recovery_key", "tpm2_enrolled", "slot_absent", "header_saved"]
ARGUMENTS = {
    "state": {"type": "str", "choices": STATES, "default": "report"},
    "device": {"type": "path"},
    "file": {"type": "path"},
    "file_size": {"type": "int", "default": 0},
    "confirm": {
        "type": "dict",
        "default": {},
        "options": {
            "by_id": {"type": "str", "default": ""},
            "serial": {"type": "str", "default": ""},
            "wwn": {"type": "str", "default": ""},
            "size": {"type": "int", "default": 0},
        },
    },
    "least_bytes": {"type": "int", "default": 0},
    "allow_removable": {"type": "bool", "default": False},
    "label": {"type": "str", "default": "rampart-data"},
    "sector_size": {"type": "int", "choices": [512, 4096], "default": 4096},
    "pbkdf": {
        "type": "dict",
        "default": {},
        "options": {
            "algorithm": {"type": "str", "choices": ["argon2id", "pbkdf2"], "default": "argon2id"},
            "iterations": {"type": "int", "default": 0},
            "memory_kib": {"type": "int", "default": 0},
        },
    },
    "passphrase": {"type": "str", "no_log": True},
    "tpm2_pcrs": {"type": "str", "default": ""},
    "tpm2_pin": {"type": "str", "no_log": True},
    "tpm2_renew": {"type": "bool", "default": False},
    "slot": {"type": "int"},
    "header": {"type": "path"},
    "workshop": {"type": "path", "default": "/var/lib/rampart/luks"},
    "data_root": {"type": "path", "default": "/srv/rampart"},
    "docker_root": {"type": "path", "default": "/var/lib/docker"},
}


class Work:
    """One call of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.asked = module.params
        confirm, pbkdf = self.asked["confirm"], self.asked["pbkdf"]
        self.wanted = Wanted(
            confirm.get("by_id", ""),
            confirm.get("serial", ""),
            confirm.get("wwn", ""),
            confirm.get("size", 0),
            self.asked["least_bytes"],
            self.asked["allow_removable"],
            self.asked["label"],
        )
        self.recipe = Recipe(
            self.asked["label"],
            sector_size=self.asked["sector_size"],
            pbkdf=pbkdf.get("algorithm", "argon2id"),
            iterations=pbkdf.get("iterations", 0),
            memory_kib=pbkdf.get("memory_kib", 0),
        )
        self.key = (self.asked["passphrase"] or "").encode()
        self.looker = Looker(run)
        self.result: dict[str, Any] = {"changed": False, "verdict": "none", "findings": [], "volume": {}}

    @property
    def volume(self) -> LuksVolume:
        """The volume that the call is about."""
        return LuksVolume(self.asked["file"] or self.asked["device"])

    def judge(self) -> list[dict[str, str]]:
        """Set the verdict, and return what speaks against the device or file."""
        if self.asked["device"]:
            staged = staged_header(Path(self.asked["workshop"]), self.wanted)
            self.seen = self.looker.observe(self.asked["device"], staged)
            decision = decide(self.seen, self.wanted)
            self.result["verdict"], self.result["device_facts"] = decision.verdict, decision.facts
            return as_dicts(decision.findings)
        path = Path(self.asked["file"])
        if not path.exists() and not path.is_symlink():
            self.result["verdict"] = FORMAT
            return []
        try:
            self.volume.facts()
        except FindingError as error:
            self.result["verdict"] = REFUSED
            return [error.finding.as_dict()]
        self.result["verdict"] = PRESENT
        return []

    def describe(self) -> dict[str, Any]:
        """Return the volume as it is now."""
        return {**self.volume.facts(), "header_sha256": self.volume.header_sha256()}

    def report(self) -> None:
        """Look, and judge what is named."""
        named = self.asked["device"] or self.asked["file"]
        self.result["findings"] = self.judge() if named else []
        volume: Optional[LuksVolume] = None
        if self.result["verdict"] == PRESENT:
            self.result["volume"], volume = self.describe(), self.volume
        host = Host(layout_root=self.asked["data_root"])
        seen = look_at_disks(host, volume, self.asked["tpm2_pcrs"], self.asked["docker_root"])
        self.result["findings"] += seen["findings"]
        self.result["checks"] = seen["checks"]

    def present(self) -> None:
        """Make the volume if it is not there. Raises FindingError."""
        refused = self.judge()
        if self.result["verdict"] == REFUSED:
            self.result["findings"] = refused
            self.module.fail_json(
                msg=summary([Finding.from_dict(item) for item in refused], len(refused)), **self.result
            )
        if self.result["verdict"] == PRESENT:
            if self.key:
                self.volume.demand_key(self.key)
            return
        if not self.key:
            raise refuse(
                "DISK-KEY-MISSING", self.volume.path, "no passphrase", "Make a recovery key, and escrow it first."
            )
        if self.asked["file"] and self.asked["file_size"] < LEAST_BYTES:
            raise refuse("DISK-TOO-SMALL", self.asked["file"], "file_size is too small", "Give at least 64 MiB.")
        self.result["changed"] = True
        if self.module.check_mode:
            return
        if self.asked["file"]:
            make_file_volume(Path(self.asked["file"]), self.asked["file_size"], self.key, self.recipe)
            return
        workshop = Path(self.asked["workshop"])
        workshop.mkdir(mode=0o700, parents=True, exist_ok=True)
        workshop.chmod(0o700)
        format_device(self.seen, self.wanted, self.key, self.recipe, workshop, self.looker)

    def recovery_key(self) -> None:
        """Make a key."""
        self.result["recovery_key"] = make_recovery_key()

    def tpm2_enrolled(self) -> None:
        """Bind a slot to the TPM. Raises FindingError."""
        pin = None if self.asked["tpm2_pin"] is None else self.asked["tpm2_pin"].encode()
        if pin is not None and (not pin or not pin.decode().isprintable()):
            raise refuse(
                "DISK-PIN-INVALID", self.volume.path, "an empty PIN, or one that cannot be typed", "Choose another."
            )
        self.result["changed"] = self.volume.enrol_tpm(
            self.key, self.asked["tpm2_pcrs"], pin, self.module.check_mode, self.asked["tpm2_renew"]
        )

    def slot_absent(self) -> None:
        """Remove a slot. Raises FindingError."""
        self.result["changed"] = self.volume.remove_slot(self.asked["slot"], self.key, self.module.check_mode)

    def header_saved(self) -> None:
        """Save the header. Raises FindingError."""
        self.result["changed"] = True
        if not self.module.check_mode:
            self.volume.save_header(Path(self.asked["header"]))

    def run(self) -> None:
        """Do what the state asks for, and end. Raises FindingError."""
        state = self.asked["state"]
        changing = state in ("tpm2_enrolled", "slot_absent", "header_saved")
        before = self.describe() if changing else {}
        getattr(self, state)()
        if changing:
            self.result["verdict"] = PRESENT
        if changing or (state == "present" and not (self.module.check_mode and self.result["changed"])):
            self.result["volume"] = self.describe()
        if self.module._diff and state not in ("report", "recovery_key"):
            planned = "a new volume\n" if self.result["changed"] and not self.result["volume"] else ""
            after = self.module.jsonify(self.result["volume"]) if self.result["volume"] else planned
            was = before or ({} if self.result["changed"] else self.result["volume"])
            self.result["diff"] = {"before": self.module.jsonify(was) if was else "", "after": after}
        self.module.exit_json(**self.result)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        mutually_exclusive=[("device", "file")],
        required_if=[
            ("state", "present", ("device", "file"), True),
            ("state", "tpm2_enrolled", ("device", "file"), True),
            ("state", "tpm2_enrolled", ("passphrase", "tpm2_pcrs")),
            ("state", "slot_absent", ("device", "file"), True),
            ("state", "slot_absent", ("passphrase", "slot")),
            ("state", "header_saved", ("device", "file"), True),
            ("state", "header_saved", ("header",)),
        ],
    )
    work = Work(module)
    try:
        work.run()
    except FindingError as error:
        work.result["findings"] = [error.finding.as_dict()]
        work.result["changed"] = False
        module.fail_json(msg=summary([error.finding]), **work.result)


if __name__ == "__main__":
    main()
