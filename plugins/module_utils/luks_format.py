# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a LUKS2 volume, so that no byte is written to a device that was not judged at that moment.

The header is made in a file of its own, of the device's size, and proven there. Then the device is opened
exclusively, looked at once more through that very descriptor, and only the header is written to it, its first sector
last. A machine that dies before that leaves a device without a volume; the next run knows its own half header sector
by sector, and begins anew.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from .findings import refuse
from .luks_decide import FORMAT, Wanted, decide
from .luks_look import HEAD_BYTES, INTERRUPTED, PIECE, Looker, Observation
from .luks_tools import Runner, expect, run
from .luks_volume import LuksVolume

_SECOND_HEADER = 16 * 1024
_SECOND_END = 32 * 1024


@dataclass(frozen=True)
class Recipe:
    """How a volume is made. The key derivation's cost is cryptsetup's own measurement unless it is given."""

    label: str = "rampart-data"
    cipher: str = "aes-xts-plain64"
    key_bits: int = 512
    sector_size: int = 4096
    pbkdf: str = "argon2id"
    iterations: int = 0
    memory_kib: int = 0

    def pbkdf_options(self) -> list[str]:
        """Return the options of cryptsetup for a key slot."""
        options = ["--pbkdf", self.pbkdf]
        if self.iterations:
            options += ["--pbkdf-force-iterations", str(self.iterations)]
        if self.memory_kib:
            options += ["--pbkdf-memory", str(self.memory_kib)]
        return options


def make_header(target: Path, size: int, key: bytes, recipe: Recipe, runner: Runner = run) -> LuksVolume:
    """Make a volume in a new sparse file, mode 0600, and see that it is what was asked for. Raises FindingError."""
    if not key:
        raise refuse("DISK-KEY-MISSING", str(target), "no key was given", "Make a recovery key first, and escrow it.")
    target.unlink(missing_ok=True)
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)
    command = ["cryptsetup", "luksFormat", "--batch-mode", "--type", "luks2", "--cipher", recipe.cipher]
    command += ["--key-size", str(recipe.key_bits), "--sector-size", str(recipe.sector_size), "--label", recipe.label]
    command += ["--offset", str(HEAD_BYTES // 512), *recipe.pbkdf_options(), "--key-file", "-", str(target)]
    expect(
        runner(command, data=key),
        "DISK-FORMAT-FAILED",
        str(target),
        "no header",
        "Read the message; no device was touched.",
    )
    volume = LuksVolume(str(target), runner)
    facts = volume.facts()
    asked = {"cipher": recipe.cipher, "sector_size": recipe.sector_size, "key_bits": recipe.key_bits}
    kdfs = set(facts["slots"].values())
    if {name: facts[name] for name in asked} != asked or kdfs != {recipe.pbkdf} or not volume.opens_with(key):
        raise refuse(
            "DISK-FORMAT-FAILED",
            str(target),
            "the header is not what was asked for",
            "No device was touched. Try another cryptsetup.",
        )
    return volume


def format_device(
    before: Observation, wanted: Wanted, key: bytes, recipe: Recipe, workshop: Path, looker: Looker
) -> LuksVolume:
    """Make a volume on the device that `before` saw. `workshop` is a directory of root's, mode 0700, on a disk.

    Raises FindingError when anything speaks against it; the device then has not one byte changed.
    """
    staged = staged_header(workshop, wanted)
    fresh = workshop / (staged.name + ".new")
    try:
        make_header(fresh, before.size, key, recipe, looker.runner)
        descriptor = _open_exclusively(before)
        try:
            seen = looker.observe(before.requested, staged, descriptor)
            _demand_unchanged(before, seen, descriptor)
            decision = decide(seen, wanted)
            if decision.verdict != FORMAT:
                why = "; ".join(item.as_text() for item in decision.findings) or decision.verdict
                raise refuse("DISK-CHANGED", before.requested, why, "Nothing was written. Look at the device.")
            if seen.content == INTERRUPTED:
                # Clean first: a mixture of two headers would be nobody's.
                blank_head(descriptor)
            # From here on the file tells a later run what of the device's head is ours.
            os.replace(fresh, staged)
            _sync_directory(workshop)
            write_header(descriptor, staged)
        finally:
            os.close(descriptor)
    finally:
        fresh.unlink(missing_ok=True)
    volume = LuksVolume(before.path, looker.runner)
    volume.demand_key(key)
    staged.unlink()
    return volume


def staged_header(workshop: Path, wanted: Wanted) -> Path:
    """Return where the header of a device is kept while it is written."""
    return workshop / "{0}.header".format(wanted.by_id.rpartition("/")[2] or "none")


def _open_exclusively(before: Observation) -> int:
    """Open the device as nobody else can have it open: not mounted, not held. Raises FindingError."""
    try:
        return os.open(before.path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise refuse(
            "DISK-BUSY", before.requested, error.strerror, "Something uses the device. Nothing was written."
        ) from error


def _demand_unchanged(before: Observation, seen: Observation, descriptor: int) -> None:
    found = os.fstat(descriptor)
    number = "{0}:{1}".format(os.major(found.st_rdev), os.minor(found.st_rdev))
    size = os.lseek(descriptor, 0, os.SEEK_END)
    same = stat.S_ISBLK(found.st_mode) and (number, size) == (before.device, before.size)
    if not same or seen.fingerprint() != before.fingerprint():
        raise refuse(
            "DISK-CHANGED", before.requested, "the device is not what it was when it was judged",
            "Nothing was written. Look what changed, then run again.",
        )  # fmt: skip


def write_header(descriptor: int, staged: Path) -> None:
    """Write a header to an open device: key slots, second header, then the first one, each on the disk before the next.

    Raises FindingError when the device does not take it.
    """
    try:
        with staged.open("rb") as source:
            head = source.read(HEAD_BYTES)
        for offset in range(_SECOND_END, len(head), PIECE):
            _write(descriptor, head[offset : offset + PIECE], offset)
        os.fsync(descriptor)
        _write(descriptor, head[_SECOND_HEADER:_SECOND_END], _SECOND_HEADER)
        os.fsync(descriptor)
        # A sector is written whole or not at all; the magic is in the first.
        _write(descriptor, head[512:_SECOND_HEADER], 512)
        os.fsync(descriptor)
        _write(descriptor, head[:512], 0)
        os.fsync(descriptor)
    except OSError as error:
        raise refuse(
            "DISK-WRITE-FAILED",
            str(staged),
            error.strerror,
            "The device does not take data; replace it.",
        ) from error


def blank_head(descriptor: int) -> None:
    """Write zeros over the half header that was proven to be ours, its magic first. Raises FindingError."""
    try:
        for offset in range(0, HEAD_BYTES, PIECE):
            _write(descriptor, bytes(PIECE), offset)
            os.fsync(descriptor)
    except OSError as error:
        raise refuse("DISK-WRITE-FAILED", "half header", error.strerror, "The device does not take data.") from error


def _write(descriptor: int, data: bytes, offset: int) -> None:
    while data:
        count = os.pwrite(descriptor, data, offset)
        data, offset = data[count:], offset + count


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_file_volume(target: Path, size: int, key: bytes, recipe: Recipe, runner: Runner = run) -> LuksVolume:
    """Make a volume in a new file, all its space allocated. Raises FindingError, and leaves no half file then."""
    fresh = target.with_name(target.name + ".rampart-new")
    try:
        if target.is_symlink() or (target.exists() and (not target.is_file() or target.stat().st_size)):
            raise refuse(
                "DISK-FILE-NOT-EMPTY",
                str(target),
                "there is something under this name",
                "Name a file that does not exist.",
            )
        make_header(fresh, size, key, recipe, runner)
        with fresh.open("r+b") as stream:
            # Without its space the file system would fail in the middle of a write, with data on it.
            os.posix_fallocate(stream.fileno(), 0, size)
            os.fsync(stream.fileno())
        os.replace(fresh, target)
        _sync_directory(target.parent)
    except OSError as error:
        raise refuse("DISK-WRITE-FAILED", str(target), error.strerror, "Make room, or take another place.") from error
    finally:
        fresh.unlink(missing_ok=True)
    return LuksVolume(str(target), runner)
