# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows I1, I2, I4: what the probes name on a made-up host, and that what cannot be seen is never a pass."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.isolation import ROLES, check_ids
from ansible_collections.rampart.ollama.plugins.module_utils.isolation_host import SocketDirectory
from ansible_collections.rampart.ollama.plugins.module_utils.isolation_report import Report

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from profile_data import seccomp_text

RELAY, OLLAMA, GATEWAY = 100, 200, 300
Look = Callable[..., Report]


def status(report: Report, check_id: str) -> str:
    return report.checks[check_id].status


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def test_a_hardened_host_passes_every_check(look: Look) -> None:
    report = look()
    # This made-up kernel has no AppArmor: what is not enforced is no pass, and no finding either.
    apparmor = {f"{role}-apparmor": "unknown" for role in ("relay", "ollama", "gateway")}
    assert {name: item.status for name, item in report.checks.items() if item.status != "passed"} == apparmor
    assert report.findings == []
    assert report.verdict() == "passed"
    for role in ROLES:
        assert set(check_ids(role)) <= set(report.checks)


def test_an_open_container_fails_every_check_of_the_kernel(look: Look, proc: Any) -> None:
    """I4: each property has its own code; nothing hides behind another failure."""
    proc.open_up(OLLAMA)
    report = look()
    kernel = {
        "uid": "ISO-ROOT-UID",
        "groups": "ISO-PRIVILEGED-GROUP",
        "no-capabilities": "ISO-CAPABILITIES",
        "no-new-privileges": "ISO-NEW-PRIVILEGES",
        "seccomp": "ISO-SECCOMP",
        "no-interface-but-lo": "ISO-INTERFACE",
        "own-network-namespace": "ISO-HOST-NET",
        "own-pid-namespace": "ISO-HOST-PID",
        "own-ipc-namespace": "ISO-HOST-IPC",
        "own-uts-namespace": "ISO-HOST-UTS",
        "read-only-root": "ISO-ROOTFS-WRITABLE",
        "tmp-noexec": "ISO-TMP-EXEC",
        "tmp-bounded": "ISO-TMP-UNBOUNDED",
        "proc-masked": "ISO-PROC-UNMASKED",
        "no-docker-socket": "ISO-DOCKER-SOCKET",
        "mounts-expected": "ISO-HOST-MOUNT",
        "models-read-only": "ISO-STORE-WRITABLE",
        "memory-limited": "ISO-MEMORY-UNLIMITED",
        "pids-limited": "ISO-PIDS-UNLIMITED",
        "cpu-limited": "ISO-CPU-UNLIMITED",
        "settings": "ISO-SETTINGS",
    }
    for suffix, code in kernel.items():
        assert status(report, "ollama-" + suffix) == "failed", suffix
        assert code in codes(report)
    for name, code in (
        ("listeners", "ISO-LISTENER"),
        ("no-foreign-connections", "ISO-FOREIGN-CONNECTION"),
        ("no-native-ollama", "ISO-NATIVE-OLLAMA"),
    ):
        assert status(report, "isolation-" + name) == "failed", name
        assert code in codes(report)
    assert report.verdict() == "failed"
    # The others are judged for themselves.
    assert status(report, "gateway-uid") == "passed"


@pytest.mark.parametrize(
    ("change", "check_id", "code"),
    [
        ({"HostConfig": {"Privileged": True}}, "ollama-not-privileged", "ISO-PRIVILEGED"),
        ({"HostConfig": {"NetworkMode": "bridge"}}, "ollama-network-mode", "ISO-NETWORK-MODE"),
        ({"HostConfig": {"NetworkMode": "container:other"}}, "ollama-network-mode", "ISO-NETWORK-MODE"),
        ({"NetworkSettings": {"Networks": {"extra": {}}}}, "ollama-network-mode", "ISO-NETWORK-MODE"),
        ({"NetworkSettings": {"Ports": {"11434/tcp": [{}]}}}, "ollama-no-published-port", "ISO-PUBLISHED-PORT"),
        ({"HostConfig": {"PortBindings": {"1/tcp": [{}]}}}, "ollama-no-published-port", "ISO-PUBLISHED-PORT"),
        ({"HostConfig": {"PublishAllPorts": True}}, "ollama-no-published-port", "ISO-PUBLISHED-PORT"),
        ({"HostConfig": {"Devices": [{"PathOnHost": "/dev/sda"}]}}, "ollama-no-devices", "ISO-DEVICE"),
        ({"HostConfig": {"DeviceRequests": [{"Driver": "nvidia"}]}}, "ollama-no-devices", "ISO-DEVICE"),
        ({"HostConfig": {"DeviceCgroupRules": ["a *:* rwm"]}}, "ollama-no-devices", "ISO-DEVICE"),
        ({"Config": {"Image": "ollama/ollama:latest"}}, "ollama-image-pinned", "ISO-UNPINNED-IMAGE"),
    ],
)
def test_the_engines_word_is_judged(look: Look, inspector: Any, change: Any, check_id: str, code: str) -> None:
    for key, value in change.items():
        inspector.containers["rampart-ollama"][key].update(value)
    report = look()
    assert status(report, check_id) == "failed"
    assert codes(report) == {code}


def test_a_gpu_is_allowed_by_name(look: Look, inspector: Any) -> None:
    inspector.containers["rampart-ollama"]["HostConfig"]["Devices"] = [{"PathOnHost": "/dev/kfd"}]
    assert status(look(devices=("/dev/kfd",)), "ollama-no-devices") == "passed"


def test_another_image_than_the_expected_one_is_named(look: Look) -> None:
    assert codes(look(images={"gateway": "sha256:" + "b" * 64})) == {"ISO-WRONG-IMAGE"}
    assert codes(look(images={"gateway": "sha256:" + "a" * 64})) == set()


def test_engine_down_is_one_finding_and_no_pass(look: Look, inspector: Any) -> None:
    inspector.down = True
    report = look()
    assert codes(report) == {"ISO-ENGINE-DOWN"}
    assert status(report, "isolation-engine-reachable") == "failed"
    for role in ROLES:
        assert {status(report, check_id) for check_id in [*check_ids(role), role + "-running"]} == {"unknown"}
    # The probes of the host itself still look: a listener would be seen while Docker is down.
    assert status(report, "isolation-no-native-ollama") == "passed"


@pytest.mark.parametrize(
    "answer",
    [None, {}, {"State": None}, {"State": {"Running": True, "Pid": 0}}, {"State": {"Running": True, "Pid": "x"}}, []],
)
def test_an_absent_or_garbled_container_is_absent_and_no_pass(look: Look, inspector: Any, answer: Any) -> None:
    inspector.containers["rampart-gateway"] = answer
    report = look()
    assert codes(report) == {"ISO-CONTAINER-ABSENT"}
    assert status(report, "gateway-running") == "failed"
    assert {status(report, check_id) for check_id in check_ids("gateway")} == {"unknown"}
    assert status(report, "ollama-uid") == "passed"


@pytest.mark.parametrize("key", ["HostConfig", "NetworkSettings", "Config", "Image", "Mounts"])
@pytest.mark.parametrize("value", [None, "garbage", 7, [], [1, "x"], {"a": None}])
def test_a_garbled_answer_of_the_engine_never_passes_what_it_hides(
    look: Look, inspector: Any, key: str, value: Any
) -> None:
    inspector.containers["rampart-ollama"]["HostConfig"].update({"Privileged": True, "NetworkMode": "host"})
    inspector.containers["rampart-ollama"][key] = value
    report = look()
    assert status(report, "ollama-not-privileged") in ("failed", "unknown")
    assert status(report, "ollama-network-mode") in ("failed", "unknown")
    assert report.verdict() in ("failed", "unknown")


def test_a_fallback_tunnel_counts_as_no_interface_only_while_it_is_down(look: Look, proc: Any) -> None:
    """I2: kernel modules put such devices into every namespace; up, or with another name, they are a way out."""
    proc.interfaces(GATEWAY, "lo", "tunl0", "sit0")
    down, up = {"tunl0": 0, "sit0": 0x80}, {"tunl0": 0, "sit0": 0x81}
    assert status(look(flags=lambda _pid, _names: down), "gateway-no-interface-but-lo") == "passed"
    assert status(look(flags=lambda _pid, _names: up), "gateway-no-interface-but-lo") == "failed"
    assert status(look(flags=lambda _pid, _names: {}), "gateway-no-interface-but-lo") == "failed"

    def refuse(_pid: int, _names: list[str]) -> dict[str, int]:
        raise PermissionError("setns")

    assert status(look(flags=refuse), "gateway-no-interface-but-lo") == "unknown"
    proc.interfaces(GATEWAY, "lo", "tunl0", "wg0")
    assert status(look(flags=lambda _pid, _names: down), "gateway-no-interface-but-lo") == "failed"


def test_a_root_process_beside_the_first_one_is_seen(look: Look, proc: Any) -> None:
    """I4: `docker exec -u 0` leaves the container's first process as it was."""
    namespaces = {"net": 11, "pid": OLLAMA + 2, "ipc": 203, "uts": 204, "mnt": 205}
    proc.process("201", uid=0, namespaces=namespaces, comm="sh")
    report = look()
    assert status(report, "ollama-uid") == "failed"
    assert "sh(201)" in report.checks["ollama-uid"].evidence
    assert codes(report) == {"ISO-ROOT-UID"}


def test_userns_remap_is_judged_by_the_uid_inside(look: Look, proc: Any) -> None:
    for pid, uid in ((RELAY, 10005), (OLLAMA, 10001), (GATEWAY, 10002)):
        proc.status(pid, uid=100000 + uid, gid=100000 + uid)
        proc.write(pid, "uid_map", "         0     100000      65536\n")
        proc.write(pid, "gid_map", "         0     100000      65536\n")
    assert look().findings == []
    proc.status(OLLAMA, uid=100000, gid=110001)
    assert codes(look()) == {"ISO-ROOT-UID"}
    # Root's group inside, whatever its number is outside.
    proc.status(OLLAMA, uid=110001, gid=100000)
    assert codes(look()) == {"ISO-PRIVILEGED-GROUP"}


def test_a_stranger_in_the_namespace_is_named(look: Look, proc: Any) -> None:
    proc.process("400", uid=1000, namespaces={"net": 31, "pid": 900, "ipc": 1, "uts": 1, "mnt": 1}, comm="curl")
    report = look()
    assert codes(report) == {"ISO-NAMESPACE-STRANGER"}
    assert "curl(400)" in report.checks["gateway-namespace-members"].evidence


@pytest.mark.parametrize("family", ["tcp", "tcp6"])
def test_a_listener_anywhere_else_is_named_in_both_families(look: Look, proc: Any, line: Any, family: str) -> None:
    address = "0.0.0.0" if family == "tcp" else "::"
    proc.process("400", uid=1000, namespaces={"net": 40, "pid": 900, "ipc": 1, "uts": 1, "mnt": 1}, comm="x")
    proc.sockets("400", family, line(address, 11434, address))
    report = look()
    assert codes(report) == {"ISO-LISTENER"}
    proc.sockets("400", family, line(address, 11435, address))
    assert look().findings == []


def test_a_listener_of_the_server_off_loopback_is_named(look: Look, proc: Any, line: Any) -> None:
    for pid in (RELAY, OLLAMA):
        proc.sockets(pid, "tcp", line("0.0.0.0", 11434))
    assert codes(look()) == {"ISO-LISTENER"}


def test_an_ipv4_address_mapped_into_ipv6_is_what_it_is(look: Look, proc: Any, line: Any) -> None:
    for pid in (RELAY, OLLAMA):
        proc.sockets(pid, "tcp6", line("::ffff:127.0.0.1", 11434, "::"))
    assert look().findings == []
    for pid in (RELAY, OLLAMA):
        proc.sockets(pid, "tcp6", line("::ffff:127.0.0.1", 11434, "::ffff:198.51.100.1", 9, 1))
    assert codes(look()) == {"ISO-FOREIGN-CONNECTION"}


def test_a_missing_address_family_is_unknown(look: Look, proc: Any) -> None:
    """I4: a host where IPv6 sockets cannot be seen may hide one; a kernel without IPv6 has none."""
    for path in proc.root.glob("*/net/tcp6"):
        path.unlink()
    assert status(look(), "isolation-listeners") == "unknown"
    (proc.root / "sys/net/ipv6").rmdir()
    assert status(look(), "isolation-listeners") == "passed"


def test_limits_of_cgroup_v2(look: Look, proc: Any, tmp_path: Path) -> None:
    unified = tmp_path / "unified"
    proc.write("self", "mountinfo", "1 0 0:30 / {0} rw - cgroup2 cgroup2 rw\n".format(unified))
    for pid in (RELAY, OLLAMA, GATEWAY):
        proc.write(pid, "cgroup", "0::/system.slice/docker-{0}.scope\n".format(pid))
        scope = unified / "system.slice" / "docker-{0}.scope".format(pid)
        scope.mkdir(parents=True)
        for name, value in (("memory.max", "1048576"), ("pids.max", "10"), ("cpu.max", "50000 100000")):
            (scope / name).write_text(value)
    report = look()
    assert report.findings == []
    assert report.facts["containers"]["ollama"]["limits"] == {
        "memory": "1048576",
        "pids": "10",
        "cpu": "50000 100000",
    }
    for name in ("memory.max", "pids.max", "cpu.max"):
        (unified / "system.slice" / "docker-200.scope" / name).write_text("max")
    assert codes(look()) == {"ISO-MEMORY-UNLIMITED", "ISO-PIDS-UNLIMITED", "ISO-CPU-UNLIMITED"}


def test_without_a_visible_cgroup_the_engine_is_asked(look: Look, proc: Any, inspector: Any) -> None:
    proc.write("self", "mountinfo", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n")
    assert "engine" in look().checks["ollama-memory-limited"].evidence
    inspector.containers["rampart-ollama"]["HostConfig"].update({"Memory": 0, "PidsLimit": None, "NanoCpus": 0})
    assert codes(look()) == {"ISO-MEMORY-UNLIMITED", "ISO-PIDS-UNLIMITED", "ISO-CPU-UNLIMITED"}


def test_apparmor_counts_where_the_kernel_has_it(look: Look, proc: Any, tmp_path: Path) -> None:
    enabled = tmp_path / "sys/module/apparmor/parameters/enabled"
    enabled.parent.mkdir(parents=True)
    enabled.write_text("Y\n")
    assert status(look(), "ollama-apparmor") == "unknown"
    for role, pid in (("relay", RELAY), ("ollama", OLLAMA), ("gateway", GATEWAY)):
        proc.write(pid, "attr/current", "rampart-{0} (enforce)\n".format(role))
    assert status(look(), "ollama-apparmor") == "passed"
    for other in ("unconfined", "docker-default (enforce)", "rampart-ollama (complain)", "rampart-relay (enforce)", ""):
        proc.write(OLLAMA, "attr/current", other + "\n")
        assert codes(look()) == {"ISO-APPARMOR"}


@pytest.mark.row("I1")
@pytest.mark.parametrize(
    "options",
    [
        None,
        [],
        ["no-new-privileges:true"],
        ["seccomp=unconfined"],
        ["seccomp:unconfined"],
        ['seccomp={"defaultAction":"SCMP_ACT_ALLOW"}'],
        ["seccomp=" + seccomp_text().replace('"brk",', '"bpf","brk",')],
        ["seccomp=" + seccomp_text(gpu=True)],
        ["seccomp=" + seccomp_text(), "seccomp=unconfined"],
        ["seccomp=" + "[" * 100000],
        ["seccomp=[]"],
        ["seccomp=1e999"],
        [{}],
    ],
)
def test_another_seccomp_profile_is_named_though_the_kernel_reports_mode_2(
    look: Look, inspector: Any, options: Any
) -> None:
    inspector.containers["rampart-ollama"]["HostConfig"]["SecurityOpt"] = options
    report = look()
    assert codes(report) == {"ISO-SECCOMP-PROFILE"}
    assert status(report, "ollama-seccomp") == "passed"


def test_a_profile_is_known_by_its_meaning_and_the_one_for_gpus_only_where_a_gpu_may_be(
    look: Look, inspector: Any
) -> None:
    options = inspector.containers["rampart-ollama"]["HostConfig"]["SecurityOpt"]
    options[1] = "seccomp=" + json.dumps(json.loads(seccomp_text()), indent=2)
    assert status(look(), "ollama-seccomp-profile") == "passed"
    options[1] = "seccomp=" + seccomp_text(gpu=True)
    assert status(look(devices=("nvidia.com/gpu=all",)), "ollama-seccomp-profile") == "passed"
    inspector.containers["rampart-relay"]["HostConfig"].update(
        {"SecurityOpt": ["seccomp=" + seccomp_text(gpu=True)], "Devices": [{"PathOnHost": "/dev/kfd"}]}
    )
    report = look(devices=("/dev/kfd",))
    assert {status(report, "relay-seccomp-profile"), status(report, "relay-no-devices")} == {"failed"}
    inspector.containers["rampart-ollama"]["HostConfig"]["SecurityOpt"] = "garbage"
    assert status(look(), "ollama-seccomp-profile") == "unknown"


def test_a_socket_behind_a_link_of_the_container_is_not_looked_up_on_the_host(
    look: Look, proc: Any, tmp_path: Path
) -> None:
    """A container could point a link at our own socket: following it would judge the host instead."""
    root = proc.root / str(OLLAMA) / "root"
    (tmp_path / "elsewhere").mkdir()
    root.mkdir()
    (root / "run").symlink_to(tmp_path / "elsewhere")
    import socket

    with socket.socket(socket.AF_UNIX) as handle:
        os.chdir(tmp_path / "elsewhere")
        handle.bind("docker.sock")
        assert status(look(), "ollama-no-docker-socket") == "passed"
        (root / "run").unlink()
        (tmp_path / "elsewhere").rename(root / "run")
        assert status(look(), "ollama-no-docker-socket") == "failed"


def test_socket_directories_are_closed_to_others(look: Look, tmp_path: Path) -> None:
    directory = tmp_path / "sockets"
    directory.mkdir()
    directory.chmod(0o2750)
    item = SocketDirectory("relay", str(directory), os.getuid(), directory.stat().st_gid)
    assert status(look(socket_directories=[item]), "relay-socket-permissions") == "passed"
    (directory / "ollama.sock").touch(0o666)
    (directory / "ollama.sock").chmod(0o666)
    report = look(socket_directories=[item])
    assert codes(report) == {"ISO-SOCKET-MODE"}
    assert status(
        look(socket_directories=[SocketDirectory("relay", "/no/such", 0, 0)]), "relay-socket-permissions"
    ) == ("unknown")


@pytest.mark.skipif(os.geteuid() != 0, reason="a store is root's: only root can make one")
def test_a_store_others_may_write_to_is_named(look: Look, tmp_path: Path) -> None:
    store = tmp_path / "store"
    (store / "blobs").mkdir(parents=True)
    assert status(look(store=str(store)), "isolation-store-permissions") == "passed"
    (store / "blobs").chmod(0o777)
    assert codes(look(store=str(store))) == {"ISO-STORE-MODE"}
    assert status(look(store=str(tmp_path / "none")), "isolation-store-permissions") == "unknown"


def test_no_secret_of_the_servers_environment_is_shown(look: Look, proc: Any) -> None:
    proc.write(
        OLLAMA,
        "environ",
        "OLLAMA_HOST=127.0.0.1\0HTTPS_PROXY=http://u:hunter2@p\0OLLAMA_NOPRUNE=1\0SECRET_TOKEN=hunter2\0",
    )
    report = look()
    assert "HTTPS_PROXY is set" in report.checks["ollama-settings"].evidence
    assert "hunter2" not in str(report.as_dict())


def test_the_report_is_plain_data_worst_first(look: Look, proc: Any) -> None:
    import json

    proc.open_up(OLLAMA)
    report = look().as_dict()
    json.dumps(report)
    order = ["critical", "high", "medium", "low", "info"]
    ranks = [order.index(item["severity"]) for item in report["findings"]]
    assert ranks == sorted(ranks)
    assert report["schema"] == 1
