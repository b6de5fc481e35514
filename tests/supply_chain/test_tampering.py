# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Row S3, counted: whatever one byte, one length, one place, one mode, one owner or one manifest is changed to, it is
found every time, and nothing else is flagged.

Each time the store is verified twice, in full and in mode changed, and put back.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rampart.ollama.plugins.module_utils.record import StoreRecord
from ansible_collections.rampart.ollama.plugins.module_utils.verify import HowToRead, recorded, verify
from ansible_collections.rampart.ollama.plugins.module_utils.verify_report import VerifyReport

pytestmark = pytest.mark.row("S3")

TIMES = 200
BYTES = frozenset(
    ("STORE-DIGEST-MISMATCH", "STORE-SIZE-MISMATCH", "STORE-MANIFEST-INVALID", "STORE-CLOUD-STUB")
)


class Round:
    """Verifies a tampered store both ways. The record is made anew now and then: what was put back is read again."""

    def __init__(self, twenty: Any) -> None:
        self.twenty = twenty
        self.record = StoreRecord()
        self.refresh()

    @staticmethod
    def clock() -> int:
        # Ahead of the files' times: a reading in the same tick as a write would not stand.
        return time.time_ns() + 60_000_000_000

    def refresh(self) -> None:
        report = self.full(remember=True)
        assert report.findings == []
        self.record = recorded(self.record, self.twenty.store, report)

    def full(self, remember: bool = False) -> VerifyReport:
        how = HowToRead(record=self.record, remember=remember, now_ns=self.clock)
        return verify(self.twenty.store, self.twenty.approvals, how=how)

    def both(self) -> list[VerifyReport]:
        """Return the full verification, and one that reads only what was touched."""
        how = HowToRead("changed", self.record, now_ns=self.clock)
        changed = verify(self.twenty.store, self.twenty.approvals, how=how)
        assert changed.mode_used == "changed"
        changed.findings = [finding for finding in changed.findings if finding.code != "STORE-NOT-REREAD"]
        return [self.full(), changed]


def count(
    twenty: Any, table: Any, what: str, tamper: Callable[[], Callable[[VerifyReport], bool]], restore: Any
) -> None:
    """Do it TIMES times: `tamper` changes something and returns what decides whether a report is right about it."""
    rounds, found, began = Round(twenty), 0, time.perf_counter()
    for number in range(TIMES):
        right = tamper()
        reports = rounds.both()
        for report in reports:
            assert right(report), (number, [finding.as_text() for finding in report.findings])
        found += 1
        restore()
        if number % 20 == 19:
            rounds.refresh()
    table.append((what, TIMES, found, time.perf_counter() - began))
    assert rounds.full().findings == []


def unverified(report: VerifyReport) -> set[str]:
    return {model.name for model in report.models if not model.verified}


class Blobs:
    """Changes one blob after another, and knows what a right report says of it."""

    def __init__(self, twenty: Any) -> None:
        self.twenty = twenty
        self.digests = sorted(twenty.blobs)
        self.touched: list[str] = []

    def pick(self, count: int = 1) -> list[str]:
        self.touched = self.twenty.dice.sample(self.digests, count)
        return self.touched

    def write(self, digest: str, data: bytes) -> None:
        self.twenty.write(self.twenty.store.blob_path(digest), data)

    def restore(self) -> None:
        for digest in self.touched:
            self.write(digest, self.twenty.blobs[digest])

    def right(self, report: VerifyReport, allowed: frozenset[str] = BYTES) -> bool:
        """Whether exactly the touched blobs, and exactly the models that use them, are called bad."""
        users = {name for digest in self.touched for name in self.twenty.users(digest)}
        mismatched = {item.subject for item in report.findings if item.code == "STORE-DIGEST-MISMATCH"}
        return (
            mismatched == set(self.touched) == {bad.digest for bad in report.bad_blobs}
            and unverified(report) == users
            and {item.code for item in report.findings} <= allowed
            and {item.subject for item in report.findings} <= set(self.touched) | users
            and report.verdict == "failed"
        )


def test_one_flipped_byte(twenty: Any, table: Any) -> None:
    blobs, dice = Blobs(twenty), twenty.dice

    def tamper() -> Callable[[VerifyReport], bool]:
        (digest,) = blobs.pick()
        data = bytearray(twenty.blobs[digest])
        place = dice.randrange(len(data))
        data[place] ^= 1 << dice.randrange(8)
        blobs.write(digest, bytes(data))

        def right(report: VerifyReport) -> bool:
            ((first, last),) = report.bad_blobs[0].ranges
            return blobs.right(report) and first <= place <= last

        return right

    count(twenty, table, "one byte flipped", tamper, blobs.restore)


def test_truncation(twenty: Any, table: Any) -> None:
    blobs, dice = Blobs(twenty), twenty.dice

    def tamper() -> Callable[[VerifyReport], bool]:
        (digest,) = blobs.pick()
        data = twenty.blobs[digest]
        length = dice.randrange(len(data))
        blobs.write(digest, data[:length])
        return lambda report: blobs.right(report) and report.bad_blobs[0].ranges == ((length, len(data) - 1),)

    count(twenty, table, "truncated", tamper, blobs.restore)


def test_extension(twenty: Any, table: Any) -> None:
    blobs, dice = Blobs(twenty), twenty.dice

    def tamper() -> Callable[[VerifyReport], bool]:
        (digest,) = blobs.pick()
        data, more = twenty.blobs[digest], dice.randbytes(dice.randrange(1, 5000))
        blobs.write(digest, data + more)
        expected = ((len(data), len(data) + len(more) - 1),)
        return lambda report: blobs.right(report) and report.bad_blobs[0].ranges == expected

    count(twenty, table, "extended", tamper, blobs.restore)


def test_swapped_blobs(twenty: Any, table: Any) -> None:
    blobs = Blobs(twenty)

    def tamper() -> Callable[[VerifyReport], bool]:
        one, other = blobs.pick(2)
        first, second = twenty.store.blob_path(one), twenty.store.blob_path(other)
        first.rename(first.parent / "between")
        second.rename(first)
        (first.parent / "between").rename(second)
        return lambda report: blobs.right(report) and {bad.found for bad in report.bad_blobs} == {one, other}

    count(twenty, table, "two blobs swapped", tamper, blobs.restore)


class Entries:
    """Changes mode or owner of one file or directory after another."""

    def __init__(self, twenty: Any) -> None:
        self.twenty = twenty
        self.paths = sorted([twenty.root, *twenty.root.rglob("*")])
        self.path = self.paths[0]

    def right(self, report: VerifyReport, code: str) -> bool:
        subject = str(self.path.relative_to(self.twenty.root)) if self.path != self.twenty.root else str(self.path)
        said = [(finding.code, finding.subject) for finding in report.findings]
        return said == [(code, subject)] and report.verdict == "failed" and not unverified(report)


def test_mode_changes(twenty: Any, table: Any) -> None:
    entries, dice = Entries(twenty), twenty.dice

    def good(path: Path) -> int:
        return 0o755 if path.is_dir() else 0o444

    def tamper() -> Callable[[VerifyReport], bool]:
        entries.path = dice.choice(entries.paths)
        # Any other mode that still lets us read: without it there is more to find than the mode.
        modes = [mode for mode in range(0o10000) if mode & 0o500 == 0o500 and mode != good(entries.path)]
        entries.path.chmod(dice.choice(modes))
        return lambda report: entries.right(report, "STORE-MODE")

    count(twenty, table, "mode changed", tamper, lambda: entries.path.chmod(good(entries.path)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_owner_changes(twenty: Any, table: Any) -> None:
    entries, dice = Entries(twenty), twenty.dice

    def tamper() -> Callable[[VerifyReport], bool]:
        entries.path = dice.choice(entries.paths)
        uid, gid = dice.choice([(dice.randrange(1, 60_000), 0), (0, dice.randrange(1, 60_000)), (10001, 10001)])
        os.chown(entries.path, uid, gid)
        return lambda report: entries.right(report, "STORE-OWNER")

    count(twenty, table, "owner changed", tamper, lambda: os.chown(entries.path, 0, 0))


def edit(dice: Any, manifest: bytes, others: list[str]) -> bytes:
    """Return an edited manifest: a byte, a digest, a size, a layer more or less, an ambiguity."""
    data = json.loads(manifest)
    layer = dice.choice(data["layers"])
    kind = dice.randrange(8)
    if kind == 0:
        place = dice.randrange(len(manifest))
        return manifest[:place] + bytes([manifest[place] ^ (1 << dice.randrange(8))]) + manifest[place + 1 :]
    if kind == 1:
        layer["digest"] = dice.choice([item for item in others if item != layer["digest"]])
    elif kind == 2:
        layer["size"] += dice.choice([-1, 1, 1 << 40])
    elif kind == 3:
        data["layers"].remove(layer)
    elif kind == 4:
        data["layers"].append({**layer, "digest": "sha256:" + dice.randbytes(32).hex()})
    elif kind == 5:
        layer["mediaType"] = "application/vnd.ollama.image." + dice.choice(["system", "adapter", "evil"])
    elif kind == 6:
        layer["digest"] = dice.choice(["../../../etc/passwd", "sha256:" + "../" * 21 + "x", ""])
    else:
        return manifest.replace(b'"layers":', b'"Layers": [], "layers":')
    return json.dumps(data).encode()


def test_manifest_edits(twenty: Any, table: Any) -> None:
    dice, model = twenty.dice, twenty.models[0]
    codes = {"STORE-MANIFEST-MISMATCH", "STORE-MANIFEST-INVALID", "STORE-UNREFERENCED-BLOB", "STORE-BLOB-MISSING"}
    codes |= {"STORE-SIZE-MISMATCH"}

    def tamper() -> Callable[[VerifyReport], bool]:
        nonlocal model
        model = dice.choice(twenty.models)
        edited = edit(dice, model.manifest, sorted(twenty.blobs))
        twenty.write(model.path, edited)
        relative = str(model.path.relative_to(twenty.root))

        def right(report: VerifyReport) -> bool:
            about = {model.name, relative}
            # An edited manifest may name other blobs, and no longer name its own: that too is told, of these blobs.
            for item in report.findings:
                if item.subject not in about and item.code in codes:
                    if item.code == "STORE-UNREFERENCED-BLOB" and twenty.users(item.subject) != {model.name}:
                        return False
                    if item.code != "STORE-UNREFERENCED-BLOB" and item.subject.encode() not in edited:
                        return False
            named = [item for item in report.findings if item.subject in about]
            return (
                "STORE-MANIFEST-MISMATCH" in {item.code for item in named}
                and {item.code for item in report.findings} <= codes
                and unverified(report) == {model.name}
                and not report.bad_blobs
            )

        return right

    count(twenty, table, "manifest edited", tamper, lambda: twenty.write(model.path, model.manifest))
