# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The publisher: the only writer of a store (row S2).

Files are copied (or reflinked) into inodes that only root can write, those copies are hashed, sealed where the
file system offers fs-verity, and only then renamed to where Ollama sees them; the manifest comes last.
Whatever fails before leaves the store as it was.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Optional

from . import fsverity
from .approval import Approval
from .findings import FindingError, Severity, refuse
from .hashing import UnsafeFileError, hash_files, open_plain, read_plain
from .manifest import CONFIG_MAX_BYTES, MANIFEST_MAX_BYTES, cloud_stub, parse_manifest
from .names import ModelName, blob_file
from .record import StoreRecord, update
from .store import BLOBS, FILE_MODE, LOCK, MANIFESTS, PUBLISHING, ModelStore
from .store_files import open_directories, prune, write_error

COPY_BYTES = 8 * 1024 * 1024
_NO_REFLINK = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY)


@contextlib.contextmanager
def store_lock(store: ModelStore) -> Iterator[None]:
    """Hold the store for one writer. Raises FindingError (STORE-BUSY) at once when another run has it."""
    try:
        descriptor = os.open(store.path(LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise write_error(store, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise refuse(
                "STORE-BUSY",
                str(store.root),
                "another run holds the store",
                "Wait until it has ended, then run again.",
            ) from error
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Publication:
    """What to publish: the raw manifest, its approval, and where each blob to be added lies ({digest:
    path}).
    """

    approval: Approval
    manifest: bytes
    sources: Mapping[str, Path]


def publish(store: ModelStore, publication: Publication, workers: int = 0, record: Optional[Path] = None) -> None:
    """Add a model to the store; on return manifest and blobs are there, durable and root's. Hold the lock.

    With a `record`, the blobs' marks are kept there, so that a later difference can be located.
    Raises FindingError, the store unchanged: PUBLISH-DIGEST-MISMATCH, PUBLISH-SIZE-MISMATCH,
    PUBLISH-UNSAFE-FILE, PUBLISH-DISK, STORE-MANIFEST-INVALID, STORE-MANIFEST-MISMATCH.
    """
    approval = publication.approval
    manifest = parse_manifest(publication.manifest, approval.name.full)
    difference = approval.difference(manifest)
    if difference:
        raise refuse(
            "STORE-MANIFEST-MISMATCH",
            approval.name.full,
            difference,
            "Review what changed and approve it, or keep the approved version.",
            Severity.CRITICAL,
        )
    try:
        with _workshop(store) as workshop:
            for digest in sorted(publication.sources):
                _copy(publication.sources[digest], workshop / blob_file(digest), digest, approval.blobs[digest])
            marks = _verify_copies(workshop, approval, sorted(publication.sources), workers, record is not None)
            _refuse_cloud_stub(store, workshop, publication, manifest.config.digest)
            for digest in sorted(publication.sources):
                _seal(workshop / blob_file(digest), store, verity=True)
            draft = workshop / "manifest"
            _write(draft, publication.manifest)
            _seal(draft, store)
            former = _blobs_of(store, approval.name)
            _reveal(store, workshop, draft, approval.name, sorted(publication.sources))
        _sweep(store, former - set(manifest.blobs))
    except OSError as error:
        raise write_error(store, error) from error
    if record is not None:
        # The model is there and right: marks that cannot be kept are no reason to call this a failure.
        with contextlib.suppress(FindingError):
            update(record, os.geteuid(), lambda known: _with_marks(known, marks))


def _with_marks(known: StoreRecord, marks: Mapping[str, bytes]) -> StoreRecord:
    return StoreRecord(known.store, known.readings, {**known.marks, **marks}, known.inspected)


@contextlib.contextmanager
def _workshop(store: ModelStore) -> Iterator[Path]:
    """Yield an empty directory only root can enter, on the store's file system; it is gone afterwards."""
    workshop = store.path(PUBLISHING)
    _clear(workshop)
    workshop.mkdir(mode=0o700)
    try:
        yield workshop
    finally:
        _clear(workshop)


def _clear(path: Path) -> None:
    """Remove whatever an interrupted run left at `path`, following no link."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        shutil.rmtree(path)
    else:
        path.unlink()


def _copy(source: Path, target: Path, digest: str, size: int) -> None:
    """Copy exactly `size` bytes into a new inode; the source may be hostile, so it is opened as if it
    were.
    """
    try:
        reading = open_plain(source)
    except UnsafeFileError as error:
        raise refuse(
            "PUBLISH-UNSAFE-FILE",
            digest,
            "in quarantine there is {0}".format(error),
            "Empty the quarantine and run again; find out who put it there.",
            Severity.CRITICAL,
        ) from error
    try:
        found = os.fstat(reading).st_size
        if found != size:
            raise refuse(
                "PUBLISH-SIZE-MISMATCH",
                digest,
                "{0} bytes in quarantine, approved are {1}".format(found, size),
                "Empty the quarantine and run again.",
            )
        writing = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _copy_bytes(reading, writing, size)
            os.fsync(writing)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _copy_bytes(reading: int, writing: int, size: int) -> None:
    """Copy in the kernel where it can (it reflinks where the file system can), else through a buffer."""
    left = size
    in_kernel = hasattr(os, "copy_file_range")
    while left:
        if in_kernel:
            try:
                count = os.copy_file_range(reading, writing, min(left, 1 << 30))
            except OSError as error:
                if error.errno not in _NO_REFLINK:
                    raise
                in_kernel = False
                continue
        else:
            chunk = os.read(reading, min(left, COPY_BYTES))
            count = len(chunk)
            view = memoryview(chunk)
            while view:
                view = view[os.write(writing, view) :]
        if not count:
            # Shorter than it said: the hash of the copy will tell.
            return
        left -= count


def _verify_copies(
    workshop: Path, approval: Approval, digests: list[str], workers: int, marked: bool
) -> dict[str, bytes]:
    """Hash the copies themselves, on all cores; return their marks if they are asked for.

    Raises FindingError (PUBLISH-DIGEST-MISMATCH, PUBLISH-DISK).
    """
    by_path = {str(workshop / blob_file(digest)): digest for digest in digests}
    marks: dict[str, bytes] = {}
    for result in hash_files(by_path, workers, lambda _path: marked):
        digest = by_path[str(result.path)]
        if result.error:
            raise refuse("PUBLISH-DISK", digest, result.error, "Check the store's disk, then run again.")
        if result.digest != digest or result.size != approval.blobs[digest]:
            raise refuse(
                "PUBLISH-DIGEST-MISMATCH",
                digest,
                "the {0} bytes copied hash to {1}".format(result.size, result.digest),
                "Nothing was published. Run again; if it comes back, find out who writes to the quarantine.",
                Severity.CRITICAL,
            )
        marks[digest] = result.marks
    return marks if marked else {}


def _refuse_cloud_stub(store: ModelStore, workshop: Path, publication: Publication, config: str) -> None:
    """Look into the verified config. Raises FindingError (STORE-CLOUD-STUB) when it sends prompts away."""
    new = config in publication.sources
    data = read_plain(workshop / blob_file(config) if new else store.blob_path(config), CONFIG_MAX_BYTES)
    refusal = cloud_stub(data, publication.approval.name.full)
    if refusal:
        raise refusal


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _seal(path: Path, store: ModelStore, verity: bool = False) -> None:
    """Give a finished file its owner and its read-only mode, durably; with `verity`, the kernel's seal before."""
    descriptor = open_plain(path)
    try:
        if verity:
            fsverity.seal(descriptor)
        os.fchown(descriptor, store.uid, store.gid)
        os.fchmod(descriptor, FILE_MODE)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reveal(store: ModelStore, workshop: Path, draft: Path, name: ModelName, digests: list[str]) -> None:
    """Rename the finished files to where Ollama looks, the manifest last; undo new blobs when that fails."""
    revealed: list[str] = []
    with open_directories(store, (BLOBS,), create=True) as blobs:
        with os.scandir(blobs) as listing:
            present = {entry.name for entry in listing}
        try:
            for digest in digests:
                file_name = blob_file(digest)
                os.rename(workshop / file_name, file_name, dst_dir_fd=blobs)
                if file_name not in present:
                    revealed.append(file_name)
            os.fsync(blobs)
            with open_directories(store, (MANIFESTS, *name.parts[:3]), create=True) as tags:
                os.rename(draft, name.tag, dst_dir_fd=tags)
                # From here on the model is there: its blobs must stay, even if the next line fails.
                revealed.clear()
                os.fsync(tags)
        except BaseException:
            for file_name in revealed:
                with contextlib.suppress(OSError):
                    os.unlink(file_name, dir_fd=blobs)
            raise


def _blobs_of(store: ModelStore, name: ModelName) -> set[str]:
    """Return the blobs that the manifest in place names; none where there is none that can be read."""
    try:
        return set(parse_manifest(read_plain(store.manifest_path(name), MANIFEST_MAX_BYTES), name.full).blobs)
    except (OSError, UnsafeFileError, FindingError):
        return set()


def _sweep(store: ModelStore, former: set[str]) -> None:
    """Remove the blobs that only the replaced version used; what another model names, or may name, stays."""
    content = store.look() if former else None
    if content is None or content.findings.count("STORE-READ-ERROR", "STORE-MANIFEST-INVALID"):
        return
    named = {digest for model in content.models if model.manifest for digest in model.manifest.blobs}
    if any(model.manifest is None for model in content.models):
        return
    for digest in sorted((former - named) & set(content.blobs)):
        store.blob_path(digest).unlink()


def unpublish(store: ModelStore, name: ModelName) -> list[str]:
    """Remove a model's manifest, then the blobs no other model names; return the removed digests. Hold the
    lock.

    When another manifest cannot be read, no blob is removed: it may be needed. Raises FindingError
    (PUBLISH-DISK).
    """
    try:
        content = store.look()
        unused = removable_blobs(store, name)
        for model in content.models:
            if model.name.key != name.key:
                continue
            # Its path as it is: a name is lower case where a directory need not be.
            *above, tag = PurePosixPath(model.path).parts
            with open_directories(store, tuple(above)) as tags:
                os.unlink(tag, dir_fd=tags)
            prune(store, tuple(above))
        for digest in unused:
            store.blob_path(digest).unlink()
    except OSError as error:
        raise write_error(store, error) from error
    return unused


def removable_blobs(store: ModelStore, name: ModelName) -> list[str]:
    """Return the digests only `name` uses, sorted; none when another model's manifest cannot be read."""
    content = store.look()
    mine: set[str] = set()
    others: set[str] = set()
    for model in content.models:
        if model.name.key == name.key:
            mine |= set(model.manifest.blobs) if model.manifest else set()
        elif model.manifest is None:
            return []
        else:
            others |= set(model.manifest.blobs)
    if content.findings.count("STORE-READ-ERROR", "STORE-MANIFEST-INVALID"):
        return []
    return sorted(digest for digest in mine - others if digest in content.blobs)
