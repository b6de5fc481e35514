# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S3: mode changed: an untouched blob is not read again, and whatever could have touched it has it read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.approval import approvals_from_entries
from ansible_collections.rampart.ollama.plugins.module_utils.record import Reading, StoreRecord, load
from ansible_collections.rampart.ollama.plugins.module_utils.verify import HowToRead, recorded, verify
from ansible_collections.rampart.ollama.plugins.module_utils.verify_report import VerifyReport, when
from ansible_collections.rampart.ollama.plugins.module_utils.verify_run import Question, answer

pytestmark = pytest.mark.row("S3")

SECOND = 1_000_000_000
DAY = 24 * 3600 * SECOND


class Clock:
    """The time as a test sets it; a minute from now at first, so that the files were not written just now."""

    def __init__(self) -> None:
        self.now = time.time_ns() + 60 * SECOND

    def __call__(self) -> int:
        return self.now


class Scene:
    """A store with two models that share a blob, verified in full and recorded."""

    def __init__(self, maker: Any, model: Callable[..., Any]) -> None:
        self.maker = maker
        self.models = [
            maker.put(model("one:1", b"1" * 3000, b"shared")),
            maker.put(model("two:1", b"2" * 50, b"shared")),
        ]
        self.approvals = approvals_from_entries([made.entry() for made in self.models])
        self.clock = Clock()
        self.record = StoreRecord()
        self.full()

    def full(self) -> VerifyReport:
        how = HowToRead(record=self.record, remember=True, now_ns=self.clock)
        report = verify(self.maker.store, self.approvals, how=how)
        self.record = recorded(self.record, self.maker.store, report)
        return report

    def changed(self, **options: Any) -> VerifyReport:
        how = HowToRead("changed", self.record, now_ns=self.clock, **options)
        return verify(self.maker.store, self.approvals, how=how)

    @property
    def path(self) -> Path:
        path: Path = self.maker.blob(self.models[0].weights)
        return path


@pytest.fixture
def scene(maker: Any, model: Callable[..., Any]) -> Scene:
    return Scene(maker, model)


def codes(report: VerifyReport) -> list[str]:
    return [finding.code for finding in report.findings]


def test_an_untouched_store_is_not_read_and_that_is_said(scene: Scene) -> None:
    read_at = scene.clock.now
    scene.clock.now += DAY
    report = scene.changed()
    assert (report.bytes_hashed, report.not_reread, report.mode_used) == (0, 5, "changed")
    assert (report.verdict, report.oldest_read) == ("passed", read_at)
    assert codes(report) == ["STORE-NOT-REREAD"]
    assert report.findings[0].evidence == "5 of 5 blobs not re-read since " + when(read_at)
    assert {model.not_reread_since for model in report.models} == {read_at}
    assert all(model.verified for model in report.models)
    result = report.as_result()
    assert (result["oldest_read"], result["models"][0]["not_reread_since"]) == (when(read_at), when(read_at))


def test_what_was_not_read_is_no_pass_for_the_report(scene: Scene) -> None:
    """The control that asks for every blob verified must not be satisfied by a record."""
    statuses = {item.id: item.status for item in scene.changed().checks}
    assert (statuses["store-blobs-verified"], statuses["store-blobs-unchanged"]) == ("unknown", "passed")
    statuses = {item.id: item.status for item in scene.full().checks}
    assert statuses["store-blobs-verified"] == "passed"
    assert "store-blobs-unchanged" not in statuses


def test_full_reads_everything_whatever_the_record_says(scene: Scene) -> None:
    report = verify(scene.maker.store, scene.approvals, how=HowToRead(record=scene.record, now_ns=scene.clock))
    assert report.bytes_hashed == sum(status.st_size for status in report.content.blobs.values())
    assert (report.mode_used, report.not_reread, report.oldest_read) == ("full", 0, 0)


@pytest.mark.parametrize("what", ["rewrite", "same bytes", "touch", "chmod and back", "replace", "append", "link"])
def test_whatever_touches_a_blob_has_it_read_and_only_it(scene: Scene, tmp_path: Path, what: str) -> None:
    path, data = scene.path, scene.path.read_bytes()
    status = path.stat()
    if what == "rewrite":
        scene.maker.rewrite(path, b"x" * len(data))
        # The forger puts the times back that he can set; the ctime he cannot.
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif what == "same bytes":
        scene.maker.rewrite(path, data)
    elif what == "touch":
        os.utime(path)
    elif what == "chmod and back":
        path.chmod(0o644)
        path.chmod(0o444)
    elif what == "replace":
        (tmp_path / "new").write_bytes(data)
        (tmp_path / "new").chmod(0o444)
        os.utime(tmp_path / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
        (tmp_path / "new").rename(path)
    elif what == "append":
        scene.maker.rewrite(path, data + b"x")
    else:
        os.link(path, tmp_path / "also")
    report = scene.changed()
    assert report.bytes_hashed == path.stat().st_size
    assert report.not_reread == 4
    assert ("STORE-DIGEST-MISMATCH" in codes(report)) == (what in ("rewrite", "append"))
    assert [model.verified for model in report.models] == [what not in ("rewrite", "append"), True]


def test_manifests_configs_owners_and_strays_are_looked_at_all_the_same(scene: Scene) -> None:
    made = scene.models[1]
    scene.maker.rewrite(scene.maker.manifest(made), made.manifest + b"\n")
    (scene.maker.root / "blobs" / "stray").touch()
    (scene.maker.root / "manifests").chmod(0o777)
    report = scene.changed()
    assert {"STORE-MANIFEST-MISMATCH", "STORE-UNEXPECTED-FILE", "STORE-MODE"} <= set(codes(report))
    assert report.bytes_hashed == 0


def test_a_new_blob_is_read(scene: Scene, model: Callable[..., Any]) -> None:
    made = scene.maker.put(model("three:1", b"333"))
    scene.approvals = approvals_from_entries([item.entry() for item in scene.maker.models])
    report = scene.changed()
    assert report.bytes_hashed == sum(len(data) for data in made.blobs.values())
    assert report.verdict == "passed"


def test_a_reading_ends_when_it_is_too_old(scene: Scene) -> None:
    scene.clock.now += 10 * SECOND
    assert scene.changed(max_age=11).not_reread == 5
    report = scene.changed(max_age=10)
    assert (report.not_reread, report.mode_used) == (0, "full")
    assert report.bytes_hashed > 0
    assert codes(report) == []
    assert scene.changed(max_age=0).not_reread == 0


def test_a_clock_set_back_has_everything_read(scene: Scene) -> None:
    """One reading from the future is enough: no time in the record means anything then."""
    scene.record.readings[scene.models[1].weights] = Reading(1, 2, 3, 4, 5, scene.clock.now + 1)
    report = scene.changed()
    assert (report.not_reread, report.mode_used) == (0, "full")
    assert codes(report) == ["STORE-RECORD-FUTURE"]
    assert report.verdict == "passed"


def test_a_clock_set_back_does_not_lengthen_a_readings_life(scene: Scene) -> None:
    scene.clock.now -= 1
    assert scene.changed().not_reread == 0


def test_a_reading_in_the_same_tick_as_the_last_write_does_not_stand(scene: Scene) -> None:
    """A second write in that tick would have left the ctime as it is."""
    scene.clock.now = scene.path.stat().st_ctime_ns + SECOND // 20
    scene.full()
    scene.clock.now += 100 * SECOND
    assert scene.changed().not_reread < 5


def test_a_file_system_that_keeps_whole_seconds_gets_a_longer_tick(scene: Scene) -> None:
    digest = scene.models[0].weights
    reading = scene.record.readings[digest]
    ctime = reading.ctime_ns - reading.ctime_ns % SECOND
    for ctime_ns, age, stands in (
        (ctime, SECOND, False),
        (ctime, 2 * SECOND, True),
        (ctime + 5, SECOND, True),
        (ctime + 5, SECOND // 20, False),
    ):
        read = Reading(reading.device, reading.inode, reading.size, reading.mtime_ns, ctime_ns, ctime_ns + age)
        store = scene.maker.store
        looked = store.look()
        looked.blobs[digest] = looked.blobs[digest]._replace(st_ctime_ns=ctime_ns)
        store.look = lambda looked=looked: looked
        how = HowToRead("changed", StoreRecord(str(store.root), {digest: read}), now_ns=scene.clock)
        assert verify(store, scene.approvals, how=how).not_reread == int(stands), (ctime_ns, age)


def test_a_record_of_another_store_stands_for_nothing(scene: Scene) -> None:
    scene.record.store = "/elsewhere"
    assert scene.changed().not_reread == 0


def test_a_bad_blob_loses_its_reading_and_keeps_its_marks(scene: Scene) -> None:
    """Bytes that changed beneath the file system leave its identity alone: the reading must not stand any more."""
    digest, path = scene.models[0].weights, scene.path
    marks = scene.record.marks[digest]
    data = path.read_bytes()
    scene.maker.rewrite(path, b"x" + data[1:])
    status = path.stat()
    scene.record.readings[digest] = Reading(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, scene.clock.now - SECOND
    )
    scene.clock.now += 100 * SECOND
    scene.record.readings = {
        name: Reading(*list(vars(item).values())[:5], scene.clock.now - 50 * SECOND)
        for name, item in scene.record.readings.items()
    }
    assert scene.changed().not_reread == 5, "the record cannot see it"
    assert "STORE-DIGEST-MISMATCH" in codes(scene.full())
    assert digest not in scene.record.readings
    assert scene.record.marks[digest] == marks
    assert "STORE-DIGEST-MISMATCH" in codes(scene.changed())


def test_marks_and_readings_of_what_is_gone_are_dropped(scene: Scene) -> None:
    digest = scene.models[0].weights
    scene.path.unlink()
    scene.full()
    assert digest not in scene.record.readings
    assert digest not in scene.record.marks


# The question as a module asks it: where the record lies, and when it is written.


def test_a_full_verification_writes_the_record_and_changed_reads_it(
    maker: Any, model: Callable[..., Any], tmp_path: Path
) -> None:
    made = maker.put(model("one:1", b"1" * 3000))
    approvals = approvals_from_entries([made.entry()])
    path = tmp_path / "record.json"
    before = maker.tree()
    report, count = answer(maker.store, Question(approvals, record=path))
    assert (report.verdict, count) == ("passed", 2)
    assert set(load(path, os.geteuid()).readings) == set(made.blobs)
    written = path.read_bytes()
    _report, count = answer(maker.store, Question(approvals, "changed", path))
    assert count == 0
    assert path.read_bytes() == written
    assert maker.tree() == before


@pytest.mark.parametrize("question", [{"only_look": True}, {"mode": "changed"}])
def test_nothing_is_written_in_check_mode_or_in_mode_changed(
    maker: Any, model: Callable[..., Any], tmp_path: Path, question: dict[str, Any]
) -> None:
    made = maker.put(model("one:1", b"1" * 3000))
    path = tmp_path / "state" / "record.json"
    path.parent.mkdir()
    answer(maker.store, Question(approvals_from_entries([made.entry()]), record=path, **question))
    assert list(path.parent.iterdir()) == []


def test_without_a_record_nothing_is_written_anywhere(
    maker: Any, model: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = maker.put(model("one:1", b"1" * 3000))
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    answer(maker.store, Question(approvals_from_entries([made.entry()])))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_record_that_is_not_believed_has_every_blob_read_and_is_replaced(
    maker: Any, model: Callable[..., Any], tmp_path: Path
) -> None:
    made = maker.put(model("one:1", b"1" * 3000))
    approvals = approvals_from_entries([made.entry()])
    path = tmp_path / "record.json"
    answer(maker.store, Question(approvals, record=path))
    path.chmod(0o666)
    report, _count = answer(maker.store, Question(approvals, "changed", path))
    assert (report.not_reread, report.verdict) == (0, "passed")
    assert codes(report) == ["STORE-RECORD-REFUSED"]
    assert "666" in report.findings[0].evidence
    report, count = answer(maker.store, Question(approvals, record=path))
    assert (codes(report), count) == (["STORE-RECORD-REFUSED"], 2)
    assert codes(answer(maker.store, Question(approvals, record=path))[0]) == []


def test_a_record_that_cannot_be_written_is_a_finding_and_no_failure(
    maker: Any, model: Callable[..., Any], tmp_path: Path
) -> None:
    made = maker.put(model("one:1", b"1" * 3000))
    question = Question(approvals_from_entries([made.entry()]), record=tmp_path / "none" / "record.json")
    report, count = answer(maker.store, question)
    assert (codes(report), report.verdict, count) == (["STORE-RECORD-UNWRITTEN"], "passed", 0)


def test_a_missing_store_writes_no_record(maker: Any, tmp_path: Path) -> None:
    maker.root.rmdir()
    path = tmp_path / "record.json"
    report, _count = answer(maker.store, Question({}, record=path))
    assert codes(report) == ["STORE-MISSING"]
    assert not path.exists()
