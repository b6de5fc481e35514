# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of the watch, run as Ansible runs them: one finding on refusal, nothing written in check mode."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import watch_host
from watch_host import OLLAMA, MemoryEngine, container

from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, Severity
from ansible_collections.rampart.ollama.plugins.module_utils.watch_records import new_name, read_record, write_record
from ansible_collections.rampart.ollama.plugins.modules import ollama_watch_release

pytestmark = pytest.mark.row("I5")
Run = Callable[..., dict[str, Any]]
CRITICAL = Finding("ISO-LISTENER", Severity.CRITICAL, "port 11434", "listens on 0.0.0.0", "Stop it.")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> MemoryEngine:
    made = container(OLLAMA, "rampart-ollama")
    made["State"]["Running"] = False
    made["HostConfig"]["RestartPolicy"] = {"Name": "no"}
    memory = MemoryEngine(made)
    monkeypatch.setattr(ollama_watch_release, "ContainmentEngine", lambda *_arguments: memory)
    monkeypatch.setattr(ollama_watch_release, "look", lambda _config, _engine: [])
    return memory


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    watch_host.config(tmp_path)
    path = tmp_path / "actor.json"
    path.write_text(json.dumps(watch_host.document(tmp_path)))
    path.chmod(0o600)
    return {"config": str(path), "released_by": "me"}


def put(directory: Path) -> str:
    name = new_name("container", 1)
    policy = {"Name": "always", "MaximumRetryCount": 0}
    release = {"action": "start-container", "container": OLLAMA, "name": "x", "restart_policy": policy}
    record = {"schema": 1, "verb": "container", "release": release, "released": None, "finding": CRITICAL.as_dict()}
    write_record(str(directory / "state/contained"), name, record)
    return name


def test_i5_a_release_changes_once(
    run_module: Run, engine: MemoryEngine, arguments: dict[str, Any], tmp_path: Path
) -> None:
    name = put(tmp_path)
    foreseen = run_module("ollama_watch_release", arguments, check=True)
    assert (foreseen["changed"], engine.acts) == (True, [])
    done = run_module("ollama_watch_release", arguments)
    assert (done["changed"], done["released"]) == (True, foreseen["released"])
    assert engine.acts == [("update", OLLAMA, "always"), ("start", OLLAMA)]
    assert read_record(str(tmp_path / "state/contained"), name)["released"]["by"] == "me"
    assert run_module("ollama_watch_release", arguments)["changed"] is False


def test_i5_a_release_is_refused_in_one_finding(
    run_module: Run,
    engine: MemoryEngine,
    arguments: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(tmp_path)
    monkeypatch.setattr(ollama_watch_release, "look", lambda _config, _engine: [CRITICAL])
    refused = run_module("ollama_watch_release", arguments)
    assert refused["failed"]
    assert [item["code"] for item in refused["findings"]] == ["WATCH-RELEASE-UNSAFE"]
    assert engine.acts == []
    assert run_module("ollama_watch_release", {**arguments, "force": True})["changed"]


def test_a_host_without_a_watch_is_one_finding(run_module: Run, tmp_path: Path) -> None:
    refused = run_module("ollama_watch_release", {"config": str(tmp_path / "none.json"), "released_by": "me"})
    assert [item["code"] for item in refused["findings"]] == ["WATCH-CONFIG"]


def test_i5_a_host_without_a_watch_passes_nothing(run_module: Run, tmp_path: Path) -> None:
    found = run_module(
        "ollama_watch_info", {"config_directory": str(tmp_path), "records": str(tmp_path / "none")}, check=True
    )
    statuses = {item["id"]: item["status"] for item in found["checks"]}
    assert found["changed"] is False
    assert found["containments"] == []
    assert [name for name, status in statuses.items() if status == "passed"] == ["watch-no-open-containment"]
    assert len(statuses) == 5


def test_i5_records_are_listed(run_module: Run, tmp_path: Path) -> None:
    watch_host.config(tmp_path)
    name = put(tmp_path)
    found = run_module(
        "ollama_watch_info", {"config_directory": str(tmp_path), "records": str(tmp_path / "state/contained")}
    )
    assert [(item["name"], item["open"], item["release"]) for item in found["containments"]] == [
        (name, True, "start-container")
    ]
    assert "WATCH-CONTAINMENT-OPEN" in [item["code"] for item in found["findings"]]
