# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""models_registry.yaml on the controller: who approved which bytes for what use, where, and what was revoked (S6).

The file is data that people review. What an entry lacks is a finding; what cannot be understood is an error. Never
a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.approval import approval_from_entry
from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    Finding,
    FindingError,
    Severity,
    clean_text,
    refuse,
)
from ansible_collections.rampart.ollama.plugins.module_utils.names import parse_name
from ansible_collections.rampart.ollama.plugins.module_utils.revocation import (
    Revocation,
    Revoked,
    parse_revocation,
)

from .approval_file import read_text
from .approval_schema import load_schema, plain, structure_errors
from .approval_yaml import REGISTRY_NAME, invalid, parse_yaml

__all__ = [
    "ENVIRONMENTS",
    "RISK_LEVELS",
    "Registry",
    "entries_named",
    "find_approval",
    "find_number",
    "load_registry",
    "parse_yaml",
    "read_registry",
    "reference_key",
    "require_not_revoked",
]

ENVIRONMENTS = ("dev", "staging", "prod", "demo")
RISK_LEVELS = ("LOW", "MEDIUM", "HIGH")

_NEEDED = ("version", "source", "verified_date", "verified_by", "risk_level", "approved_uses", "environments")
_REMEDY = "Complete the entry (docs/models_registry.md says how), then run again."


@dataclass(frozen=True)
class Registry:
    """An approvals file: its entries and revocations in their order, and for each entry what it lacks.

    `entries` are plain dictionaries, dates as texts, without the keys that had no value. `indented` is false when
    the one entry's keys stand beside `models` instead of inside it, as in the guide's printed example.
    """

    entries: tuple[dict[str, Any], ...]
    revocations: tuple[Revocation, ...] = ()
    lacking: tuple[tuple[Finding, ...], ...] = field(default=())
    indented: bool = True

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the entries lack (APPROVAL-INCOMPLETE), in their order."""
        return tuple(finding for findings in self.lacking for finding in findings)


def read_registry(path: str | Path) -> Registry:
    """Return the registry in a file. Raises FindingError: APPROVAL-FILE-MISSING, APPROVAL-FILE-UNSAFE,
    APPROVAL-INVALID.
    """
    return load_registry(read_text(path))


def load_registry(source: str | Mapping[str, Any]) -> Registry:
    """Return the registry in a YAML text or an already parsed mapping.

    Raises FindingError (APPROVAL-INVALID) for what cannot be understood: what departs from the schema, two entries
    of one reference, sizes that do not add up. What an entry lacks becomes findings (APPROVAL-INCOMPLETE), the entry
    is kept.
    """
    data = plain(parse_yaml(source) if isinstance(source, str) else source)
    data, indented = _indent(data)
    for path, why in structure_errors(data):
        raise _structure_refusal(data, path, why)
    lacking = []
    entries = []
    seen: dict[str, str] = {}
    for number, raw in enumerate(data["models"], start=1):
        entry = {key: value for key, value in raw.items() if value is not None}
        subject = _entry_subject(number, entry)
        key = reference_key(entry, subject)
        if key and seen.setdefault(key, subject) != subject:
            raise invalid(subject, "{0} has the same reference".format(seen[key]))
        lacking.append(tuple(_judge(entry, subject, indented)))
        entries.append(entry)
    return Registry(tuple(entries), _revocations(data), tuple(lacking), indented)


def _entry_subject(number: int, entry: Mapping[str, Any]) -> str:
    return "entry {0} ({1})".format(number, clean_text(entry.get("name"), 80))


def _indent(data: Any) -> tuple[Any, bool]:
    """Put the keys of a lone entry that lost their indentation back into it.

    The guide's example loses it wherever it is copied from print. Its meaning is plain (no key is there twice, and
    the entry has its name only), so it is read; it approves nothing until it is indented.
    """
    if not isinstance(data, dict) or not isinstance(data.get("models"), list) or len(data["models"]) != 1:
        return data, True
    only = data["models"][0]
    properties = load_schema()["$defs"]["entry"]["properties"]
    outside = {key: value for key, value in data.items() if key in properties and key != "name"}
    # A lone `version: 1` is the format's, not the entry's.
    if not isinstance(only, dict) or set(only) != {"name"} or not outside or outside == {"version": 1}:
        return data, True
    rest = {key: value for key, value in data.items() if key not in outside}
    return {**rest, "models": [{**only, **outside}]}, False


def _structure_refusal(data: Any, path: tuple[str | int, ...], why: str) -> FindingError:
    """Return the refusal of one departure from the schema, told in the reader's words."""
    subject, rest = REGISTRY_NAME, path
    if len(path) >= 2 and path[0] in ("models", "revocations") and isinstance(path[1], int):
        item = data[path[0]][path[1]]
        rest = path[2:]
        named = isinstance(item, Mapping) and isinstance(item.get("name"), str) and item["name"]
        subject = "entry {0}".format(path[1] + 1) if path[0] == "models" else "revocation {0}".format(path[1] + 1)
        subject = _entry_subject(path[1] + 1, item) if named and path[0] == "models" else subject
    label = "".join("[{0}]".format(part) if isinstance(part, int) else ".{0}".format(part) for part in rest)
    label = label.lstrip(".")
    if why.startswith(("is ", "has ")):
        return invalid(subject, "{0} {1}".format(label or "it", why))
    return invalid(subject, "{0}: {1}".format(label, why) if label else why)


def reference_key(entry: Mapping[str, Any], subject: str) -> str:
    """Return what an entry's reference shares with any other writing of it, empty when it has none. Raises
    FindingError (APPROVAL-INVALID) for what is no reference.
    """
    if not entry.get("reference"):
        return ""
    try:
        return parse_name(entry["reference"]).key
    except FindingError as error:
        raise invalid(subject, "reference: {0}".format(error.finding.evidence)) from error


def _revocations(data: Mapping[str, Any]) -> tuple[Revocation, ...]:
    revocations = []
    for number, raw in enumerate(data.get("revocations") or (), start=1):
        try:
            revocations.append(parse_revocation(raw))
        except FindingError as error:
            raise invalid("revocation {0}".format(number), error.finding.evidence) from error
    return tuple(revocations)


def _judge(entry: Mapping[str, Any], subject: str, indented: bool) -> list[Finding]:
    """Return what an entry lacks before it can pin anything. Raises FindingError for what is wrong, not just
    lacking.
    """
    findings = []
    if not indented:
        findings.append(
            Finding(
                "APPROVAL-INCOMPLETE",
                Severity.HIGH,
                subject,
                "its keys stand beside models, not inside the entry",
                "Indent every key below the dash of its entry, then run again.",
            )
        )
    try:
        approval = approval_from_entry(entry)
    except FindingError as error:
        if error.finding.code != "APPROVAL-INCOMPLETE":
            raise invalid(subject, error.finding.evidence) from error
        evidence = error.finding.evidence
        if entry.get("sha256") and not entry.get("digest"):
            evidence += "; a sha256 alone does not say of which file"
        findings.append(
            Finding("APPROVAL-INCOMPLETE", Severity.HIGH, subject, evidence, error.finding.remedy)
        )
    else:
        size = entry.get("size")
        if size is not None and size != approval.size:
            raise invalid(subject, "size is {0}, its blobs add up to {1}".format(size, approval.size))
    lacking = [key for key in _NEEDED if not entry.get(key)]
    if lacking:
        evidence = "it lacks {0}".format(", ".join(lacking))
        findings.append(Finding("APPROVAL-INCOMPLETE", Severity.MEDIUM, subject, evidence, _REMEDY))
    return findings


def entries_named(registry: Registry, name: str) -> list[int]:
    """Return the numbers (from 0) of the entries that `name` means: a reference in any writing, else a name."""
    try:
        wanted = parse_name(name).key
    except FindingError:
        # It may still be an entry's own name; if it is not, the model is simply not approved.
        wanted = ""
    keys = [reference_key(entry, entry["name"]) for entry in registry.entries]
    found = [number for number, key in enumerate(keys) if wanted and key == wanted]
    return found or [number for number, entry in enumerate(registry.entries) if entry["name"] == name]


def find_approval(registry: Registry, name: str, environment: str) -> dict[str, Any]:
    """Return the entry that pins a model for an environment; `name` is a reference or an entry's own name.

    Raises FindingError: APPROVAL-MISSING (none, or not for this environment), APPROVAL-REVOKED, APPROVAL-INCOMPLETE,
    APPROVAL-INVALID, APPROVAL-RISK. Uses and signatures are judged by `approval_policy.approve`.
    """
    return registry.entries[find_number(registry, name, environment)]


def find_number(registry: Registry, name: str, environment: str, revoked: Revoked | None = None) -> int:
    """Return the number (from 0) of the entry that `find_approval` returns; `revoked` adds to the file's own."""
    if environment not in ENVIRONMENTS:
        raise invalid(
            clean_text(environment, 40), "no environment; known are {0}".format(", ".join(ENVIRONMENTS))
        )
    shown = clean_text(name, 120)
    found = entries_named(registry, name)
    if not found:
        raise refuse(
            "APPROVAL-MISSING",
            shown,
            "no entry of models_registry.yaml approves it",
            "Have a person review the model and add its entry (playbook approve_model), then run again.",
            Severity.CRITICAL,
        )
    for number in found:
        # Whatever the environment: what is revoked for one is for none.
        require_not_revoked(registry, registry.entries[number], revoked)
    here = [number for number in found if environment in registry.entries[number].get("environments", ())]
    if not here:
        listed = sorted({item for number in found for item in registry.entries[number].get("environments", ())})
        raise refuse(
            "APPROVAL-MISSING",
            shown,
            "approved for {0}, not for {1}".format(", ".join(listed) or "no environment", environment),
            "Have it approved for {0}, then run again.".format(environment),
            Severity.CRITICAL,
        )
    if len(here) > 1:
        raise invalid(shown, "{0} entries fit; name the reference".format(len(here)))
    entry = registry.entries[here[0]]
    if not registry.indented:
        raise FindingError(registry.lacking[here[0]][0])
    # What pins nothing approves nothing.
    approval_from_entry(entry)
    _require_accepted_risk(entry, environment)
    return here[0]


def require_not_revoked(registry: Registry, entry: Mapping[str, Any], more: Revoked | None = None) -> None:
    """Raise FindingError (APPROVAL-REVOKED) when the file, or `more`, revokes a digest of the entry."""
    digests = {entry.get("digest"), "sha256:{0}".format(entry.get("sha256"))}
    digests.update(blob.get("digest") for blob in entry.get("blobs", ()))
    texts = sorted(str(digest).lower().replace("sha256-", "sha256:") for digest in digests if digest)
    for revoked in (Revoked(registry.revocations), more or Revoked()):
        hit = revoked.find(texts)
        if hit is not None:
            raise refuse(
                "APPROVAL-REVOKED",
                clean_text(entry.get("reference") or entry["name"], 120),
                "{0} is {1}".format(*hit),
                "Choose another model. A revocation is not taken back: other bytes need an approval of their own.",
                Severity.CRITICAL,
            )


def _require_accepted_risk(entry: Mapping[str, Any], environment: str) -> None:
    level = entry.get("risk_level")
    if environment != "prod" or level in ("LOW", "MEDIUM") or (level and entry.get("risk_accepted_by")):
        return
    raise refuse(
        "APPROVAL-RISK",
        clean_text(entry.get("reference"), 120),
        "its risk is {0}, and nobody accepts it for prod".format(level or "not stated"),
        "Have the risk assessed; a HIGH one needs risk_accepted_by, the person who answers for it.",
        Severity.CRITICAL,
    )
