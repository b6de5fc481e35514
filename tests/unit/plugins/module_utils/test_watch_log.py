# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watch's log on a disk that is full, its figures, and what it asks of the actor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.findings import Finding, Severity
from ansible_collections.rampart.ollama.plugins.module_utils.watch_contain import Containment
from ansible_collections.rampart.ollama.plugins.module_utils.watch_log import WatchLog, event_line, finding_line
from ansible_collections.rampart.ollama.plugins.module_utils.watch_metrics import FILE_NAME, Metrics
from ansible_collections.rampart.ollama.plugins.module_utils.watch_protocol import Answer, Request, WatchError

pytestmark = pytest.mark.row("I5")
FINDING = Finding("ISO-INTERFACE", Severity.CRITICAL, "rampart-ollama", "interfaces: lo, eth0", "Disconnect it.")
ID = "ab" * 32


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- the log ----------------------------------------------------------------------------------------------
def test_a_line_has_the_fields_that_rules_match_on(tmp_path: Path) -> None:
    log = WatchLog(str(tmp_path / "watch.json"), 10**6, 2)
    more = {"event": {"outcome": "success"}, "rampart": {"containment": {"verb": "network"}}}
    assert log.write(finding_line(FINDING, "containment-network", "docker", **more), critical=True)
    line = lines(tmp_path / "watch.json")[0]
    assert line["event"]["kind"] == "alert"
    assert line["event"]["category"] == ["intrusion_detection"]
    assert (line["event"]["action"], line["event"]["outcome"]) == ("containment-network", "success")
    assert line["rule"]["name"] == "ISO-INTERFACE"
    assert line["rampart"]["finding"] == FINDING.as_dict()
    assert line["rampart"]["containment"] == {"verb": "network"}
    assert oct((tmp_path / "watch.json").stat().st_mode & 0o777) in ("0o640", "0o600")


def test_hostile_text_stays_one_line(tmp_path: Path) -> None:
    log = WatchLog(str(tmp_path / "watch.json"), 10**6, 2)
    hostile = Finding("WATCH-DROP", Severity.LOW, 'a"}\n{"x":1}', "\x1b[2J\u2028" * 400, "r")
    log.write(finding_line(hostile, "finding-opened", "drop"))
    assert len(lines(tmp_path / "watch.json")) == 1


def test_it_is_rotated_by_size_and_keeps_so_many(tmp_path: Path) -> None:
    log = WatchLog(str(tmp_path / "watch.json"), 4096, 2)
    for number in range(100):
        assert log.write(event_line(str(number) * 20, "test"))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["watch.json", "watch.json.1", "watch.json.2"]
    assert all(path.stat().st_size <= 4096 for path in tmp_path.iterdir())
    assert [line["message"] for line in lines(tmp_path / "watch.json")][-1] == "99" * 20


def test_a_link_in_its_place_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("")
    (tmp_path / "watch.json").symlink_to(tmp_path / "target")
    log = WatchLog(str(tmp_path / "watch.json"), 4096, 2)
    assert not log.write(event_line("x", "test"))
    assert (tmp_path / "target").read_text() == ""
    assert log.waiting == 1


def test_when_too_many_wait_the_critical_ones_stay(tmp_path: Path) -> None:
    log = WatchLog(str(tmp_path / "absent" / "watch.json"), 4096, 2, waiting_max=10)
    log.write(event_line("critical", "test"), critical=True)
    for number in range(50):
        log.write(event_line(str(number), "test"))
    assert (log.waiting, log.lost) == (10, 41)
    (tmp_path / "absent").mkdir()
    assert log.flush()
    found = [line["message"] for line in lines(tmp_path / "absent" / "watch.json")]
    assert found[0] == "critical"
    assert found[1:] == [str(number) for number in range(41, 50)]


FULL_DISK = """
import json, os, sys
from pathlib import Path
from ansible_collections.rampart.ollama.plugins.module_utils.watch_log import WatchLog, event_line
root = Path(sys.argv[1])
log = WatchLog(str(root / "watch.json"), 10**9, 2)
written = 0
while log.write(event_line("x" * 400, "test")):
    written += 1
    assert written < 10000
log.write(event_line("the breach", "test"), critical=True)
assert log.waiting == 2 and log.error, (log.waiting, log.error)
whole = (root / "watch.json").read_text()
assert whole.endswith("\\n") and all(json.loads(line) for line in whole.splitlines())
assert len(whole.splitlines()) == written
(root / "ballast").unlink()
assert log.flush() and log.waiting == 0
found = [json.loads(line)["message"] for line in (root / "watch.json").read_text().splitlines()]
assert found[written] == "the breach", found[written:]
print("whole", written)
"""


def test_a_full_disk_loses_no_critical_line_and_leaves_no_half_one(tmp_path: Path) -> None:
    """On a real file system that is full: a tmpfs of 128 kB in a mount namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs takes root")
    script = (
        'mount -t tmpfs -o size=128k tmpfs {0} && head -c 65536 /dev/zero >{0}/ballast && exec {1} -c "$0" {0}'
    ).format(tmp_path, sys.executable)
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", script, FULL_DISK],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("whole")


# --- figures ----------------------------------------------------------------------------------------------
def test_the_figures_are_written_whole_and_readable(tmp_path: Path) -> None:
    metrics = Metrics(str(tmp_path))
    metrics.findings([FINDING, FINDING])
    metrics.add("rampart_watch_containments_total", verb="network", outcome="done")
    metrics.add("rampart_watch_containments_total", verb="network", outcome="done")
    metrics.alive()
    assert metrics.write()
    text = (tmp_path / FILE_NAME).read_text()
    assert 'rampart_watch_findings{code="ISO-INTERFACE",severity="critical"} 2\n' in text
    assert 'rampart_watch_containments_total{outcome="done",verb="network"} 2\n' in text
    assert "# TYPE rampart_watch_last_success_timestamp_seconds gauge\n" in text
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]
    metrics.findings([])
    assert metrics.write()
    assert "rampart_watch_findings{" not in (tmp_path / FILE_NAME).read_text()


def test_a_directory_that_is_missing_is_an_error_kept_and_not_raised(tmp_path: Path) -> None:
    metrics = Metrics(str(tmp_path / "absent"))
    metrics.set("rampart_watch_up", 1)
    assert not metrics.write()
    assert metrics.error
    assert not Metrics("").write()


# --- containment ------------------------------------------------------------------------------------------
class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Actor:
    """An actor that answers what a test says, and counts."""

    def __init__(self, answer: Answer | WatchError) -> None:
        self.answer = answer
        self.asked: list[Request] = []

    def __call__(self, _path: str, request: Request, _timeout: float) -> Answer:
        self.asked.append(request)
        if isinstance(self.answer, WatchError):
            raise self.answer
        return self.answer


def test_the_same_thing_is_asked_for_once() -> None:
    clock, actor = Clock(), Actor(Answer("done", "stopped"))
    containment = Containment("/nowhere", 5, actor, clock)
    request = Request("container", {"container": ID}, FINDING)
    assert containment.contain(request).word == "done"
    assert containment.contain(request).word == "held"
    assert containment.contain(Request("container", {"container": "cd" * 32}, FINDING)).word == "done"
    clock.now += 3
    assert containment.contain(request).word == "done"
    assert len(actor.asked) == 3


@pytest.mark.parametrize(
    "answer", [Answer("refused", "no"), Answer("failed", "no"), WatchError("WATCH-ACTOR-DOWN", "")]
)
def test_what_did_not_work_is_tried_ever_more_seldom(answer: Answer | WatchError) -> None:
    """A finding that cannot be contained must not keep the watch busy."""
    clock, actor = Clock(), Actor(answer)
    containment = Containment("/nowhere", 5, actor, clock)
    request = Request("container", {"container": ID}, FINDING)
    pauses = []
    for _number in range(3600):
        outcome = containment.contain(request)
        if outcome.asked:
            pauses.append(outcome.again)
        clock.now += 1
    assert pauses[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert len(actor.asked) < 70


def test_what_was_tried_is_not_remembered_without_end() -> None:
    clock = Clock()
    containment = Containment("/nowhere", 5, Actor(Answer("refused", "no")), clock)
    for number in range(5000):
        containment.contain(Request("container", {"container": f"{number:064x}"}, FINDING))
        clock.now += 2
    assert len(containment._tried) <= 1000
