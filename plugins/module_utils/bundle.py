# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles: one file that carries a model, with its approval, to a machine that reaches no registry (row S2).

A bundle is a tar with an OCI image layout in it (oci-layout, index.json, blobs/sha256/<hex>), the manifest being
Ollama's own, and beside it rampart/approval.yaml (the entry's text) and what else was given as rampart/<name>.
From the same content the same bytes are made. What is in rampart/ is for people: a host that imports a bundle
goes by the approval it was given by its controller.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from .approval import Approval
from .copying import copy_span, unreadable, wrong_size
from .findings import FindingError, Severity, clean_text, refuse
from .hashing import UnsafeFileError, open_plain
from .manifest import MANIFEST_MAX_BYTES, MANIFEST_TYPE, strict_json
from .names import parse_name
from .tarball import END, Member, header, invalid, members, padding

LAYOUT_NAME, INDEX_NAME, APPROVAL_NAME = "oci-layout", "index.json", "rampart/approval.yaml"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
REFERENCE = "org.opencontainers.image.ref.name"
TEXT_MAX_BYTES = 256 * 1024
EXTRAS_MAX = 16
_EXTRA = re.compile(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")

Write = Callable[[memoryview], object]


@dataclass(frozen=True)
class Contents:
    """What a bundle holds: `texts` are its small files in their order, `blobs` {digest: size} follow, sorted."""

    texts: tuple[tuple[str, bytes], ...]
    blobs: Mapping[str, int]

    @property
    def size(self) -> int:
        """The bytes of the bundle."""
        sizes = [len(data) for _name, data in self.texts] + list(self.blobs.values())
        return sum(len(header("x", 0)) + size + padding(size) for size in sizes) + len(END)


def blob_name(digest: str) -> str:
    """Return a blob's name in a bundle."""
    return "blobs/sha256/" + digest.partition(":")[2]


def contents(approval: Approval, manifest: bytes, text: str, extras: Mapping[str, str]) -> Contents:
    """Return what the bundle of an approved model holds; `extras` are further small files for rampart/.

    Raises FindingError (BUNDLE-CONTENT) for an extra file whose name or size will not do.
    """
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [
            {
                "mediaType": MANIFEST_TYPE,
                "digest": approval.digest,
                "size": len(manifest),
                "annotations": {REFERENCE: approval.name.full},
            }
        ],
    }
    texts = [
        (LAYOUT_NAME, LAYOUT),
        (INDEX_NAME, json.dumps(index, sort_keys=True, separators=(",", ":")).encode("ascii")),
        (APPROVAL_NAME, _bounded(APPROVAL_NAME, text)),
    ]
    if len(extras) > EXTRAS_MAX:
        raise _refused_extra("signatures", "more than {0} files".format(EXTRAS_MAX))
    for name in sorted(extras):
        if not _EXTRA.match(name) or "rampart/" + name == APPROVAL_NAME:
            raise _refused_extra(clean_text(name, 100), "no name for a file beside the approval")
        texts.append(("rampart/" + name, _bounded(name, extras[name])))
    texts.append((blob_name(approval.digest), manifest))
    return Contents(tuple(texts), dict(sorted(approval.blobs.items())))


def _bounded(name: str, text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    if len(data) > TEXT_MAX_BYTES:
        raise _refused_extra(name, "longer than {0} bytes".format(TEXT_MAX_BYTES))
    return data


def _refused_extra(subject: str, why: str) -> FindingError:
    return refuse("BUNDLE-CONTENT", subject, why, "Give small files with plain names: signatures, not models.")


def write_bundle(wanted: Contents, blob: Callable[[str], AbstractContextManager[int]], write: Write) -> str:
    """Hand a bundle to `write` piece by piece; return the sha256 of the whole.

    `blob` opens one by its digest. Each is hashed as it passes: what was written counts only when this returns.
    Raises FindingError as `blob` and `copy_span` do, OSError of `write`.
    """
    whole = hashlib.sha256()

    def put(data: memoryview) -> None:
        whole.update(data)
        write(data)

    for name, data in wanted.texts:
        put(memoryview(header(name, len(data)) + data + bytes(padding(len(data)))))
    for digest, size in wanted.blobs.items():
        put(memoryview(header(blob_name(digest), size)))
        with blob(digest) as descriptor:
            copy_span(descriptor, 0, size, digest, put)
        put(memoryview(bytes(padding(size))))
    put(memoryview(END))
    return "sha256:" + whole.hexdigest()


def digest_of_same(descriptor: int, wanted: Contents) -> Optional[str]:
    """Return the sha256 of a file that is the bundle of these contents to the last byte, None for any other."""
    if os.fstat(descriptor).st_size != wanted.size:
        return None
    whole = hashlib.sha256()
    position = 0

    def same(expected: bytes) -> bool:
        nonlocal position
        found = os.pread(descriptor, len(expected), position)
        whole.update(found)
        position += len(found)
        return found == expected

    for name, data in wanted.texts:
        if not same(header(name, len(data)) + data + bytes(padding(len(data)))):
            return None
    for digest, size in wanted.blobs.items():
        if not same(header(blob_name(digest), size)):
            return None
        try:
            copy_span(descriptor, position, size, digest, whole.update)
        except FindingError:
            return None
        position += size
        if not same(bytes(padding(size))):
            return None
    return "sha256:" + whole.hexdigest() if same(END) else None


@contextlib.contextmanager
def open_source(path: Path) -> Iterator[int]:
    """Yield the descriptor of a bundle. Raises FindingError: IMPORT-MISSING, IMPORT-UNSAFE-FILE."""
    try:
        descriptor = open_plain(path)
    except FileNotFoundError as error:
        raise missing(path) from error
    except UnsafeFileError as error:
        raise unsafe(path, error) from error
    except OSError as error:
        raise unreadable(str(path), error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def missing(path: Path) -> FindingError:
    """Return the refusal of a source that is not there."""
    return refuse(
        "IMPORT-MISSING", str(path), "there is nothing at this path", "Put the source there or name the right path."
    )


def unsafe(path: Path, why: object) -> FindingError:
    """Return the refusal of a source that is no plain file."""
    return refuse(
        "IMPORT-UNSAFE-FILE",
        str(path),
        "it is {0}".format(why),
        "Name the plain file itself; find out who put something else there.",
        Severity.CRITICAL,
    )


def read_bundle(descriptor: int, subject: str, approval: Approval) -> tuple[bytes, dict[str, Member]]:
    """Return the manifest's bytes and where each blob lies in the bundle of an approved model.

    Nothing is copied. Raises FindingError: BUNDLE-INVALID, IMPORT-DIGEST-MISMATCH (it holds another manifest),
    IMPORT-SIZE-MISMATCH, IMPORT-READ-ERROR.
    """
    manifest_name = blob_name(approval.digest)
    blobs = {blob_name(digest): digest for digest in approval.blobs}
    found: dict[str, Member] = {}
    try:
        for member in members(descriptor, subject):
            _require_fitting(member, approval, blobs, subject)
            found[member.name] = member
        texts = {
            name: _small(descriptor, found, name, subject) for name in (LAYOUT_NAME, INDEX_NAME, manifest_name)
        }
    except OSError as error:
        raise unreadable(subject, error) from error
    _require_layout(texts[LAYOUT_NAME], subject)
    _require_index(texts[INDEX_NAME], approval, len(texts[manifest_name]), subject)
    _require_all(blobs, found, subject)
    return texts[manifest_name], {digest: found[name] for name, digest in blobs.items()}


def _require_fitting(member: Member, approval: Approval, blobs: Mapping[str, str], subject: str) -> None:
    """Refuse a member that has no place in this model's bundle, or not this size."""
    name = member.name
    if name in blobs:
        if member.size != approval.blobs[blobs[name]]:
            raise wrong_size(blobs[name], member.size, approval.blobs[blobs[name]])
        return
    known = name in (LAYOUT_NAME, INDEX_NAME, blob_name(approval.digest))
    if not known and not (name.startswith("rampart/") and _EXTRA.match(name[len("rampart/") :])):
        raise invalid(subject, "{0} is no part of this model".format(name))
    if member.size > (MANIFEST_MAX_BYTES if known else TEXT_MAX_BYTES):
        raise invalid(subject, "{0} is too long".format(name))


def _small(descriptor: int, found: Mapping[str, Member], name: str, subject: str) -> bytes:
    if name not in found:
        if name.startswith("blobs/"):
            raise _another(subject, "the approved manifest is not in it")
        raise invalid(subject, "{0} is missing".format(name))
    return os.pread(descriptor, found[name].size, found[name].offset)


def _require_layout(data: bytes, subject: str) -> None:
    layout = _json(data, subject, LAYOUT_NAME)
    if not isinstance(layout, dict) or layout.get("imageLayoutVersion") != "1.0.0":
        raise invalid(subject, "{0} is of another version".format(LAYOUT_NAME))


def _require_index(data: bytes, approval: Approval, size: int, subject: str) -> None:
    index = _json(data, subject, INDEX_NAME)
    listed = index.get("manifests") if isinstance(index, dict) else None
    if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], dict):
        raise invalid(subject, "{0} does not list one manifest".format(INDEX_NAME))
    entry = listed[0]
    notes = entry.get("annotations")
    reference = notes.get(REFERENCE) if isinstance(notes, dict) else None
    if (entry.get("mediaType"), entry.get("digest"), entry.get("size")) != (MANIFEST_TYPE, approval.digest, size):
        raise _another(subject, "{0} lists another manifest than the approved one".format(INDEX_NAME))
    try:
        same = parse_name(reference).key == approval.name.key
    except FindingError:
        same = False
    if not same:
        raise _another(subject, "it says it holds {0}".format(clean_text(reference, 120)))


def _require_all(blobs: Iterable[str], found: Mapping[str, Member], subject: str) -> None:
    lacking = sorted(set(blobs) - set(found))
    if lacking:
        raise invalid(subject, "{0} of its blobs are missing, {1} first".format(len(lacking), lacking[0]))


def _json(data: bytes, subject: str, name: str) -> Any:
    try:
        return strict_json(data, subject, MANIFEST_MAX_BYTES)
    except FindingError as error:
        raise invalid(subject, "{0}: {1}".format(name, error.finding.evidence)) from error


def _another(subject: str, why: str) -> FindingError:
    return refuse(
        "IMPORT-DIGEST-MISMATCH",
        subject,
        why,
        "Take the bundle of this very approval, or have the other version approved.",
        Severity.CRITICAL,
    )
