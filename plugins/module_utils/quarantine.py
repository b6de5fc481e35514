# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take bad models out of the served store and keep them as evidence (row S3).

A model leaves in one step, the rename of its manifest: from then on Ollama does not list it. The blobs that no
good model uses follow. Evidence lies in `store-evidence/<manifest's digest>-<path's>/`: the manifest, the
blobs, and findings.json, which is written first. A directory named `*.part` is a move that was cut short; the
next one ends it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .findings import Finding, refuse
from .hashing import read_plain
from .manifest import MANIFEST_MAX_BYTES, sha256_of
from .names import blob_file
from .publish import store_lock
from .quarantine_files import EVIDENCE, FINDINGS, MANIFEST, Move, any_cut, interrupted, move_all, names, settle
from .store import BLOBS, ModelStore
from .verify_report import VerifyReport


@dataclass
class Outcome:
    """What came of it: the verification, the models that were moved out (or would be), the blobs that an
    earlier, cut move still had to take, and the findings that hold nevertheless.
    """

    report: VerifyReport
    moves: list[Move] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    remaining: list[Finding] = field(default_factory=list)
    changed: bool = False

    def as_diff(self, quarantine: Path) -> dict[str, str]:
        """Return what leaves the store and where it goes, for diff mode."""
        before, after = [], []
        for move in self.moves:
            target = quarantine / EVIDENCE / move.evidence
            before += [move.path, *(_blob(digest) for digest in move.blobs)]
            after += [target / MANIFEST, target / FINDINGS, *(target / _blob(digest) for digest in move.blobs)]
        before += [_blob(digest) for digest in self.settled]
        return {
            "before_header": "leaves the store",
            "before": "".join("{0}\n".format(path) for path in before),
            "after_header": "lies in quarantine",
            "after": "".join("{0}\n".format(path) for path in after),
        }


def _blob(digest: str) -> str:
    return "{0}/{1}".format(BLOBS, blob_file(digest))


def clear(store: ModelStore, quarantine: Path, verify: Callable[[], VerifyReport], predict: bool = False) -> Outcome:
    """Verify the store while it is held against writers, and move every bad model out; `predict` changes
    nothing.

    Raises FindingError, nothing moved: QUARANTINE-REFUSED, STORE-BUSY, PUBLISH-DISK.
    """
    if not store.exists():
        report = verify()
        return Outcome(report, remaining=list(report.findings))
    _require(store, quarantine)
    with contextlib.ExitStack() as held:
        if not predict:
            held.enter_context(store_lock(store))
        settled = [digest for cut in interrupted(store, quarantine) for digest in cut.blobs]
        left_over = any_cut(quarantine)
        if left_over and not predict:
            settle(store, quarantine)
        report = verify()
        moves = plan(store, report, names(quarantine))
        failures: list[Finding] = []
        if not predict:
            moves, failures = move_all(store, quarantine, moves)
        remaining = _remaining(report, moves, settled) + failures
        return Outcome(report, moves, settled, remaining, bool(moves) or left_over or any_cut(quarantine))


def plan(store: ModelStore, report: VerifyReport, taken: Iterable[str]) -> list[Move]:
    """Return the moves for a report: each bad model, with the blobs that no good one uses.

    When a manifest or a directory could not be read there may be more models than were seen: then every blob
    stays.
    """
    content = report.content
    good = [model for model in content.models if model.path not in report.reasons]
    needed = {digest for model in good if model.manifest for digest in model.manifest.blobs}
    free = set(content.blobs) - needed if content.complete else set()
    used = set(taken)
    moves = []
    for model in content.models:
        if model.path not in report.reasons:
            continue
        own = sorted(model.manifest.blobs) if model.manifest else []
        blobs = tuple(digest for digest in own if digest in free)
        free -= set(blobs)
        moves.append(
            Move(
                model.name.full,
                model.path,
                model.digest,
                _free_name(model.digest, model.path, used),
                blobs,
                tuple(digest for digest in own if digest not in blobs),
                tuple(report.reasons[model.path]),
                tuple(bad.as_dict() for bad in report.bad_blobs if model.name.full in bad.models),
            )
        )
    for path in content.nameless:
        about = tuple(finding for finding in report.findings if finding.subject == path)
        digest = _digest_of(store, path)
        moves.append(Move(path, path, digest, _free_name(digest, path, used), (), (), about))
    return moves


def _digest_of(store: ModelStore, path: str) -> str:
    try:
        return sha256_of(read_plain(store.path(path), MANIFEST_MAX_BYTES))
    except OSError:
        return sha256_of(b"")


def _free_name(digest: str, path: str, taken: set[str]) -> str:
    """Return a name made of content and path, so that it is the same in every run; a second incident with the
    same manifest gets a number.
    """
    base = "{0}-{1}".format(digest.rpartition(":")[2], hashlib.sha256(os.fsencode(path)).hexdigest()[:12])
    name, number = base, 1
    while name in taken:
        number += 1
        name = "{0}.{1}".format(base, number)
    taken.add(name)
    return name


def _remaining(report: VerifyReport, moves: list[Move], settled: list[str]) -> list[Finding]:
    """Return the findings that are not about what was moved out."""
    gone = {finding for move in moves for finding in move.findings}
    digests = {digest for move in moves for digest in move.blobs} | set(settled)
    subjects = {move.path for move in moves} | digests
    subjects |= {_blob(digest) for digest in digests}
    return [item for item in report.findings if item not in gone and item.subject not in subjects]


def _require(store: ModelStore, quarantine: Path) -> None:
    """Raise FindingError (QUARANTINE-REFUSED) unless evidence can be moved to this directory and is safe
    there.
    """
    try:
        status = os.lstat(quarantine)
        why = ""
        if not stat.S_ISDIR(status.st_mode):
            why = "no directory"
        elif stat.S_IMODE(status.st_mode) & 0o022:
            why = "others than its owner can write it"
        elif status.st_dev != os.lstat(store.root).st_dev:
            why = "on another file system than the store: a model could not leave in one step"
        elif store.root == quarantine or store.root in quarantine.parents:
            why = "inside the store"
        else:
            with contextlib.suppress(FileNotFoundError):
                inner = os.lstat(quarantine / EVIDENCE)
                owned = stat.S_ISDIR(inner.st_mode) and inner.st_uid == os.geteuid()
                if not owned or stat.S_IMODE(inner.st_mode) != 0o700:
                    why = "its {0} is no directory of ours alone".format(EVIDENCE)
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        raise refuse(
            "QUARANTINE-REFUSED",
            str(quarantine),
            why,
            "Name a directory of root's on the store's file system; nothing was moved.",
        )
