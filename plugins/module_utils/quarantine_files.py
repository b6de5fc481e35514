# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a quarantine: moving a model out of the store so that a cut move can be ended later (row S3)."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .findings import Finding, FindingError, Severity, as_dicts, refuse
from .hashing import read_plain
from .names import blob_file
from .store import BLOBS, MANIFESTS, ModelStore
from .store_files import DIRECTORY, open_directories, prune

EVIDENCE = "store-evidence"
FINDINGS = "findings.json"
MANIFEST = "manifest"
_PART = ".part"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FINDINGS_MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Move:
    """One model to be moved out.

    `path` is its manifest's, relative to the store; `evidence` the directory it goes to, below
    `store-evidence`; `blobs` those that go with it, `kept` those that stay: others use them, or they are not
    there.
    """

    name: str
    path: str
    digest: str
    evidence: str
    blobs: tuple[str, ...]
    kept: tuple[str, ...]
    findings: tuple[Finding, ...]
    bad_blobs: tuple[dict[str, Any], ...] = ()

    def as_document(self) -> dict[str, Any]:
        """Return what findings.json says. It holds no times: the same incident gives the same bytes."""
        return {
            "model": self.name,
            "path": self.path,
            "digest": self.digest,
            "moved": list(self.blobs),
            "kept": list(self.kept),
            "findings": as_dicts(self.findings),
            "bad_blobs": list(self.bad_blobs),
        }

    def as_result(self, quarantine: Path) -> dict[str, Any]:
        """Return the module's shape of a move."""
        return {
            "model": self.name,
            "digest": self.digest,
            "evidence": str(quarantine / EVIDENCE / self.evidence),
            "blobs": list(self.blobs),
        }


def names(quarantine: Path) -> list[str]:
    """Return the names in the evidence directory, none when there is no such directory."""
    try:
        return os.listdir(quarantine / EVIDENCE)
    except OSError:
        return []


def any_cut(quarantine: Path) -> bool:
    """Whether a move was cut short, at whatever step."""
    return any(name.endswith(_PART) for name in names(quarantine))


@contextlib.contextmanager
def _opened(quarantine: Path) -> Iterator[int]:
    """Yield a descriptor of the evidence directory, made if need be. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(quarantine / EVIDENCE, 0o700)
    descriptor = os.open(quarantine / EVIDENCE, DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def move_all(store: ModelStore, quarantine: Path, moves: Iterable[Move]) -> tuple[list[Move], list[Finding]]:
    """Move each model out; return those that were moved, and a finding for each that was not. Hold the
    store's lock.
    """
    moved: list[Move] = []
    failures: list[Finding] = []
    for move in moves:
        try:
            with _opened(quarantine) as evidence:
                _move(store, evidence, move)
            moved.append(move)
        except OSError as error:
            failures.append(
                Finding(
                    "QUARANTINE-FAILED",
                    Severity.CRITICAL,
                    move.name,
                    "not moved out of the store: {0}".format(error.strerror or error),
                    "Stop the server, check the disk, then run again.",
                )
            )
    return moved, failures


def _move(store: ModelStore, evidence: int, move: Move) -> None:
    """Write the evidence, then take the manifest away, then the blobs. Raises OSError."""
    draft = move.evidence + _PART
    with _inside(evidence, draft) as part:
        _write(part, json.dumps(move.as_document(), indent=1).encode("utf-8") + b"\n")
        os.fsync(evidence)
        *above, tag = PurePosixPath(move.path).parts
        try:
            with open_directories(store, tuple(above)) as tags:
                os.rename(tag, MANIFEST, src_dir_fd=tags, dst_dir_fd=part)
                os.fsync(tags)
            os.fsync(part)
        except OSError:
            if not _there(MANIFEST, part):
                _remove(evidence, draft, part)
            raise
        prune(store, tuple(above))
        _take(store, part, move.blobs)
    os.rename(draft, move.evidence, src_dir_fd=evidence, dst_dir_fd=evidence)
    os.fsync(evidence)


@contextlib.contextmanager
def _inside(evidence: int, name: str) -> Iterator[int]:
    """Yield a descriptor of a directory of evidence with room for blobs, made if need be."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=evidence)
    part = os.open(name, DIRECTORY, dir_fd=evidence)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(BLOBS, 0o700, dir_fd=part)
        yield part
    finally:
        os.close(part)


def _write(part: int, data: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(FINDINGS, dir_fd=part)
    with os.fdopen(os.open(FINDINGS, _NEW, 0o600, dir_fd=part), "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    os.fsync(part)


def _take(store: ModelStore, part: int, digests: Iterable[str]) -> None:
    """Move blobs out of the store into the evidence; what is not there any more is no error."""
    inner = os.open(BLOBS, DIRECTORY, dir_fd=part)
    try:
        with open_directories(store, (BLOBS,)) as blobs:
            for digest in digests:
                with contextlib.suppress(FileNotFoundError):
                    os.rename(blob_file(digest), blob_file(digest), src_dir_fd=blobs, dst_dir_fd=inner)
            os.fsync(blobs)
        os.fsync(inner)
    finally:
        os.close(inner)


def _there(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _remove(evidence: int, name: str, part: int) -> None:
    """Remove a directory of evidence that holds nothing but what was to be said."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(FINDINGS, dir_fd=part)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(BLOBS, dir_fd=part)
    os.rmdir(name, dir_fd=evidence)


@dataclass(frozen=True)
class CutMove:
    """A move that was cut after its first step: its directory, its manifest's path, the blobs still to be
    taken.
    """

    directory: str
    path: str
    blobs: tuple[str, ...]


def interrupted(store: ModelStore, quarantine: Path) -> list[CutMove]:
    """Return the moves that were cut after their first step; a blob that a model uses again is not to be
    taken.
    """
    cut = []
    for name in sorted(item for item in names(quarantine) if item.endswith(_PART)):
        directory = quarantine / EVIDENCE / name
        if not os.path.lexists(directory / MANIFEST):
            continue
        try:
            said = json.loads(read_plain(directory / FINDINGS, _FINDINGS_MAX_BYTES))
            planned = [digest for digest in said["moved"] if os.path.lexists(store.blob_path(digest))]
            cut.append(CutMove(name, str(said["path"]), tuple(planned)))
        except (OSError, ValueError, TypeError, KeyError, FindingError):
            cut.append(CutMove(name, "", ()))
    if not any(move.blobs for move in cut):
        return cut
    content = store.look()
    used = {digest for model in content.models if model.manifest for digest in model.manifest.blobs}
    if not content.complete or any(model.manifest is None for model in content.models):
        return [CutMove(move.directory, move.path, ()) for move in cut]
    return [
        CutMove(move.directory, move.path, tuple(digest for digest in move.blobs if digest not in used)) for move in cut
    ]


def settle(store: ModelStore, quarantine: Path) -> None:
    """End the moves that were cut short. Hold the store's lock. Raises FindingError (QUARANTINE-REFUSED)."""
    try:
        with _opened(quarantine) as evidence:
            for cut in interrupted(store, quarantine):
                with _inside(evidence, cut.directory) as part:
                    _take(store, part, cut.blobs)
                above = PurePosixPath(cut.path).parts[:-1]
                if above[:1] == (MANIFESTS,) and ".." not in above:
                    prune(store, above)
                whole = cut.directory[: -len(_PART)]
                os.rename(cut.directory, whole, src_dir_fd=evidence, dst_dir_fd=evidence)
            # Those that were cut before their first step moved nothing.
            for name in [item for item in names(quarantine) if item.endswith(_PART)]:
                with _inside(evidence, name) as part:
                    _remove(evidence, name, part)
            os.fsync(evidence)
    except OSError as error:
        ours = error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
        raise refuse(
            "QUARANTINE-REFUSED",
            str(quarantine / EVIDENCE),
            (error.strerror or error) if ours else "a cut move's directory holds what is not ours",
            "Look into this directory, then run again.",
        ) from error
