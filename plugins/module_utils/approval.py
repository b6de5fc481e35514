# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host needs of an approval entry: which name, which manifest, which blobs (rows S2, S3, S6).

The whole entry (who, when, what for) is the controller's business (`plugin_utils/approvals.py`); hosts
receive it as a dictionary and take from it only what pins bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from .findings import FindingError, Severity, clean_text, refuse
from .manifest import BLOB_MAX_BYTES, LAYERS_MAX, Manifest
from .names import ModelName, parse_digest, parse_name

_REMEDY = "Complete the entry in models_registry.yaml from the registry's manifest, then run again."


@dataclass(frozen=True)
class Approval:
    """The bytes an entry allows: `digest` of the manifest, `blobs` as {digest: size in bytes}."""

    name: ModelName
    digest: str
    blobs: dict[str, int]

    @property
    def size(self) -> int:
        """The bytes of all blobs."""
        return sum(self.blobs.values())

    def difference(self, manifest: Manifest) -> Optional[str]:
        """Return how a manifest departs from the approval in one line, or None when it is the approved
        one.
        """
        if manifest.digest != self.digest:
            return "the manifest is {0}, approved is {1}".format(manifest.digest, self.digest)
        listed = {digest: blob.size for digest, blob in manifest.blobs.items()}
        for digest in sorted(set(listed) | set(self.blobs)):
            if listed.get(digest) != self.blobs.get(digest):
                return "{0}: the manifest says {1} bytes, the approval {2}".format(
                    digest, listed.get(digest, "no"), self.blobs.get(digest, "no")
                )
        return None


def approval_from_entry(entry: Any) -> Approval:
    """Return the Approval of one entry. Raises FindingError: APPROVAL-INVALID, APPROVAL-INCOMPLETE or a NAME-
    code.
    """
    if not isinstance(entry, Mapping):
        raise _invalid("approval", "an entry is a mapping, not {0}".format(type(entry).__name__))
    reference = entry.get("reference")
    if reference is None:
        raise _incomplete(clean_text(entry.get("name", "approval"), 120), "reference")
    name = parse_name(reference)
    if entry.get("digest") is None:
        raise _incomplete(name.full, "digest")
    blobs = entry.get("blobs")
    if blobs is None or blobs == []:
        raise _incomplete(name.full, "blobs")
    if not isinstance(blobs, list) or len(blobs) > LAYERS_MAX:
        raise _invalid(name.full, "blobs is no list of at most {0}".format(LAYERS_MAX))
    return Approval(name, _digest(entry["digest"], name.full), _blobs(blobs, name.full))


def _blobs(raw: list[Any], subject: str) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for number, blob in enumerate(raw):
        if not isinstance(blob, Mapping):
            raise _invalid(subject, "blob {0} is no mapping".format(number))
        if blob.get("digest") is None or blob.get("size") is None:
            raise _incomplete(subject, "digest and size of blob {0}".format(number))
        digest, size = _digest(blob["digest"], subject), blob["size"]
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= BLOB_MAX_BYTES:
            raise _invalid(
                subject, "the size {0!r} of blob {1} is not one".format(clean_text(size, 40), number)
            )
        if sizes.setdefault(digest, size) != size:
            raise _invalid(subject, "{0} is listed with two sizes".format(digest))
    return sizes


def _digest(text: Any, subject: str) -> str:
    try:
        return parse_digest(text)
    except FindingError as error:
        raise _invalid(subject, "{0}: {1}".format(error.finding.subject, error.finding.evidence)) from error


def _invalid(subject: str, why: str) -> FindingError:
    return refuse("APPROVAL-INVALID", subject, why, _REMEDY)


def _incomplete(subject: str, what: str) -> FindingError:
    return refuse("APPROVAL-INCOMPLETE", subject, "the entry pins no {0}".format(what), _REMEDY)


def approvals_from_entries(entries: Iterable[Any]) -> dict[str, Approval]:
    """Return the Approvals by name key. Raises FindingError, also for two entries of one name
    (APPROVAL-INVALID).
    """
    approvals: dict[str, Approval] = {}
    for entry in entries:
        approval = approval_from_entry(entry)
        if approval.name.key in approvals:
            raise _invalid(approval.name.full, "two entries have this reference")
        approvals[approval.name.key] = approval
    return approvals


def approval_for(name: ModelName, entry: Optional[Any]) -> Approval:
    """Return the Approval of `name`. Raises FindingError: APPROVAL-MISSING when there is none or it is
    another's.
    """
    if not entry:
        raise refuse(
            "APPROVAL-MISSING",
            name.full,
            "no approval entry was given",
            "Have a person approve the model (playbook approve_model), then run again.",
            Severity.CRITICAL,
        )
    approval = approval_from_entry(entry)
    if approval.name.key != name.key:
        raise refuse(
            "APPROVAL-MISSING",
            name.full,
            "the entry approves {0}".format(approval.name.full),
            "Give the entry of this very model, or have it approved.",
            Severity.CRITICAL,
        )
    return approval
