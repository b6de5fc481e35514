# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S2: how far a fetch is, written by one that is not trusted, read by one that is root."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import progress
from ansible_collections.rampart.ollama.plugins.module_utils.progress import PROGRESS_FILE, Gauge, read_progress

pytestmark = pytest.mark.row("S2")
GOOD = {"version": 1, "done": 1, "total": 2, "rate": 3}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def test_s2_it_tells_bytes_and_the_rate_of_the_last_seconds(tmp_path: Path, clock: Clock) -> None:
    gauge = Gauge(tmp_path / PROGRESS_FILE, 1_000_000)
    gauge.have(500_000)
    for _second in range(30):
        clock.now += 1
        gauge.add(1000)
    assert read_progress(tmp_path) == {"done": 530_000, "total": 1_000_000, "rate": 1000}
    # Nothing comes any more: the rate sinks, the bytes stay.
    for _second in range(15):
        clock.now += 1
        gauge.tell()
    assert read_progress(tmp_path) == {"done": 530_000, "total": 1_000_000, "rate": 0}
    gauge.add(-600_000)
    clock.now += 1
    gauge.tell()
    assert read_progress(tmp_path) == {"done": 0, "total": 1_000_000, "rate": 0}


def test_s2_nobody_else_can_read_it_and_it_goes_away(tmp_path: Path, clock: Clock) -> None:
    gauge = Gauge(tmp_path / PROGRESS_FILE, 10)
    clock.now += 1
    gauge.add(1)
    assert (tmp_path / PROGRESS_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [PROGRESS_FILE]
    gauge.close()
    assert list(tmp_path.iterdir()) == []
    assert read_progress(tmp_path) is None


def test_s2_it_is_written_once_a_second_at_most(tmp_path: Path, clock: Clock) -> None:
    gauge = Gauge(tmp_path / PROGRESS_FILE, 10_000)
    gauge.add(1)
    assert not (tmp_path / PROGRESS_FILE).exists()
    clock.now += 1
    gauge.add(1)
    first = (tmp_path / PROGRESS_FILE).stat().st_ino
    gauge.add(1)
    assert (tmp_path / PROGRESS_FILE).stat().st_ino == first


def test_s2_threads_count_together(tmp_path: Path, clock: Clock) -> None:
    gauge = Gauge(tmp_path / PROGRESS_FILE, 4000)
    workers = [threading.Thread(target=lambda: [gauge.add(1) for _time in range(1000)]) for _number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    clock.now += 1
    gauge.tell()
    seen = read_progress(tmp_path)
    assert seen is not None
    assert seen["done"] == 4000


def test_s2_a_disk_that_takes_nothing_does_not_end_a_fetch(tmp_path: Path, clock: Clock) -> None:
    gauge = Gauge(tmp_path / "nowhere" / PROGRESS_FILE, 10)
    clock.now += 1
    gauge.add(1)
    gauge.close()


def test_s2_a_link_in_its_place_is_replaced_not_followed(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / PROGRESS_FILE).symlink_to(tmp_path / "precious")
    (tmp_path / (PROGRESS_FILE + ".new")).symlink_to(tmp_path / "precious")
    gauge = Gauge(tmp_path / PROGRESS_FILE, 10)
    clock.now += 1
    gauge.add(5)
    assert (tmp_path / "precious").read_text() == "precious"
    assert read_progress(tmp_path) == {"done": 5, "total": 10, "rate": 5}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "no json",
        "[" * 2000,
        json.dumps({**GOOD, "version": 2}),
        json.dumps({**GOOD, "done": -1}),
        json.dumps({**GOOD, "done": 1.5}),
        json.dumps({**GOOD, "done": True}),
        json.dumps({**GOOD, "rate": "fast"}),
        json.dumps({**GOOD, "total": 1 << 70}),
        json.dumps({"version": 1, "done": 1, "total": 2}),
        '{"version": 1, "done": NaN, "total": 2, "rate": 3}',
        json.dumps({**GOOD, "more": "x" * 5000}),
        "\x1b[2J",
    ],
)
def test_s2_what_is_no_three_numbers_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / PROGRESS_FILE).write_text(text)
    assert read_progress(tmp_path) is None


def test_s2_further_words_are_not_passed_on(tmp_path: Path) -> None:
    (tmp_path / PROGRESS_FILE).write_text(json.dumps({**GOOD, "msg": "all is well"}))
    assert read_progress(tmp_path) == {"done": 1, "total": 2, "rate": 3}


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "device"])
def test_s2_what_is_no_file_is_not_followed_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / PROGRESS_FILE
    secret = tmp_path / "secret"
    secret.write_text(json.dumps(GOOD))
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    assert read_progress(tmp_path) is None
