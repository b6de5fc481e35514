# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may sign what: trusted_keys.yaml, read strictly, and the signatures of an envelope held against it (T2, S9).

A key has one holder and one role. What is not listed, is revoked, or is outside its time signs nothing.
"""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    FindingError,
    Severity,
    clean_text,
    refuse,
)
from ansible_collections.rampart.ollama.plugins.plugin_utils import attestation, signing_keys
from ansible_collections.rampart.ollama.plugins.plugin_utils.approval_yaml import parse_yaml

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ROLES = ("evidence", "reviewer", "security_officer", "release")
ENVIRONMENTS = ("dev", "staging", "prod", "demo")
TRUST_MAX_BYTES = 1024 * 1024
KEYS_MAX = 500
# Clocks of two controllers are never the same.
CLOCK_SKEW = datetime.timedelta(minutes=5)

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)
_HOLDER = re.compile(r"[^\s\"'\\#]+@[^\s\"'\\#]+")
_NEEDED = ("keyid", "role", "holder", "environments", "public_key", "valid_from", "valid_until")
_REVOCATION = ("revoked_at", "revoked_reason")
_REMEDY = "Correct the file (docs/promotion.md says how), have the change reviewed, then run again."
_HEAD = "# Who may sign what (docs/promotion.md). Revoke a key, never delete it.\nversion: 1\nkeys:\n"


@dataclass(frozen=True)
class TrustedKey:
    """One entry of trusted_keys.yaml; times are UTC. A revoked key stays listed, so that it says so."""

    keyid: str
    role: str
    holder: str
    environments: tuple[str, ...]
    public_key: Ed25519PublicKey
    valid_from: datetime.datetime
    valid_until: datetime.datetime
    revoked_at: datetime.datetime | None = None
    revoked_reason: str = ""

    @property
    def person(self) -> str:
        """The holder in the form that two spellings of one person share."""
        return " ".join(unicodedata.normalize("NFKC", self.holder).casefold().split())

    def as_dict(self) -> dict[str, str]:
        """Return who signed: keyid, role and holder."""
        return {"keyid": self.keyid, "role": self.role, "holder": self.holder}


Trust = Mapping[str, TrustedKey]


def parse_time(text: Any) -> datetime.datetime | None:
    """Return the moment that `YYYY-MM-DDTHH:MM:SSZ` means, or None when it means none."""
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        return None
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.UTC)
    except ValueError:
        return None


def format_time(moment: datetime.datetime) -> str:
    """Return a moment as `YYYY-MM-DDTHH:MM:SSZ`."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refusal(subject: str, why: str) -> FindingError:
    return refuse("TRUST-INVALID", subject, why, _REMEDY)


def load_trust(path: str | Path) -> dict[str, TrustedKey]:
    """Return the keys of a file by keyid. Raises FindingError: ATTESTATION-READ, TRUST-INVALID."""
    return parse_trust(read_text(path), Path(path).name)


def read_text(path: str | Path) -> str:
    """Return the text of a file of trusted keys. Raises FindingError: ATTESTATION-READ, TRUST-INVALID."""
    data = attestation.read_bytes(path, TRUST_MAX_BYTES)
    if len(data) > TRUST_MAX_BYTES:
        raise _refusal(Path(path).name, f"longer than {TRUST_MAX_BYTES} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise _refusal(Path(path).name, "this is not UTF-8") from None


def parse_trust(text: str, subject: str = "trusted_keys.yaml") -> dict[str, TrustedKey]:
    """Return the keys of a text by keyid. Raises FindingError (TRUST-INVALID)."""
    try:
        document = parse_yaml(text, subject)
    except FindingError as error:
        raise _refusal(subject, error.finding.evidence) from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(document, dict) or set(document) != {"version", "keys"} or document["version"] != 1:
        raise _refusal(subject, "it is no mapping of version (1) and keys")
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise _refusal(subject, f"keys is no list of at most {KEYS_MAX}")
    keys: dict[str, TrustedKey] = {}
    for number, entry in enumerate(listed, start=1):
        key = _key(entry, f"{subject}, key {number}")
        if key.keyid in keys:
            raise _refusal(f"{subject}, key {number}", "the same key stands twice: it has one holder and one role")
        keys[key.keyid] = key
    return keys


def _key(entry: Any, subject: str) -> TrustedKey:
    if not isinstance(entry, dict):
        raise _refusal(subject, "an entry is a mapping")
    unknown = sorted(set(entry) - {*_NEEDED, *_REVOCATION})
    missing = [name for name in _NEEDED if name not in entry]
    if unknown or missing:
        what = f"the key {clean_text(unknown[0], 40)!r} is unknown" if unknown else f"it lacks {missing[0]}"
        raise _refusal(subject, what)
    for name in ("keyid", "role", "holder", "public_key"):
        if not isinstance(entry[name], str):
            raise _refusal(subject, f"{name} is no text")
    environments = entry["environments"]
    if not isinstance(environments, list) or any(name not in ENVIRONMENTS for name in environments):
        raise _refusal(subject, f"environments is no list of {', '.join(ENVIRONMENTS)}")
    if entry["role"] not in ROLES:
        raise _refusal(subject, f"role is one of {', '.join(ROLES)}")
    if entry["role"] == "evidence" and len(environments) != 1:
        raise _refusal(subject, "an evidence key belongs to one environment")
    if not _HOLDER.fullmatch(entry["holder"]):
        raise _refusal(subject, "holder is no address of one person (name@example.org)")
    try:
        public_key = signing_keys.parse_public(entry["public_key"], subject)
    except FindingError as error:
        raise _refusal(subject, f"public_key: {error.finding.evidence}") from None
    if entry["keyid"] != attestation.keyid_of(public_key):
        raise _refusal(subject, "keyid is not the sha256 of its public key")
    since, until = (_moment(entry[name], name, subject) for name in ("valid_from", "valid_until"))
    if since >= until:
        raise _refusal(subject, "valid_until is not after valid_from")
    revoked_at = _moment(entry["revoked_at"], "revoked_at", subject) if "revoked_at" in entry else None
    reason = entry.get("revoked_reason", "")
    if not isinstance(reason, str) or bool(reason) != (revoked_at is not None):
        raise _refusal(subject, "revoked_at and revoked_reason go together")
    return TrustedKey(
        entry["keyid"],
        entry["role"],
        entry["holder"],
        tuple(environments),
        public_key,
        since,
        until,
        revoked_at,
        clean_text(reason, 200),
    )


def _moment(value: Any, name: str, subject: str) -> datetime.datetime:
    # YAML reads an unquoted time as a moment, with its zone only if one was written.
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.UTC)
    moment = parse_time(value)
    if moment is None:
        raise _refusal(subject, f"{name} is no time (YYYY-MM-DDTHH:MM:SSZ)")
    return moment


def signers(envelope: attestation.Envelope, trust: Trust, now: datetime.datetime) -> tuple[TrustedKey, ...]:
    """Return the keys that signed an envelope, each once; every signature has to be good, or none counts.

    Raises FindingError: ATTESTATION-UNSIGNED, ATTESTATION-KEY-UNKNOWN, -KEY-REVOKED, -KEY-EXPIRED, -KEY-EARLY,
    ATTESTATION-SIGNATURE-INVALID.
    """
    if not envelope.signatures:
        raise refuse(
            "ATTESTATION-UNSIGNED",
            envelope.id,
            "it has no signature",
            "Sign it with the environment's evidence key (sign_evidence.yml).",
            Severity.CRITICAL,
        )
    found: dict[str, TrustedKey] = {}
    for signature in envelope.signatures:
        key = require_known(signature.keyid, trust, now)
        if not attestation.holds(envelope, signature, key.public_key):
            raise attestation.signature_invalid(key.keyid)
        found[key.keyid] = key
    return tuple(found.values())


def require_known(keyid: str, trust: Trust, now: datetime.datetime) -> TrustedKey:
    """Return the trusted key of this keyid, if it counts now.

    Raises FindingError: ATTESTATION-KEY-UNKNOWN, -KEY-REVOKED, -KEY-EXPIRED, -KEY-EARLY.
    """
    key = trust.get(keyid)
    if key is None:
        raise refuse(
            "ATTESTATION-KEY-UNKNOWN",
            f"key {clean_text(keyid, 16) or '(without keyid)'}",
            "it is not in the trusted keys",
            "Ask who signed; add a key only after a review, else take the envelope without this signature.",
            Severity.CRITICAL,
        )
    require_usable(key, now)
    return key


def require_usable(key: TrustedKey, moment: datetime.datetime) -> None:
    """Raise FindingError (ATTESTATION-KEY-REVOKED, -KEY-EARLY, -KEY-EXPIRED) unless `key` counts at `moment`.

    Nothing proves when a signature was really made, so a revoked key counts at no moment.
    """
    subject = f"key {key.keyid[:16]} of {key.holder}"
    if key.revoked_at is not None:
        raise refuse(
            "ATTESTATION-KEY-REVOKED",
            subject,
            f"revoked at {format_time(key.revoked_at)}: {key.revoked_reason}",
            "Have the evidence collected and signed again with keys that are not revoked.",
            Severity.CRITICAL,
        )
    if moment < key.valid_from - CLOCK_SKEW:
        raise refuse(
            "ATTESTATION-KEY-EARLY",
            subject,
            f"valid from {format_time(key.valid_from)}, used at {format_time(moment)}",
            "Set the clock right, or sign again within the key's time.",
        )
    if moment > key.valid_until:
        raise refuse(
            "ATTESTATION-KEY-EXPIRED",
            subject,
            f"valid until {format_time(key.valid_until)}, used at {format_time(moment)}",
            "Make a new key (make_keys.yml), have it trusted, and sign again with it.",
        )


def add_key(
    text: str,
    public_key: Ed25519PublicKey,
    role: str,
    holder: str,
    environments: Iterable[str],
    valid_from: datetime.datetime,
    valid_until: datetime.datetime,
    subject: str = "trusted_keys.yaml",
) -> str:
    """Return trusted_keys.yaml's text with one entry more; the lines that were there stay as they are.

    A key that is there in the same role for the same holder changes nothing. Raises FindingError (TRUST-INVALID).
    """
    head = text if text.strip() else _HEAD
    known = parse_trust(head, subject) if text.strip() else {}
    keyid = attestation.keyid_of(public_key)
    places = tuple(environments)
    if keyid in known:
        there = known[keyid]
        if (there.role, there.holder, there.environments) != (role, holder, places):
            raise _refusal(subject, f"key {keyid[:16]} is there for {there.holder} as {there.role}")
        return text
    pem = "".join(f"      {line}\n" for line in signing_keys.public_pem(public_key).splitlines())
    added = (
        f"{head if head.endswith(chr(10)) else head + chr(10)}"
        f"  - keyid: {keyid}\n"
        f"    role: {role}\n"
        f"    holder: {holder}\n"
        f"    environments: [{', '.join(places)}]\n"
        f"    public_key: |\n{pem}"
        f'    valid_from: "{format_time(valid_from)}"\n'
        f'    valid_until: "{format_time(valid_until)}"\n'
    )
    # The text was made, not parsed and written anew, so that comments stay; hence the look at what it means now.
    after = parse_trust(added, subject)
    made = after.pop(keyid, None)
    if after != known or made is None or (made.role, made.holder, made.environments) != (role, holder, places):
        raise _refusal(subject, "the entry would not be read as it is meant; keys has to be a block list, at the end")
    return added
