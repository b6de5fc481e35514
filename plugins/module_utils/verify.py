# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify a store against its approvals: every manifest, every blob, every byte (row S3).

Ollama verifies nothing when it loads or lists a model; this does. It only reads, and tells everything it
finds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from .approval import Approval
from .findings import Severity
from .fsverity import Measured, measure_file
from .hashing import AnyPath, FileStatus, HashResult, hash_files
from .names import digest_of_file
from .record import Reading, StoreRecord
from .store import ModelStore, StoreContent
from .verify_judge import Judge
from .verify_layers import fingerprint
from .verify_report import CHANGED, FULL, ModelReport, VerifyReport, checks_of, when

MAX_AGE_SECONDS = 7 * 24 * 3600
# A write in the same tick of the file system's clock as the last one leaves no trace in the ctime. Ticks are
# 10 ms at most; a file system that keeps whole seconds only is told by its round ctimes.
_TICK_NS = 100_000_000
_COARSE_TICK_NS = 2_000_000_000
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class HowToRead:
    """Which blobs are read, and what is known of them.

    `mode` "full": every one. "changed": those that `record` does not show to be untouched since they were last
    read, at most `max_age` seconds ago. `remember`: collect what may be recorded (marks, the kernel's
    measure). `now_ns` tells the time.
    """

    mode: str = FULL
    record: StoreRecord = field(default_factory=StoreRecord)
    max_age: int = MAX_AGE_SECONDS
    remember: bool = False
    now_ns: Callable[[], int] = time.time_ns


def verify(
    store: ModelStore,
    approvals: Mapping[str, Approval],
    workers: int = 0,
    allow_absent: bool = False,
    how: Optional[HowToRead] = None,
    policy: Optional[Mapping[str, Any]] = None,
) -> VerifyReport:
    """Hash every blob of `store` and hold everything against `approvals` (by name key); never raises, never
    writes.

    `workers` threads hash (0: one for each core). An approved model that is not in the store is a finding
    unless `allow_absent`. `how` may leave out blobs that are known to be untouched (default: none). With a
    `policy` (see gguf_policy; an empty one is the default) the layers of every model are judged too.
    """
    how = how or HowToRead()
    began = how.now_ns()
    content = store.look()
    report = VerifyReport(content=content)
    if not store.exists():
        report.findings = content.findings.items()
        layers = None if policy is None else False
        report.checks = checks_of(content.findings, False, "there is no store", layers=layers)
        return report
    unread = _untouched(store, content, how, began) if how.mode == CHANGED else {}
    bad = _hash_blobs(store, unread, how, workers, began, report)
    judge = Judge(store, content, approvals, bad, how.record.marks)
    judge.judge(allow_absent)
    layers = None if policy is None else _look_into(judge, policy, how, unread, report)
    report.bad_blobs, report.reasons = judge.bad_blobs, judge.reasons
    _report_models(report, unread)
    evidence = "{0} blobs, {1} bytes hashed".format(len(content.blobs), report.bytes_hashed)
    if unread:
        evidence += ", {0} not re-read since {1}".format(len(unread), when(report.oldest_read))
        content.findings.add(
            "STORE-NOT-REREAD",
            Severity.INFO,
            str(store.root),
            "{0} of {1} blobs not re-read since {2}".format(len(unread), len(content.blobs), when(report.oldest_read)),
            "Use mode full where every byte has to be seen: promotion and reports do.",
        )
    report.findings = content.findings.items()
    report.checks = checks_of(content.findings, True, evidence, len(unread), layers)
    return report


def _look_into(
    judge: Judge, policy: Mapping[str, Any], how: HowToRead, unread: Mapping[str, Reading], report: VerifyReport
) -> bool:
    """Judge the layers; return whether those of every model were. A verdict stands as long as the blobs do."""
    mark = fingerprint(policy)
    stands = {
        model.digest
        for model in report.content.models
        if model.manifest
        and how.record.inspected.get(model.digest) == mark
        and all(digest in unread for digest in model.manifest.blobs)
    }
    clean, every = judge.look_into(policy, stands)
    if how.remember:
        report.inspected = dict.fromkeys(clean, mark)
    return every


def _report_models(report: VerifyReport, unread: Mapping[str, Reading]) -> None:
    if unread:
        report.mode_used = CHANGED
        report.not_reread = len(unread)
        report.oldest_read = min(reading.read_ns for reading in unread.values())
    for model in report.content.models:
        blobs = model.manifest.blobs if model.manifest else {}
        report.models.append(
            ModelReport(
                model.name.full,
                model.digest,
                model.manifest.size if model.manifest else 0,
                len(blobs),
                model.manifest is not None and model.path not in report.reasons,
                min((unread[digest].read_ns for digest in blobs if digest in unread), default=0),
            )
        )


def _untouched(store: ModelStore, content: StoreContent, how: HowToRead, now: int) -> dict[str, Reading]:
    """Return the readings that still stand for a blob: of this very file, not too old, not of the future."""
    record = how.record
    if record.store != str(store.root):
        return {}
    latest = max((reading.read_ns for reading in record.readings.values()), default=0)
    if latest > now:
        content.findings.add(
            "STORE-RECORD-FUTURE",
            Severity.LOW,
            str(store.root),
            "last read at {0}, it is {1} now: the clock was set back; every blob was read".format(
                when(latest), when(now)
            ),
            "Check the host's clock; a full verification with this record replaces the times in it.",
        )
        return {}
    untouched = {}
    for digest, status in content.blobs.items():
        reading = record.readings.get(digest)
        if reading is None or now - reading.read_ns >= how.max_age * _SECOND_NS:
            continue
        if reading.verity:
            # The kernel holds every later read of this file against this very digest.
            measured = measure_file(store.blob_path(digest))
            stands = measured is not None and measured.digest == reading.verity
        else:
            tick = _TICK_NS if reading.ctime_ns % _SECOND_NS else _COARSE_TICK_NS
            stands = reading.same_file(status) and reading.read_ns - reading.ctime_ns >= tick
        if stands:
            untouched[digest] = reading
    return untouched


def _hash_blobs(
    store: ModelStore, unread: Mapping[str, Reading], how: HowToRead, workers: int, began: int, report: VerifyReport
) -> dict[str, HashResult]:
    """Hash every blob file that is not `unread`, and return the results that are not as they should be.

    The largest come first, so that no core idles at the end.
    """
    blobs = report.content.blobs
    order = sorted(set(blobs) - set(unread), key=lambda digest: -blobs[digest].st_size)
    sealed = _measure(store, order) if how.remember else {}

    def marked(path: AnyPath) -> bool:
        # What was marked once has the same marks for ever: they are of the content.
        return how.remember and _digest_of(path) not in how.record.marks

    bad = {}
    for result in hash_files((str(store.blob_path(digest)) for digest in order), workers, marked):
        digest = _digest_of(result.path)
        report.bytes_hashed += result.size
        seen, status = blobs[digest], result.status
        if status is not None and (status.st_dev, status.st_ino) != (seen.st_dev, seen.st_ino):
            result = replace(result, changed=True)
        if status is None or result.changed or result.digest != digest:
            # Slim: of 100,000 stray files all may be bad.
            bad[digest] = replace(result, status=None, marks=b"")
        elif how.remember:
            report.readings[digest] = Reading.of(status, began, _seal_of(sealed.get(digest), status))
            if result.marks:
                report.marks[digest] = result.marks
    return bad


def _digest_of(path: AnyPath) -> str:
    return digest_of_file(os.path.basename(path))


def _seal_of(measured: Optional[Measured], status: FileStatus) -> str:
    """Return the kernel's digest of a file that was hashed, if it was measured for this very file."""
    if measured is None or (measured.device, measured.inode) != (status.st_dev, status.st_ino):
        return ""
    return measured.digest


def _measure(store: ModelStore, digests: list[str]) -> dict[str, Measured]:
    """Return what the kernel measured of the sealed blobs, before they are read: from then on they cannot
    change.
    """
    found = ((digest, measure_file(store.blob_path(digest))) for digest in digests)
    return {digest: measured for digest, measured in found if measured and measured.digest}


def recorded(known: StoreRecord, store: ModelStore, report: VerifyReport) -> StoreRecord:
    """Return the record after a full verification: readings of what was right, and no others.

    Marks stay while the blob is there, right or wrong: they say later where it differs.
    """
    marks = {digest: marks for digest, marks in known.marks.items() if digest in report.content.blobs}
    marks.update(report.marks)
    return StoreRecord(str(store.root), dict(report.readings), marks, dict(report.inspected))
