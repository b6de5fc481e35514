# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a model's bytes come from: a registry, a bundle, or a directory in Ollama's store format (rows S1, S2).

A source lays manifest and blobs into a directory of the quarantine. None of them is trusted: the publisher
copies and hashes what lies there whoever put it there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .approval import Approval
from .bundle import missing, open_source, read_bundle, unsafe
from .copying import copy_span, unreadable, unwritable, wrong_size
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
from .findings import FindingError, Severity, refuse
from .hashing import UnsafeFileError, open_plain, read_plain
from .manifest import MANIFEST_MAX_BYTES, sha256_of
from .names import blob_file
from .registry import Limits
from .store import BLOBS, MANIFESTS, ModelStore
from .store_files import open_directories


@dataclass
class Delivery:
    """What a source has laid into `directory`: the raw manifest, the files by digest, and what it counted.

    `worth_keeping` says that the next run can go on from there when this one fails.
    """

    directory: Path
    manifest: bytes
    files: dict[str, Path]
    counts: dict[str, Any] = field(default_factory=dict)
    worth_keeping: bool = False


class Source(Protocol):
    """Something that has a model's bytes."""

    def require_ready(self) -> None:
        """Refuse early what cannot work. Raises FindingError."""

    def part(self, quarantine: Path, approval: Approval) -> Path:
        """Return the directory of quarantine that a delivery of this model lies in; it need not be there yet."""

    def bring(self, approval: Approval, blobs: Mapping[str, int], quarantine: Path) -> Delivery:
        """Lay the manifest and `blobs` ({digest: size}) into quarantine. Raises FindingError; what is kept for
        the next run then lies in `part`.
        """


@dataclass(frozen=True)
class Registry:
    """The registry that a model's name says, through the fetcher and the egress proxy; `hosts` it may redirect to.

    `connections` and `split_from` (bytes) are Limits' own.
    """

    engine: Engine
    settings: FetcherSettings
    hosts: tuple[str, ...]
    connections: int = 4
    split_from: int = 64 * 1024 * 1024

    def require_ready(self) -> None:
        """Refuse without engine, image or proxy."""
        require_ready(self.engine, self.settings)

    def part(self, quarantine: Path, approval: Approval) -> Path:
        """Return the fetcher's directory."""
        return quarantine / blob_file(approval.digest)

    def bring(self, approval: Approval, blobs: Mapping[str, int], quarantine: Path) -> Delivery:
        """Have the fetcher bring what is missing; a cut download is continued by the next run."""
        job = self._job(approval, blobs)
        part = self.part(quarantine, approval)
        try:
            directory = prepare_directory(quarantine, part.name, self.settings.uid)
        except OSError as error:
            raise _unusable(quarantine, error) from error
        try:
            counts = run_fetcher(self.engine, self.settings, job, directory)
            manifest = _fetched_manifest(directory)
        except FindingError:
            _tidy(directory)
            raise
        files = {digest: directory / blob_file(digest) for digest in blobs}
        return Delivery(directory, manifest, files, counts, worth_keeping=True)

    def _job(self, approval: Approval, blobs: Mapping[str, int]) -> Job:
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
            hosts=self.hosts,
            proxy_socket="{0}/{1}".format(EGRESS_INSIDE, self.settings.egress_socket.name),
            directory=QUARANTINE_INSIDE,
            ca_bundle=CA_INSIDE if self.settings.ca_bundle else None,
            limits=Limits(
                total_seconds=self.settings.timeout, connections=self.connections, split_from=self.split_from
            ),
        )


def _tidy(directory: Path) -> None:
    """Remove a failed job's directory, unless it holds part of a blob that the next run can continue."""
    if not any(path.name.startswith("sha256-") for path in directory.iterdir()):
        shutil.rmtree(directory, ignore_errors=True)


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


def _unusable(quarantine: Path, error: OSError) -> FindingError:
    return refuse(
        "FETCH-QUARANTINE",
        str(quarantine),
        error.strerror or error,
        "Empty the quarantine and check its owner, then run again.",
    )


@dataclass(frozen=True)
class Bundle:
    """A bundle on the host."""

    path: Path

    def require_ready(self) -> None:
        """Refuse what is not there or no plain file."""
        with open_source(self.path):
            return

    def part(self, quarantine: Path, approval: Approval) -> Path:
        """Return root's own directory for what is copied in."""
        return quarantine / (blob_file(approval.digest) + ".import")

    def bring(self, approval: Approval, blobs: Mapping[str, int], quarantine: Path) -> Delivery:
        """Copy what is missing out of the bundle, hashing it on the way."""
        with open_source(self.path) as descriptor:
            manifest, places = read_bundle(descriptor, str(self.path), approval)
            _require_manifest(manifest, approval, str(self.path))
            with _fresh_directory(self.part(quarantine, approval)) as directory:
                files = {}
                for digest, size in sorted(blobs.items()):
                    files[digest] = directory / blob_file(digest)
                    _copy(descriptor, places[digest].offset, size, digest, files[digest])
                return Delivery(directory, manifest, files)


@dataclass(frozen=True)
class Directory:
    """A directory in Ollama's store format on the host: a copy that was carried in, or another Ollama's store."""

    path: Path

    def require_ready(self) -> None:
        """Refuse what is no directory."""
        try:
            mode = os.lstat(self.path).st_mode
        except OSError as error:
            raise missing(self.path) from error
        if not stat.S_ISDIR(mode):
            raise unsafe(self.path, "no directory")

    def part(self, quarantine: Path, approval: Approval) -> Path:
        """Return root's own directory for what is copied in."""
        return quarantine / (blob_file(approval.digest) + ".import")

    def bring(self, approval: Approval, blobs: Mapping[str, int], quarantine: Path) -> Delivery:
        """Copy the approved manifest and blobs, and nothing else that lies there; no link is followed."""
        store = ModelStore(self.path)
        *above, tag = (MANIFESTS, *approval.name.parts)
        with _opened(store, tuple(above), self.path) as tags, _reading(tag, tags, self.path) as descriptor:
            manifest = os.pread(descriptor, MANIFEST_MAX_BYTES + 1, 0)
        _require_manifest(manifest, approval, str(self.path))
        with _opened(store, (BLOBS,), self.path) as held, _fresh_directory(
            self.part(quarantine, approval)
        ) as directory:
            files = {}
            for digest, size in sorted(blobs.items()):
                files[digest] = directory / blob_file(digest)
                with _reading(blob_file(digest), held, self.path) as descriptor:
                    found = os.fstat(descriptor).st_size
                    if found != size:
                        raise wrong_size(digest, found, size)
                    _copy(descriptor, 0, size, digest, files[digest])
            return Delivery(directory, manifest, files)


def _require_manifest(manifest: bytes, approval: Approval, subject: str) -> None:
    found = sha256_of(manifest)
    if found != approval.digest:
        raise refuse(
            "IMPORT-DIGEST-MISMATCH",
            subject,
            "its manifest of {0} is {1}, approved is {2}".format(approval.name.full, found, approval.digest),
            "Take the copy that was approved, or have this version approved.",
            Severity.CRITICAL,
        )


@contextlib.contextmanager
def _opened(store: ModelStore, parts: tuple[str, ...], path: Path) -> Iterator[int]:
    try:
        opened = contextlib.ExitStack()
        descriptor = opened.enter_context(open_directories(store, parts))
    except FileNotFoundError as error:
        raise missing(path.joinpath(*parts)) from error
    except NotADirectoryError as error:
        raise unsafe(path.joinpath(*parts), "no directory, or a link to one") from error
    except OSError as error:
        raise unreadable(str(path.joinpath(*parts)), error) from error
    with opened:
        yield descriptor


@contextlib.contextmanager
def _reading(name: str, directory: int, path: Path) -> Iterator[int]:
    try:
        descriptor = open_plain(name, directory)
    except FileNotFoundError as error:
        raise missing(path / name) from error
    except UnsafeFileError as error:
        raise unsafe(path / name, error) from error
    except OSError as error:
        raise unreadable(name, error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _fresh_directory(path: Path) -> Iterator[Path]:
    """Yield an empty directory that only its maker enters; it is gone again when something fails."""
    try:
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)
        path.mkdir(mode=0o700)
    except OSError as error:
        raise _unusable(path.parent, error) from error
    try:
        yield path
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def _copy(reading: int, offset: int, size: int, digest: str, target: Path) -> None:
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(writing, "wb", buffering=0) as stream:
            copy_span(reading, offset, size, digest, lambda data: _write_all(stream.fileno(), data))
    except OSError as error:
        raise unwritable(str(target.parent), error) from error


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
