# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One verification as it is asked for: the record read before, and written after if it may be (row S3)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from .approval import Approval
from .findings import Finding, FindingError
from .record import DEFAULT_RECORD, StoreRecord, load, update
from .store import ModelStore
from .verify import MAX_AGE_SECONDS, HowToRead, recorded, verify
from .verify_report import CHANGED, FULL, VerifyReport


@dataclass(frozen=True)
class Question:
    """What is asked of a store.

    `record` is where evidence of readings lies: in mode "changed" it is read (DEFAULT_RECORD when not given),
    in mode "full" it is written, unless `only_look`. `policy` is what layers are judged by; None: not at all.
    """

    approvals: Mapping[str, Approval]
    mode: str = FULL
    record: Optional[Path] = None
    max_age: int = MAX_AGE_SECONDS
    workers: int = 0
    allow_absent: bool = False
    only_look: bool = False
    policy: Optional[Mapping[str, Any]] = None

    def record_path(self) -> Optional[Path]:
        """Return the record's path, None when no record is concerned."""
        if self.record is None and self.mode == CHANGED:
            return Path(DEFAULT_RECORD)
        return self.record


def answer(store: ModelStore, question: Question) -> tuple[VerifyReport, int]:
    """Return the verification and how many blobs were recorded; never raises.

    A record belongs to whoever runs this: root on a host. One that cannot be believed or written is a finding.
    """
    path, owner = question.record_path(), os.geteuid()
    known = StoreRecord()
    notes: list[Finding] = []
    if path is not None:
        try:
            known = load(path, owner)
        except FindingError as error:
            notes.append(error.finding)
    remember = question.mode == FULL and path is not None and not question.only_look
    how = HowToRead(question.mode, known, question.max_age, remember)
    report = verify(store, question.approvals, question.workers, question.allow_absent, how, question.policy)
    count = 0
    if remember and path is not None and store.exists():
        try:
            update(path, owner, lambda latest: recorded(latest, store, report))
            count = len(report.readings)
        except FindingError as error:
            notes.append(error.finding)
    report.findings += notes
    return report, count
