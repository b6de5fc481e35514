# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have a model in the store, or have it out of there: what `ollama_model` decides and does (rows S1, S2).

source allow-list -> approval -> already there and verified? -> disk space -> source brings into quarantine ->
screen -> publisher.
`plan` only looks, so that check mode predicts with it; `present` and `absent` act.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from .approval import Approval
from .findings import Finding, FindingError, refuse
from .hashing import UnsafeFileError, hash_files, read_plain
from .manifest import MANIFEST_MAX_BYTES, sha256_of
from .names import ModelName, blob_file
from .publish import Publication, publish, removable_blobs, store_lock, unpublish
from .sources import Delivery, Source
from .store import DIRECTORY_MODE, FILE_MODE, ModelStore

# Looks at the raw manifest and {digest: path} of the files about to be published; raises FindingError to refuse.
Screen = Callable[[bytes, Mapping[str, Path]], None]

# Kept free beside the models: a full disk takes logs and services down with it.
MARGIN_BYTES = 64 * 1024 * 1024


@dataclass
class Plan:
    """What is missing for a model to be there: blobs to `fetch` ({digest: size}) and to `reseal` ({digest:
    path}).

    `reseal` holds blobs whose bytes are right but whose owner, mode or further names are not: they are copied
    into new inodes. `manifest` is the stored manifest's bytes when they are the approved ones, else None.
    """

    approval: Approval
    fetch: dict[str, int] = field(default_factory=dict)
    reseal: dict[str, Path] = field(default_factory=dict)
    manifest: Optional[bytes] = None
    manifest_sealed: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything has to be done."""
        return bool(self.fetch or self.reseal or not self.manifest_sealed)

    @property
    def needs_source(self) -> bool:
        """Whether bytes have to come from outside."""
        return bool(self.fetch) or self.manifest is None

    def as_diff(self) -> dict[str, str]:
        """Return what will be added, for diff mode."""
        lines = ["{0} {1} bytes".format(digest, size) for digest, size in sorted(self.fetch.items())]
        lines += ["{0} owner and mode".format(digest) for digest in sorted(self.reseal)]
        if not self.manifest_sealed:
            lines.append("manifest {0} {1}".format(self.approval.name.full, self.approval.digest))
        return {"before": "", "after": "".join(line + "\n" for line in lines)}


def plan(store: ModelStore, approval: Approval, workers: int = 0) -> Plan:
    """Look at (and hash) what the store has of a model; change nothing. An absent store has nothing."""
    result = Plan(approval, fetch=dict(approval.blobs))
    if not store.exists():
        return result
    try:
        data = read_plain(store.manifest_path(approval.name), MANIFEST_MAX_BYTES)
        if sha256_of(data) == approval.digest:
            result.manifest = data
            result.manifest_sealed = _sealed(store, store.manifest_path(approval.name))
    except (OSError, UnsafeFileError):
        result.manifest = None
    by_path = {str(store.blob_path(digest)): digest for digest in approval.blobs}
    candidates = [path for path, digest in by_path.items() if _size_of(Path(path)) == approval.blobs[digest]]
    for found in hash_files(candidates, workers):
        digest = by_path[str(found.path)]
        if found.error or found.changed or found.digest != digest:
            continue
        del result.fetch[digest]
        if not _sealed(store, Path(found.path)):
            result.reseal[digest] = Path(found.path)
    return result


def _size_of(path: Path) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return -1


def _sealed(store: ModelStore, path: Path) -> bool:
    """Whether a file and the directories above it are as the publisher makes them: owner, mode, one name."""
    status = os.lstat(path)
    owner = (store.uid, store.gid)
    if (status.st_uid, status.st_gid) != owner or status.st_nlink != 1 or status.st_mode & 0o7777 != FILE_MODE:
        return False
    parent = path.parent
    while parent != store.root:
        above = os.lstat(parent)
        if (above.st_uid, above.st_gid) != owner or above.st_mode & 0o7777 != DIRECTORY_MODE:
            return False
        parent = parent.parent
    return True


def require_space(store: ModelStore, quarantine: Path, needed: Plan, part: Optional[Path] = None) -> None:
    """Raise FindingError (DISK-FULL) unless quarantine and store can take what is missing, and a margin.

    What an earlier run left in `part` of the quarantine is not needed again. A directory that does not exist yet
    is counted on the file system of its nearest ancestor.
    """
    fetched = sum(needed.fetch.values())
    copied = fetched + sum(needed.approval.blobs[digest] for digest in needed.reseal)
    wanted: dict[int, tuple[Path, int]] = {}
    for path, size in ((quarantine, fetched - _left_by_an_earlier_run(needed, part)), (store.root, copied)):
        ancestor = _existing(path)
        device = ancestor.stat().st_dev
        # On one file system the quarantine's copy and the store's are there at the same time.
        wanted[device] = (ancestor, wanted.get(device, (ancestor, 0))[1] + size)
    for path, size in wanted.values():
        space = os.statvfs(path)
        free = space.f_bavail * space.f_frsize
        if size and free < size + MARGIN_BYTES:
            raise refuse(
                "DISK-FULL",
                str(path),
                "{0} MiB are needed, {1} MiB are free".format((size + MARGIN_BYTES) >> 20, free >> 20),
                "Free space or enlarge the volume, then run again: nothing was fetched.",
            )


def _left_by_an_earlier_run(needed: Plan, part: Optional[Path]) -> int:
    """Return how many bytes of what is missing lie in quarantine already, holes not counted."""
    total = 0
    for digest, size in needed.fetch.items() if part else ():
        taken = 0
        for suffix in ("", ".part"):
            try:
                status = os.lstat("{0}/{1}{2}".format(part, blob_file(digest), suffix))
            except OSError:
                continue
            taken = max(taken, min(status.st_blocks * 512, status.st_size))
        total += min(size, taken)
    return total


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def present(
    store: ModelStore,
    quarantine: Path,
    source: Source,
    approval: Approval,
    workers: int = 0,
    record: Optional[Path] = None,
    screen: Optional[Screen] = None,
) -> tuple[Plan, dict[str, Any]]:
    """Have the approved model in the store; return what was missing and what the source counted.

    `record` is where the publisher keeps marks of the blobs (see `record`). `screen` is asked after the source has
    ended and before anything is published. Raises FindingError with one finding; the store then is as it was, and
    what came is kept in quarantine only where it can be continued, or as evidence where `screen` refused it.
    """
    _require_directory(store.root, "STORE-MISSING")
    with store_lock(store):
        todo = plan(store, approval, workers)
        if not todo.changed:
            return todo, {}
        part = source.part(quarantine, approval)
        require_space(store, quarantine, todo, part)
        files: dict[str, Path] = dict(todo.reseal)
        delivery: Optional[Delivery] = None
        if todo.needs_source:
            _require_directory(quarantine, "FETCH-QUARANTINE")
            source.require_ready()
            delivery = source.bring(approval, todo.fetch, quarantine)
            files.update(delivery.files)
        manifest = delivery.manifest if delivery else todo.manifest
        if manifest is None:
            raise AssertionError("a plan without a manifest needs a source")
        if screen is not None:
            _screen(screen, manifest, files, delivery)
        try:
            publish(store, Publication(approval, manifest, files), workers, record)
        except BaseException:
            if delivery is not None and not delivery.worth_keeping:
                shutil.rmtree(delivery.directory, ignore_errors=True)
            raise
        if delivery is not None:
            shutil.rmtree(delivery.directory, ignore_errors=True)
        shutil.rmtree(_evidence(part), ignore_errors=True)
        return todo, delivery.counts if delivery else {}


def _screen(screen: Screen, manifest: bytes, files: Mapping[str, Path], delivery: Optional[Delivery]) -> None:
    """Ask `screen`; what it refuses is set aside as evidence, so that no later run continues it.

    Whoever laid the files there loses them first: between the look and the copy nobody but this user changes them.
    """
    if delivery is not None:
        _take_over(delivery.directory)
    try:
        screen(manifest, files)
    except FindingError as error:
        if delivery is None:
            raise
        kept = _set_aside(delivery.directory)
        found = error.finding
        raise FindingError(
            Finding(
                found.code,
                found.severity,
                found.subject,
                "{0}; the files are kept in {1}".format(found.evidence.rstrip("."), kept),
                "{0} The next run brings the model anew and looks again.".format(found.remedy),
            )
        ) from error


def _take_over(directory: Path) -> None:
    try:
        os.chown(directory, os.geteuid(), os.getegid(), follow_symlinks=False)
        directory.chmod(0o700)
    except OSError as error:
        raise _no_quarantine(directory, error) from error


def _evidence(part: Path) -> Path:
    return part.with_name(part.name + ".refused")


def _set_aside(directory: Path) -> Path:
    """Rename a refused delivery; of each model one is kept, the latest."""
    kept = _evidence(directory)
    try:
        shutil.rmtree(kept, ignore_errors=True)
        directory.rename(kept)
    except OSError as error:
        raise _no_quarantine(directory, error) from error
    return kept


def _no_quarantine(path: Path, error: OSError) -> FindingError:
    return refuse(
        "FETCH-QUARANTINE",
        str(path),
        error.strerror or error,
        "Empty the quarantine and check its owner, then run again.",
    )


def _require_directory(path: Path, code: str) -> None:
    if not path.is_dir() or path.is_symlink():
        raise refuse(
            code,
            str(path),
            "there is no directory at this path",
            "Run the roles layout and model_store first, or name the right path.",
        )


def absent(store: ModelStore, name: ModelName) -> list[str]:
    """Remove a model and the blobs only it uses; return the removed digests. Raises FindingError."""
    with store_lock(store):
        return unpublish(store, name)


def removal(store: ModelStore, name: ModelName) -> tuple[bool, list[str]]:
    """Return whether `absent` would change anything, and which blobs it would remove; change nothing."""
    there = any(model.name.key == name.key for model in store.look().models) if store.exists() else False
    return there, removable_blobs(store, name) if there else []
