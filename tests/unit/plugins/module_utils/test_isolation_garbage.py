# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I4: probes given garbage, gaps and hidden processes: right or `unknown`, never wrong, never a traceback."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.isolation_report import Report

RELAY, OLLAMA, GATEWAY = 100, 200, 300
Look = Callable[..., Report]


def status(report: Report, check_id: str) -> str:
    return report.checks[check_id].status


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


GARBAGE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "empty": lambda _text, _dice: b"",
    "binary": lambda _text, dice: bytes(dice.randrange(256) for _nr in range(200)),
    "half": lambda text, _dice: text[: len(text) // 2],
    "nuls": lambda text, _dice: b"\0" * len(text),
    "doubled": lambda text, _dice: text.replace(b" ", b"  ").replace(b"\t", b"\t\t"),
    "words": lambda text, _dice: b"\n".join(b"x y z" for _nr in text.splitlines()),
    "numbers": lambda text, _dice: b"99999999999999999999999 -1 18446744073709551616\n",
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_under_proc_never_turns_a_failure_into_a_pass(look: Look, proc: Any, inspector: Any, kind: str) -> None:
    """I4: each file in turn is garbled on an open host: no traceback, and no failed check passes for it."""
    dice = random.Random(20260131)
    proc.open_up(OLLAMA)
    # The engine is asked for limits where no cgroup can be seen; it tells the truth here.
    inspector.containers["rampart-ollama"]["HostConfig"].update({"Memory": 0, "PidsLimit": 0, "NanoCpus": 0})
    failed = {name for name, item in look().checks.items() if item.status == "failed"}
    assert len(failed) > 20
    paths = [path for path in proc.root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(paths) > 30
    for path in paths:
        original = path.read_bytes()
        path.write_bytes(GARBAGE[kind](original, dice))
        report = look()
        path.write_bytes(original)
        relative = str(path.relative_to(proc.root))
        passed = {name for name in failed if report.checks[name].status == "passed"}
        # What the garbled file alone says may read as something else that is valid: an empty list of sockets is one.
        if kind == "half" or relative.endswith(("/comm", "/environ")):
            passed -= {"isolation-listeners", "isolation-no-foreign-connections", "isolation-no-native-ollama"}
            passed -= {"ollama-mounts-expected", "ollama-no-docker-socket", "ollama-tmp-noexec", "ollama-tmp-bounded"}
        assert passed == set(), (relative, {name: report.checks[name].evidence for name in passed})


@pytest.mark.parametrize("name", ["status", "ns", "net", "mountinfo", "cgroup", "uid_map", "gid_map", "environ"])
def test_what_cannot_be_read_is_unknown_and_says_so(look: Look, proc: Any, name: str) -> None:
    import shutil

    path = proc.root / str(GATEWAY) / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    report = look()
    unknown = {check_id for check_id, item in report.checks.items() if item.status == "unknown"}
    if name not in ("cgroup", "environ"):  # limits come from the engine then, and only the server has settings
        assert unknown
        assert codes(report) == {"ISO-PROBE-FAILED"}
        assert report.verdict() == "unknown"
    assert not any(item.status == "failed" for item in report.checks.values())


def test_a_process_with_more_privileges_than_ours_hides_nothing_of_a_container(look: Look, proc: Any) -> None:
    """I4: the kernel hides such a process's namespaces from us; that it has one number only shows whose it is."""
    import shutil

    namespaces = {"net": 1, "pid": 2, "ipc": 3, "uts": 4, "mnt": 5}
    proc.process("50", uid=0, namespaces=namespaces, comm="supervisor")
    shutil.rmtree(proc.root / "50" / "ns")
    proc.status("50", uid=0)
    assert look().verdict() == "unknown"
    status_file = proc.root / "50" / "status"
    status_file.write_text(status_file.read_text() + "NSpid:\t50\t1\n")
    assert look().verdict() == "unknown"
    status_file.write_text(status_file.read_text().replace("NSpid:\t50\t1", "NSpid:\t50"))
    assert look().findings == []


def test_a_listener_of_a_hidden_process_is_named(look: Look, proc: Any, line: Any) -> None:
    import shutil

    for pid in ("50", "51"):
        proc.process(pid, uid=0, namespaces={"net": 1}, comm="supervisor")
        shutil.rmtree(proc.root / pid / "ns")
        status_file = proc.root / pid / "status"
        status_file.write_text(status_file.read_text() + "NSpid:\t50\n")
    proc.sockets("51", "tcp", line("0.0.0.0", 11434))
    assert codes(look()) == {"ISO-LISTENER"}


def test_an_empty_proc_is_unknown_throughout(look: Look, proc: Any) -> None:
    import shutil

    shutil.rmtree(proc.root)
    report = look()
    assert report.verdict() in ("unknown", "failed")
    assert status(report, "isolation-listeners") == "unknown"
    assert status(report, "isolation-no-native-ollama") == "unknown"
    assert status(report, "ollama-uid") == "unknown"
