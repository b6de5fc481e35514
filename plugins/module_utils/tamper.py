# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prove on the host itself that verification finds a flipped byte (row S3).

A blob of the served store is copied with the manifests into a scratch store, one bit of it is flipped at a
random place, and the scratch store is verified. The served store is only read.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from .findings import Check, Finding, FindingError, Severity, check
from .hashing import open_plain, read_plain
from .manifest import MANIFEST_MAX_BYTES
from .store import BLOBS, DIRECTORY_MODE, FILE_MODE, ModelStore
from .verify import verify

CODE = "STORE-DIGEST-MISMATCH"


@dataclass(frozen=True)
class Proof:
    """What came out: the blob, where its bit was flipped (byte offset), and whether that was found."""

    check: Check
    finding: Optional[Finding]
    blob: str = ""
    offset: int = -1
    size: int = 0


def prove(store_path: str, scratch_path: str, max_bytes: int) -> Proof:
    """Flip one bit in a copy of the largest blob of at most `max_bytes` and look whether it is found.

    `scratch_path` is a directory in which a temporary one is made and removed again. Without a blob that
    small, the check is `unknown`.
    """
    store = ModelStore(store_path)
    sizes = {digest: status.st_size for digest, status in store.look().blobs.items()}
    fitting = {digest: size for digest, size in sizes.items() if 0 < size <= max_bytes}
    if not fitting:
        return _undecided("{0} blobs, none of at most {1} bytes".format(len(sizes), max_bytes))
    digest = max(fitting, key=lambda name: (fitting[name], name))
    scratch = ""
    try:
        free = shutil.disk_usage(scratch_path).free
        if free < fitting[digest] * 2:
            return _undecided("{0} bytes free, the copy needs {1}".format(free, fitting[digest]))
        scratch = tempfile.mkdtemp(prefix=".tamper-", dir=scratch_path)
        return _prove_in(store, Path(scratch), digest)
    except (OSError, FindingError) as error:
        return _undecided(getattr(error, "strerror", None) or str(error))
    finally:
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)


def _prove_in(store: ModelStore, scratch: Path, digest: str) -> Proof:
    copy = ModelStore(scratch)
    scratch.chmod(DIRECTORY_MODE)
    for model in store.look().models:
        # Only what is a manifest: a copy of the whole tree would follow a link laid there.
        manifest = copy.path(model.path)
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_bytes(read_plain(store.path(model.path), MANIFEST_MAX_BYTES))
    (scratch / BLOBS).mkdir(mode=DIRECTORY_MODE)
    target = copy.blob_path(digest)
    _copy(store.blob_path(digest), target)
    target.chmod(FILE_MODE)
    size = target.stat().st_size
    if _mismatches(copy, digest):
        return Proof(
            check("store-tamper-found", False, "the copy of {0} is wrong before a bit is flipped".format(digest)),
            Finding(CODE, Severity.CRITICAL, digest, "the served blob's copy hashes to something else", _REMEDY),
            digest,
        )
    offset = secrets.randbelow(size)
    with target.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0]
        stream.seek(offset)
        stream.write(bytes([byte ^ (1 << secrets.randbelow(8))]))
        stream.flush()
        os.fsync(stream.fileno())
    found = _mismatches(copy, digest)
    seen = "one bit of byte {0} of {1} flipped in a copy of {2}: {3}".format(
        offset, size, digest[:19], "found" if found else "NOT found"
    )
    finding = None
    if not found:
        finding = Finding("STORE-TAMPER-MISSED", Severity.CRITICAL, digest, seen, _REMEDY)
    return Proof(check("store-tamper-found", found, seen), finding, digest, offset, size)


def _copy(source: Path, target: Path) -> None:
    """Copy a blob, never through a link. Raises OSError."""
    with os.fdopen(open_plain(source), "rb") as reading, target.open("xb") as writing:
        shutil.copyfileobj(reading, writing, 8 * 1024 * 1024)


def _mismatches(store: ModelStore, digest: str) -> bool:
    report = verify(store, {})
    return any(finding.code == CODE and finding.subject == digest for finding in report.findings)


def _undecided(reason: str) -> Proof:
    return Proof(
        check("store-tamper-found", None, reason),
        Finding("STORE-TAMPER-UNDECIDED", Severity.MEDIUM, "the store", reason, "Free space, or raise max_bytes."),
    )


_REMEDY = "Do not trust this host's verification: verify the store from another machine."
