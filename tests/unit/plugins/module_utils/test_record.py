# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S3: the record of what was read: whole or not there, and believed only when nobody else could write it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import record
from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError
from ansible_collections.rampart.ollama.plugins.module_utils.hashing import FileStatus
from ansible_collections.rampart.ollama.plugins.module_utils.record import Reading, StoreRecord, load, update

pytestmark = pytest.mark.row("S3")

DIGEST = "sha256:" + "a" * 64
OWNER = os.geteuid()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A record with one reading and its marks."""
    place = tmp_path / "store-record.json"
    update(place, OWNER, lambda _known: sample())
    return place


def sample() -> StoreRecord:
    reading = Reading(1, 2, 3, 4, 5, 6, "sha256:ff")
    return StoreRecord("/srv/store", {DIGEST: reading}, {DIGEST: b"\x00\x01\x02\x03"}, {DIGEST: "policy"})


def refusal(path: Path) -> str:
    with pytest.raises(FindingError) as caught:
        load(path, OWNER)
    assert caught.value.finding.code == "STORE-RECORD-REFUSED"
    return caught.value.finding.evidence


def test_what_was_written_is_read_and_only_its_owner_may(path: Path) -> None:
    assert load(path, OWNER) == sample()
    assert path.stat().st_mode & 0o7777 == 0o600
    assert {item.name for item in path.parent.iterdir()} == {path.name, path.name + ".lock"}
    assert len(path.read_bytes().splitlines()) == 1


def test_there_need_not_be_a_record(tmp_path: Path) -> None:
    assert load(tmp_path / "none.json", OWNER) == StoreRecord()
    assert load(tmp_path / "no" / "directory.json", OWNER) == StoreRecord()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o400])
def test_a_record_with_another_mode_is_not_believed(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert "must be" in refusal(path)


def test_a_record_of_another_owner_is_not_believed(path: Path) -> None:
    with pytest.raises(FindingError) as caught:
        load(path, OWNER + 1)
    assert caught.value.finding.code == "STORE-RECORD-REFUSED"


def test_a_record_with_a_second_name_is_not_believed(path: Path) -> None:
    os.link(path, path.parent / "also")
    assert "2 names" in refusal(path)


def test_a_record_behind_a_link_is_not_believed(path: Path) -> None:
    path.rename(path.parent / "real")
    path.symlink_to("real")
    assert "symlink" in refusal(path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_neither_believed_nor_waited_on(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "r")
    assert "not a plain file" in refusal(tmp_path / "r")


def test_a_record_in_a_directory_that_others_can_write_is_not_believed(path: Path) -> None:
    path.parent.chmod(0o777)
    try:
        assert "directory" in refusal(path)
        before = path.read_bytes()
        with pytest.raises(FindingError) as caught:
            update(path, OWNER, lambda _known: StoreRecord())
        assert caught.value.finding.code == "STORE-RECORD-UNWRITTEN"
        assert path.read_bytes() == before
    finally:
        path.parent.chmod(0o700)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        '{"version":2,"store":"","blobs":{},"models":{},"marks":{}}',
        '{"version":1,"store":5,"blobs":{},"models":{},"marks":{}}',
        '{"version":1,"store":"","models":{},"marks":{}}',
        '{"version":1,"store":"","blobs":{"x":[1,2,3,4,5,6,""]},"models":{},"marks":{}}',
        '{"version":1,"store":"","blobs":{"sha256:%s":[1,2,3,4,5,6]},"models":{},"marks":{}}' % ("a" * 64),
        '{"version":1,"store":"","blobs":{"sha256:%s":[1,2,3,4,5.0,6,""]},"models":{},"marks":{}}' % ("a" * 64),
        '{"version":1,"store":"","blobs":{"sha256:%s":[1,2,3,4,true,6,""]},"models":{},"marks":{}}' % ("a" * 64),
        '{"version":1,"store":"","blobs":{"sha256:%s":[1,2,-3,4,5,6,""]},"models":{},"marks":{}}' % ("a" * 64),
        '{"version":1,"store":"","blobs":{"sha256:%s":[1,2,3,4,5,6,7]},"models":{},"marks":{}}' % ("a" * 64),
        '{"version":1,"store":"","blobs":{"sha256:%s":[]},"models":{},"marks":{}}' % ("a" * 64),
        '{"version":1,"store":"","blobs":{"sha256:%s":7},"models":{},"marks":{}}' % ("a" * 64),
        '{"version":1,"store":"","blobs":{},"models":{"sha256:%s":5},"marks":{}}' % ("a" * 64),
        '{"version":1,"store":"","blobs":{},"models":{"x":""},"marks":{}}',
        '{"version":1,"store":"","blobs":{},"models":[],"marks":{}}',
        '{"version":1,"store":"","blobs":{},"marks":{}}',
        '{"version":1,"store":"","blobs":{},"models":{},"marks":{"sha256:%s":"%%%%"}}' % ("a" * 64),
        '{"version":1,"store":"","blobs":{},"models":{},"marks":{"sha256:%s":"AAA="}}' % ("a" * 64),
        '{"version":1,"store":"","blobs":{},"models":{},"marks":{"../x":"AAAAAA=="}}',
        "\udcff",
    ],
)
def test_what_does_not_say_what_a_record_says_is_not_believed(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "does not say" in refusal(path)


def test_a_record_without_end_is_not_read_to_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "RECORD_MAX_BYTES", 1000)
    with path.open("r+b") as stream:
        stream.truncate(1 << 40)
    assert "longer than 1000 bytes" in refusal(path)


def test_what_would_not_be_believed_later_is_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    monkeypatch.setattr(record, "RECORD_MAX_BYTES", 100)
    with pytest.raises(FindingError) as caught:
        update(path, OWNER, lambda _known: sample())
    assert caught.value.finding.code == "STORE-RECORD-UNWRITTEN"
    assert path.read_bytes() == before


@pytest.mark.parametrize("call", ["open", "fsync", "rename", "fchmod", "fdopen"])
@pytest.mark.parametrize("after", range(4))
def test_a_record_is_the_old_one_or_the_new_one_whatever_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: int
) -> None:
    real, calls = getattr(os, call), 0
    old, new = sample(), StoreRecord("/elsewhere", {}, {})

    def failing(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(28, "No space left on device")
        return real(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(record.os, call, failing)
        try:
            update(path, OWNER, lambda _known: new)
        except FindingError as error:
            assert error.finding.code == "STORE-RECORD-UNWRITTEN"
    assert load(path, OWNER) in (old, new)
    assert {item.name for item in path.parent.iterdir()} == {path.name, path.name + ".lock"}
    update(path, OWNER, lambda _known: new)
    assert load(path, OWNER) == new


def test_what_a_kill_left_does_not_stop_the_next_writer(path: Path) -> None:
    (path.parent / (path.name + ".new")).write_bytes(b"half")
    update(path, OWNER, lambda known: known)
    assert load(path, OWNER) == sample()
    assert not (path.parent / (path.name + ".new")).exists()


def test_a_link_laid_where_the_draft_goes_is_not_followed(path: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"untouched")
    (path.parent / (path.name + ".new")).symlink_to(outside)
    update(path, OWNER, lambda known: known)
    assert outside.read_bytes() == b"untouched"


def test_a_record_that_is_not_believed_is_replaced_not_merged(path: Path) -> None:
    path.chmod(0o666)
    seen = []
    update(path, OWNER, lambda known: seen.append(known) or StoreRecord("/new"))
    assert seen == [StoreRecord()]
    assert load(path, OWNER) == StoreRecord("/new")


def test_writers_take_turns(path: Path) -> None:
    """What one has withdrawn does not come back through another that read the record before."""

    def add(number: int) -> None:
        digest = "sha256:{0:064x}".format(number)
        update(path, OWNER, lambda known: StoreRecord("", {**known.readings, digest: Reading(1, 2, 3, 4, 5, 6)}))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(load(path, OWNER).readings) == 21


def test_a_missing_directory_is_one_finding(tmp_path: Path) -> None:
    with pytest.raises(FindingError) as caught:
        update(tmp_path / "none" / "r.json", OWNER, lambda known: known)
    assert caught.value.finding.code == "STORE-RECORD-UNWRITTEN"


def test_every_part_of_a_files_identity_counts() -> None:
    status = FileStatus(1, 2, 3, 4, 5)
    reading = Reading.of(status, 99, "sha256:ff")
    assert reading.same_file(status)
    for number in range(len(status)):
        other = FileStatus(*(value + (place == number) for place, value in enumerate(status)))
        assert not reading.same_file(other), FileStatus._fields[number]


def test_the_document_is_compact_and_holds_no_host_detail(path: Path) -> None:
    data = json.loads(path.read_bytes())
    assert data == {
        "version": 1,
        "store": "/srv/store",
        "blobs": {DIGEST: [1, 2, 3, 4, 5, 6, "sha256:ff"]},
        "models": {DIGEST: "policy"},
        "marks": {DIGEST: "AAECAw=="},
    }
