# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a bundle out of a store: what `ollama_model_bundle` decides and does (row S2).

`plan` only looks, so that check mode predicts with it; `make` writes beside the destination and renames.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from .approval import Approval
from .bundle import Contents, contents, digest_of_same, write_bundle
from .copying import unwritable
from .findings import FindingError, Severity, clean_text, refuse
from .hashing import UnsafeFileError, kind_of, open_plain, read_plain
from .manifest import MANIFEST_MAX_BYTES, parse_manifest
from .names import blob_file
from .store import BLOBS, MANIFESTS, ModelStore
from .store_files import open_directories

MODE = 0o600
# As for models: a full disk takes logs and services down with it.
MARGIN_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Plan:
    """What is to be made where, out of which store; `digest` is the bundle's when it is there already."""

    store: ModelStore
    approval: Approval
    contents: Contents
    dest: Path
    digest: Optional[str]

    def as_text(self) -> str:
        """Return the bundle's files and sizes, a line each, for diff mode."""
        sizes = [(name, len(data)) for name, data in self.contents.texts]
        sizes += list(self.contents.blobs.items())
        return "".join("{0} {1} bytes\n".format(name, size) for name, size in sizes)


def plan(
    store: ModelStore, approval: Approval, text: str, extras: Iterable[tuple[str, str]], dest: Path
) -> Plan:
    """Return what has to be done; change nothing.

    Raises FindingError: BUNDLE-SOURCE (the store has not what was approved, as far as sizes tell), BUNDLE-CONTENT,
    BUNDLE-DEST (something else than a file is there, or no directory for it), DISK-FULL.
    """
    given: dict[str, str] = {}
    for name, content in extras:
        if given.setdefault(name, content) != content:
            remedy = "Give each a name of its own."
            raise refuse("BUNDLE-CONTENT", clean_text(name, 100), "two files have this name", remedy)
    manifest = _manifest(store, approval)
    wanted = contents(approval, manifest, text, given)
    for digest in approval.blobs:
        with _blob(store, approval, digest):
            pass
    present = _digest_of_present(dest, wanted)
    if present is None:
        _require_space(dest, wanted.size)
    return Plan(store, approval, wanted, dest, present)


def make(todo: Plan) -> str:
    """Write the bundle; return its sha256.

    Raises FindingError, the destination as it was: BUNDLE-SOURCE (a blob is not what was approved), DISK-FULL,
    IMPORT-DISK.
    """
    draft = todo.dest.with_name(".{0}.new".format(todo.dest.name))
    try:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        writing = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
        try:
            with os.fdopen(writing, "wb") as stream:
                digest = write_bundle(todo.contents, lambda one: _blob(todo.store, todo.approval, one), stream.write)
                stream.flush()
                os.fsync(stream.fileno())
            draft.rename(todo.dest)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
    except OSError as error:
        raise unwritable(str(todo.dest), error) from error
    except FindingError as error:
        if error.finding.code.startswith("IMPORT-"):
            raise _bad_store(error) from error
        raise
    return digest


def _bad_store(error: FindingError) -> FindingError:
    found = error.finding
    return refuse(
        "BUNDLE-SOURCE",
        found.subject,
        "the store's copy is bad: {0}".format(found.evidence),
        "Verify the store (ollama_model_verify) and run ollama_model again: no bundle was made.",
        Severity.CRITICAL,
    )


def _manifest(store: ModelStore, approval: Approval) -> bytes:
    """Return the stored manifest when it is the approved one."""
    *above, tag = (MANIFESTS, *approval.name.parts)
    try:
        with open_directories(store, tuple(above)) as tags:
            data = read_plain(tag, MANIFEST_MAX_BYTES, tags)
    except (OSError, UnsafeFileError) as error:
        raise _not_there(approval.name.full, "its manifest cannot be read: {0}".format(_why(error))) from error
    difference = approval.difference(parse_manifest(data, approval.name.full))
    if difference:
        raise _not_there(approval.name.full, difference)
    return data


@contextlib.contextmanager
def _blob(store: ModelStore, approval: Approval, digest: str) -> Iterator[int]:
    """Yield a descriptor of an approved blob, which has the approved size."""
    try:
        with open_directories(store, (BLOBS,)) as held:
            descriptor = open_plain(blob_file(digest), held)
    except (OSError, UnsafeFileError) as error:
        raise _not_there(digest, "it cannot be read: {0}".format(_why(error))) from error
    try:
        found = os.fstat(descriptor).st_size
        if found != approval.blobs[digest]:
            raise _not_there(digest, "it has {0} bytes, approved are {1}".format(found, approval.blobs[digest]))
        yield descriptor
    finally:
        os.close(descriptor)


def _why(error: OSError) -> str:
    return str(error) if isinstance(error, UnsafeFileError) else error.strerror or str(error)


def _not_there(subject: str, evidence: str) -> FindingError:
    return refuse(
        "BUNDLE-SOURCE",
        subject,
        "the store has not the approved bytes: {0}".format(evidence),
        "Run ollama_model for this model first, then make the bundle.",
    )


def _digest_of_present(dest: Path, wanted: Contents) -> Optional[str]:
    try:
        descriptor = open_plain(dest)
    except FileNotFoundError:
        return None
    except (OSError, UnsafeFileError) as error:
        raise _bad_dest(dest, _why(error)) from error
    try:
        return digest_of_same(descriptor, wanted)
    except OSError as error:
        raise _bad_dest(dest, _why(error)) from error
    finally:
        os.close(descriptor)


def _require_space(dest: Path, size: int) -> None:
    try:
        space = os.statvfs(dest.parent)
    except OSError as error:
        raise _bad_dest(dest, "its directory: {0}".format(_why(error))) from error
    free = space.f_bavail * space.f_frsize
    if free < size + MARGIN_BYTES:
        raise refuse(
            "DISK-FULL",
            str(dest.parent),
            "{0} MiB are needed, {1} MiB are free".format((size + MARGIN_BYTES) >> 20, free >> 20),
            "Free space or name another place, then run again: nothing was written.",
        )


def _bad_dest(dest: Path, why: str) -> FindingError:
    return refuse("BUNDLE-DEST", str(dest), why, "Name a file in a directory that is there, then run again.")


def exists(dest: Path) -> bool:
    """Return whether there is a file. Raises FindingError (BUNDLE-DEST) for anything else than a plain file."""
    try:
        mode = os.lstat(dest).st_mode
    except OSError:
        return False
    if kind_of(mode) != "file":
        raise _bad_dest(dest, "it is a {0}, no bundle".format(kind_of(mode)))
    return True


def remove(dest: Path) -> None:
    """Remove a bundle. Raises FindingError (BUNDLE-DEST)."""
    try:
        dest.unlink()
    except OSError as error:
        raise _bad_dest(dest, _why(error)) from error
