# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One bill of materials a host, CycloneDX 1.6: its images, packages and models, and what depends on what (row S8).

The document is a function of what it lists: its serial number is a UUIDv5 of its content, and a document that says
the same is not written again. The time in it is when that content was first seen.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.approval import approval_from_entry
from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    Check,
    Finding,
    FindingError,
    Severity,
    check,
    clean_text,
    refuse,
)
from ansible_collections.rampart.ollama.plugins.module_utils.names import parse_name

from . import evidence
from .sbom_packages import Deb, Distribution, ImageContent, parse_image_list

CHECK_ID = "sbom-written"
FILE_NAME = "sbom.cdx.json"
EXISTING_MAX_BYTES = 64 * 1024 * 1024
IMAGES_MAX = 64

_ID = re.compile(r"\Asha256:([0-9a-f]{64})\Z")
_IMAGE_NAME = re.compile(r"\A[a-z0-9][a-z0-9_.-]{0,62}\Z")
# The name space of our serial numbers; any fixed UUID does, and a new one would rename every document.
_NAMESPACE = uuid.UUID("6f4a2a5e-0a54-5d0c-9a53-8f1f0f6f6f10")
_MOMENT = re.compile(r"\A\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\dZ\Z")
_VOLATILE = ("serialNumber", "timestamp")


@dataclass(frozen=True)
class Image:
    """A container image: its config digest (`sha256:...`, empty when nothing was built yet), and what is in it."""

    key: str
    name: str
    id: str
    base: Mapping[str, Any] = field(default_factory=dict)
    content: ImageContent | None = None


@dataclass(frozen=True)
class Inventory:
    """Everything that the bill of one host lists. `pins` are the hashes of the gateway's Python packages."""

    environment: str
    host: str
    collection_version: str
    distribution: Distribution
    host_debs: tuple[Deb, ...]
    images: tuple[Image, ...]
    archive_sha256: str
    pins: Mapping[tuple[str, str], tuple[str, ...]]
    models: tuple[Mapping[str, Any], ...]
    ollama_version: str = ""


@dataclass(frozen=True)
class Written:
    """What became of a document: whether it differs from the one at `path`, its sha256 and serial number."""

    changed: bool
    path: Path
    sha256: str
    serial_number: str
    before: tuple[str, ...]
    after: tuple[str, ...]


def images_from(lock: Any, lists: str | Path) -> tuple[Image, ...]:
    """Return the images of an `images_lock`, each with the package list that lies for it in `lists`.

    Raises FindingError: SBOM-INPUT for a lock of another form, SBOM-PACKAGE-LIST for a bad list. A list that is not
    there leaves `content` None.
    """
    raw = lock.get("images") if isinstance(lock, Mapping) else None
    if not isinstance(raw, Mapping) or not 0 < len(raw) <= IMAGES_MAX:
        raise _bad_input("images", "it names no images")
    bases = lock.get("bases")
    images = []
    for key, item in sorted(raw.items()):
        if not _IMAGE_NAME.match(str(key)) or not isinstance(item, Mapping) or not isinstance(item.get("id"), str):
            raise _bad_input("images", "{0!r} is no image with an id".format(clean_text(key, 60)))
        identity = item["id"] if _ID.match(item["id"]) else ""
        base = (bases if isinstance(bases, Mapping) else {}).get("ollama" if key == "ollama" else "debian")
        images.append(
            Image(
                str(key),
                str(item.get("name") or "rampart/{0}".format(key)),
                identity,
                base if isinstance(base, Mapping) else {},
                _content(Path(lists), identity) if identity else None,
            )
        )
    return tuple(images)


def _content(directory: Path, identity: str) -> ImageContent | None:
    path = directory / "{0}.txt".format(identity.partition(":")[2])
    try:
        with path.open("rb") as stream:
            data = stream.read(EXISTING_MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _bad_input(str(path), "it cannot be read ({0})".format(error.strerror)) from error
    return parse_image_list(data.decode("utf-8", "replace"), str(path))


def _bad_input(subject: str, why: str) -> FindingError:
    return refuse("SBOM-INPUT", subject, why, "Call it as roles/sbom does, after the images were built and loaded.")


def findings_of(inventory: Inventory) -> list[Finding]:
    """Return what the bill cannot say: images whose packages are not known, Python packages that nothing pins."""
    found = []
    for image in inventory.images:
        subject = "image {0}".format(image.key)
        if image.content is None:
            found.append(
                Finding(
                    "SBOM-IMAGE-UNKNOWN",
                    Severity.MEDIUM,
                    subject,
                    "there is no list of its packages" if image.id else "it has no identity yet",
                    "Run phase 2 where the images are built, or bring the lists along with the archive (docs/sbom.md).",
                )
            )
            continue
        if not image.content.listed:
            found.append(
                Finding(
                    "SBOM-IMAGE-NO-LIST",
                    Severity.LOW,
                    subject,
                    "it has no shell or no dpkg, so its content is not listed",
                    "Have its supplier's own bill of materials.",
                )
            )
        unpinned = [pair for pair in image.content.python if pair not in inventory.pins]
        if unpinned:
            found.append(
                Finding(
                    "SBOM-PYTHON-UNPINNED",
                    Severity.MEDIUM,
                    subject,
                    "not in the requirements: {0}".format(", ".join("==".join(pair) for pair in unpinned)),
                    "Build the images again from the present requirements.",
                )
            )
    return found


def models_of(entries: Sequence[Any]) -> tuple[Mapping[str, Any], ...]:
    """Return the approvals that a bill lists, each pinning its bytes. Raises FindingError (APPROVAL-*, NAME-*)."""
    for entry in entries:
        approval_from_entry(entry)
    return tuple(sorted(entries, key=lambda entry: parse_name(entry["reference"]).key))


def put(
    document: Mapping[str, Any],
    directory: str | Path,
    environment: str,
    host: str,
    when: str = "",
    check_mode: bool = False,
) -> Written:
    """Write a document, given its serial number and its time, unless the one that lies there says the same.

    `when` (YYYY-MM-DDTHH:MM:SSZ) is the time to write; without it the present one, and that of the document at
    hand as long as the content is the same. Raises evidence.EvidenceError (EVIDENCE-NAME, EVIDENCE-WRITE) and
    FindingError (SBOM-INPUT).
    """
    if when and not _MOMENT.match(when):
        raise _bad_input("timestamp", "{0!r} is not YYYY-MM-DDTHH:MM:SSZ".format(clean_text(when, 40)))
    path = evidence.evidence_path(directory, environment, host, 1).with_name(FILE_NAME)
    before = _read(path)
    old = _existing(before)
    serial = "urn:uuid:{0}".format(uuid.uuid5(_NAMESPACE, json.dumps(_stable(document), sort_keys=True)))
    if not when:
        when = old["metadata"]["timestamp"] if old and old.get("serialNumber") == serial else evidence.now()
    complete = {**document, "serialNumber": serial, "metadata": {**document["metadata"], "timestamp": when}}
    text = json.dumps(complete, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    # What lies there has to be these very bytes: an edited layout is an edited file.
    changed = before != text
    if changed and not check_mode:
        evidence.write_text(path, text)
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    return Written(changed, path, digest, serial, _references(old or {}), _references(complete))


def _read(path: Path) -> str:
    """Return what lies there, or an empty text when there is nothing that could be kept."""
    try:
        plain = path.is_file() and path.stat().st_size <= EXISTING_MAX_BYTES
        return path.read_text(encoding="utf-8") if plain else ""
    except (OSError, ValueError):
        return ""


def _existing(text: str) -> dict[str, Any] | None:
    """Return the document in a text, or None when it is none of ours."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("metadata"), dict):
        return None
    when = document["metadata"].get("timestamp")
    return document if isinstance(when, str) and _MOMENT.match(when) else None


def _stable(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document without what tells two of the same content apart."""
    metadata = {key: value for key, value in document["metadata"].items() if key not in _VOLATILE}
    return {**{key: value for key, value in document.items() if key not in _VOLATILE}, "metadata": metadata}


def _references(document: Mapping[str, Any]) -> tuple[str, ...]:
    components = document.get("components")
    references = [
        item.get("bom-ref") for item in (components if isinstance(components, list) else []) if isinstance(item, dict)
    ]
    return tuple(sorted(str(reference) for reference in references))


def sbom_check(written: Written | None, findings: Sequence[Finding], components: int) -> Check:
    """Return the check `sbom-written`: unknown while something is not listed that should be."""
    serious = [finding for finding in findings if finding.severity.rank >= Severity.MEDIUM.rank]
    if written is None:
        return check(CHECK_ID, None, "nothing is written in check mode")
    evidence_text = "{0} components, sha256 {1}".format(components, written.sha256)
    if serious:
        return check(CHECK_ID, None, "; ".join([evidence_text, *(item.code + " " + item.subject for item in serious)]))
    return check(CHECK_ID, True, evidence_text)
