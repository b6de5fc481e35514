# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows W1, W2, W4, W7, W8: what a host is, what blocks, and how it is guarded; on a made-up host."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.hostinfo import run_command
from ansible_collections.rampart.ollama.plugins.module_utils.isolation_report import NotSeenError

Look = Callable[..., dict[str, Any]]


def status(report: dict[str, Any], check_id: str) -> str:
    return next(str(item["status"]) for item in report["checks"] if item["id"] == check_id)


def codes(report: dict[str, Any]) -> dict[str, str]:
    return {item["code"]: item["severity"] for item in report["findings"]}


@pytest.mark.skipif(os.geteuid() != 0, reason="the Docker socket of the made-up host is root's")
def test_a_good_host_is_ready_and_every_check_passes(look_at_host: Look) -> None:
    report = look_at_host(profile="prod")
    assert [item for item in report["checks"] if item["status"] != "passed"] == []
    assert report["findings"] == []
    assert report["verdict"] == "ready"
    facts = report["facts"]
    assert facts["os"] == {"id": "debian", "version": "13", "name": "Debian GNU/Linux 13 (trixie)", "supported": True}
    assert (facts["tpm"], facts["gpt"], facts["secure_boot"], facts["cpus"]) == ("2.0", True, True, 2)
    assert facts["virtualisation"] == "kvm"
    assert facts["firewall"]["policies"] == {"input": "drop", "forward": "drop"}
    json.dumps(report)


@pytest.mark.parametrize(
    ("text", "supported"),
    [
        ("ID=debian\nVERSION_ID=12\n", True),
        ('ID=ubuntu\nVERSION_ID="22.04"\n', True),
        ('ID=ubuntu\nVERSION_ID="24.04"\n', True),
        ("ID=debian\nVERSION_ID=11\n", False),
        ('ID=ubuntu\nVERSION_ID="23.10"\n', False),
        ("ID=fedora\nVERSION_ID=42\n", False),
        ("ID=debian\n", False),
        ("", False),
        ("\0\0garbage", False),
    ],
)
def test_only_tested_systems_are_supported(look_at_host: Look, machine: Any, text: str, supported: bool) -> None:
    machine.put("etc/os-release", text)
    report = look_at_host()
    assert report["verdict"] == ("ready" if supported else "blocked")
    assert ("HOST-OS-UNSUPPORTED" in codes(report)) is not supported


def test_a_system_that_cannot_be_seen_blocks(look_at_host: Look, machine: Any) -> None:
    (machine.root / "etc/os-release").unlink()
    report = look_at_host()
    assert status(report, "host-supported-os") == "unknown"
    assert report["verdict"] == "blocked"


@pytest.mark.parametrize("version", [None, "1"])
def test_a_missing_tpm_blocks_prod_and_is_a_warning_elsewhere(look_at_host: Look, machine: Any, version: Any) -> None:
    path = machine.root / "sys/class/tpm/tpm0/tpm_version_major"
    path.unlink() if version is None else path.write_text(version)
    for profile, severity, verdict in (
        ("prod", "high", "blocked"),
        ("staging", "low", "ready"),
        ("dev", "low", "ready"),
    ):
        report = look_at_host(profile=profile)
        assert (codes(report)["HOST-TPM-MISSING"], report["verdict"]) == (severity, verdict)
        assert status(report, "host-tpm") == "failed"


def test_too_little_memory_or_disk_blocks(look_at_host: Look) -> None:
    assert look_at_host(min_memory_mb=99999)["verdict"] == "blocked"
    assert codes(look_at_host(min_disk_gb=10**6)) == {"HOST-DISK-LOW": "high"}
    report = look_at_host(min_cpus=64)
    assert (codes(report), report["verdict"]) == ({"HOST-CPUS-LOW": "medium"}, "ready")


def test_plain_disks_and_swap_are_named(look_at_host: Look, machine: Any) -> None:
    """W1: the file system on the partition itself, and swap beside it."""
    machine.proc.write("self", "mountinfo", "1 0 8:1 / / rw - ext4 /dev/vda1 rw\n")
    machine.put("proc/swaps", "Filename\tType\tSize\n/swapfile file 1 0 -2\n")
    report = look_at_host()
    assert {"HOST-DISK-PLAIN", "HOST-SWAP-PLAIN"} == set(codes(report))
    assert report["facts"]["encrypted"] == {"/": False, "/srv/rampart": False, "/var/lib/docker": False}


def test_lvm_on_luks_is_encrypted_and_half_of_a_mirror_is_not(look_at_host: Look, machine: Any) -> None:
    machine.dm("253:1", "dm-1", "LVM-x", "253:0")
    machine.proc.write("self", "mountinfo", "1 0 253:1 / / rw - ext4 /dev/mapper/vg-root rw\n")
    assert status(look_at_host(), "host-disk-encryption") == "passed"
    (machine.root / "sys/devices/dm-1/slaves/y").symlink_to((machine.root / "sys/dev/block/8:1").resolve())
    assert status(look_at_host(), "host-disk-encryption") == "failed"


def test_an_overlay_shows_no_disk_and_is_unknown(look_at_host: Look, machine: Any) -> None:
    machine.proc.write("self", "mountinfo", "1 0 0:50 / / rw - overlay overlay rw\n")
    report = look_at_host()
    assert status(report, "host-disk-encryption") == "unknown"
    assert status(report, "host-gpt") == "unknown"
    assert report["verdict"] == "ready"


def test_zram_is_no_plain_swap_and_an_mbr_is_no_gpt(look_at_host: Look, machine: Any) -> None:
    machine.put("proc/swaps", "Filename\tType\n/dev/zram0 partition 1 0 100\n")
    machine.put("dev/vda", "\0" * 5000)
    report = look_at_host()
    assert status(report, "host-swap-encrypted") == "passed"
    assert codes(report) == {"HOST-NO-GPT": "low"}


def test_a_native_ollama_is_found_wherever_it_lies(look_at_host: Look, machine: Any) -> None:
    """W7: service, program and store; a masked unit is what disabling leaves behind."""
    unit = machine.root / "etc/systemd/system/ollama.service"
    unit.parent.mkdir(parents=True)
    unit.symlink_to("/dev/null")
    assert status(look_at_host(), "host-no-native-ollama") == "passed"
    unit.unlink()
    unit.write_text("[Service]\n")
    machine.put("usr/local/bin/ollama", "")
    (machine.root / "home/ann/.ollama/models").mkdir(parents=True)
    report = look_at_host()
    assert codes(report) == {"HOST-NATIVE-OLLAMA": "medium"}
    assert [item.split()[0] for item in report["facts"]["native_ollama"]] == ["service", "program", "store"]
    assert report["verdict"] == "ready"


def test_secure_boot_off_bios_and_hidden_variables(look_at_host: Look, machine: Any) -> None:
    variable = machine.root / "sys/firmware/efi/efivars/SecureBoot-8be4df61"
    variable.write_bytes(b"\x06\0\0\0\0")
    assert status(look_at_host(), "host-secure-boot") == "failed"
    variable.unlink()
    assert status(look_at_host(), "host-secure-boot") == "unknown"
    variable.parent.rmdir()
    variable.parent.parent.rmdir()
    report = look_at_host()
    assert (status(report, "host-secure-boot"), status(report, "host-uefi")) == ("failed", "failed")


def test_accelerators_are_reported(look_at_host: Look, machine: Any) -> None:
    machine.put("sys/class/drm/card0/device/vendor", "0x10de\n")
    machine.put("sys/class/drm/card0-HDMI/x", "")
    (machine.root / "sys/class/accel/accel0").mkdir(parents=True)
    facts = look_at_host()["facts"]
    assert facts["gpus"] == [{"device": "card0", "vendor": "nvidia"}]
    assert facts["npus"] == [{"device": "accel0"}]


def test_an_empty_host_is_blocked_without_a_traceback(look_at_host: Look, machine: Any) -> None:
    import shutil

    shutil.rmtree(machine.root)
    machine.root.mkdir()
    machine.missing = {"nft", "apt-config", "systemd-detect-virt"}
    report = look_at_host()
    assert report["verdict"] == "blocked"
    passed = {item["id"] for item in report["checks"] if item["status"] == "passed"}
    assert passed <= {"host-disk", "host-no-native-ollama", "docker-running", "docker-no-tcp-socket"}


def test_a_command_that_cannot_run_is_not_seen() -> None:
    with pytest.raises(NotSeenError, match="no-such-program"):
        run_command(["no-such-program"])
    assert run_command(["true"])[0] == 0
