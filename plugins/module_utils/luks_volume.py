# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and changing LUKS2 volumes that exist: their description, key slots, TPM enrolment and header.

No call takes the last way in away: a slot goes only after another one was seen to open the volume.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from .findings import refuse
from .luks_tools import Runner, expect, run

# The alphabet of systemd's recovery keys: sixteen letters that lie on the same keys of most keyboards.
_MODHEX = "cbdefghijklnrtuv"
_KEY_BYTES = 32
_PCRS = re.compile(r"^[0-9]{1,2}(\+[0-9]{1,2})*$")
HEADER_MAX_BYTES = 64 * 1024 * 1024


def make_recovery_key() -> str:
    """Return 256 bits of the kernel's randomness as eight groups of eight letters, fit to be typed."""
    letters = "".join(_MODHEX[byte >> 4] + _MODHEX[byte & 15] for byte in os.urandom(_KEY_BYTES))
    return "-".join(letters[at : at + 8] for at in range(0, len(letters), 8))


@dataclass(frozen=True)
class TpmToken:
    """How a key slot is bound to a TPM."""

    slots: tuple[int, ...]
    pcrs: tuple[int, ...]
    pin: bool


class LuksVolume:
    """A LUKS2 volume on a device or in a file."""

    def __init__(self, path: str, runner: Runner = run) -> None:
        self.path = path
        self.runner = runner

    # --- what it is ---------------------------------------------------------------------------------------
    def metadata(self) -> dict[str, Any]:
        """Return the header's JSON. Raises FindingError DISK-NOT-LUKS2."""
        answer = self.runner(["cryptsetup", "luksDump", "--dump-json-metadata", self.path])
        try:
            data = json.loads(answer.out) if answer.rc == 0 else None
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict) or not all(isinstance(data.get(name), dict) for name in ("keyslots", "segments")):
            raise refuse("DISK-NOT-LUKS2", self.path, answer.reason, "Name a device that holds a LUKS2 volume.")
        return data

    def facts(self) -> dict[str, Any]:
        """Return {uuid, cipher, key_bits, sector_size, slots: {number: kdf}, tpm2}. Raises FindingError."""
        data = self.metadata()
        segment: dict[str, Any] = next(iter(data["segments"].values()), {})
        tokens = self.tpm_tokens(data)
        return {
            "uuid": self.uuid(),
            "cipher": segment.get("encryption", ""),
            "sector_size": segment.get("sector_size", 0),
            "key_bits": max([int(slot.get("key_size", 0)) * 8 for slot in data["keyslots"].values()] or [0]),
            "slots": {number: slot.get("kdf", {}).get("type", "") for number, slot in data["keyslots"].items()},
            "tpm2": [{"slots": list(item.slots), "pcrs": list(item.pcrs), "pin": item.pin} for item in tokens],
        }

    def uuid(self) -> str:
        """Return the UUID. Raises FindingError DISK-NOT-LUKS2."""
        answer = self.runner(["cryptsetup", "luksUUID", self.path])
        return expect(
            answer, "DISK-NOT-LUKS2", self.path, "no UUID", "Name a device that holds a LUKS2 volume."
        ).out.strip()

    def tpm_tokens(self, data: Optional[dict[str, Any]] = None) -> list[TpmToken]:
        """Return the enrolments with a TPM. Raises FindingError."""
        tokens = (self.metadata() if data is None else data).get("tokens")
        found = []
        for token in tokens.values() if isinstance(tokens, dict) else []:
            if isinstance(token, dict) and token.get("type") == "systemd-tpm2":
                slots = tuple(sorted(int(slot) for slot in token.get("keyslots", [])))
                pcrs = tuple(sorted(int(pcr) for pcr in token.get("tpm2-pcrs", [])))
                found.append(TpmToken(slots, pcrs, bool(token.get("tpm2-pin", False))))
        return found

    def opens_with(self, key: bytes, slot: Optional[int] = None) -> bool:
        """Whether a key opens the volume (or just that slot of it). Nothing is opened."""
        command = ["cryptsetup", "open", "--test-passphrase", "--type", "luks2", "--key-file", "-", self.path]
        if slot is not None:
            command[3:3] = ["--key-slot", str(slot)]
        return self.runner(command, data=key).rc == 0

    def slot_of(self, key: bytes) -> Optional[int]:
        """Return the number of the slot that a key opens, None for none. Raises FindingError."""
        numbers = sorted(int(number) for number in self.metadata()["keyslots"])
        return next((number for number in numbers if self.opens_with(key, number)), None)

    def opens_with_tpm(self) -> bool:
        """Whether the TPM, as it is measured now, opens the volume. With a PIN this cannot be seen: False."""
        command = ["cryptsetup", "open", "--test-passphrase", "--type", "luks2", "--token-only"]
        return self.runner([*command, "--token-type", "systemd-tpm2", self.path]).rc == 0

    # --- ways in ------------------------------------------------------------------------------------------
    def demand_key(self, key: bytes) -> int:
        """Return the slot of a key. Raises FindingError DISK-KEY-REFUSED when it opens none."""
        slot = self.slot_of(key) if key else None
        if slot is None:
            raise refuse(
                "DISK-KEY-REFUSED", self.path, "the key that was given opens no slot",
                "Take the recovery key from where it is escrowed. Nothing was changed.",
            )  # fmt: skip
        return slot

    def remove_slot(self, slot: int, key: bytes, dry: bool = False) -> bool:
        """Remove a slot; return whether there was one. `key` has to open another slot. Raises FindingError."""
        if str(slot) not in self.metadata()["keyslots"]:
            return False
        if self.demand_key(key) == slot:
            raise refuse(
                "DISK-LAST-KEY", self.path, "slot {0} is the one that the given key opens".format(slot),
                "Give a key of another slot, so that a way in is proven to remain.",
            )  # fmt: skip
        if any(slot in token.slots for token in self.tpm_tokens()):
            raise refuse(
                "DISK-SLOT-TPM", self.path, "slot {0} belongs to the TPM".format(slot),
                "Enrol the TPM anew, or have it removed, instead of its slot.",
            )  # fmt: skip
        if not dry:
            command = ["cryptsetup", "luksKillSlot", "--batch-mode", "--key-file", "-", self.path, str(slot)]
            expect(
                self.runner(command, data=key),
                "DISK-SLOT-FAILED",
                self.path,
                "slot {0} stays".format(slot),
                "Read the message.",
            )
            self.demand_key(key)
        return True

    def enrol_tpm(
        self, key: bytes, pcrs: str, pin: Optional[bytes] = None, dry: bool = False, again: bool = False
    ) -> bool:
        """Bind a slot to the TPM and these PCRs ("7", "0+7"); return whether anything had to change.

        An enrolment that asks for the same and that opens the volume now stays (with a PIN: that asks for the same,
        unless `again`). The old one goes in the same step as the new one comes. Raises FindingError.
        """
        if not _PCRS.match(pcrs) or any(int(item) > 23 for item in pcrs.split("+")):
            raise refuse("DISK-PCRS-INVALID", self.path, "{0!r} names no PCRs".format(pcrs), "Write them as 7 or 0+7.")
        asked = tuple(sorted({int(item) for item in pcrs.split("+")}))
        tokens = self.tpm_tokens()
        same = len(tokens) == 1 and (tokens[0].pcrs, tokens[0].pin) == (asked, pin is not None)
        if same and not again and (pin is not None or self.opens_with_tpm()):
            return False
        slot = self.demand_key(key)
        if any(slot in token.slots for token in tokens):
            raise refuse("DISK-LAST-KEY", self.path, "the given key is the TPM's own", "Give the recovery key.")
        if dry:
            return True
        command = ["systemd-cryptenroll", "--unlock-key-file={secret}", "--wipe-slot=tpm2", "--tpm2-device=auto"]
        command += ["--tpm2-pcrs=" + pcrs, "--tpm2-with-pin=" + ("yes" if pin is not None else "no"), self.path]
        answer = self.runner(command, secret=key, **({} if pin is None else {"prompts": [pin, pin]}))
        remedy = "See that the TPM answers (systemd-cryptenroll --tpm2-device=list). The recovery key opens as before."
        expect(answer, "DISK-TPM-FAILED", self.path, "not enrolled", remedy)
        now = self.tpm_tokens()
        if len(now) != 1 or now[0].pcrs != asked or (pin is None and not self.opens_with_tpm()):
            raise refuse("DISK-TPM-FAILED", self.path, "the TPM does not open what was enrolled", remedy)
        self.demand_key(key)
        return True

    # --- the header ---------------------------------------------------------------------------------------
    def header_sha256(self) -> str:
        """Return the sha256 of header and key slots, as a backup of them holds the bytes. Raises FindingError."""
        offset = min(int(segment["offset"]) for segment in self.metadata()["segments"].values())
        if not 0 < offset <= HEADER_MAX_BYTES:
            raise refuse(
                "DISK-NOT-LUKS2", self.path, "its data begin at {0}".format(offset), "Look at the header by hand."
            )
        digest = hashlib.sha256()
        try:
            with open(self.path, "rb") as stream:
                digest.update(stream.read(offset))
        except OSError as error:
            raise refuse("DISK-LOOK-FAILED", self.path, error.strerror, "Run as root.") from error
        return digest.hexdigest()

    def save_header(self, target: Path) -> str:
        """Write a backup of the header into a new file, mode 0600, and return its sha256. Raises FindingError."""
        parent = target.parent.stat()
        if parent.st_uid != os.geteuid() or stat.S_IMODE(parent.st_mode) & 0o077:
            raise refuse(
                "DISK-HEADER-UNSAFE",
                str(target.parent),
                "others may enter the directory",
                "Name a directory of root's, mode 0700.",
            )
        target.unlink(missing_ok=True)
        command = ["cryptsetup", "luksHeaderBackup", "--batch-mode", self.path, "--header-backup-file", str(target)]
        answer = self.runner(command)
        expect(answer, "DISK-HEADER-FAILED", self.path, "no backup", "See that {0} has room.".format(target.parent))
        os.chmod(target, 0o600)
        return hashlib.sha256(target.read_bytes()).hexdigest()
