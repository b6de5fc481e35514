# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S3: the module ollama_model_verify."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def ask(maker: Any, run_module: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def call(check: bool = False, **changes: Any) -> dict[str, Any]:
        arguments = {
            "store": str(maker.root),
            "approvals": [made.entry() for made in maker.models],
            "owner_uid": os.getuid(),
            "owner_gid": os.getgid(),
        }
        return run_module("ollama_model_verify", {**arguments, **changes}, check=check)

    return call


@pytest.mark.parametrize("check", [False, True])
def test_s3_a_good_store_passes_in_check_mode_too(
    maker: Any, model: Callable[..., Any], ask: Callable[..., dict[str, Any]], check: bool
) -> None:
    maker.put(model("mistral:7b", b"w" * 5000))
    result = ask(check=check)
    assert (result["changed"], result["verdict"], result["findings"]) == (False, "passed", [])
    assert result["bytes_hashed"] > 5000
    assert {item["status"] for item in result["checks"]} == {"passed"}


def test_s3_a_flipped_byte_fails_the_task_with_its_code(
    maker: Any, model: Callable[..., Any], ask: Callable[..., dict[str, Any]]
) -> None:
    made = maker.put(model("mistral:7b", b"w" * 5000))
    maker.rewrite(maker.blob(made.weights), b"w" * 4999 + b"x")
    result = ask()
    assert result["failed"]
    assert result["msg"].startswith("STORE-DIGEST-MISMATCH: " + made.weights)
    reported = ask(on_failure="report")
    assert not reported.get("failed")
    assert reported["verdict"] == "failed"
    assert reported["findings"] == result["findings"]


def test_s3_a_missing_store_is_one_clear_message(ask: Callable[..., dict[str, Any]]) -> None:
    result = ask(store="/nonexistent/store")
    assert result["msg"].startswith("STORE-MISSING: /nonexistent/store: ")
    assert "unknown" in {item["status"] for item in result["checks"]}


def test_s3_an_incomplete_approval_is_one_clear_message(
    maker: Any, model: Callable[..., Any], ask: Callable[..., dict[str, Any]]
) -> None:
    made = maker.put(model("mistral:7b", b"w"))
    result = ask(approvals=[made.entry(digest=None)], on_failure="report")
    assert result["failed"]
    assert result["msg"].startswith("APPROVAL-INCOMPLETE: ")
    assert result["findings"][0]["code"] == "APPROVAL-INCOMPLETE"
