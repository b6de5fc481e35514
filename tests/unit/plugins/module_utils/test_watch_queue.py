# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storms of events: merged, bounded, and never in front of what matters."""

from __future__ import annotations

import threading
import tracemalloc

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, Severity
from ansible_collections.rampart.ollama.plugins.module_utils.watch_board import EVENTS_MAX, Board
from ansible_collections.rampart.ollama.plugins.module_utils.watch_look import Sight
from ansible_collections.rampart.ollama.plugins.module_utils.watch_policy import Observation
from ansible_collections.rampart.ollama.plugins.module_utils.watch_queue import LANE_MAX, Hint, HintQueue
from ansible_collections.rampart.ollama.plugins.module_utils.watch_sources import hint_of

pytestmark = pytest.mark.row("I5")
ID = "ab" * 32


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_events_about_one_container_are_one_look() -> None:
    queue = HintQueue()
    for _number in range(10_000):
        queue.put(Hint("container", ID))
    assert len(queue) == 1
    assert (queue.seen, queue.coalesced) == (10_000, 9_999)
    assert queue.get(0) == Hint("container", ID)
    assert queue.get(0) is None


def test_an_urgent_hint_overtakes_and_replaces_a_calm_one() -> None:
    queue = HintQueue()
    queue.put(Hint("container", "other"))
    queue.put(Hint("container", ID))
    queue.put(Hint("container", ID, urgent=True))
    queue.put(Hint("container", ID))
    assert queue.get(0) == Hint("container", ID, urgent=True)
    assert queue.get(0) == Hint("container", "other")
    assert queue.get(0) is None


def test_a_critical_event_comes_through_a_storm_of_ten_thousand_a_second() -> None:
    """Three seconds of events, as the engine writes them, about ever new containers; one of them connects a network."""
    queue = HintQueue()
    storm = '{"Type":"container","Action":"die","Actor":{"ID":"%064x","Attributes":{"name":"x"}}}'
    connect = '{"Type":"network","Action":"connect","Actor":{"ID":"n","Attributes":{"container":"' + ID + '"}}}'
    tracemalloc.start()
    for number in range(30_000):
        line = connect if number == 20_000 else storm % number
        hint = hint_of(line.encode())
        assert hint is not None
        queue.put(hint)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert queue.get(0) == Hint("container", ID, urgent=True)
    # What had no room is not forgotten: a sweep sees whatever it was about.
    assert queue.overflowed == 30_000 - 1 - LANE_MAX
    assert queue.wait_for_sweep(0)
    assert not queue.wait_for_sweep(0)
    assert len(queue) == LANE_MAX
    assert peak < 4 * 1024 * 1024


def test_a_full_urgent_lane_asks_for_a_sweep_too() -> None:
    queue = HintQueue(limit=2)
    for number in range(3):
        queue.put(Hint("container", str(number), urgent=True))
    assert len(queue) == 2
    assert queue.wait_for_sweep(0)


def test_a_look_again_comes_due_in_spite_of_a_flood_of_calm_hints() -> None:
    clock = Clock()
    queue = HintQueue(clock=clock)
    queue.put_later(Hint("container", ID), 0.15)
    for number in range(50):
        queue.put(Hint("container", str(number)))
    assert queue.get(0) == Hint("container", "0")
    clock.now += 0.2
    assert queue.get(0) == Hint("container", ID)


def test_the_earlier_date_of_two_stays() -> None:
    clock = Clock()
    queue = HintQueue(clock=clock)
    queue.put_later(Hint("host"), 1.0)
    queue.put_later(Hint("host"), 9.0)
    clock.now += 2.0
    assert queue.get(0) == Hint("host")
    assert queue.get(0) is None


def test_many_threads_lose_nothing() -> None:
    queue = HintQueue(limit=10_000)
    found = set()

    def put(base: int) -> None:
        for number in range(1000):
            queue.put(Hint("container", str(base + number)))

    threads = [threading.Thread(target=put, args=(base * 1000,)) for base in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or len(queue):
        hint = queue.get(0.01)
        if hint is not None:
            found.add(hint.key)
    assert len(found) == 4000


# --- the board --------------------------------------------------------------------------------------------
def sight(*codes: str, covered: bool = True, blind: bool = False) -> Sight:
    seen = [Observation(Finding(code, Severity.CRITICAL, "box", "e", "r")) for code in codes]
    if blind:
        seen.append(Observation(Finding("ISO-ENGINE-DOWN", Severity.HIGH, "Docker Engine", "e", "r")))
    return Sight(seen, ids={"box": ID}, covered=lambda _code, subject: covered and subject == "box")


def test_a_finding_counts_when_two_looks_saw_it() -> None:
    clock = Clock()
    board = Board(0.15, clock)
    first = board.look(sight("ISO-ROOT-UID"))
    assert (first.opened, first.again) == ([], {Hint("container", ID, urgent=True)})
    clock.now += 0.01
    assert board.look(sight("ISO-ROOT-UID")).opened == []
    clock.now += 0.15
    opened = board.look(sight("ISO-ROOT-UID")).opened
    assert [entry.seen.finding.code for entry in opened] == ["ISO-ROOT-UID"]
    # How long it has been there counts from the first look.
    assert clock.now - opened[0].first == pytest.approx(0.16)
    again = board.look(sight("ISO-ROOT-UID"))
    assert (len(again.opened), len(again.standing)) == (0, 1)


def test_what_only_one_look_saw_is_neither_opened_nor_kept() -> None:
    clock = Clock()
    board = Board(0.15, clock)
    board.look(sight("ISO-ROOT-UID"))
    clock.now += 0.2
    assert board.look(sight()).transient == 1
    assert board.look(sight("ISO-ROOT-UID")).opened == []


def test_a_look_closes_only_what_it_would_have_seen() -> None:
    clock = Clock()
    board = Board(0.15, clock)
    for _number in range(2):
        board.look(sight("ISO-ROOT-UID"))
        clock.now += 0.2
    assert board.look(sight(covered=False)).closed == []
    # A look that was half blind proves nothing.
    assert board.look(sight(blind=True)).closed == []
    assert [entry.seen.finding.code for entry in board.look(sight()).closed] == ["ISO-ROOT-UID"]
    assert all(entry.seen.finding.code != "ISO-ROOT-UID" for entry in board.entries())


def test_a_flood_of_passing_findings_has_bounded_memory_and_lines() -> None:
    clock = Clock()
    board = Board(0.15, clock)
    lines = 0
    for number in range(20_000):
        changed = Observation(Finding("WATCH-STORE-CHANGED", Severity.HIGH, f"/store/{number}", "e", "r"))
        lines += board.raise_(changed, 900) is not None
    assert lines == EVENTS_MAX + 1
    assert len(board.entries()) == EVENTS_MAX + 1
    clock.now += 901
    assert len(board.expire()) == EVENTS_MAX + 1
    assert board.entries() == []
