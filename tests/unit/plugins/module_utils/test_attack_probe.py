# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row I6: the programs for inside do what they say; a clone has the original's limits and no way to it."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import attack_clone, attack_probe
from ansible_collections.rampart.ollama.plugins.module_utils.attack_clone import CLONE_NAME, Clone, write_program
from ansible_collections.rampart.ollama.plugins.module_utils.engine import EngineError

on_x86 = pytest.mark.skipif(platform.machine() != attack_probe.MACHINE, reason="the programs are of x86_64")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="set-uid files and other uids take root")


def run(directory: Path, program: bytes, *before: str) -> int:
    path = write_program(str(directory), program, 0o755)
    try:
        return subprocess.run([*before, path], check=False, timeout=20).returncode
    finally:
        os.unlink(path)


@on_x86
@pytest.mark.parametrize(
    ("name", "arguments", "status"),
    [
        ("setns", (-1, 0), errno.EBADF),
        ("bpf", (0, 0, 0), errno.EINVAL),
        ("mount", (0, 0, 0, 0, 0), errno.EFAULT),
        ("unshare", (0,), 0),
        ("add_key", ("no-such-type", "x", "x", 1, -3), errno.ENODEV),
    ],
)
def test_a_probe_ends_with_the_errno_of_its_call(
    tmp_path: Path, name: str, arguments: tuple[Any, ...], status: int
) -> None:
    """I6: 0 when the kernel did it, else what it said: where this machine allows it at all."""
    assert run(tmp_path, attack_probe.system_call(name, arguments)) in (status, errno.EPERM, errno.ENOSYS)


@on_x86
@needs_root
def test_a_probe_knows_whether_it_is_root(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in (tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(0o755)
    assert run(tmp_path, attack_probe.effective_root()) == 0
    as_user = ("setpriv", "--reuid", "64999", "--regid", "64999", "--clear-groups")
    assert run(tmp_path, attack_probe.effective_root(), *as_user) == errno.EPERM


@on_x86
def test_a_memory_bomb_uses_what_it_says(tmp_path: Path) -> None:
    program = attack_probe.memory(1 << 24)
    assert run(tmp_path, program) == 0
    assert run(tmp_path, program, "prlimit", "--as=8388608") == errno.ENOMEM


@on_x86
def test_a_probe_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="no such probe"):
        attack_probe.system_call("reboot")
    with pytest.raises(ValueError, match="no such probe"):
        attack_probe.system_call("bpf", [0] * 7)


# --- the clone ------------------------------------------------------------------------------------------------------
ORIGINAL: dict[str, Any] = {
    "Image": "sha256:" + "0" * 64,
    "Config": {"User": "10001:10001", "Env": ["SECRET=x"]},
    "HostConfig": {
        "NetworkMode": "container:relay",
        "PidMode": "host",
        "Memory": 1 << 30,
        "MemorySwap": 1 << 30,
        "PidsLimit": 32,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true", "seccomp={}"],
        "RestartPolicy": {"Name": "unless-stopped"},
        "Mounts": [{"Type": "bind", "Source": "/srv/rampart/store", "Target": "/models", "ReadOnly": True}],
    },
}


class FakeEngine:
    """An engine that remembers what it was asked, and ends each container as told."""

    def __init__(self, status: int = 0, killed: bool = False, fails: str = "") -> None:
        self.status, self.killed, self.fails = status, killed, fails
        self.config: dict[str, Any] = {}
        self.removed = 0
        self.program_mode = 0

    def create_container(self, name: str, config: dict[str, Any]) -> str:
        assert name == CLONE_NAME
        self.config = config
        source = config["HostConfig"]["Mounts"][-1]["Source"]
        self.program_mode = os.stat(source).st_mode & 0o7777
        return "id"

    def start_container(self, _name: str) -> None:
        if self.fails:
            raise EngineError("ENGINE-ERROR", self.fails)

    def remove_container(self, _name: str) -> bool:
        self.removed += 1
        return True

    def inspect_container(self, _name: str) -> dict[str, Any]:
        state = {"Status": "exited", "Running": False, "ExitCode": self.status, "OOMKilled": self.killed}
        return {"State": state}


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setattr(platform, "machine", lambda: attack_probe.MACHINE)

    def attempt(function: str, parameters: dict[str, Any], engine: FakeEngine, original: Any = None) -> Any:
        made = Clone(engine, original or ORIGINAL, str(tmp_path))  # type: ignore[arg-type]
        try:
            return made.attempt(function, {"timeout": 1, **parameters})
        finally:
            assert list(tmp_path.iterdir()) == [], "a program was left behind"

    return attempt


def test_a_clone_has_the_limits_of_the_original_and_no_way_to_it(clone: Callable[..., Any]) -> None:
    """I6: same image, user, filter and limits; no network, no host's processes, no secret, no restart."""
    engine = FakeEngine(errno.EPERM)
    clone("system_call", {"call": "bpf"}, engine)
    host = engine.config["HostConfig"]
    for key in ("Memory", "PidsLimit", "ReadonlyRootfs", "CapDrop", "SecurityOpt"):
        assert host[key] == ORIGINAL["HostConfig"][key]
    assert (engine.config["Image"], engine.config["User"]) == (ORIGINAL["Image"], "10001:10001")
    assert (host["NetworkMode"], host["PidMode"], host["RestartPolicy"]) == ("none", "", {"Name": "no"})
    assert "SECRET" not in str(engine.config)
    assert host["Mounts"][0] == ORIGINAL["HostConfig"]["Mounts"][0]
    assert host["Mounts"][1]["ReadOnly"] is True
    assert ORIGINAL["HostConfig"]["NetworkMode"] == "container:relay", "the original's description was changed"
    assert engine.removed >= 2


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (errno.EPERM, "refused"),
        (errno.ENOSYS, "refused"),
        (159, "refused"),
        (0, "succeeded"),
        (errno.EFAULT, "succeeded"),
        (errno.EINVAL, "succeeded"),
        (255, "error"),
        (137, "error"),
    ],
)
def test_a_call_is_judged_by_its_errno(clone: Callable[..., Any], status: int, outcome: str) -> None:
    assert clone("system_call", {"call": "bpf"}, FakeEngine(status))[0] == outcome


@pytest.mark.parametrize(("status", "outcome"), [(0, "succeeded"), (errno.EPERM, "refused"), (126, "error")])
def test_a_set_uid_program_is_one_and_root_is_what_counts(clone: Callable[..., Any], status: int, outcome: str) -> None:
    engine = FakeEngine(status)
    assert clone("set_uid", {}, engine)[0] == outcome
    assert engine.program_mode == 0o4755


@pytest.mark.parametrize(
    ("status", "killed", "outcome"),
    [(0, False, "succeeded"), (137, True, "refused"), (errno.ENOMEM, False, "refused"), (1, False, "error")],
)
def test_a_memory_bomb_lowers_a_limit_and_makes_none(
    clone: Callable[..., Any], status: int, killed: bool, outcome: str
) -> None:
    engine = FakeEngine(status, killed)
    found = clone("memory_bomb", {"limit": 1 << 26}, engine)
    assert (found[0], found[2].get("oom", 0)) == (outcome, int(killed))
    assert engine.config["HostConfig"]["Memory"] == engine.config["HostConfig"]["MemorySwap"] == 1 << 26
    unlimited = {**ORIGINAL, "HostConfig": {**ORIGINAL["HostConfig"], "Memory": 0, "MemorySwap": 0}}
    clone("memory_bomb", {"limit": 1 << 26}, engine, unlimited)
    assert engine.config["HostConfig"]["Memory"] == 0


@pytest.mark.parametrize(("status", "outcome"), [(0, "succeeded"), (errno.EAGAIN, "refused"), (137, "error")])
def test_a_fork_bomb_is_judged_by_its_errno(clone: Callable[..., Any], status: int, outcome: str) -> None:
    assert clone("fork_bomb", {}, FakeEngine(status))[0] == outcome


def test_what_met_the_limit_of_processes_is_counted_before_the_clone_is_gone(
    clone: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """I6: the control group goes away with the clone, so it is read until it says something or is gone."""
    engine = FakeEngine(errno.EAGAIN)
    running = {"State": {"Status": "running", "Running": True, "Pid": 7}}
    ended = {"State": {"Status": "exited", "Running": False, "ExitCode": errno.EAGAIN}}
    states = iter([running, ended])
    monkeypatch.setattr(engine, "inspect_container", lambda _name: next(states))
    texts = iter(["max 0", "max 0", "max 3"])
    monkeypatch.setattr(attack_clone.ProcFS, "cgroup_file", lambda *_arguments: (next(texts), "/x"))
    assert clone("fork_bomb", {}, engine)[2] == {"pids": 3}
    states = iter([running, ended])
    texts = iter(["max 0", "rubbish"])
    assert clone("fork_bomb", {}, engine)[2] == {"pids": 0}


def test_a_clone_that_does_not_start_is_removed_and_an_error(clone: Callable[..., Any]) -> None:
    engine = FakeEngine(fails="no space left")
    with pytest.raises(EngineError, match="no space left"):
        clone("fork_bomb", {}, engine)
    assert engine.removed >= 2
    with pytest.raises(ValueError, match="no such attack"):
        clone("tcp", {}, FakeEngine())


def test_a_clone_that_does_not_end_is_removed(clone: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    monkeypatch.setattr(engine, "inspect_container", lambda _name: {"State": {"Status": "running", "Running": True}})
    ticks = iter(range(0, 1000, 5))
    monkeypatch.setattr(attack_clone.time, "monotonic", lambda: float(next(ticks)))
    with pytest.raises(ValueError, match="did not end in time"):
        clone("fork_bomb", {}, engine)
    assert engine.removed >= 2


def test_another_processor_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    engine = FakeEngine()
    outcome, text, _counts = Clone(engine, ORIGINAL, str(tmp_path)).attempt(  # type: ignore[arg-type]
        "fork_bomb", {"timeout": 1}
    )
    assert (outcome, "x86_64" in text, engine.config) == ("error", True, {})
