# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the watch does about a finding, what nobody can make it do, and a configuration that is read strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, FindingError, Severity
from ansible_collections.rampart.ollama.plugins.module_utils.watch_config import load_config, parse_config
from ansible_collections.rampart.ollama.plugins.module_utils.watch_policy import (
    ACTIONS,
    DEFAULT_POLICY,
    NEVER_CONTAINED,
    Observation,
    Policy,
    parse_policy,
)

pytestmark = pytest.mark.row("I5")


def seen(code: str, severity: str = "critical", outsider: bool = False) -> Observation:
    return Observation(Finding(code, Severity(severity), "subject", "evidence", "remedy"), "sweep", outsider)


def test_the_default_table_names_known_actions_and_no_host_is_cut_off_by_default() -> None:
    assert set(DEFAULT_POLICY.values()) <= set(ACTIONS)
    assert "quarantine" not in DEFAULT_POLICY.values()
    assert not set(DEFAULT_POLICY) & NEVER_CONTAINED


def test_a_critical_finding_is_contained_and_a_high_one_is_not() -> None:
    policy = Policy()
    assert policy.action(seen("ISO-INTERFACE")) == "disconnect"
    assert policy.action(seen("ISO-CAPABILITIES", "high")) == "log"
    assert parse_policy({}, "high").action(seen("ISO-CAPABILITIES", "high")) == "stop"


def test_what_the_table_does_not_name_is_only_logged() -> None:
    assert Policy().action(seen("STORE-REVOKED-MODEL")) == "log"


@pytest.mark.parametrize("code", sorted(DEFAULT_POLICY))
def test_an_outsider_contains_nothing_whatever_the_table_says(code: str) -> None:
    """Otherwise anybody who can send a packet could switch the service off."""
    policy = parse_policy(dict.fromkeys(DEFAULT_POLICY, "quarantine"))
    assert policy.action(seen(code)) == "quarantine"
    assert policy.action(seen(code, outsider=True)) == "log"


@pytest.mark.parametrize("code", sorted(NEVER_CONTAINED))
def test_some_codes_can_neither_be_configured_nor_smuggled_in(code: str) -> None:
    with pytest.raises(FindingError, match=f"WATCH-CONFIG: policy.{code}"):
        parse_policy({code: "stop"})
    assert Policy({code: "quarantine"}).action(seen(code)) == "log"


@pytest.mark.parametrize(
    "raw",
    [
        [],
        {"ISO-INTERFACE": "kill"},
        {"ISO-INTERFACE": ["stop"]},
        {"not a code": "log"},
        {5: "log"},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(raw: Any) -> None:
    with pytest.raises(FindingError, match="WATCH-CONFIG"):
        parse_policy(raw)


@pytest.mark.parametrize("least", ["info", "medium", "worst", 3, None, ["high"]])
def test_little_things_are_never_contained(least: Any) -> None:
    with pytest.raises(FindingError, match="contain_from"):
        parse_policy({}, least)


# --- the configuration file -------------------------------------------------------------------------------
SOUND = {
    "schema": 1,
    "uid": 10007,
    "gid": 10007,
    "store": "/srv/rampart/store",
    "socket_directories": [{"role": "relay", "path": "/run/rampart/ollama", "uid": 10005, "gid": 10002}],
    "policy": {"STORE-REVOKED-MODEL": "stop"},
    "allowed_containers": ["rampart-egress"],
}


def test_a_sound_configuration_is_read_whole() -> None:
    config = parse_config(SOUND)
    assert (config.uid, config.expected.store, config.allowed_containers) == (
        10007,
        "/srv/rampart/store",
        {"rampart-egress"},
    )
    assert config.expected.socket_directories[0].gid == 10002
    assert config.policy.action(seen("STORE-REVOKED-MODEL")) == "stop"
    # What is left out keeps what the roles mount: a container without expectations would pass for nothing.
    assert config.expected.mounts["ollama"] == {"/models": "ro"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", 2),
        ("schema", True),
        ("uid", "10007"),
        ("uid", True),
        ("uid", -1),
        ("sweep_seconds", 0),
        ("sweep_seconds", float("inf")),
        ("port_seconds", 0.001),
        ("log_keep", 1.5),
        ("engine_socket", "run/docker.sock"),
        ("log_file", ""),
        ("store", "../store"),
        ("nflog_group", 70000),
        ("nflog_group", "5"),
        ("containers", {"database": "x"}),
        ("containers", {"relay": "../x"}),
        ("uids", {"relay": "10005"}),
        ("mounts", {"relay": {"/x": "rwx"}}),
        ("mounts", {"relay": ["/x"]}),
        ("devices", "/dev/kfd"),
        ("allowed_containers", ["a b"]),
        ("socket_directories", [{"role": "relay"}]),
        ("socket_directories", [{"role": "relay", "path": "/x", "mode": 7}]),
        ("socket_directories", {}),
        ("policy", {"WATCH-DROP": "quarantine"}),
        ("unknown", 1),
    ],
)
def test_one_wrong_key_refuses_the_configuration_and_names_it(key: str, value: Any) -> None:
    with pytest.raises(FindingError) as caught:
        parse_config({**SOUND, key: value})
    assert caught.value.finding.code == "WATCH-CONFIG"
    assert key in caught.value.finding.subject or key == "schema"


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"schema":1,"schema":1}', b'{"schema":NaN}', b"\xff", b"[" * 100000, b" " * 300000]
)
def test_a_file_that_is_no_configuration_is_one_refusal(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "watch.json"
    path.write_bytes(data)
    with pytest.raises(FindingError, match="WATCH-CONFIG"):
        load_config(path)


def test_a_file_that_is_missing_or_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(FindingError, match="WATCH-CONFIG"):
            load_config(path)
    (tmp_path / "real.json").write_text(json.dumps(SOUND))
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    with pytest.raises(FindingError, match="symlink"):
        load_config(tmp_path / "link.json")
    assert load_config(tmp_path / "real.json").uid == 10007
