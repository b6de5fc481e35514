# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows W2, W4, W8: how a host is guarded (Docker, firewall, updates), on a made-up host."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Look = Callable[..., dict[str, Any]]


def status(report: dict[str, Any], check_id: str) -> str:
    return next(str(item["status"]) for item in report["checks"] if item["id"] == check_id)


def codes(report: dict[str, Any]) -> dict[str, str]:
    return {item["code"]: item["severity"] for item in report["findings"]}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"no-new-privileges": None}, "DOCKER-NO-NEW-PRIVILEGES"),
        ({"no-new-privileges": "true"}, "DOCKER-NO-NEW-PRIVILEGES"),
        ({"live-restore": False}, "DOCKER-LIVE-RESTORE"),
        ({"icc": True}, "DOCKER-ICC"),
        ({"userland-proxy": None}, "DOCKER-USERLAND-PROXY"),
        ({"log-driver": "none"}, "DOCKER-LOG-ROTATION"),
        ({"log-opts": {}}, "DOCKER-LOG-ROTATION"),
        ({"log-opts": "x"}, "DOCKER-LOG-ROTATION"),
        ({"hosts": ["unix:///x", "tcp://0.0.0.0:2375"]}, "DOCKER-TCP-SOCKET"),
    ],
)
def test_each_setting_of_the_daemon_has_its_code(look_at_host: Look, machine: Any, change: Any, code: str) -> None:
    """W8: a weak daemon.json is named setting by setting, and blocks nothing: a later role puts it right."""
    data = {key: value for key, value in {**machine.daemon, **change}.items() if value is not None}
    machine.put("etc/docker/daemon.json", json.dumps(data))
    report = look_at_host()
    assert set(codes(report)) == {code}
    assert report["verdict"] == "ready"


def test_settings_that_the_engine_has_not_taken_are_named(look_at_host: Look, machine: Any) -> None:
    machine.engine.live_restore = False
    assert set(codes(look_at_host())) == {"DOCKER-STALE-SETTINGS"}


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "\0"])
def test_a_garbled_daemon_json_is_unknown(look_at_host: Look, machine: Any, text: str) -> None:
    machine.put("etc/docker/daemon.json", text)
    report = look_at_host()
    assert status(report, "docker-daemon-hardened") == "unknown"
    assert status(report, "docker-no-tcp-socket") == "unknown"


def test_without_daemon_json_every_setting_is_named(look_at_host: Look, machine: Any) -> None:
    (machine.root / "etc/docker/daemon.json").unlink()
    assert len(codes(look_at_host())) == 5


def test_a_tcp_socket_on_the_command_line_or_listening_is_named(look_at_host: Look, machine: Any, line: Any) -> None:
    machine.proc.write(300, "comm", "dockerd\n")
    machine.proc.write(300, "cmdline", "dockerd\0-H\0tcp://127.0.0.1:2375\0")
    assert set(codes(look_at_host())) == {"DOCKER-TCP-SOCKET"}
    machine.proc.write(300, "cmdline", "dockerd\0")
    assert codes(look_at_host()) == {}
    machine.proc.sockets("self", "tcp6", line("::", 2376, "::"))
    assert set(codes(look_at_host())) == {"DOCKER-TCP-SOCKET"}


def test_members_of_the_docker_group_are_named_by_list_and_by_primary_group(look_at_host: Look, machine: Any) -> None:
    machine.put("etc/group", "docker:x:999:ann\n")
    machine.put("etc/passwd", "bob:x:1001:999::/home/bob:/bin/sh\n")
    report = look_at_host()
    assert set(codes(report)) == {"DOCKER-GROUP-MEMBERS"}
    assert report["facts"]["docker"]["group_members"] == ["ann", "bob"]


def test_a_dead_engine_and_an_open_socket(look_at_host: Look, machine: Any) -> None:
    machine.engine.down = True
    assert set(codes(look_at_host())) == {"DOCKER-DOWN"}
    (machine.root / "docker.sock").chmod(0o666)
    assert set(codes(look_at_host())) == {"DOCKER-DOWN", "DOCKER-SOCKET-MODE"}
    (machine.root / "docker.sock").unlink()
    assert status(look_at_host(), "docker-socket-permissions") == "unknown"


@pytest.mark.parametrize(
    ("policies", "expression", "code"),
    [
        (("accept", "drop"), [], "FIREWALL-NOT-DEFAULT-DENY"),
        (("drop", "accept"), [], "FIREWALL-NOT-DEFAULT-DENY"),
        (("drop", "drop"), [{"counter": {}}, {"accept": None}], "FIREWALL-NOT-DEFAULT-DENY"),
        (("drop", "drop"), 11434, "FIREWALL-11434-OPEN"),
        (("drop", "drop"), {"set": [22, 11434]}, "FIREWALL-11434-OPEN"),
        (("drop", "drop"), {"range": [11000, 12000]}, "FIREWALL-11434-OPEN"),
        (("drop", "drop"), {"set": [22, {"range": [1, 65535]}]}, "FIREWALL-11434-OPEN"),
    ],
)
def test_an_open_firewall_is_named(
    look_at_host: Look, machine: Any, policies: tuple[str, str], expression: Any, code: str
) -> None:
    """W2: policy, a rule that accepts everything, and the port in each way nft can say it."""
    everything = {"rule": {"chain": "input", "expr": expression}}
    rule = everything if isinstance(expression, list) else machine.accept(expression)
    machine.rules = [machine.chain("input", policies[0]), machine.chain("forward", policies[1]), rule]
    assert set(codes(look_at_host())) == {code}


def test_a_listener_on_11434_is_named_only_off_loopback(look_at_host: Look, machine: Any, line: Any) -> None:
    machine.proc.sockets("self", "tcp", line("127.0.0.1", 11434))
    assert codes(look_at_host()) == {}
    machine.proc.sockets("self", "tcp6", line("::", 11434, "::"))
    assert set(codes(look_at_host())) == {"FIREWALL-11434-OPEN"}


def test_a_missing_table_is_one_finding_and_three_failed_checks(look_at_host: Look, machine: Any) -> None:
    machine.nft = (1, "", "Error: No such file or directory\nlist table inet rampart\n")
    report = look_at_host()
    assert set(codes(report)) == {"FIREWALL-TABLE-MISSING"}
    for name in ("own-table", "default-deny", "11434-closed"):
        assert status(report, "firewall-" + name) == "failed"


@pytest.mark.parametrize(
    "answer", [(1, "", "Operation not permitted"), (0, "rubbish", ""), (0, "{}", ""), (0, '{"nftables": [1]}', "")]
)
def test_what_nft_does_not_say_is_unknown(look_at_host: Look, machine: Any, answer: Any) -> None:
    machine.nft = answer
    report = look_at_host()
    assert {status(report, "firewall-" + name) for name in ("own-table", "default-deny", "11434-closed")} == {"unknown"}
    assert set(codes(report)) == {"HOST-PROBE-FAILED"}
    machine.missing = {"nft"}
    assert status(look_at_host(), "firewall-own-table") == "unknown"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('Unattended-Upgrade "1"', 'Unattended-Upgrade "0"'),
        ('Lists "1"', 'Lists "0"'),
        ('Enable "1"', 'Enable "0"'),
        ("ecurity", "x"),
        ("\n", " "),
    ],
)
def test_updates_that_are_not_automatic_are_named(look_at_host: Look, machine: Any, old: str, new: str) -> None:
    """W4: switched off, without lists, or without a security origin."""
    machine.apt = machine.apt.replace(old, new)
    assert set(codes(look_at_host())) == {"UPDATES-NOT-AUTOMATIC"}


def test_masked_or_missing_updates_are_named(look_at_host: Look, machine: Any) -> None:
    timer = machine.root / "etc/systemd/system/apt-daily-upgrade.timer"
    timer.parent.mkdir(parents=True)
    timer.symlink_to("/dev/null")
    report = look_at_host()
    assert "apt-daily-upgrade.timer is masked" in str(report["findings"])
    timer.unlink()
    (machine.root / "usr/bin/unattended-upgrade").unlink()
    assert set(codes(look_at_host())) == {"UPDATES-NOT-AUTOMATIC"}
    machine.missing = {"apt-config"}
    assert status(look_at_host(), "updates-security-automatic") == "unknown"
