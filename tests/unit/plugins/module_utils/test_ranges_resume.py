# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S2: a large blob's ranges are continued by the next run, in time, with every thread and file accounted for.

The registry is the laboratory's stand-in, behind a proxy on a Unix socket, over real TLS.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback

from ansible_collections.rampart.ollama.plugins.module_utils import pieces, ranges, transfer
from ansible_collections.rampart.ollama.plugins.module_utils.transfer import Transfer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ranged import DATA, DIGEST, MIB, SIZE, asked_ranges, begun, bring, honest, limits, nothing_left, refused, serve

pytestmark = pytest.mark.row("S2")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    made = serve(tmp_path_factory.mktemp("internet"))
    yield made
    made.close()


@pytest.fixture
def internet(served: Loopback, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    # Small enough that there are some.
    monkeypatch.setattr(pieces, "PIECE_BYTES", MIB)
    with nothing_left():
        yield honest(served)


def state(started: Transfer, *have: tuple[int, int], **changes: Any) -> None:
    document = {"version": 1, "digest": DIGEST, "size": SIZE, "have": [list(item) for item in have], **changes}
    pieces.state_path(started.path).write_text(json.dumps(document))


def test_s2_what_a_killed_run_left_is_not_fetched_again(internet: Loopback, tmp_path: Path) -> None:
    holed = bytearray(SIZE)
    have = [(0, 100_000), (2 * MIB, 3 * MIB), (SIZE - 7, SIZE)]
    for first, end in have:
        holed[first:end] = DATA[first:end]
    started = begun(tmp_path, bytes(holed))
    state(started, *have)
    done = bring(internet, started)
    assert done.path.read_bytes() == DATA
    assert done.brought == SIZE - sum(end - first for first, end in have)
    assert asked_ranges(internet).count(None) == 0


def test_s2_a_part_without_a_state_is_its_beginning(internet: Loopback, tmp_path: Path) -> None:
    done = bring(internet, begun(tmp_path, DATA[: 3 * MIB]))
    assert done.path.read_bytes() == DATA
    assert done.brought == SIZE - 3 * MIB


def test_s2_what_is_complete_is_only_hashed(internet: Loopback, tmp_path: Path) -> None:
    assert bring(internet, begun(tmp_path, DATA)).brought == 0
    assert internet.requests() == []


@pytest.mark.parametrize("text", ["", "[" * 100_000, json.dumps({"version": 1, "digest": DIGEST, "size": 5})])
def test_s2_a_state_that_cannot_be_right_is_as_good_as_none(internet: Loopback, tmp_path: Path, text: str) -> None:
    """And the file is not taken for a beginning then: nobody knows what is in it."""
    started = begun(tmp_path, b"x" * (SIZE // 2))
    pieces.state_path(started.path).write_text(text, encoding="latin-1")
    done = bring(internet, started)
    assert done.path.read_bytes() == DATA
    assert done.brought == SIZE


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_s2_a_state_that_is_no_file_is_not_followed_and_not_waited_for(
    internet: Loopback, tmp_path: Path, kind: str
) -> None:
    started = begun(tmp_path, b"x" * (SIZE // 2))
    path = pieces.state_path(started.path)
    precious = tmp_path / "precious"
    precious.write_text("precious")
    if kind == "link":
        path.symlink_to(precious)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    if kind == "directory":
        assert refused(lambda: bring(internet, started)) == "FETCH-DISK"
    else:
        assert bring(internet, started).path.read_bytes() == DATA
        assert started.brought == SIZE
    assert precious.read_text() == "precious"


def test_s2_a_state_that_lies_costs_one_more_download(internet: Loopback, tmp_path: Path) -> None:
    started = begun(tmp_path, b"x" * SIZE)
    state(started, (0, SIZE))
    done = bring(internet, started)
    assert done.path.read_bytes() == DATA
    assert asked_ranges(internet) == [None]


def test_s2_what_was_put_together_badly_is_gone_before_its_state_is(
    internet: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the two, the next run must not take a bad file for a good beginning."""
    started = begun(tmp_path, b"x" * SIZE)
    state(started, (0, SIZE))

    def killed(_path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(ranges, "drop_state", killed)
        bring(internet, started)
    assert started.path.stat().st_size == 0
    assert bring(internet, Transfer(DIGEST, SIZE, started.path)).path.read_bytes() == DATA


def test_s2_a_failed_run_leaves_a_state_that_the_next_one_continues(internet: Loopback, tmp_path: Path) -> None:
    internet.misbehave(default={"kind": "slow", "seconds": 0.1})
    started = begun(tmp_path)
    assert refused(lambda: bring(internet, started, limits(total_seconds=1.0))) == "FETCH-TIMEOUT"
    held = pieces.load_state(started.path, DIGEST, SIZE, started.path.stat().st_size)
    assert held
    had = sum(end - first for first, end in held)
    assert 0 < had < SIZE
    internet.misbehave()
    done = bring(internet, Transfer(DIGEST, SIZE, started.path))
    assert done.path.read_bytes() == DATA
    assert done.brought == SIZE - had


def test_s2_the_deadline_ends_a_trickle(internet: Loopback, tmp_path: Path) -> None:
    internet.misbehave(default={"kind": "slow", "seconds": 0.4})
    assert refused(lambda: bring(internet, begun(tmp_path), limits(total_seconds=1.0))) == "FETCH-TIMEOUT"


def test_s2_a_head_that_comes_line_by_line_is_not_waited_for(internet: Loopback, tmp_path: Path) -> None:
    """Each line comes in time; all together do not."""
    internet.misbehave(default={"kind": "slowhead", "seconds": 0.4})
    asked = limits(operation_seconds=1.0, attempts=2)
    assert refused(lambda: bring(internet, begun(tmp_path), asked)) == "FETCH-UNREACHABLE"


def test_s2_a_full_disk_is_one_finding_and_ends_every_thread(
    internet: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes, position: int) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(transfer.os, "pwrite", full)
        assert refused(lambda: bring(internet, begun(tmp_path))) == "FETCH-DISK"


def test_s2_where_threads_are_few_there_are_fewer_connections(
    internet: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start
    allowed = [2]

    def scarce(thread: threading.Thread) -> None:
        if thread.name == "rampart-fetch":
            if not allowed[0]:
                raise RuntimeError("can't start new thread")
            allowed[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    assert bring(internet, begun(tmp_path)).path.read_bytes() == DATA


def test_s2_what_a_thread_did_not_expect_ends_all_of_them(
    internet: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: Any) -> int:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(ranges._Ranges, "_judge", broken)
    with pytest.raises(ZeroDivisionError):
        bring(internet, begun(tmp_path))


def test_s2_nobody_keeps_asking_whether_there_is_something(
    internet: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source that says nothing for three seconds: every thread sleeps until something happens."""
    waits = [0]
    wait = threading.Condition.wait

    def counted(condition: threading.Condition, timeout: float | None = None) -> bool:
        waits[0] += 1
        return wait(condition, timeout)

    monkeypatch.setattr(threading.Condition, "wait", counted)
    internet.misbehave(default={"kind": "slowhead", "seconds": 0.5, "times": 1})
    bring(internet, begun(tmp_path))
    assert waits[0] < 300
