# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row W1: the role's tasks with a real cryptsetup, up to the opening, which needs device-mapper (see tests/vm).

The tasks are run by themselves, for the role's dependency would make accounts on this machine. cryptsetup appears in a
mount namespace of the run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.rampart.ollama.plugins.module_utils.luks_volume import LuksVolume

pytestmark = [pytest.mark.row("W1"), pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "disk_encryption"
SIZE = 64 * 1024 * 1024
PASSWORD = "the vault's password"
CHEAP = {"algorithm": "pbkdf2", "iterations": 1000, "memory_kib": 0}


@pytest.fixture
def play(tmp_path: Path, cryptsetup: str) -> Callable[..., tuple[int, str, dict[str, Any]]]:
    """Return play(tasks, check, **variables) -> (exit status, output, the checks it noted)."""
    if os.geteuid() != 0:
        pytest.skip("needs a mount namespace")

    def run(*tasks: str, check: bool = False, **variables: Any) -> tuple[int, str, dict[str, Any]]:
        noted = tmp_path / "noted.json"
        noted.unlink(missing_ok=True)
        steps: list[dict[str, Any]] = [{"ansible.builtin.include_tasks": str(ROLE / "tasks" / name)} for name in tasks]
        content = (
            "{{ {'checks': disk_encryption_checks | default([]),"
            " 'volume': disk_encryption_volume | default({})} | to_json }}"
        )
        steps.append(
            {"ansible.builtin.copy": {"content": content, "dest": str(noted), "mode": "0600"}, "check_mode": False}
        )
        known = {
            "layout_root": str(tmp_path),
            "layout_state": str(tmp_path / "state"),
            "disk_encryption_file": str(tmp_path / "volume"),
            "disk_encryption_file_size": SIZE,
            "disk_encryption_pbkdf": CHEAP,
            "disk_encryption_mount_point": str(tmp_path / "mnt"),
            "disk_encryption_binds": [],
            "disk_encryption_escrow_directory": str(tmp_path / "escrow"),
            "disk_encryption_escrow_method": "vault",
            "disk_encryption_escrow_vault_password": PASSWORD,
        }
        book = tmp_path / "play.yml"
        files = [str(ROLE / name / "main.yml") for name in ("defaults", "vars")]
        head = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars_files": files}
        book.write_text(yaml.safe_dump([{**head, "tasks": steps}]))
        (tmp_path / "variables.json").write_text(json.dumps({**known, **variables}))
        command = ["ansible-playbook", "-i", "localhost,", str(book), "-vvv", "-e", f"@{tmp_path}/variables.json"]
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" /usr/local/sbin; shift; exec "$@"', "sh", cryptsetup]
            + [*command, *(["--check", "--diff"] if check else [])],
            env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr, json.loads(noted.read_text()) if noted.exists() else {}

    (tmp_path / "templates").symlink_to(ROLE / "templates")
    (tmp_path / "mnt").mkdir()
    (tmp_path / "state" / "undo").mkdir(parents=True)
    (tmp_path / "state" / "luks").mkdir()
    (tmp_path / "state" / "luks").chmod(0o700)
    return run


def status(noted: dict[str, Any]) -> dict[str, str]:
    return {item["id"]: item["status"] for item in noted["checks"]}


def escrowed(tmp_path: Path, name: str) -> str:
    """Decrypt an escrowed key as a person would."""
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    command = [
        "ansible-vault",
        "view",
        "--vault-password-file",
        str(password),
        str(tmp_path / "escrow/localhost" / name),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_volume_is_made_only_after_its_key_is_escrowed_and_a_report_makes_none(
    play: Callable[..., tuple[int, str, dict[str, Any]]], tmp_path: Path, tools: Any
) -> None:
    code, said, noted = play("look.yml", "checks.yml")
    assert code == 0, said[-3000:]
    assert not (tmp_path / "volume").exists()
    assert not (tmp_path / "escrow").exists()
    assert status(noted)["disk-recovery-key-escrowed"] == "unknown"
    code, said, _noted = play("look.yml", "preflight.yml", "make.yml", check=True)
    assert code == 0, said[-3000:]
    assert not (tmp_path / "volume").exists()

    code, said, noted = play("look.yml", "preflight.yml", "make.yml", "keys.yml", "checks.yml")
    assert code == 0, said[-3000:]
    uuid = noted["volume"]["uuid"]
    kept = sorted(item.name for item in (tmp_path / "escrow/localhost").iterdir())
    assert kept == [uuid + ".header", uuid + ".key.vault"]
    assert {item.stat().st_mode & 0o777 for item in (tmp_path / "escrow/localhost").iterdir()} == {0o600}
    key = escrowed(tmp_path, uuid + ".key.vault")
    assert LuksVolume(str(tmp_path / "volume"), tools).opens_with(key.encode())
    # Not in what the most talkative run says, and on no disk in clear.
    assert key not in said
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or path.name == "volume" or key.encode() not in path.read_bytes()
    assert not (tmp_path / "state/luks/backup").exists()
    seen = status(noted)
    assert (seen["disk-recovery-key-escrowed"], seen["disk-header-backed-up"]) == ("passed", "passed")

    # Again: nothing changes, and no second key is made.
    code, said, _noted = play("look.yml", "preflight.yml", "make.yml", "keys.yml", "checks.yml")
    assert code == 0, said[-3000:]
    assert sorted(item.name for item in (tmp_path / "escrow/localhost").iterdir()) == kept
    # The one is the file of this test.
    assert "changed=1 " in said
    (tmp_path / "escrow/localhost" / (uuid + ".header")).write_bytes(b"old")
    assert status(play("look.yml", "checks.yml")[2])["disk-header-backed-up"] == "failed"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"disk_encryption_escrow_directory": ""}, "DISK-ESCROW-UNSET"),
        ({"disk_encryption_escrow_vault_password": ""}, "DISK-ESCROW-UNSET"),
        ({"disk_encryption_file": ""}, "DISK-NOT-NAMED"),
        ({"disk_encryption_device": "/dev/null", "disk_encryption_file": ""}, "DISK-NOT-BLOCK"),
        ({"disk_encryption_name": "a b"}, "DISK-NAME-INVALID"),
        ({"disk_encryption_mount_point": "/srv/a b"}, "DISK-NAME-INVALID"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(
    play: Callable[..., tuple[int, str, dict[str, Any]]], tmp_path: Path, changes: dict[str, Any], code: str
) -> None:
    ended, said, _noted = play("look.yml", "preflight.yml", "make.yml", **changes)
    assert (ended, code in said) == (2, True), said[-2000:]
    assert PASSWORD not in said
    assert not (tmp_path / "volume").exists()
    assert not (tmp_path / "escrow").exists()


def test_files_below_the_mount_point_are_not_hidden(
    play: Callable[..., tuple[int, str, dict[str, Any]]], tmp_path: Path
) -> None:
    (tmp_path / "mnt/store").mkdir()
    (tmp_path / "mnt/store/model").write_text("weights")
    ended, said, _noted = play("look.yml", "preflight.yml", "make.yml")
    assert (ended, "DISK-MOUNTPOINT-NOT-EMPTY" in said) == (2, True)
    assert not (tmp_path / "volume").exists()


def test_an_escrow_that_cannot_be_written_leaves_the_device_alone(
    play: Callable[..., tuple[int, str, dict[str, Any]]], tmp_path: Path
) -> None:
    (tmp_path / "escrow").write_text("a file")
    ended, _said, _noted = play("look.yml", "preflight.yml", "make.yml")
    assert ended == 2
    assert not (tmp_path / "volume").exists()


@pytest.mark.skipif(not shutil.which("gpg"), reason="no gpg here")
def test_a_key_for_an_officer_who_is_not_known_is_no_escrow(
    play: Callable[..., tuple[int, str, dict[str, Any]]], tmp_path: Path
) -> None:
    changes = {"disk_encryption_escrow_method": "gpg", "disk_encryption_escrow_recipient": "nobody@example.org"}
    ended, _said, _noted = play("look.yml", "preflight.yml", "make.yml", **changes)
    assert ended == 2
    assert not (tmp_path / "volume").exists()
    assert list((tmp_path / "escrow/localhost").iterdir()) == []


def test_the_tables_of_the_boot_are_predicted_and_left_alone(
    play: Callable[..., tuple[int, str, dict[str, Any]]], tmp_path: Path
) -> None:
    before = Path("/etc/fstab").read_bytes() if Path("/etc/fstab").exists() else None
    changes = {"disk_encryption_mount_point": "/proc", "disk_encryption_tpm2_pcrs": "7"}
    binds = [{"path": str(tmp_path / "docker"), "directory": "docker"}]
    code, said, _noted = play(
        "look.yml", "preflight.yml", "boot.yml", check=True, disk_encryption_binds=binds, **changes
    )
    assert code == 0, said[-3000:]
    lines = {line.lstrip("+") for line in said.splitlines() if line.startswith("+")}
    assert f"rampart-data {tmp_path}/volume none luks,nofail,timeout=90,tpm2-device=auto" in lines
    assert "/dev/mapper/rampart-data /proc ext4 defaults,nodev,nosuid,nofail 0 2" in lines
    assert f"/proc/docker {tmp_path}/docker none bind,nofail,x-systemd.requires-mounts-for=/proc 0 0" in lines
    assert f"RequiresMountsFor=/proc {tmp_path}/docker" in lines
    assert (Path("/etc/fstab").read_bytes() if Path("/etc/fstab").exists() else None) == before
    assert not Path("/etc/systemd/system/docker.service.d/rampart-volume.conf").exists()


@pytest.mark.parametrize(
    ("table", "line", "refused"),
    [
        ("fstab", "UUID=1 /srv/data ext4 defaults 0 2", True),
        ("fstab", "  UUID=1\t/srv/data\text4 defaults 0 2", True),
        ("fstab", "# UUID=1 /srv/data ext4 defaults 0 2", False),
        ("fstab", "UUID=1 /srv/data2 ext4 defaults 0 2", False),
        ("crypttab", "rampart-data UUID=1 none luks", True),
        ("crypttab", "rampart-data2 UUID=1 none luks", False),
    ],
)
def test_entries_of_somebody_else_are_never_written_over(
    play: Callable[..., tuple[int, str, dict[str, Any]]], tmp_path: Path, table: str, line: str, refused: bool
) -> None:
    # The first two tasks of boot.yml on a table that is this test's.
    tasks = yaml.safe_load((ROLE / "tasks" / "boot.yml").read_text())
    assert tasks[1]["name"].startswith("Refuse entries")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / table).write_text(line + "\n")
    tasks[0]["ansible.builtin.command"]["argv"] = ["cat", f"{tmp_path}/tables/{{{{ item }}}}"]
    (tmp_path / "two.yml").write_text(yaml.safe_dump(tasks[:2]))
    code, said, _noted = play(str(tmp_path / "two.yml"), disk_encryption_mount_point="/srv/data")
    assert (code == 2, "DISK-TABLE-FOREIGN: /etc/" + table in said) == (refused, refused), said[-2000:]
