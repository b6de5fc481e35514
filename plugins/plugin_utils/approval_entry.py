# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making an approval's entry from a manifest and a person's decisions, and showing it to that person (row S6)."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from ansible_collections.rampart.ollama.plugins.filter.human_size import human_size
from ansible_collections.rampart.ollama.plugins.module_utils.findings import clean_text, refuse
from ansible_collections.rampart.ollama.plugins.module_utils.manifest import Descriptor
from ansible_collections.rampart.ollama.plugins.module_utils.names import parse_name

from .approval_schema import key_order
from .approval_signature import payload
from .approval_source import Source

# What only a person can know. A new entry needs all of them; new bytes need those who looked and fetched anew.
DECISIONS = ("risk_level", "approved_uses", "environments", "verified_by", "fetched_by")
OF_THE_BYTES = ("verified_by", "fetched_by")


def today() -> str:
    """Return the present day, UTC, as YYYY-MM-DD."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def make_entry(
    present: Mapping[str, Any] | None, reference: str, source: Source | None, decided: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the entry of `reference`: `present` (None: there is none yet), the bytes of `source`, what was decided.

    `decided` holds the keys of an entry; None means: as it is. Signatures that were made over something else are
    left out. Raises FindingError: APPROVAL-DECISION (a person has to say more), APPROVAL-SOURCE (nothing to pin).
    """
    entry: dict[str, Any] = dict(present or {})
    name = parse_name(reference)
    if source is None and not present:
        raise refuse(
            "APPROVAL-SOURCE",
            name.full,
            "there is no entry yet and no manifest to make one from",
            "Have the manifest fetched from the registry, or give that of a verified store.",
        )
    new_bytes = source is not None and source.manifest.digest != entry.get("digest")
    if source is not None:
        _pin(entry, source, new_bytes)
    needed = DECISIONS if not present else OF_THE_BYTES if new_bytes else ()
    missing = [key for key in needed if not decided.get(key)]
    if missing:
        raise refuse(
            "APPROVAL-DECISION",
            name.full,
            "{0}: nobody has said {1}".format("these bytes are new" if present else "it is new", ", ".join(missing)),
            "A person decides that; name it, then run again. Nothing was written.",
        )
    entry.setdefault("name", name.model)
    entry.setdefault("version", name.tag)
    looked_again = decided.get("verified_by") not in (None, entry.get("verified_by"))
    for key, value in decided.items():
        if value is not None and (value or key in entry):
            entry[key] = value
    if not decided.get("verified_date") and (new_bytes or looked_again):
        entry["verified_date"] = today()
    if entry.get("signatures") and payload(entry) != payload(present or {}):
        del entry["signatures"]
    return {key: entry[key] for key in key_order("entry") if entry.get(key) not in (None, "", [])}


def _pin(entry: dict[str, Any], source: Source, new_bytes: bool) -> None:
    facts = source.facts()
    pinned = {(blob.get("digest"), blob.get("size")) for blob in entry.get("blobs", ())}
    for key, value in facts.items():
        same_blobs = key == "blobs" and pinned == {(blob["digest"], blob["size"]) for blob in value}
        # What a person wrote another way and means the same stays as it is written.
        if key not in entry or (new_bytes and key != "reference") or (key == "blobs" and not same_blobs):
            entry[key] = value


def describe(entry: Mapping[str, Any]) -> list[str]:
    """Return the whole entry in lines for a person, sizes readable, signatures by their signers."""
    lines = []
    for key in key_order("entry"):
        value = entry.get(key)
        if value is None:
            continue
        if key == "blobs":
            lines.append("blobs:")
            lines.extend("  {0}".format(_blob(blob)) for blob in value)
        elif key == "signatures":
            lines.append("signed by: {0}".format(", ".join(item["signer"] for item in value)))
        else:
            lines.append("{0}: {1}".format(key, _value(key, value)))
    return lines


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what differs between two entries, a line each; empty when nothing does, one line for a new entry."""
    if not before:
        signed = [_signer(item) for item in after.get("signatures", ())]
        return ["a new entry{0}".format(", signed by {0}".format(", ".join(signed)) if signed else "")]
    lines: list[str] = []
    for key in key_order("entry"):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if key in ("blobs", "signatures"):
            was, now = old or (), new or ()
            show = _blob if key == "blobs" else _signer
            lines.extend("{0}: - {1}".format(key, show(item)) for item in was if item not in now)
            lines.extend("{0}: + {1}".format(key, show(item)) for item in now if item not in was)
        else:
            lines.append("{0}: {1} -> {2}".format(key, _value(key, old), _value(key, new)))
    return lines


def _blob(blob: Mapping[str, Any]) -> str:
    size = blob.get("size")
    kind = Descriptor(blob["media_type"], "", 0).kind if blob.get("media_type") else ""
    shown = human_size(size) if isinstance(size, int) else "size unknown"
    return "{0} {1}{2}".format(blob.get("digest"), shown, " ({0})".format(clean_text(kind, 40)) if kind else "")


def _signer(signature: Mapping[str, Any]) -> str:
    return str(signature["signer"])


def _value(key: str, value: Any) -> str:
    if value is None:
        return "nothing"
    if key == "size":
        return "{0} bytes ({1})".format(value, human_size(value))
    text = ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
    return clean_text(text, 300)
