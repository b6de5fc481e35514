# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row W1: a real cryptsetup on real block devices: one blank disk is formatted, and nothing else has a byte changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import luks_format
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.luks_decide import Wanted, decide
from ansible_collections.rampart.ollama.plugins.module_utils.luks_format import (
    Recipe,
    format_device,
    make_file_volume,
    staged_header,
)
from ansible_collections.rampart.ollama.plugins.module_utils.luks_look import HEAD_BYTES
from ansible_collections.rampart.ollama.plugins.module_utils.luks_volume import LuksVolume, make_recovery_key

pytestmark = pytest.mark.row("W1")

CHEAP = Recipe(pbkdf="pbkdf2", iterations=1000)
SIZE = 96 * 1024 * 1024
KEY = b"the recovery key of this test"


def wanted(disk: Any, **changes: Any) -> Wanted:
    return Wanted(**{"by_id": disk.by_id, "serial": "LOOP1", "size": SIZE, **changes})


def make(disk: Any, workshop: Path, key: bytes = KEY, recipe: Recipe = CHEAP) -> LuksVolume:
    looker, ask = disk.looker(), wanted(disk)
    before = looker.observe(disk.path, staged_header(workshop, ask))
    decision = decide(before, ask)
    assert decision.verdict == "format", decision.findings
    return format_device(before, ask, key, recipe, workshop, looker)


def refusal(action: Any) -> str:
    with pytest.raises(FindingError) as error:
        action()
    return error.value.finding.code


def test_a_blank_disk_becomes_a_volume_as_asked(disk: Any, workshop: Path) -> None:
    volume = make(disk, workshop, recipe=Recipe(memory_kib=8192, iterations=4))
    facts = volume.facts()
    assert (facts["cipher"], facts["key_bits"], facts["sector_size"]) == ("aes-xts-plain64", 512, 4096)
    assert facts["slots"] == {"0": "argon2id"}
    assert volume.opens_with(KEY)
    assert not volume.opens_with(KEY + b"x")
    assert list(workshop.iterdir()) == []
    assert decide(disk.looker().observe(disk.path), wanted(disk)).verdict == "present"
    # Behind the header not one byte was written, and the key stood in no argument.
    assert not any(disk.backing.read_bytes()[HEAD_BYTES:])
    assert not [item for command in disk.commands for item in command if KEY.decode() in item]


@pytest.mark.parametrize("offset", [0, 5000, 15 * 1024 * 1024, SIZE - 512])
def test_one_byte_of_somebody_is_a_refusal(disk: Any, offset: int) -> None:
    disk.write(offset, b"\x01")
    codes = {item.code for item in decide(disk.looker().observe(disk.path), wanted(disk)).findings}
    assert codes == {"DISK-HOLDS-DATA"}


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("data", "DISK-CHANGED"),
        ("serial", "DISK-CHANGED"),
        ("gone", "DISK-BUSY"),
        ("another", "DISK-CHANGED"),
        ("model", "DISK-CHANGED"),
    ],
)
def test_a_device_that_changes_between_look_and_act_is_not_touched(
    disk: Any, workshop: Path, monkeypatch: pytest.MonkeyPatch, what: str, code: str
) -> None:
    real = luks_format.make_header

    def meanwhile(*args: Any) -> LuksVolume:
        made = real(*args)
        if what == "data":
            disk.write(HEAD_BYTES - 4096, b"mine")
        elif what == "serial":
            disk.more = {"serial": "OTHER"}
        elif what == "model":
            # Nothing that speaks against it, and still not what was judged.
            disk.more = {"model": "OTHER"}
        elif what == "another":
            disk.more = {"maj:min": "7:250"}
        else:
            disk.detach()
            monkeypatch.setattr(os, "open", missing)
        return made

    real_open = os.open

    def missing(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if path == disk.path:
            raise FileNotFoundError(2, "No such device or address")
        return real_open(path, flags, *rest, **more)

    monkeypatch.setattr(luks_format, "make_header", meanwhile)
    assert refusal(lambda: make(disk, workshop)) == code
    image = disk.backing.read_bytes()
    assert image.replace(b"mine", bytes(4)) == bytes(SIZE)
    assert list(workshop.iterdir()) == []


def test_a_device_that_is_in_use_is_not_touched(disk: Any, workshop: Path) -> None:
    held = os.open(disk.path, os.O_RDWR | os.O_EXCL)
    try:
        assert refusal(lambda: make(disk, workshop)) == "DISK-BUSY"
    finally:
        os.close(held)
    assert not any(disk.backing.read_bytes())


@pytest.mark.parametrize("writes", range(20))
def test_a_machine_that_dies_at_any_write_leaves_no_volume_and_the_next_run_makes_one(
    disk: Any, workshop: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    class PowerCutError(BaseException):
        """Passes every except, as the end of the machine does."""

    left = writes
    real = luks_format._write

    def cut(descriptor: int, data: bytes, offset: int) -> None:
        nonlocal left
        if left == 0:
            # The piece is half on the disk.
            real(descriptor, data[: len(data) // 2 // 512 * 512], offset)
            raise PowerCutError
        left -= 1
        real(descriptor, data, offset)

    monkeypatch.setattr(luks_format, "_write", cut)
    before = disk.looker().observe(disk.path)
    died = False
    try:
        format_device(before, wanted(disk), b"lost key", CHEAP, workshop, disk.looker())
    except PowerCutError:
        died = True
    monkeypatch.setattr(luks_format, "_write", real)
    if not died:
        # Every write was made: 16 pieces, the second header, the first one in two.
        assert writes >= 19
        return
    assert decide(disk.looker().observe(disk.path), wanted(disk)).verdict != "present"
    # The half header is known by the file beside, and by nothing else.
    kept = staged_header(workshop, wanted(disk))
    half = disk.head()
    if any(half[:HEAD_BYTES]):
        assert decide(disk.looker().observe(disk.path), wanted(disk)).verdict == "refused"
        disk.write(HEAD_BYTES - 512, b"mine")
        assert decide(disk.looker().observe(disk.path, kept), wanted(disk)).verdict == "refused"
        disk.write(HEAD_BYTES - 512, half[HEAD_BYTES - 512 : HEAD_BYTES])
    volume = make(disk, workshop, b"the new key")
    assert volume.opens_with(b"the new key")
    assert not volume.opens_with(b"lost key")
    assert list(workshop.iterdir()) == []


def test_a_device_that_was_never_fit_is_not_formatted_whoever_asks(disk: Any, workshop: Path) -> None:
    disk.write(4096, b"precious")
    before = disk.looker().observe(disk.path)
    ask = wanted(disk)
    code = refusal(lambda: format_device(before, ask, KEY, CHEAP, workshop, disk.looker()))
    assert code == "DISK-CHANGED"
    assert disk.backing.read_bytes().replace(b"precious", bytes(8)) == bytes(SIZE)


@pytest.mark.parametrize("second", [0, 5, 15, 16, 20, 34])
def test_a_machine_that_dies_twice_is_no_worse(
    disk: Any, workshop: Path, monkeypatch: pytest.MonkeyPatch, second: int
) -> None:
    class PowerCutError(BaseException):
        pass

    real = luks_format._write
    for left in (8, second):
        count = iter(range(left))

        def cut(descriptor: int, data: bytes, offset: int, count: Any = count) -> None:
            if next(count, None) is None:
                raise PowerCutError
            real(descriptor, data, offset)

        monkeypatch.setattr(luks_format, "_write", cut)
        with pytest.raises(PowerCutError):
            make(disk, workshop, b"lost key")
    monkeypatch.setattr(luks_format, "_write", real)
    assert make(disk, workshop).opens_with(KEY)


def test_a_file_of_others_is_not_believed_to_be_a_half_header(disk: Any, workshop: Path) -> None:
    disk.write(0, b"precious")
    planted = staged_header(workshop, wanted(disk))
    planted.write_bytes(disk.head(HEAD_BYTES))
    planted.chmod(0o644)
    assert decide(disk.looker().observe(disk.path, planted), wanted(disk)).verdict == "refused"


def test_a_volume_in_a_file_never_replaces_anything(tmp_path: Path, tools: Any) -> None:
    target = tmp_path / "volume"
    volume = make_file_volume(target, SIZE, KEY, CHEAP, tools)
    assert volume.opens_with(KEY)
    assert target.stat().st_blocks * 512 >= SIZE
    assert target.stat().st_mode & 0o777 == 0o600
    before = target.read_bytes()
    assert refusal(lambda: make_file_volume(target, SIZE, KEY, CHEAP, tools)) == "DISK-FILE-NOT-EMPTY"
    link = tmp_path / "link"
    link.symlink_to(target)
    assert refusal(lambda: make_file_volume(link, SIZE, KEY, CHEAP, tools)) == "DISK-FILE-NOT-EMPTY"
    assert refusal(lambda: make_file_volume(tmp_path, SIZE, KEY, CHEAP, tools)) == "DISK-FILE-NOT-EMPTY"
    assert refusal(lambda: make_file_volume(tmp_path / "big", 10**15, KEY, CHEAP, tools)) == "DISK-WRITE-FAILED"
    assert refusal(lambda: make_file_volume(tmp_path / "other", SIZE, b"", CHEAP, tools)) == "DISK-KEY-MISSING"
    assert target.read_bytes() == before
    assert sorted(item.name for item in tmp_path.iterdir()) == ["link", "volume"]


def add_key(volume: LuksVolume, new: bytes, key: bytes) -> None:
    command = ["cryptsetup", "luksAddKey", "--batch-mode", *CHEAP.pbkdf_options(), "--key-file", "-", volume.path]
    assert volume.runner([*command, "{secret}"], data=key, secret=new).rc == 0


@pytest.fixture
def volume(tmp_path: Path, tools: Any) -> LuksVolume:
    return make_file_volume(tmp_path / "volume", SIZE, KEY, CHEAP, tools)


def test_the_last_way_in_stays(volume: LuksVolume) -> None:
    second = make_recovery_key().encode()
    assert refusal(lambda: volume.remove_slot(0, KEY)) == "DISK-LAST-KEY"
    assert refusal(lambda: volume.remove_slot(0, b"wrong")) == "DISK-KEY-REFUSED"
    assert refusal(lambda: volume.remove_slot(0, second)) == "DISK-KEY-REFUSED"
    add_key(volume, second, KEY)
    assert volume.remove_slot(0, second, dry=True)
    assert volume.opens_with(KEY)
    assert volume.remove_slot(0, second)
    assert not volume.remove_slot(0, second)
    assert (volume.opens_with(KEY), volume.opens_with(second)) == (False, True)
    assert refusal(lambda: volume.remove_slot(1, second)) == "DISK-LAST-KEY"


def test_a_backup_of_the_header_brings_the_volume_back(volume: LuksVolume, workshop: Path) -> None:
    target = workshop / "header"
    saved = volume.save_header(target)
    assert saved == volume.header_sha256()
    assert target.stat().st_mode & 0o777 == 0o600
    path = Path(volume.path)
    with path.open("r+b") as stream:
        stream.write(bytes(HEAD_BYTES))
    assert refusal(volume.facts) == "DISK-NOT-LUKS2"
    with path.open("r+b") as stream:
        stream.write(target.read_bytes())
    assert volume.opens_with(KEY)
    workshop.chmod(0o755)
    assert refusal(lambda: volume.save_header(target)) == "DISK-HEADER-UNSAFE"


def test_a_tpm_that_is_not_there_is_one_clear_refusal_and_costs_no_key(volume: LuksVolume) -> None:
    assert refusal(lambda: volume.enrol_tpm(KEY, "seven")) == "DISK-PCRS-INVALID"
    assert refusal(lambda: volume.enrol_tpm(KEY, "99")) == "DISK-PCRS-INVALID"
    assert refusal(lambda: volume.enrol_tpm(b"wrong", "7")) == "DISK-KEY-REFUSED"
    if not Path("/dev/tpmrm0").exists():
        assert refusal(lambda: volume.enrol_tpm(KEY, "7")) == "DISK-TPM-FAILED"
        assert refusal(lambda: volume.enrol_tpm(KEY, "7", b"1234")) == "DISK-TPM-FAILED"
    assert not volume.opens_with_tpm()
    assert volume.opens_with(KEY)


def test_recovery_keys_are_256_bits_that_can_be_typed() -> None:
    keys = {make_recovery_key() for _count in range(50)}
    assert len(keys) == 50
    for key in keys:
        groups = key.split("-")
        assert [len(group) for group in groups] == [8] * 8
        assert set("".join(groups)) <= set("cbdefghijklnrtuv")
