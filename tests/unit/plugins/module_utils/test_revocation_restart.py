# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row T2: a restart that is due is never forgotten, whatever happens to the note that says so."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.revocation_restart import (
    note_path,
    note_restart,
    restart_due,
    settle_restart,
)

pytestmark = pytest.mark.row("T2")


def digest(number: int) -> str:
    return "sha256:{0:064x}".format(number)


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "revocations.json"


def test_t2_a_note_is_roots_alone_and_says_what_it_is_for(memory: Path) -> None:
    assert restart_due(memory) == (False, ())
    assert not settle_restart(memory, [digest(1)])
    assert note_restart(memory, [digest(2), digest(1)])
    assert note_path(memory).stat().st_mode & 0o7777 == 0o600
    assert restart_due(memory) == (True, (digest(1), digest(2)))
    assert not note_restart(memory, [digest(1)])
    assert settle_restart(memory, [digest(1)])
    assert restart_due(memory) == (True, (digest(2),))
    assert settle_restart(memory, [digest(2), digest(3)])
    assert restart_due(memory) == (False, ())
    assert list(memory.parent.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"nonsense\n", b"sha256:" + b"a" * 5_000_000])
def test_t2_a_note_that_nobody_understands_is_a_restart_that_is_due(memory: Path, content: bytes) -> None:
    note_path(memory).write_bytes(content)
    assert restart_due(memory) == (True, ())
    assert note_restart(memory, [digest(1)])
    assert restart_due(memory) == (True, (digest(1),))
    note_path(memory).write_bytes(content)
    assert settle_restart(memory, [])
    assert restart_due(memory) == (False, ())


def test_t2_a_link_leads_nowhere_and_is_a_restart_that_is_due(memory: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("good")
    note_path(memory).symlink_to(target)
    assert restart_due(memory) == (True, ())
    assert note_restart(memory, [digest(1)])
    assert target.read_text() == "good"
    note_path(memory).unlink()
    note_path(memory).symlink_to(target)
    assert settle_restart(memory, [])
    assert target.read_text() == "good"


@pytest.mark.parametrize("broken", ["rename", "fsync", "open"])
def test_t2_nothing_counts_as_noted_that_is_not_on_the_disk(
    memory: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    note_restart(memory, [digest(1)])

    def fail(*_given: Any, **_more: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(FindingError, match="REVOCATION-MEMORY"):
        note_restart(memory, [digest(2)])
    monkeypatch.undo()
    assert restart_due(memory) == (True, (digest(1),))
    assert len(list(memory.parent.iterdir())) == 1


def test_t2_where_the_note_cannot_be_one_clear_error_stops_the_removal(memory: Path, tmp_path: Path) -> None:
    with pytest.raises(FindingError, match="REVOCATION-MEMORY"):
        note_restart(tmp_path / "none" / "revocations.json", [digest(1)])
    assert not settle_restart(tmp_path / "none" / "revocations.json", [])
    note_path(memory).mkdir()
    assert restart_due(memory)[0]
    for work in (note_restart, settle_restart):
        with pytest.raises(FindingError, match="REVOCATION-MEMORY"):
            work(memory, [digest(1)])


def test_t2_two_runs_at_once_forget_nothing(memory: Path) -> None:
    threads = [threading.Thread(target=note_restart, args=(memory, [digest(number)])) for number in range(40)]
    threads += [threading.Thread(target=settle_restart, args=(memory, [digest(99)])) for _number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert restart_due(memory) == (True, tuple(digest(number) for number in range(40)))
