# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S3: which model, which layer, which bytes: a difference is located as far as it can be."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils import verify_judge
from ansible_collections.rampart.ollama.plugins.module_utils.approval import approval_from_entry, approvals_from_entries
from ansible_collections.rampart.ollama.plugins.module_utils.hashing import MARK_BYTES, hash_file
from ansible_collections.rampart.ollama.plugins.module_utils.publish import Publication, publish
from ansible_collections.rampart.ollama.plugins.module_utils.record import StoreRecord, load
from ansible_collections.rampart.ollama.plugins.module_utils.verify import HowToRead, recorded, verify
from ansible_collections.rampart.ollama.plugins.module_utils.verify_locate import RANGES_MAX, locate
from ansible_collections.rampart.ollama.plugins.module_utils.verify_report import VerifyReport

pytestmark = pytest.mark.row("S3")

SIZE = 5 * MARK_BYTES + 1234
GOOD = random.Random(7).randbytes(SIZE)
DIGEST = "sha256:" + hashlib.sha256(GOOD).hexdigest()


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "blob"
    path.write_bytes(GOOD)
    return hash_file(path, marked=True).marks


@pytest.fixture
def where(tmp_path: Path, marks: bytes) -> Callable[..., Any]:
    """Locate what differs in these bytes: where(data, declared=SIZE, marked=True)."""

    def call(data: bytes, declared: int = SIZE, marked: bool = True) -> Any:
        (tmp_path / "blob").write_bytes(data)
        return locate(tmp_path / "blob", DIGEST, len(data), declared, marks if marked else b"")

    return call


def flipped(*places: int) -> bytes:
    data = bytearray(GOOD)
    for place in places:
        data[place] ^= 1
    return bytes(data)


@pytest.mark.parametrize("place", [0, 1, MARK_BYTES - 1, MARK_BYTES, 3 * MARK_BYTES + 77, SIZE - 1])
def test_a_flipped_byte_lies_in_the_range_that_is_told(where: Callable[..., Any], place: int) -> None:
    ((first, last),) = where(flipped(place)).ranges
    assert first <= place <= last < SIZE
    assert last - first < MARK_BYTES
    assert where(flipped(place)).text == "bytes {0}-{1} differ".format(first, last)


def test_several_ranges_are_told_and_neighbours_are_one(where: Callable[..., Any]) -> None:
    found = where(flipped(5, MARK_BYTES + 5, 4 * MARK_BYTES))
    assert found.ranges == ((0, 2 * MARK_BYTES - 1), (4 * MARK_BYTES, 5 * MARK_BYTES - 1))


def test_a_truncated_blob_is_told_from_which_byte_on(where: Callable[..., Any]) -> None:
    for length in (0, 1, MARK_BYTES, MARK_BYTES + 1, SIZE - 1):
        found = where(GOOD[:length])
        assert found.ranges == ((length, SIZE - 1),), length
        assert "it ends at byte {0}, {1} bytes are missing".format(length, SIZE - length) in found.text
        assert "differ" not in found.text


def test_a_blob_truncated_and_changed_is_told_so(where: Callable[..., Any]) -> None:
    found = where(flipped(MARK_BYTES + 1)[: 3 * MARK_BYTES + 5])
    assert found.ranges == ((MARK_BYTES, 2 * MARK_BYTES - 1), (3 * MARK_BYTES + 5, SIZE - 1))


@pytest.mark.parametrize("marked", [True, False])
def test_an_extended_blob_is_told_with_what_is_right_even_without_marks(
    where: Callable[..., Any], marked: bool
) -> None:
    found = where(GOOD + b"evil", marked=marked)
    assert found.ranges == ((SIZE, SIZE + 3),)
    assert found.text == "the first {0} bytes are right, 4 were added from byte {0} on".format(SIZE)


def test_a_blob_extended_and_changed_is_told_so(where: Callable[..., Any]) -> None:
    found = where(flipped(3) + b"evil")
    assert found.ranges == ((0, MARK_BYTES - 1), (SIZE, SIZE + 3))
    assert "are right" not in found.text
    found = where(flipped(3) + b"evil", marked=False)
    assert found.ranges == ((SIZE, SIZE + 3),)


def test_another_file_altogether_is_told_so(where: Callable[..., Any]) -> None:
    found = where(random.Random(8).randbytes(SIZE))
    assert found.ranges == ((0, SIZE - 1),)
    assert found.text == "no part of it is the right one"


def test_without_marks_no_place_is_made_up(where: Callable[..., Any]) -> None:
    found = where(flipped(9), marked=False)
    assert (found.ranges, found.text) == ((), "no record says where they differ")
    assert where(flipped(9), declared=-1, marked=False).ranges == ()


def test_with_marks_but_no_declared_size_the_place_is_found(where: Callable[..., Any]) -> None:
    assert where(flipped(MARK_BYTES + 9), declared=-1).ranges == ((MARK_BYTES, 2 * MARK_BYTES - 1),)


def test_marks_that_are_wrong_cannot_call_a_blob_right(tmp_path: Path) -> None:
    """They locate; they never decide."""
    (tmp_path / "blob").write_bytes(flipped(1))
    wrong = hash_file(tmp_path / "blob", marked=True).marks
    assert locate(tmp_path / "blob", DIGEST, SIZE, SIZE, wrong).ranges == ()


def test_a_blob_that_differs_all_over_gives_few_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(100 * MARK_BYTES)
    path = tmp_path / "blob"
    path.write_bytes(data)
    right = bytearray(hash_file(path, marked=True).marks)
    for number in range(0, 100, 2):
        right[4 * number] ^= 1
    found = locate(path, DIGEST, len(data), len(data), bytes(right))
    assert len(found.ranges) == RANGES_MAX
    assert "and 47 more ranges differ" in found.text


@pytest.mark.parametrize("what", ["gone", "link"])
def test_a_blob_that_went_away_meanwhile_is_no_error(tmp_path: Path, what: str) -> None:
    if what == "link":
        (tmp_path / "blob").symlink_to("/etc/passwd")
    assert locate(tmp_path / "blob", DIGEST, SIZE, SIZE, b"").text.startswith("not read again: ")


# In a store: what a person reads.


def look(maker: Any, record: StoreRecord | None = None) -> VerifyReport:
    approvals = approvals_from_entries([made.entry() for made in maker.models])
    return verify(maker.store, approvals, how=HowToRead(record=record or StoreRecord()))


def remembered(maker: Any) -> StoreRecord:
    approvals = approvals_from_entries([made.entry() for made in maker.models])
    report = verify(maker.store, approvals, how=HowToRead(remember=True))
    assert report.findings == []
    return recorded(StoreRecord(), maker.store, report)


def test_the_finding_names_model_layer_and_bytes(maker: Any, model: Callable[..., Any]) -> None:
    made = maker.put(model("mistral:7b", GOOD, b"license"))
    for number in range(3):
        maker.put(model("copy{0}:1".format(number), b"%d" % number, b"license"))
    record = remembered(maker)
    maker.rewrite(maker.blob(made.weights), flipped(MARK_BYTES + 3))
    report = look(maker, record)
    (finding,) = report.findings
    assert finding.evidence.startswith("the model of mistral:7b: its {0} bytes hash to sha256:".format(SIZE))
    assert finding.evidence.endswith("; bytes 1048576-2097151 differ")
    assert [item.as_dict() for item in report.bad_blobs] == [
        {
            "digest": made.weights,
            "found": report.bad_blobs[0].found,
            "kind": "model",
            "models": ["registry.ollama.ai/library/mistral:7b"],
            "size": SIZE,
            "declared": SIZE,
            "ranges": [[MARK_BYTES, 2 * MARK_BYTES - 1]],
            "tensors": [],
        }
    ]
    maker.rewrite(maker.blob(made.weights), GOOD)
    shared = next(digest for digest, data in made.blobs.items() if data == b"license")
    maker.rewrite(maker.blob(shared), b"LICENSE")
    (finding,) = look(maker, record).findings
    assert finding.evidence.startswith("the license of copy0:1 and 3 more: ")


def test_swapped_blobs_are_told_by_whose_bytes_they_are(maker: Any, model: Callable[..., Any]) -> None:
    one, two = maker.put(model("one:1", b"1" * 500)), maker.put(model("two:1", b"2" * 500))
    maker.rewrite(maker.blob(one.weights), b"2" * 500)
    (finding,) = look(maker).findings
    assert "; those of the model of two:1 (sha256:" in finding.evidence
    maker.blob(two.weights).unlink()
    maker.manifest(two).unlink()
    report = look(maker)
    assert "; those of a blob of two:1 (sha256:" in report.findings[0].evidence


def test_the_approvals_size_counts_not_an_edited_manifests(maker: Any, model: Callable[..., Any]) -> None:
    made = maker.put(model("one:1", b"1" * 500))
    maker.rewrite(maker.blob(made.weights), b"1" * 500 + b"evil")
    maker.rewrite(maker.manifest(made), made.manifest.replace(b'"size": 500', b'"size": 504'))
    report = look(maker)
    assert [item.ranges for item in report.bad_blobs] == [((500, 503),)]
    assert "STORE-MANIFEST-MISMATCH" in [finding.code for finding in report.findings]


def test_only_so_many_bad_blobs_are_read_twice(
    maker: Any, model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        made = maker.put(model("m{0}:1".format(number), b"%d" % number))
        maker.rewrite(maker.blob(made.weights), b"bad%d" % number)
    monkeypatch.setattr(verify_judge, "LOCATED_MAX", 2)
    report = look(maker)
    assert [finding.code for finding in report.findings].count("STORE-DIGEST-MISMATCH") == 6
    assert len(report.bad_blobs) == 2
    assert sum("not looked where" in finding.evidence for finding in report.findings) == 4


@pytest.mark.row("S2")
def test_the_publisher_keeps_marks_when_it_is_given_a_record(
    maker: Any, model: Callable[..., Any], tmp_path: Path
) -> None:
    made = model("mistral:7b", GOOD)
    maker.models.append(made)
    sources = {}
    for digest, data in made.blobs.items():
        sources[digest] = tmp_path / digest
        sources[digest].write_bytes(data)
    record = tmp_path / "record.json"
    publish(maker.store, Publication(approval_from_entry(made.entry()), made.manifest, sources), record=record)
    known = load(record, os.geteuid())
    assert set(known.marks) == set(made.blobs)
    assert known.readings == {}, "what was read was the copy in the workshop, before it was moved"
    maker.rewrite(maker.blob(made.weights), flipped(9))
    assert look(maker, known).bad_blobs[0].ranges == ((0, MARK_BYTES - 1),)


@pytest.mark.row("S2")
def test_marks_that_cannot_be_kept_do_not_undo_a_publication(
    maker: Any, model: Callable[..., Any], tmp_path: Path
) -> None:
    made = model("mistral:7b", b"w")
    maker.models.append(made)
    sources = {}
    for digest, data in made.blobs.items():
        sources[digest] = tmp_path / digest
        sources[digest].write_bytes(data)
    publication = Publication(approval_from_entry(made.entry()), made.manifest, sources)
    publish(maker.store, publication, record=tmp_path / "none" / "record.json")
    assert look(maker).findings == []
