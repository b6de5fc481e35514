# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actor's verb `process`: real processes of ours, killed through their handle or left alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import watch_host
from watch_host import OLLAMA, MemoryEngine, container

from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcError, ProcFS
from ansible_collections.rampart.ollama.plugins.module_utils.watch_actor_plan import RefusedError
from ansible_collections.rampart.ollama.plugins.module_utils.watch_actor_process import (
    PROTECTED,
    ProcessActs,
    start_time_of,
)

pytestmark = pytest.mark.row("I5")
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[bytes]] = []

    def begin(name: str, *before: str) -> subprocess.Popen[bytes]:
        program = tmp_path / name
        shutil.copy("/bin/sleep", program)
        made = subprocess.Popen([*before, str(program), "60"], stdin=subprocess.DEVNULL)
        running.append(made)
        return made

    yield begin
    for process in running:
        process.kill()
        process.wait()


def acts(directory: Path, engine: MemoryEngine | None = None, **options: Any) -> ProcessActs:
    made = engine or MemoryEngine()
    return ProcessActs(watch_host.config(directory), made, **options)  # type: ignore[arg-type]


def target(pid: int) -> dict[str, int]:
    return {"pid": pid, "start_time": start_time_of(ProcFS(), pid)}


def until_it_runs(process: subprocess.Popen[bytes], name: str) -> None:
    for _attempt in range(500):
        if os.path.basename(os.readlink("/proc/{0}/exe".format(process.pid))) == name:
            return
    raise AssertionError("{0} was not started".format(name))


@pytest.mark.parametrize("name", ["ollama", "llama-server"])
def test_i5_a_native_server_is_killed(tmp_path: Path, start: Start, name: str) -> None:
    process = start(name)
    until_it_runs(process, name)
    engine = MemoryEngine()
    engine.broken = {"inspect"}  # a host's own process needs no word of the engine
    plan = acts(tmp_path, engine).process(target(process.pid))
    assert process.poll() is None
    assert plan.act() == ["killed process {0} ({1})".format(process.pid, name)]
    plan.close()
    assert process.wait(10) == -signal.SIGKILL


def test_i5_another_process_is_left_alone(tmp_path: Path, start: Start) -> None:
    process = start("database")
    until_it_runs(process, "database")
    with pytest.raises(RefusedError, match="no server and no listener"):
        acts(tmp_path).process(target(process.pid))
    assert process.poll() is None


def test_i5_a_number_that_was_given_to_another_process_is_left_alone(tmp_path: Path, start: Start) -> None:
    process = start("ollama")
    until_it_runs(process, "ollama")
    with pytest.raises(RefusedError, match="another one than was seen"):
        acts(tmp_path).process({"pid": process.pid, "start_time": target(process.pid)["start_time"] + 1})
    assert process.poll() is None


def test_i5_a_process_that_ended_is_said_so(tmp_path: Path, start: Start) -> None:
    process = start("ollama")
    wanted = target(process.pid)
    process.kill()
    # Until it has ended, and is not reaped yet.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    # A zombie still has its number and its start time, and nothing that could be killed.
    with pytest.raises((RefusedError, ProcError)):
        acts(tmp_path).process(wanted)
    process.wait()
    with pytest.raises(RefusedError, match="No such process"):
        acts(tmp_path).process(wanted)


def test_i5_the_first_process_and_the_actor_itself_are_never_killed(tmp_path: Path) -> None:
    for pid in (1, os.getpid(), os.getppid()):
        with pytest.raises(RefusedError, match="never killed"):
            acts(tmp_path).process(target(pid))


def test_i5_protected_programs_are_never_killed_whatever_they_are_called(tmp_path: Path, start: Start) -> None:
    process = start("ollama")
    until_it_runs(process, "ollama")
    with pytest.raises(RefusedError, match="never killed"):
        acts(tmp_path, protected=[str(tmp_path / "ollama")]).process(target(process.pid))
    # The file counts, not the name: another link to it is the same program.
    os.link(tmp_path / "ollama", tmp_path / "sshd")
    with pytest.raises(RefusedError, match="never killed"):
        acts(tmp_path, protected=[str(tmp_path / "sshd")]).process(target(process.pid))
    assert process.poll() is None


def test_i5_what_only_calls_itself_sshd_is_not_protected(tmp_path: Path, start: Start) -> None:
    (tmp_path / "usr").mkdir()
    process = start("ollama")
    until_it_runs(process, "ollama")
    shutil.copy("/bin/sleep", tmp_path / "usr/sshd")
    assert acts(tmp_path, protected=[str(tmp_path / "usr/sshd")]).process(target(process.pid)).checked


def test_i5_the_programs_that_hold_a_host_are_protected() -> None:
    names = {os.path.basename(path) for path in PROTECTED}
    assert {"sshd", "sshd-session", "systemd", "dockerd", "containerd", "docker-proxy"} <= names


class Inside(ProcFS):
    """A /proc in which one process lives in namespaces and a control group of its own."""

    def __init__(self, pid: int, namespace: str, group: str = "/") -> None:
        super().__init__()
        self.pid, self.space, self.group = pid, namespace, group

    def namespace(self, pid: int | str, kind: str) -> str:
        return "{0}:[{1}]".format(kind, self.space) if pid == self.pid else super().namespace(pid, kind)

    def cgroups(self, pid: int) -> dict[str, str]:
        return {"": self.group} if pid == self.pid else super().cgroups(pid)


def server(pid: int, running: bool = True) -> MemoryEngine:
    made = container(OLLAMA, "rampart-ollama")
    made["State"].update(Pid=pid, Running=running)
    return MemoryEngine(made)


def test_i5_the_server_itself_and_a_second_copy_are_told_apart(tmp_path: Path, start: Start) -> None:
    process, first = start("ollama"), start("first")
    until_it_runs(process, "ollama")

    class Both(Inside):
        def namespace(self, pid: int | str, kind: str) -> str:
            return super().namespace(self.pid if pid == first.pid else pid, kind)

    wanted = target(process.pid)
    with pytest.raises(RefusedError, match="no server"):
        acts(tmp_path, server(first.pid), proc=Both(process.pid, "77")).process(wanted)
    # Another container's process has namespaces of its own.
    plan = acts(tmp_path, server(first.pid), proc=Inside(process.pid, "77")).process(wanted)
    assert plan.checked == ["process {0} is ollama, outside the server's container".format(process.pid)]
    plan.close()
    # While the server starts, the engine does not call it running yet: its control group tells whose it is.
    starting = Inside(process.pid, "77", "/docker/" + OLLAMA)
    with pytest.raises(RefusedError, match="no server"):
        acts(tmp_path, server(0, running=False), proc=starting).process(wanted)


def test_i5_what_is_not_known_is_not_killed(tmp_path: Path, start: Start) -> None:
    process = start("ollama")
    until_it_runs(process, "ollama")
    engine = server(process.pid)
    engine.broken = {"inspect"}
    with pytest.raises(RefusedError, match="does not say which container"):
        acts(tmp_path, engine, proc=Inside(process.pid, "77")).process(target(process.pid))


LISTENER = """
import socket, sys, time
with socket.socket() as s:
    s.bind(("127.0.0.1", int(sys.argv[1])))
    s.listen()
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace of its own needs root")
@pytest.mark.parametrize(("port", "killed"), [(11434, True), (11435, False)])
def test_i5_who_listens_on_the_servers_port_elsewhere_is_killed(tmp_path: Path, port: int, killed: bool) -> None:
    command = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
    process = subprocess.Popen([*command, sys.executable, "-c", LISTENER, str(port)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        if not killed:
            with pytest.raises(RefusedError, match="no listener"):
                acts(tmp_path).process(target(process.pid))
            return
        plan = acts(tmp_path).process(target(process.pid))
        plan.act()
        plan.close()
        assert process.wait(10) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_a_name_that_looks_like_the_rest_of_the_line_is_not_misread(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    fields = " ".join(str(number) for number in range(4, 53))
    (tmp_path / "7/stat").write_text("7 (a) S 1 (x) 9) S {0}".format(fields))
    assert start_time_of(ProcFS(str(tmp_path)), 7) == 22
    (tmp_path / "7/stat").write_text("7 (a) S")
    with pytest.raises(ProcError):
        start_time_of(ProcFS(str(tmp_path)), 7)
