# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have a model in the store, or have it out of there: what `ollama_model` decides and does (rows S1, S2).

source allow-list -> approval -> already there and verified? -> disk space -> quarantine -> fetcher ->
publisher.
`plan` only looks, so that check mode predicts with it; `present` and `absent` act.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from .approval import Approval
from .engine import Engine
from .fetch_container import (
    CA_INSIDE,
    EGRESS_INSIDE,
    QUARANTINE_INSIDE,
    FetcherSettings,
    prepare_directory,
    require_ready,
    run_fetcher,
)
from .fetcher import MANIFEST_FILE, Job
from .findings import FindingError, refuse
from .hashing import UnsafeFileError, hash_files, read_plain
from .manifest import MANIFEST_MAX_BYTES, sha256_of
from .names import ModelName
from .publish import Publication, publish, removable_blobs, store_lock, unpublish
from .registry import Limits
from .store import DIRECTORY_MODE, FILE_MODE, ModelStore

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
    def needs_fetcher(self) -> bool:
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


def require_space(store: ModelStore, quarantine: Path, needed: Plan) -> None:
    """Raise FindingError (DISK-FULL) unless quarantine and store can take what is missing, and a margin.

    A directory that does not exist yet is counted on the file system of its nearest ancestor.
    """
    fetched = sum(needed.fetch.values())
    copied = fetched + sum(needed.approval.blobs[digest] for digest in needed.reseal)
    wanted: dict[int, tuple[Path, int]] = {}
    for path, size in ((quarantine, fetched), (store.root, copied)):
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


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def present(
    store: ModelStore,
    quarantine: Path,
    engine: Engine,
    settings: FetcherSettings,
    hosts: tuple[str, ...],
    approval: Approval,
    workers: int = 0,
) -> tuple[Plan, dict[str, Any]]:
    """Have the approved model in the store; return what was missing and the fetcher's counts.

    Raises FindingError with one finding; the store then is as it was, and what came is kept in quarantine
    only where it can be continued.
    """
    _require_directory(store.root, "STORE-MISSING")
    with store_lock(store):
        todo = plan(store, approval, workers)
        if not todo.changed:
            return todo, {}
        require_space(store, quarantine, todo)
        sources: dict[str, Path] = dict(todo.reseal)
        manifest = todo.manifest
        counts: dict[str, Any] = {}
        directory: Optional[Path] = None
        if todo.needs_fetcher:
            _require_directory(quarantine, "FETCH-QUARANTINE")
            require_ready(engine, settings)
            directory = _job_directory(quarantine, approval, settings.uid)
            try:
                counts = run_fetcher(engine, settings, _job(approval, settings, hosts, todo.fetch), directory)
            except FindingError:
                _tidy(directory)
                raise
            manifest = _fetched_manifest(directory)
            for digest in todo.fetch:
                sources[digest] = directory / digest.replace(":", "-")
        if manifest is None:
            raise AssertionError("a plan without a manifest needs the fetcher")
        publish(store, Publication(approval, manifest, sources), workers)
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)
        return todo, counts


def _require_directory(path: Path, code: str) -> None:
    if not path.is_dir() or path.is_symlink():
        raise refuse(
            code,
            str(path),
            "there is no directory at this path",
            "Run the roles layout and model_store first, or name the right path.",
        )


def _tidy(directory: Path) -> None:
    """Remove a failed job's directory, unless it holds part of a blob that the next run can continue."""
    if not any(path.name.startswith("sha256-") for path in directory.iterdir()):
        shutil.rmtree(directory, ignore_errors=True)


def _job_directory(quarantine: Path, approval: Approval, uid: int) -> Path:
    try:
        return prepare_directory(quarantine, approval.digest.replace(":", "-"), uid)
    except OSError as error:
        raise refuse(
            "FETCH-QUARANTINE",
            str(quarantine),
            error.strerror or error,
            "Empty the quarantine and check its owner, then run again.",
        ) from error


def _job(approval: Approval, settings: FetcherSettings, hosts: tuple[str, ...], blobs: Mapping[str, int]) -> Job:
    name = approval.name
    if ":" in name.host:
        raise refuse(
            "SOURCE-REFUSED",
            name.full,
            "the host names a port, and the way out leads to port 443 only",
            "Name the source by its host alone.",
        )
    return Job(
        host=name.host,
        repository="{0}/{1}".format(name.namespace, name.model),
        tag=name.tag,
        digest=approval.digest,
        blobs=blobs,
        hosts=hosts,
        proxy_socket="{0}/{1}".format(EGRESS_INSIDE, settings.egress_socket.name),
        directory=QUARANTINE_INSIDE,
        ca_bundle=CA_INSIDE if settings.ca_bundle else None,
        limits=Limits(total_seconds=settings.timeout),
    )


def _fetched_manifest(directory: Path) -> bytes:
    try:
        return read_plain(directory / MANIFEST_FILE, MANIFEST_MAX_BYTES)
    except (OSError, UnsafeFileError) as error:
        raise refuse(
            "PUBLISH-UNSAFE-FILE",
            str(directory),
            "the fetcher left no manifest that can be read: {0}".format(error),
            "Empty the quarantine and run again.",
        ) from error


def absent(store: ModelStore, name: ModelName) -> list[str]:
    """Remove a model and the blobs only it uses; return the removed digests. Raises FindingError."""
    with store_lock(store):
        return unpublish(store, name)


def removal(store: ModelStore, name: ModelName) -> tuple[bool, list[str]]:
    """Return whether `absent` would change anything, and which blobs it would remove; change nothing."""
    there = any(model.name.key == name.key for model in store.look().models) if store.exists() else False
    return there, removable_blobs(store, name) if there else []
