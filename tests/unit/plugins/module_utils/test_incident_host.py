# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row C7: what evidence of kernel, engine and host holds, and which secrets it does not."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import incident_host, incident_kernel
from ansible_collections.rampart.ollama.plugins.module_utils.engine import EngineError
from ansible_collections.rampart.ollama.plugins.module_utils.incident_archive import Limits, Sink
from ansible_collections.rampart.ollama.plugins.module_utils.procfs import ProcFS

pytestmark = pytest.mark.row("C7")


@pytest.fixture
def sink(tmp_path: Path) -> Sink:
    return Sink(tmp_path, "c", Limits())


def value(sink: Sink, name: str) -> Any:
    return json.loads((sink.directory / "c" / name).read_bytes())


@pytest.fixture
def child() -> Any:
    """A process with a secret in its environment and another in its arguments."""
    code = "import sys,time; print('up', flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--api-key", "hunter2-arg", "--password=hunter2-word"],
        env={"TOKEN": "hunter2-env"},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def test_processes_have_no_environment_and_no_secret_argument(sink: Sink, child: Any) -> None:
    incident_kernel.processes(ProcFS(), sink)
    found = {item["pid"]: item for item in value(sink, "processes.json")["processes"]}
    entry = found[child.pid]
    assert entry["exe"] == os.readlink(f"/proc/{child.pid}/exe")
    assert entry["command"][-3:] == ["--api-key", "***", "--password=***"]
    assert entry["parent"] == os.getpid()
    assert entry["namespaces"]["net"].startswith("net:[")
    assert entry["started"].endswith("Z")
    assert "hunter2" not in (sink.directory / "c/processes.json").read_text()


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["curl", "-H", "Authorization: Bearer abc"], ["curl", "-H", "Authorization: ***"]),
        (["x", "--token", "abc", "--port", "1"], ["x", "--token", "***", "--port", "1"]),
        (["env", "DB_PASSWORD=abc", "run"], ["env", "DB_PASSWORD=***", "run"]),
        (["ollama", "serve"], ["ollama", "serve"]),
    ],
)
def test_command_lines_are_masked(words: list[str], kept: list[str]) -> None:
    assert incident_kernel.masked(words) == kept


def test_a_command_line_without_end_is_cut() -> None:
    assert sum(map(len, incident_kernel.masked(["a" * 1_000_000] * 3))) < 5000


def test_programs_are_hashed_through_the_process(sink: Sink, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    expected = hashlib.sha256(program.read_bytes()).hexdigest()
    process = subprocess.Popen([str(program), "60"])
    try:
        while os.readlink(f"/proc/{process.pid}/exe") != str(program):
            pass
        program.unlink()
        incident_kernel.programs(ProcFS(), sink)
    finally:
        process.kill()
        process.wait()
    entry = next(item for item in value(sink, "programs.json") if process.pid in item["pids"])
    assert entry["sha256"] == expected
    assert entry["path"].endswith("(deleted)")


def test_sockets_name_who_holds_them(sink: Sink) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        incident_kernel.sockets(ProcFS(), sink)
    own = os.readlink("/proc/self/ns/net")
    directory = next(item["directory"] for item in value(sink, "namespaces.json") if item["namespace"] == own)
    row = next(item for item in value(sink, f"{directory}/tcp.json") if item["local_port"] == port)
    assert (row["local"], row["state"]) == ("127.0.0.1", "listen")
    assert os.getpid() in row["pids"]


class MadeUpEngine(incident_host.EvidenceEngine):
    """An engine that answers what the test says; `broken` names what fails."""

    def __init__(self, broken: str = "") -> None:
        super().__init__("/nonexistent")
        self.broken = broken

    def _list(self, method: str, path: str, query: dict[str, str] | None = None) -> list[dict[str, Any]]:
        if self.broken and self.broken in path:
            raise EngineError("ENGINE-ERROR", "nonsense")
        if path == "/containers/json":
            return [{"Id": "f" * 64, "Names": ["/../../etc/x y"]}]
        return [{"Path": "/tmp/dropper", "Kind": 1}] if path.endswith("/changes") else []

    def _object(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        if path == "/version":
            return {}
        return {
            "Config": {"Env": ["KEY=hunter2", "PATH=/bin"], "Cmd": ["--token=hunter2"]},
            "Args": ["--key", "hunter2"],
        }

    def logs(self, name: str, max_bytes: int = 0, lines: int = 0) -> tuple[str, str]:
        return "out", "err"


def test_containers_are_kept_without_values_of_the_environment(sink: Sink) -> None:
    incident_host.containers(MadeUpEngine(), sink)
    files = [path for path in sink.directory.rglob("*") if path.is_file()]
    assert all("hunter2" not in path.read_text() for path in files)
    name = ".._.._etc_x_y-ffffffffffff"
    assert value(sink, name + "/inspect.json")["Config"]["Env"] == ["KEY=***", "PATH=***"]
    assert value(sink, name + "/changes.json") == [{"Path": "/tmp/dropper", "Kind": 1}]
    assert (sink.directory / "c" / name / "stdout.log").read_text() == "out"
    # A container's name chooses no place.
    assert all(sink.directory in path.resolve().parents for path in files)


def test_what_the_engine_does_not_say_leaves_the_rest(sink: Sink) -> None:
    incident_host.containers(MadeUpEngine("changes"), sink)
    assert (sink.directory / "c/.._.._etc_x_y-ffffffffffff/inspect.json").exists()
    assert [item["wanted"] for item in sink.entries if item["error"]] == ["c/.._.._etc_x_y-ffffffffffff/changes"]


def record(kind: int, user: bytes) -> bytes:
    return incident_host.UTMP.pack(kind, 42, b"pts/0", b"0", user, b"192.0.2.1", 0, 1_700_000_000, 0, b"")


def test_logins_are_read_and_a_cut_record_is_not(sink: Sink) -> None:
    assert incident_host.UTMP.size == 384
    found = incident_host.parse_utmp(record(7, b"alice") + record(0, b"nobody") + record(2, b"\xff\x1b[2J")[:200])
    assert found == [
        {"type": "user", "pid": 42, "at": "2023-11-14T22:13:20Z", "line": "pts/0", "user": "alice", "host": "192.0.2.1"}
    ]
    assert incident_host.parse_utmp(record(2, b"\xff\x1b"))[0]["user"] == "\\xff\x1b"


def test_failed_logins_are_not_kept(monkeypatch: pytest.MonkeyPatch, sink: Sink) -> None:
    asked: list[str] = []
    monkeypatch.setattr(incident_host.Sink, "copy", lambda self, name, path: asked.append(path))
    incident_host.logins(sink)
    assert not any("btmp" in path for path in asked)


def test_files_come_by_pattern_and_links_are_named_not_followed(sink: Sink, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "a.jsonl").write_text("{}")
    (logs / "b.jsonl").symlink_to("/etc/shadow")
    incident_host.files(str(logs / "*.jsonl"), sink)
    kept = [path.name for path in (sink.directory / "c").iterdir()]
    assert any(name.endswith("a.jsonl") for name in kept)
    links = next(name for name in kept if name.startswith("links-"))
    assert value(sink, links) == {str(logs / "b.jsonl"): "/etc/shadow"}


def test_every_collector_has_a_name_of_its_own() -> None:
    wanted = incident_host.Wanted(files={"audit": "/x", "watch": "/y"}, store="/srv/rampart/store")
    names = [job.name for job in incident_host.jobs(wanted)]
    assert len(set(names)) == len(names)
    assert {"processes", "sockets", "containers", "logins", "journal", "packages", "programs", "store"} <= set(names)
    assert names.index("sockets") < names.index("store")


def test_the_store_is_verified_in_full_and_nothing_is_written(
    sink: Sink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    real: Callable[..., Any] = incident_host.answer

    def spy(store: Any, question: Any) -> Any:
        asked.append(question)
        return real(store, question)

    monkeypatch.setattr(incident_host, "answer", spy)
    incident_host.store(incident_host.Wanted(store=str(tmp_path / "absent")), sink)
    assert (asked[0].mode, asked[0].only_look) == ("full", True)
    assert value(sink, "verification.json")["verdict"] == "failed"
