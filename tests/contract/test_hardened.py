# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server with a read-only store and no way out refuses to change anything, cleanly, and goes on serving."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest


def _tags(target: Any) -> Any:
    return target.client.ask("GET", "/api/tags").json()


def test_pull_fails_and_says_why(hardened: Any) -> None:
    before = _tags(hardened)
    answer = hardened.client.ask("POST", "/api/pull", {"model": "smollm2:360m", "stream": False})
    assert answer.status == 500
    assert "registry.ollama.ai" in answer.json()["error"] or "read-only file system" in answer.json()["error"]
    assert _tags(hardened) == before


def test_streamed_pull_ends_in_an_error(hardened: Any) -> None:
    answer = hardened.client.ask("POST", "/api/pull", {"model": "smollm2:360m"})
    assert "error" in answer.lines()[-1]
    assert not any(line.get("status") == "success" for line in answer.lines())


def test_blob_upload_is_refused(hardened: Any) -> None:
    answer = hardened.client.ask("POST", "/api/blobs/sha256:" + "1" * 64, "x")
    assert answer.status >= 400


def test_refusals_leave_the_model_serving(hardened: Any) -> None:
    before = _tags(hardened)
    model = hardened.model
    for method, path, body in (
        ("DELETE", "/api/delete", {"model": model}),
        ("POST", "/api/copy", {"source": model, "destination": "copied"}),
        ("POST", "/api/create", {"model": "created", "from": model, "stream": False}),
    ):
        answer = hardened.client.ask(method, path, body)
        assert answer.status == 500, (path, answer.body)
        assert "read-only file system" in answer.json()["error"]
    assert _tags(hardened) == before
    options = {"num_predict": 2}
    body = {"model": model, "prompt": "Hello", "stream": False, "options": options}
    assert hardened.client.ask("POST", "/api/generate", body).status == 200


@pytest.mark.parametrize("command", [["ollama", "ls"], ["ollama", "list"]])
def test_the_health_command_works(target: Any, command: list[str]) -> None:
    """The image has no curl: `ollama ls` inside the container is the health command."""
    if target.container is None:
        pytest.skip("the suite did not start the server itself")
    done = subprocess.run(["docker", "exec", target.container, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert target.model in done.stdout
