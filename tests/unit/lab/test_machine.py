# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the laboratory does to the machine: control groups, packages, files; and to itself when killed."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from labkit import access, capabilities, images, machine
from labkit.engine import answers, control_groups, processes_of, read_pid
from labkit.errors import LabError
from labkit.hosts import PutFile, pack
from labkit.run import run
from labkit.settings import Paths, Settings, find_paths, load_settings

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture
def settings() -> Settings:
    return load_settings(find_paths(CHECKOUT))


def test_a_pid_file_counts_only_while_its_program_runs(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    assert read_pid(file, "sleep") is None
    with subprocess.Popen(["sleep", "60"]) as process:
        file.write_text(f"{process.pid}\n")
        while Path(f"/proc/{process.pid}/comm").read_text().strip() != "sleep":
            pass
        assert read_pid(file, "sleep") == process.pid
        assert read_pid(file, "dockerd") is None
        process.kill()
    assert read_pid(file, "sleep") is None
    file.write_text("nonsense")
    assert read_pid(file, "sleep") is None


def test_no_engine_answers_where_none_is(tmp_path: Path) -> None:
    assert not answers(tmp_path / "docker.sock")


def test_groups_of_this_laboratory_only_are_found_deepest_first(tmp_path: Path) -> None:
    for group in ("memory/mine/docker/abc", "pids/mine", "memory/other", "memory/docker/mine"):
        (tmp_path / group).mkdir(parents=True)
    found = control_groups("mine", tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in found if "memory" in path.parts] == [
        "memory/mine/docker/abc",
        "memory/mine/docker",
        "memory/mine",
    ]
    assert tmp_path / "pids/mine" in found
    assert len(found) == 4


def test_the_sweeper_never_names_itself_or_process_zero(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text(f"0\n{os.getpid()}\n4242\n")
    assert processes_of([tmp_path, tmp_path / "gone"]) == {4242}


def test_services_are_held_back_and_the_machines_policy_returns(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(RuntimeError), machine.no_services(policy):
        assert subprocess.run([policy], check=False).returncode == 101
        raise RuntimeError
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"
    assert [file.name for file in tmp_path.iterdir()] == ["policy-rc.d"]


def test_a_machine_without_policy_has_none_afterwards(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with machine.no_services(policy):
        assert subprocess.run([policy], check=False).returncode == 101
    assert not any(tmp_path.iterdir())


def test_the_policy_kept_by_a_killed_run_wins(tmp_path: Path) -> None:
    policy, kept = tmp_path / "policy-rc.d", tmp_path / "policy-rc.d.rampart-lab"
    policy.write_text("ours, left by a kill")
    kept.write_text("the machine's")
    with machine.no_services(policy):
        pass
    assert policy.read_text() == "the machine's"
    assert not kept.exists()


def test_ssh_goes_through_the_namespace_and_trusts_known_hosts_only(settings: Settings) -> None:
    paths = Paths(checkout=Path("/srv/my checkout"), cache=Path("/cache"))
    text = access.render_ssh_config(paths, settings, sudo=False)
    assert "StrictHostKeyChecking yes" in text
    assert f'nsenter --target "$(cat {paths.engine_pid})" --net socat' in text
    assert "sudo" not in text
    assert 'IdentityFile "/srv/my checkout/.lab/id_ed25519"' in text
    assert "ProxyCommand sudo -n nsenter" in access.render_ssh_config(paths, settings, sudo=True)


def test_ssh_accepts_the_configuration(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "ssh_config"
    file.write_text(access.render_ssh_config(Paths(tmp_path, tmp_path), settings, sudo=False))
    shown = run(["ssh", "-G", "-F", str(file), "d12"]).stdout.decode()
    assert "\nhostname 10.77.0.12\n" in shown
    assert "\nuser admin\n" in "\n" + shown
    assert "stricthostkeychecking true" in shown


def test_access_is_made_once(settings: Settings, tmp_path: Path) -> None:
    paths = Paths(checkout=tmp_path, cache=tmp_path / "cache")
    paths.state.mkdir()
    access.ensure_access(paths, settings)
    first = {file: file.read_bytes() for file in paths.state.rglob("*") if file.is_file()}
    access.ensure_access(paths, settings)
    assert {file: file.read_bytes() for file in paths.state.rglob("*") if file.is_file()} == first
    known = (paths.state / "known_hosts").read_text().splitlines()
    assert [line.split()[0] for line in known] == list(settings.hosts)
    assert (paths.state / "id_ed25519").stat().st_mode & 0o077 == 0
    names = run(["openssl", "x509", "-in", str(paths.state / "registry.pem"), "-noout", "-ext", "subjectAltName"])
    assert all(f"DNS:{name}" in names.stdout.decode() for name in settings.internet.names)
    verified = run(["openssl", "verify", "-CAfile", str(paths.state / "ca.pem"), str(paths.state / "registry.pem")])
    assert verified.stdout.endswith(b"OK\n")


def test_files_reach_a_container_with_owner_and_mode() -> None:
    packed = io.BytesIO(pack([PutFile("/etc/key", b"secret", 0o600, 1000)]))
    with tarfile.open(fileobj=packed) as archive:
        member = archive.getmember("etc/key")
    assert (member.uid, member.gid, member.mode, member.size) == (1000, 1000, 0o600, 6)


def test_a_build_context_is_known_by_bytes_names_and_modes(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM x\n")
    seen = {images.context_hash(tmp_path)}
    file.write_text("FROM y\n")
    seen.add(images.context_hash(tmp_path))
    file.chmod(0o755)
    seen.add(images.context_hash(tmp_path))
    file.rename(tmp_path / "Containerfile")
    seen.add(images.context_hash(tmp_path))
    assert len(seen) == 4
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert images.context_hash(tmp_path) in seen


def test_a_failed_command_says_what_and_what_next() -> None:
    with pytest.raises(LabError, match=r"^LAB-COMMAND: `sh -c .*ended with 7: broken") as caught:
        run(["sh", "-c", "echo broken >&2; exit 7"])
    assert caught.value.code == "LAB-COMMAND"
    with pytest.raises(LabError, match=r"^LAB-MISSING: no-such-program"):
        run(["no-such-program"])
    with pytest.raises(LabError, match=r"^LAB-TIMEOUT: "):
        run(["sleep", "5"], timeout=0.05)


def test_hosts_get_what_the_machine_has_and_not_its_clock_or_limits() -> None:
    assert len(capabilities.NAMES) == 41
    # CAP_CHOWN is bit 0, CAP_SYS_RESOURCE bit 24, CAP_CHECKPOINT_RESTORE bit 40.
    text = f"CapEff:\tffff\nCapBnd:\t{1 | 1 << 24 | 1 << 40:016x}\n"
    assert capabilities.bounding_set(text) == ["CHOWN", "SYS_RESOURCE", "CHECKPOINT_RESTORE"]
    arguments = capabilities.for_hosts(os.getpid())
    assert arguments[0] == "--cap-drop=ALL"
    assert not {f"--cap-add={name}" for name in capabilities.WITHHELD} & set(arguments)


@pytest.mark.row("C11")
@pytest.mark.parametrize(
    ("sudo", "terminal", "message"),
    [
        (None, True, "install sudo"),
        ("exit 1", False, "no terminal to ask on"),
        ("exit 1", True, ""),
        ("exit 0", False, ""),
    ],
)
def test_an_account_that_cannot_become_root_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sudo: str | None, terminal: bool, message: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if sudo is not None:
        (tmp_path / "sudo").write_text(f"#!/bin/sh\n{sudo}\n")
        (tmp_path / "sudo").chmod(0o755)
    if terminal:
        (tmp_path / "tty").touch()
    if message:
        with pytest.raises(LabError, match=f"LAB-ROOT.*{message}"):
            machine.require_sudo(tmp_path / "tty")
    else:
        machine.require_sudo(tmp_path / "tty")
