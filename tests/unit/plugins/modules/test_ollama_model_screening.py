# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S4, S5: ollama_model publishes nothing that was not judged and scanned."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.names import parse_name
from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore


@pytest.fixture
def ask(maker: Any, tmp_path: Path, run_module: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Have a model from another store's directory, its blobs laid there as they are."""

    def call(made: Any, **changes: Any) -> dict[str, Any]:
        other = tmp_path / "other"
        for digest, data in made.blobs.items():
            path = ModelStore(other).blob_path(digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        manifest = ModelStore(other).manifest_path(parse_name(made.reference))
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_bytes(made.manifest)
        (tmp_path / "quarantine").mkdir(exist_ok=True)
        arguments = {
            "name": made.reference,
            "approval": made.entry(source="an offline copy"),
            "source": "file",
            "src": str(other),
            "store": str(maker.root),
            "quarantine": str(tmp_path / "quarantine"),
            "owner_uid": os.getuid(),
            "owner_gid": os.getgid(),
        }
        return run_module("ollama_model", {**arguments, **changes})

    return call


@pytest.mark.row("S4")
def test_weights_that_are_no_model_are_refused_and_kept_as_evidence(
    ask: Callable[..., dict[str, Any]], model: Callable[..., Any], maker: Any, tmp_path: Path
) -> None:
    result = ask(model("test:1", b"these are no weights"))
    assert result["msg"].startswith("GGUF-MAGIC: ")
    assert set(maker.tree()) == {".lock"}
    assert [path.suffix for path in (tmp_path / "quarantine").iterdir()] == [".refused"]


@pytest.mark.row("S5")
@pytest.mark.usefixtures("unjudged")
def test_a_scanner_that_does_not_answer_lets_nothing_through(
    ask: Callable[..., dict[str, Any]], model: Callable[..., Any], maker: Any, tmp_path: Path
) -> None:
    made = model("test:1", b"weights")
    nobody = {"socket": str(tmp_path / "clamd.ctl"), "config": str(tmp_path / "clamd.conf"), "scratch": str(tmp_path)}
    result = ask(made, scan=nobody)
    assert result["msg"].startswith("SCAN-UNAVAILABLE: ")
    assert set(maker.tree()) == {".lock"}
    # The same model, where no scanner is asked.
    assert ask(made)["changed"]
    assert maker.blob(made.weights).read_bytes() == b"weights"


@pytest.mark.row("S4")
def test_a_policy_that_cannot_be_read_refuses_the_model(
    ask: Callable[..., dict[str, Any]], model: Callable[..., Any], maker: Any
) -> None:
    result = ask(model("test:1", b"weights"), policy={"architecture": ["llama"]})
    assert result["failed"]
    assert set(maker.tree()) == {".lock"}
