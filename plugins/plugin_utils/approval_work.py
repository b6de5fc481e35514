# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `ollama_model_approval` plans and does: bytes, decisions, signature, file, commit, in this order (row S6).

Everything that can fail is tried before the file is written; the file is written once, with its signature in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.findings import FindingError, clean_text, refuse
from ansible_collections.rampart.ollama.plugins.module_utils.names import DEFAULT_SOURCES, parse_name
from ansible_collections.rampart.ollama.plugins.module_utils.revocation import parse_revocation

from . import approval_config, approval_entry, approval_source
from .approval_edit import remove_item, set_item
from .approval_file import read_text, replace_text
from .approval_git import Committer
from .approval_policy import require_countersigned
from .approval_schema import plain
from .approval_sign import add_signature
from .approval_signature import Verifier, payload
from .approvals import (
    ENVIRONMENTS,
    RISK_LEVELS,
    Registry,
    entries_named,
    load_registry,
    require_not_revoked,
)

_DECIDED: dict[str, dict[str, Any]] = {
    "name": {"type": "str"},
    "version": {"type": "str"},
    "licence": {"type": "str"},
    "verified_date": {"type": "str"},
    "verified_by": {"type": "str"},
    "fetched_by": {"type": "str"},
    "risk_level": {"type": "str", "choices": list(RISK_LEVELS)},
    "risk_accepted_by": {"type": "str"},
    "approved_uses": {"type": "list", "elements": "str"},
    "prohibited_uses": {"type": "list", "elements": "str"},
    "environments": {"type": "list", "elements": "str", "choices": list(ENVIRONMENTS)},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "path": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["present", "absent", "revoked"], "default": "present"},
    "reference": {"type": "str"},
    "fetch": {"type": "bool", "default": False},
    "manifest": {"type": "raw"},
    "digest": {"type": "str"},
    "verified": {"type": "dict"},
    "config": {"type": "bool", "default": False},
    "allowed_sources": {"type": "list", "elements": "str", "default": list(DEFAULT_SOURCES)},
    "redirect_hosts": {
        "type": "list",
        "elements": "str",
        "default": ["dd20bb891979d25aebc8bec07b2b3bbc.r2.cloudflarestorage.com"],
    },
    "ca_bundle": {"type": "path"},
    "timeout": {"type": "int", "default": 30},
    **_DECIDED,
    "signer": {"type": "str"},
    # The path of a key and a signature: neither is a secret.
    "key": {"type": "path", "no_log": False},
    "signature": {"type": "str", "no_log": False},
    "signers_file": {"type": "path"},
    "revoked_keys_file": {"type": "path", "no_log": False},
    "blob": {"type": "str"},
    "reason": {"type": "str"},
    "revoked_by": {"type": "str"},
    "revoked_date": {"type": "str"},
    "commit": {"type": "bool", "default": False},
    "commit_message": {"type": "str"},
    "push": {"type": "bool", "default": False},
}
RULES: dict[str, Any] = {
    "mutually_exclusive": [("key", "signature")],
    "required_if": [
        ("state", "present", ("reference",)),
        ("state", "absent", ("reference",)),
        ("state", "revoked", ("reason", "revoked_by")),
        ("state", "revoked", ("reference", "digest", "blob"), True),
    ],
    "required_by": {"key": ["signer"], "signature": ["signer"], "verified": ["manifest"]},
}


@dataclass
class Outcome:
    """What is to be written and what came of it. `item` is the entry or revocation, `before` what was there."""

    path: str
    text: str
    after: str
    item: dict[str, Any] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    revocation: dict[str, str] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    manifest: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    signing_due: bool = False
    message: str = ""
    committer: Committer | None = None
    push: bool = False
    commit: str = ""

    @property
    def changed(self) -> bool:
        """Whether the file differs, will once it is signed, or was not committed yet."""
        uncommitted = self.committer is not None and self.committer.pending
        return self.text != self.after or self.signing_due or uncommitted

    def carry_out(self) -> None:
        """Write the file, commit it, push it. Raises FindingError: APPROVAL-WRITE, APPROVAL-CHANGED,
        APPROVAL-COMMIT, APPROVAL-PUSH.
        """
        if self.text != self.after:
            replace_text(self.path, self.text, self.after)
        if self.committer is not None:
            self.commit = self.committer.commit(self.message)
            if self.push:
                self.committer.push()

    def as_result(self) -> dict[str, Any]:
        """Return the task's result, without findings."""
        return {
            "changed": self.changed,
            "path": self.path,
            "entry": self.item,
            "before": self.before,
            "revocation": self.revocation,
            "changes": self.changes,
            "summary": self.lines,
            "payload": payload(self.item).decode("utf-8") if self.item else "",
            "manifest": self.manifest,
            "config": self.config,
            "due": self.changed,
            "commit": self.commit,
        }

    def as_diff(self) -> dict[str, str]:
        """Return the file before and after, for diff mode."""
        return {
            "before": self.text,
            "after": self.after,
            "before_header": self.path,
            "after_header": self.path,
        }


def plan(asked: Mapping[str, Any], signing: bool) -> Outcome:
    """Return what the arguments ask for, nothing written yet; `signing` False leaves the signature out (check mode).

    Raises FindingError with one finding that says why it cannot be done.
    """
    asked = plain(asked)
    text = read_text(asked["path"])
    registry = load_registry(text)
    if not registry.indented:
        raise FindingError(registry.findings[0])
    # Asked for before anything is fetched, shown or signed.
    committer = Committer(asked["path"]) if asked["commit"] or asked["push"] else None
    work = {"present": _present, "absent": _absent, "revoked": _revoked}[asked["state"]]
    outcome = work(asked, text, registry)
    if committer is not None:
        committer.require_only(text, _ours(outcome))
        outcome.committer, outcome.push = committer, bool(asked["push"])
    if outcome.item:
        if asked["signer"]:
            _sign(asked, outcome, signing)
        _put(asked, outcome, registry)
    # What would not be understood is never written.
    load_registry(outcome.after)
    outcome.message = asked["commit_message"] or _message(asked["state"], outcome)
    return outcome


def _ours(outcome: Outcome) -> list[str]:
    """Return what may differ from the last commit: this entry, this revocation."""
    revoked = "{0} {1}".format(outcome.revocation.get("digest", ""), outcome.revocation.get("blob", "")).strip()
    return [key for key in (outcome.item.get("reference"), outcome.before.get("reference"), revoked) if key]


def _number(registry: Registry, reference: str) -> int | None:
    found = entries_named(registry, parse_name(reference).full)
    return found[0] if found else None


def _present(asked: Mapping[str, Any], text: str, registry: Registry) -> Outcome:
    number = _number(registry, asked["reference"])
    before = dict(registry.entries[number]) if number is not None else {}
    source = _source(asked)
    decided = {key: asked[key] for key in _DECIDED}
    entry = approval_entry.make_entry(before or None, asked["reference"], source, decided)
    require_not_revoked(registry, entry)
    outcome = Outcome(asked["path"], text, text, entry, before)
    if source is not None:
        outcome.manifest = source.encoded
        if asked["config"]:
            outcome.config = approval_config.fetch_config(
                source, asked["redirect_hosts"], asked["ca_bundle"], asked["timeout"]
            )
    return outcome


def _put(asked: Mapping[str, Any], outcome: Outcome, registry: Registry) -> None:
    """Put the finished entry into the text, and say what it changes."""
    entry, before = outcome.item, outcome.before
    if entry != before:
        outcome.after = set_item(outcome.text, "models", _number(registry, asked["reference"]), entry)
    outcome.changes = approval_entry.changes(before, entry)
    if outcome.signing_due:
        outcome.changes.append("signatures: + {0} (when it is signed)".format(asked["signer"]))
    outcome.lines = [*approval_entry.describe(entry), *approval_config.describe_config(outcome.config)]


def _source(asked: Mapping[str, Any]) -> approval_source.Source | None:
    sources = asked["allowed_sources"]
    if asked["fetch"] and asked["manifest"]:
        raise refuse(
            "APPROVAL-SOURCE",
            clean_text(asked["reference"], 120),
            "both fetch and manifest were named",
            "Have the manifest fetched, or give one.",
        )
    if asked["fetch"]:
        source = approval_source.from_registry(
            asked["reference"], sources, asked["ca_bundle"], asked["timeout"]
        )
        if asked["digest"] and asked["digest"] != source.manifest.digest:
            raise refuse(
                "APPROVAL-SOURCE",
                source.name.full,
                "the registry's manifest is {0}, expected is {1}".format(source.manifest.digest, asked["digest"]),
                "The tag has moved, or the digest is another model's. Look at what is new before approving it.",
            )
        return source
    if not asked["manifest"]:
        return None
    source = approval_source.from_manifest(asked["reference"], sources, asked["manifest"], asked["digest"])
    if asked["verified"] is not None:
        approval_source.require_verified(source, asked["verified"])
    return source


def _sign(asked: Mapping[str, Any], outcome: Outcome, signing: bool) -> None:
    """Add the signer's signature, or note that it is due; it has to be one that counts."""
    entry, signer = outcome.item, asked["signer"]
    subject = clean_text(entry["reference"], 120)
    if signer.strip().casefold() == entry.get("fetched_by", "").casefold():
        raise refuse(
            "APPROVAL-SELF-SIGNED",
            subject,
            "{0} fetched it and cannot sign it".format(signer),
            "Another person than the one who fetched it reviews and signs the entry.",
        )
    if not asked["key"] and not asked["signature"]:
        return
    if not signing:
        outcome.signing_due = not any(item["signer"] == signer for item in entry.get("signatures", ()))
        return
    entry["signatures"] = add_signature(entry, signer, asked["key"] or "", asked["signature"] or "")
    if asked["signers_file"]:
        verifier = Verifier.from_files(asked["signers_file"], asked["revoked_keys_file"])
        mine = next(item for item in entry["signatures"] if item["signer"] == signer)
        require_countersigned(entry, mine, verifier)


def _absent(asked: Mapping[str, Any], text: str, registry: Registry) -> Outcome:
    number = _number(registry, asked["reference"])
    if number is None:
        return Outcome(asked["path"], text, text)
    before = dict(registry.entries[number])
    after = remove_item(text, "models", number)
    lines = ["{0} is no longer approved".format(before["reference"])]
    return Outcome(asked["path"], text, after, {}, before, changes=lines, lines=lines)


def _revoked(asked: Mapping[str, Any], text: str, registry: Registry) -> Outcome:
    reference, digest = asked["reference"] or "", asked["digest"] or ""
    number = _number(registry, reference) if reference else None
    before = dict(registry.entries[number]) if number is not None else {}
    if not digest and not asked["blob"]:
        digest = before.get("digest", "")
        if not digest:
            raise refuse(
                "APPROVAL-MISSING",
                clean_text(reference, 120),
                "no entry says which digest this is",
                "Name the digest of the manifest, or of a blob: a name can mean other bytes tomorrow.",
            )
    wanted = parse_revocation(
        {
            "digest": digest,
            "blob": asked["blob"],
            "reference": parse_name(reference).full if reference else "",
            "reason": asked["reason"],
            "revoked_date": asked["revoked_date"] or approval_entry.today(),
            "revoked_by": asked["revoked_by"],
        }
    )
    known = [item for item in registry.revocations if item.key == wanted.key]
    lines = [clean_text("{0} is {1}".format(" and ".join(wanted.digests), wanted))]
    if known:
        return Outcome(asked["path"], text, text, {}, before, known[0].as_dict(), lines=lines)
    after = set_item(text, "revocations", None, wanted.as_dict())
    return Outcome(asked["path"], text, after, {}, before, wanted.as_dict(), changes=lines, lines=lines)


def _message(state: str, outcome: Outcome) -> str:
    """Return the commit's message: what is approved or revoked, by its digest, and what changed."""
    known = outcome.item or outcome.before or outcome.revocation
    shown = known.get("reference") or " ".join(
        filter(None, (outcome.revocation.get("digest"), outcome.revocation.get("blob")))
    )
    verb = {"present": "Approve", "absent": "Withdraw the approval of", "revoked": "Revoke"}[state]
    if outcome.before and outcome.changes and all(line.startswith("signatures: ") for line in outcome.changes):
        verb = "Sign the approval of"
    # A new entry is told whole, a change by what it changes.
    lines = outcome.changes if outcome.before and outcome.changes else outcome.lines
    body = "\n".join("- {0}".format(line) if not line.startswith(" ") else line for line in lines)
    return "{0} {1}\n\n{2}\n".format(verb, shown, body)
