# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I1: the seccomp profile is Docker's default minus a reviewed list, and is known by its digest."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.seccomp import (
    DIGESTS,
    MAX_BYTES,
    ProfileError,
    build,
    digest,
    named,
    option,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from profile_data import profile_data, seccomp_text

pytestmark = pytest.mark.row("I1")

NEVER = {
    "add_key", "bpf", "chroot", "clone3", "delete_module", "fanotify_init", "finit_module", "fsconfig",
    "fsmount", "fsopen", "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm",
    "iopl", "kexec_file_load", "kexec_load", "keyctl", "memfd_create", "mount", "mount_setattr", "move_mount",
    "open_by_handle_at", "open_tree", "perf_event_open", "pidfd_getfd", "pivot_root", "process_vm_readv",
    "process_vm_writev", "ptrace", "reboot", "request_key", "setns", "sethostname", "swapon", "syslog",
    "umount2", "unshare", "userfaultfd",
}  # fmt: skip


def allowed(text: str) -> set[str]:
    profile = json.loads(text)
    return {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}


@pytest.mark.parametrize(("name", "gpu"), [("rampart", False), ("rampart-gpu", True)])
def test_hosts_know_the_profile_that_the_data_describes(name: str, gpu: bool) -> None:
    assert digest(seccomp_text(gpu)) == DIGESTS[name]
    assert named(json.dumps(json.loads(seccomp_text(gpu)), indent=4)) == name


def test_what_reaches_deep_into_the_kernel_is_not_allowed() -> None:
    assert allowed(seccomp_text()) & NEVER == set()
    assert allowed(seccomp_text(gpu=True)) & (NEVER - {"memfd_create"}) == set()


def test_nothing_is_allowed_that_the_default_does_not_allow() -> None:
    default, reviewed = profile_data()
    known = {
        *default["allowed"],
        *default["conditional"],
        *(n for x in default["architecture_only"].values() for n in x),
    }
    assert allowed(seccomp_text()) < known
    assert allowed(seccomp_text()) < allowed(seccomp_text(gpu=True)) < known
    assert json.loads(seccomp_text())["defaultAction"] == "SCMP_ACT_ERRNO"
    removed = {name for item in reviewed["removals"] for name in item["names"]}
    assert allowed(seccomp_text()) & removed == set()


def test_every_removal_says_why() -> None:
    _default, reviewed = profile_data()
    rules = [*reviewed["removals"], *reviewed["conditional"].values(), reviewed["capability_rules"]]
    assert all(len(rule["reason"]) > 20 for rule in [*rules, reviewed["subarchitectures"]])


def test_sockets_of_other_families_and_protocols_are_refused_as_are_other_call_tables() -> None:
    profile = json.loads(seccomp_text())
    rules = [rule["args"] for rule in profile["syscalls"] if "socket" in rule["names"]]
    assert {args[0]["value"] for args in rules} == {1, 2, 10, 16}
    assert all(args[0]["op"] == "SCMP_CMP_EQ" for args in rules)
    assert {args[1]["value"] for args in rules if args[0]["value"] in (2, 10)} == {0, 6, 17}
    assert [len(args) for args in rules if args[0]["value"] in (2, 10, 16)] == [2] * 7
    assert all(table["subArchitectures"] == [] for table in profile["archMap"])
    assert not any("caps" in rule.get("includes", {}) for rule in profile["syscalls"])


def without(key: str, **change: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    default, reviewed = profile_data()
    reviewed["removals"].append({"names": ["read"], "reason": "because", **change})
    reviewed["conditional"]["socket"]["allowed"].append([1, None])
    if key == "family":
        reviewed["conditional"]["socket"]["allowed"].append([38, None])
    if key == "personality":
        reviewed["conditional"]["personality"]["allowed"].append(0x40000)
    if key == "condition":
        reviewed["conditional"]["socketpair"]["reason"] = " "
    return default, reviewed


@pytest.mark.parametrize(
    ("key", "change", "said"),
    [
        ("reason", {"reason": ""}, "no reason"),
        ("reason", {"reason": None}, "no reason"),
        ("name", {"names": ["keyctl"]}, "does not allow keyctl"),
        ("family", {}, "family 38"),
        ("personality", {}, "personality 262144"),
        ("condition", {}, "no reason is given for socketpair"),
    ],
)
def test_data_that_nobody_reviewed_makes_no_profile(key: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ProfileError, match=said):
        build(*without(key, **change))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unconfined",
        "null",
        "[]",
        '"rampart"',
        "{",
        "[" * 200000,
        '{"a":' * 100000,
        "9" * 5000,
        " " * (MAX_BYTES + 1),
    ],
)
def test_what_is_no_profile_has_no_name(text: str) -> None:
    assert named(text) is None


def test_the_last_word_among_the_options_counts() -> None:
    assert option(["no-new-privileges", "seccomp=a", "seccomp:b"], "seccomp") == "b"
    assert option([{}, None, 3, "apparmor=x"], "seccomp") is None
