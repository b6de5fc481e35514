# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S5: one quota and one memory for all runs that ask VirusTotal."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ansible_collections.rampart.ollama.plugins.plugin_utils.virustotal_state import DAY, Answer, Quota, State

pytestmark = pytest.mark.row("S5")
BAD, GOOD, NEW = ("a" * 64, "b" * 64, "c" * 64)
NOW = 1_800_000_000.0


def test_s5_records_of_a_clock_that_was_set_back_neither_serve_nor_block_for_ever(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.json"
    future = NOW + 1000 * DAY
    answers = {GOOD: [future, True, 0, 0, 1], BAD: ["x"], NEW: [float("inf"), 1, float("inf"), 0, 0]}
    path.write_text(json.dumps({"asked": [future] * 4, "answers": answers}))
    state = State(path, Quota(), DAY)
    assert [state.known_answer(name, NOW) for name in (GOOD, BAD, NEW)] == [None, None, None]
    assert state.take_place(NOW) == 60.0
    state.keep_answer(GOOD, Answer(True, 0, 0, 1), NOW)
    assert state.known_answer(GOOD, NOW) == Answer(True, 0, 0, 1)
    assert (path.stat().st_mode & 0o777, sorted(json.loads(path.read_text())["answers"])) == (0o600, [GOOD])


def test_s5_forks_that_ask_at_once_share_one_quota(tmp_path: Path) -> None:
    state = State(tmp_path / "state.json", Quota(), DAY)
    with ThreadPoolExecutor(max_workers=12) as pool:
        waits = list(pool.map(lambda _turn: state.take_place(NOW), range(12)))
    assert sorted(waits) == [0.0] * 4 + [60.0] * 8
