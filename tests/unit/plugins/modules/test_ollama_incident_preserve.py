# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row C7: the module that preserves evidence, from its arguments to its result."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.incident_archive import Job
from ansible_collections.rampart.ollama.plugins.modules import ollama_incident_preserve

pytestmark = pytest.mark.row("C7")
Run = Callable[..., dict[str, Any]]
NAME = "ollama_incident_preserve"


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    job = Job("one", lambda sink: sink.put("a.txt", b"seen", "by hand"))
    monkeypatch.setattr(ollama_incident_preserve, "jobs", lambda wanted: [job])
    return {"directory": str(tmp_path / "incidents"), "name": "e1", "incident": "i1"}


def test_made_once_and_left_alone_then(run_module: Run, arguments: dict[str, Any]) -> None:
    first = run_module(NAME, arguments)
    assert first["changed"] and first["files"] == 1 and first["findings"] == []
    assert first["sha256"] == hashlib.sha256(Path(first["path"]).read_bytes()).hexdigest()
    again = run_module(NAME, arguments)
    assert not again["changed"]
    assert (again["sha256"], again["size"]) == (first["sha256"], first["size"])


def test_check_mode_collects_nothing(run_module: Run, arguments: dict[str, Any]) -> None:
    assert run_module(NAME, arguments, check=True)["changed"]
    assert not Path(arguments["directory"]).exists()


@pytest.mark.parametrize(
    "change",
    [{"name": "../e1"}, {"name": ".hidden"}, {"files": {"a/b": "/x"}}, {"approvals": [{"reference": "nonsense"}]}],
)
def test_refused_input_leaves_nothing(run_module: Run, arguments: dict[str, Any], change: dict[str, Any]) -> None:
    refused = run_module(NAME, {**arguments, **change})
    assert refused["failed"] and refused["findings"][0]["code"] in refused["msg"]
    assert not Path(arguments["directory"]).exists()
