# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S6, T2: the module ollama_revocations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.row("T2")


def revocation(**changes: str) -> dict[str, str]:
    return {"reason": "withdrawn", "revoked_date": "2026-02-01", "revoked_by": "rssi@example.org", **changes}


@pytest.fixture
def ask(maker: Any, run_module: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def call(revocations: list[Any] | None, check: bool = False, diff: bool = False, **changes: Any) -> dict[str, Any]:
        arguments = {
            "path": str(tmp_path / "revocations.json"),
            "store": str(maker.root),
            "revocations": revocations,
            **changes,
        }
        return run_module("ollama_revocations", arguments, check=check, diff=diff)

    return call


def test_t2_a_revoked_model_in_the_store_is_named_and_stays_to_be_removed(
    maker: Any, model: Callable[..., Any], ask: Callable[..., dict[str, Any]]
) -> None:
    made = maker.put(model("mistral:7b", b"w"))
    before = maker.tree()
    result = ask([revocation(blob=made.weights)])
    assert result["changed"]
    assert [item["name"] for item in result["models"]] == ["registry.ollama.ai/library/mistral:7b"]
    assert [item["code"] for item in result["findings"]] == ["STORE-REVOKED-MODEL"]
    assert {item["id"]: item["status"] for item in result["checks"]} == {
        "store-revocations-kept": "passed",
        "store-no-revoked-model": "failed",
    }
    assert maker.tree() == before
    assert not ask([revocation(blob=made.weights)])["changed"]


def test_t2_a_revocation_the_file_lost_is_told_and_still_counts(
    maker: Any, model: Callable[..., Any], ask: Callable[..., dict[str, Any]]
) -> None:
    made = maker.put(model("mistral:7b", b"w"))
    ask([revocation(digest=made.digest)])
    result = ask([])
    assert not result["changed"]
    assert [item["digest"] for item in result["lost"]] == [made.digest]
    assert [item["digest"] for item in result["revocations"]] == [made.digest]
    assert [item["code"] for item in result["findings"]] == ["APPROVAL-REVOCATION-LOST", "STORE-REVOKED-MODEL"]


def test_t2_check_mode_predicts_and_writes_nothing(
    maker: Any, model: Callable[..., Any], ask: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    made = maker.put(model("mistral:7b", b"w"))
    result = ask([revocation(digest=made.digest)], check=True, diff=True)
    assert result["changed"]
    assert len(result["models"]) == 1
    assert result["restart_due"]
    assert not (tmp_path / "revocations.restart-due").exists()
    assert result["diff"]["before"] == ""
    assert made.digest in result["diff"]["after"]
    assert not (tmp_path / "revocations.json").exists()


def test_t2_a_missing_store_is_never_a_pass(ask: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    result = ask([], store=str(tmp_path / "none"))
    assert {item["id"]: item["status"] for item in result["checks"]}["store-no-revoked-model"] == "unknown"
    assert (result["changed"], result["findings"]) == (False, [])


def test_t2_without_a_list_what_the_host_remembers_is_enforced(
    maker: Any, model: Callable[..., Any], ask: Callable[..., dict[str, Any]]
) -> None:
    made = maker.put(model("mistral:7b", b"w"))
    ask([revocation(digest=made.digest)])
    result = ask(None)
    assert [item["digest"] for item in result["models"]] == [made.digest]
    assert [item["code"] for item in result["findings"]] == ["STORE-REVOKED-MODEL"]
    assert result["lost"] == []
    # What nobody could read was not compared, which is never a pass.
    assert {item["id"]: item["status"] for item in result["checks"]}["store-revocations-kept"] == "unknown"


def test_t2_a_run_that_is_killed_after_the_removal_leaves_the_restart_due(
    maker: Any, model: Callable[..., Any], ask: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    made = maker.put(model("mistral:7b", b"w"))
    assert ask([])["restart_due"] is False
    first = ask([revocation(digest=made.digest)])
    # Before anything is removed.
    assert (first["restart_due"], first["restart_models"]) == (True, [made.digest])
    assert (tmp_path / "revocations.restart-due").read_text() == made.digest + "\n"
    maker.manifest(made).unlink()
    again = ask([revocation(digest=made.digest)])
    assert (again["models"], again["restart_due"], again["changed"]) == ([], True, False)
    done: dict[str, Any] = {"state": "restarted", "restarted_for": again["restart_models"]}
    assert ask(None, check=True, **done)["changed"]
    assert ask([])["restart_due"]
    assert ask(None, **done)["changed"]
    assert not ask(None, **done)["changed"]
    assert ask([])["restart_due"] is False
    assert sorted(item.name for item in tmp_path.iterdir() if item.is_file()) == ["revocations.json"]


def test_t2_what_is_revoked_meanwhile_stays_due(
    maker: Any, model: Callable[..., Any], ask: Callable[..., dict[str, Any]]
) -> None:
    one, two = maker.put(model("mistral:7b", b"w")), maker.put(model("other:7b", b"o"))
    first = ask([revocation(digest=one.digest)])
    both = ask([revocation(digest=one.digest), revocation(digest=two.digest)])
    assert both["changed"]
    assert both["restart_models"] == sorted([one.digest, two.digest])
    # The restart of the first run was before the second removed anything.
    ask(None, state="restarted", restarted_for=first["restart_models"])
    assert two.digest in ask([])["restart_models"]


@pytest.mark.parametrize(
    ("revocations", "path", "code"),
    [
        ([{"digest": "x"}], None, "REVOCATION-INVALID"),
        ([revocation(digest="sha256:" + "a" * 64)], "/nonexistent/revocations.json", "REVOCATION-MEMORY"),
    ],
)
def test_t2_what_cannot_be_done_is_one_clear_message(
    ask: Callable[..., dict[str, Any]], revocations: list[Any], path: str | None, code: str
) -> None:
    result = ask(revocations, **({"path": path} if path else {}))
    assert result["failed"]
    assert result["msg"].startswith(code + ": ")
    assert [item["code"] for item in result["findings"]] == [code]
