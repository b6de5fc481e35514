# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows S6, T2: a host remembers every revocation, and knows which models in its store are revoked."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import revocation_memory
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.revocation import (
    Revocation,
    Revoked,
    look_for_revoked,
    parse_revocation,
    parse_revocations,
    revoked_models,
)
from ansible_collections.rampart.ollama.plugins.module_utils.revocation_memory import read_memory, remember
from ansible_collections.rampart.ollama.plugins.module_utils.store import ModelStore

pytestmark = pytest.mark.row("T2")


def digest(char: str) -> str:
    return "sha256:" + char * 64


def revoke(manifest: str = "", blob: str = "", reason: str = "withdrawn") -> Revocation:
    raw = {"digest": manifest, "blob": blob, "reason": reason, "revoked_date": "2026-02-01", "revoked_by": "rssi@x"}
    return parse_revocation(raw)


A, B, C = revoke(digest("a")), revoke(digest("b")), revoke(blob=digest("c"))


def code(action: Callable[[], object]) -> str:
    with pytest.raises(FindingError) as caught:
        action()
    assert len(str(caught.value)) < 1500
    return caught.value.finding.code


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "revocations.json"


# --- what a revocation is


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "x",
        {},
        {"digest": digest("a")},
        {"digest": digest("a"), "reason": "x", "revoked_by": "a"},
        {"digest": "x", "reason": "x", "revoked_date": "2026-01-01", "revoked_by": "a"},
        {"digest": None, "blob": "", "reason": "x", "revoked_date": "2026-01-01", "revoked_by": "a"},
        {"digest": digest("a"), "reason": "  ", "revoked_date": "2026-01-01", "revoked_by": "a"},
        {"digest": digest("a"), "reason": "x" * 1001, "revoked_date": "2026-01-01", "revoked_by": "a"},
        {"digest": digest("a"), "reason": "x", "revoked_date": "20260101", "revoked_by": "a"},
        {"digest": digest("a"), "reason": "x", "revoked_date": "2026-02-30", "revoked_by": "a"},
        {"digest": digest("a"), "reason": "x", "revoked_date": "2026-01-01", "revoked_by": "a b"},
        {"digest": digest("a"), "reason": "x", "revoked_date": "2026-01-01", "revoked_by": "a", "more": "y"},
        {"digest": digest("a"), "reason": 5, "revoked_date": "2026-01-01", "revoked_by": "a"},
        {5: "x"},
    ],
)
def test_t2_what_is_no_revocation_is_refused(raw: Any) -> None:
    assert code(lambda: parse_revocation(raw)) == "REVOCATION-INVALID"


def test_t2_a_list_is_bounded_and_is_one() -> None:
    assert code(lambda: parse_revocations({})) == "REVOCATION-INVALID"
    assert code(lambda: parse_revocations([A.as_dict()] * 10_001)) == "REVOCATION-INVALID"


def test_t2_every_writing_of_a_digest_is_the_same_one() -> None:
    assert revoke("sha256-" + "A" * 64).digest == digest("a")


# --- models in a store


def test_t2_a_model_is_revoked_by_its_manifest_or_by_any_blob(maker: Any, model: Callable[..., Any]) -> None:
    one = maker.put(model("one:1", b"shared", b"licence of one"))
    two = maker.put(model("two:1", b"shared"))
    maker.put(model("three:1", b"other"))
    names = [item.name.short for item in revoked_models(maker.store, [revoke(one.digest)])]
    assert names == ["one:1"]
    found = revoked_models(maker.store, [revoke(blob=one.weights)])
    assert [item.name.short for item in found] == ["one:1", "two:1"]
    assert found[1].because == one.weights
    assert found[1].digest == two.digest
    assert "withdrawn" in found[1].as_finding().evidence
    # Under the other key it means the same: a digest is a digest.
    assert [item.name.short for item in revoked_models(maker.store, [revoke(one.config)])] == ["one:1"]
    assert revoked_models(maker.store, [revoke(digest("f"))]) == []


def test_t2_a_manifest_that_cannot_be_parsed_is_held_against_its_digest(maker: Any, model: Callable[..., Any]) -> None:
    import hashlib

    made = maker.put(model("one:1", b"w"))
    maker.rewrite(maker.manifest(made), b"{broken")
    broken = "sha256:" + hashlib.sha256(b"{broken").hexdigest()
    assert [item.because for item in revoked_models(maker.store, [revoke(broken)])] == [broken]


def test_t2_nothing_is_written_and_nothing_raised(maker: Any, model: Callable[..., Any], tmp_path: Path) -> None:
    made = maker.put(model("one:1", b"w"))
    before = maker.tree()
    revoked_models(maker.store, Revoked([revoke(made.digest)]))
    assert maker.tree() == before
    assert revoked_models(ModelStore(tmp_path / "none"), [A]) == []
    assert look_for_revoked(None, [A]).check().status == "unknown"


def test_t2_a_revoked_blob_that_nothing_names_is_told(maker: Any, model: Callable[..., Any]) -> None:
    made = maker.put(model("one:1", b"w"))
    maker.manifest(made).unlink()
    seen = look_for_revoked(maker.store, [revoke(blob=made.weights)])
    assert [finding.code for finding in seen.findings()] == ["STORE-REVOKED-BLOB"]
    assert seen.check().status == "failed"


def test_t2_what_an_unreadable_manifest_names_is_not_known(maker: Any, model: Callable[..., Any]) -> None:
    made = maker.put(model("one:1", b"w"))
    maker.rewrite(maker.manifest(made), b"{broken")
    assert look_for_revoked(maker.store, [A]).check().status == "unknown"


# --- the host's memory


def test_t2_revocations_only_add_up(path: Path) -> None:
    first = remember(path, [B, A])
    assert (first.changed, first.added, first.lost) == (True, (A, B), ())
    assert path.stat().st_mode & 0o777 == 0o600
    second = remember(path, [C])
    assert second.all == (C, A, B)
    assert second.added == (C,)
    assert second.lost == (A, B)
    assert [finding.code for finding in second.findings()] == ["APPROVAL-REVOCATION-LOST"] * 2
    assert second.check().status == "failed"
    third = remember(path, [])
    assert third.all == (C, A, B)
    assert not third.changed
    assert read_memory(path) == (C, A, B)


def test_t2_the_same_list_again_changes_nothing(path: Path) -> None:
    remember(path, [A, B])
    before = path.stat().st_mtime_ns, path.read_bytes()
    again = remember(path, [B, A, A])
    assert (again.changed, again.added, again.lost) == (False, (), ())
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before


def test_t2_nothing_revoked_leaves_no_file(path: Path) -> None:
    assert not remember(path, []).changed
    assert not path.exists()
    assert read_memory(path) == ()


def test_t2_another_wording_is_taken_over_and_the_digest_is_not_lost(path: Path) -> None:
    remember(path, [revoke(digest("a"), digest("c"))])
    split = remember(path, [revoke(digest("a"), reason="in other words"), C])
    assert split.lost == ()
    assert len(split.all) == 3
    reworded = remember(path, [revoke(digest("a"), reason="once more"), C])
    assert reworded.changed
    assert "once more" in path.read_text()


def test_t2_check_mode_predicts_and_writes_nothing(path: Path) -> None:
    predicted = remember(path, [A], write=False)
    assert predicted.changed
    assert not path.exists()
    assert remember(path.parent / "none" / "x.json", [A], write=False).added == (A,)


def test_t2_without_its_directory_there_is_one_clear_error(path: Path) -> None:
    assert code(lambda: remember(path.parent / "none" / "x.json", [A])) == "REVOCATION-MEMORY"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        b'{"schema": 2, "revocations": []}',
        b'{"schema": 1}',
        b'{"schema": 1, "revocations": [], "more": 1}',
        b'{"schema": 1, "revocations": [{}]}',
        b'{"schema": 1, "schema": 1, "revocations": []}',
        b"[" * 100_000,
    ],
)
def test_t2_a_memory_that_cannot_be_read_is_never_taken_for_an_empty_one(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    assert code(lambda: read_memory(path)) == "REVOCATION-MEMORY"
    assert code(lambda: remember(path, [A])) == "REVOCATION-MEMORY"
    assert path.read_bytes() == content


def test_t2_a_memory_that_others_can_write_is_refused(path: Path) -> None:
    remember(path, [A])
    path.chmod(0o602)
    assert code(lambda: remember(path, [A])) == "REVOCATION-MEMORY"
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
        assert code(lambda: read_memory(path)) == "REVOCATION-MEMORY"


def test_t2_a_link_a_directory_and_a_giant_are_refused(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    remember(real, [A])
    before = real.read_bytes()
    path.symlink_to(real)
    assert code(lambda: read_memory(path)) == "REVOCATION-MEMORY"
    assert code(lambda: remember(path, [B])) == "REVOCATION-MEMORY"
    assert (path.is_symlink(), real.read_bytes()) == (True, before)
    path.unlink()
    path.mkdir()
    assert code(lambda: remember(path, [A])) == "REVOCATION-MEMORY"
    path.rmdir()
    with path.open("wb") as stream:
        stream.truncate(revocation_memory.MEMORY_MAX_BYTES + 1)
    assert code(lambda: read_memory(path)) == "REVOCATION-MEMORY"


@pytest.mark.parametrize("broken", ["rename", "fsync"])
def test_t2_a_failing_disk_leaves_the_old_memory_and_nothing_beside_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    remember(path, [A])
    before = path.read_bytes()

    def fail(*_given: Any, **_more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, fail)
    assert code(lambda: remember(path, [B])) == "REVOCATION-MEMORY"
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_t2_what_a_killed_run_left_is_no_hindrance(path: Path) -> None:
    (path.parent / ".revocations.json.new").write_text("half")
    remember(path, [A])
    assert os.listdir(path.parent) == [path.name]


def test_t2_two_runs_at_once_lose_nothing(path: Path) -> None:
    many = [revoke("sha256:" + "{0:064x}".format(number)) for number in range(40)]
    threads = [threading.Thread(target=remember, args=(path, [item])) for item in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert set(read_memory(path)) == set(many)
    assert len(json.loads(path.read_text())["revocations"]) == 40
