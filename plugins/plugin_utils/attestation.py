# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DSSE envelopes with in-toto Statements v1, signed with Ed25519 (row S9).

An envelope is a file that people carry from one machine to another, so it is read as hostile input: bounded in
size, depth and number of signatures, one meaning only. Whose signatures count is decided in `trust`; what a
statement has to say before anything is promoted, in `promotion`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib
import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    FindingError,
    Severity,
    clean_text,
    refuse,
)
from ansible_collections.rampart.ollama.plugins.plugin_utils.signing_keys import public_der

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
ENVELOPE_MAX_BYTES = 4 * 1024 * 1024
SIGNATURES_MAX = 16
SUBJECTS_MAX = 4096
DEPTH_MAX = 32
SIGNATURE_BYTES = 64

_REMEDY = "Take the envelope anew from the controller that signed it; do not edit it."


@dataclass(frozen=True)
class Signature:
    """One signature of an envelope: the keyid it claims, and its 64 bytes."""

    keyid: str
    value: bytes


@dataclass(frozen=True)
class Envelope:
    """The signed bytes and their signatures; nothing in here was verified yet."""

    payload: bytes
    signatures: tuple[Signature, ...] = ()

    @property
    def id(self) -> str:
        """The first 32 hexadecimal digits of the payload's sha256: the same whoever signed it since."""
        return hashlib.sha256(self.payload).hexdigest()[:32]

    @property
    def pae(self) -> bytes:
        """The bytes that are signed: DSSE's pre-authentication encoding, which covers the payload's type."""
        return bytes(_library_envelope(self).pae())


def invalid(subject: str, why: object) -> FindingError:
    """Return the refusal of what cannot be read in one way only."""
    return refuse("ATTESTATION-INVALID", subject, why, _REMEDY)


def strict_json(data: bytes, subject: str, limit: int = ENVELOPE_MAX_BYTES) -> Any:
    """Return the JSON value in `data`: UTF-8, at most `limit` bytes, no duplicate key, no NaN, at most
    DEPTH_MAX deep. Raises FindingError (ATTESTATION-INVALID).
    """
    if len(data) > limit:
        raise invalid(subject, f"longer than {limit} bytes")
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise invalid(subject, "nested too deeply") from None
    except ValueError as error:
        raise invalid(subject, clean_text(error, 150)) from None
    level = [value]
    for _depth in range(DEPTH_MAX):
        level = [item for node in level for item in _children(node)]
        if not level:
            return value
    raise invalid(subject, "nested too deeply")


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {clean_text(key, 60)!r} is there twice")
        found[key] = value
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def parse_envelope(data: bytes, subject: str) -> Envelope:
    """Return the envelope in a file's bytes. Raises FindingError (ATTESTATION-INVALID)."""
    return envelope_from(strict_json(data, subject), subject)


def envelope_from(value: Any, subject: str) -> Envelope:
    """Return the envelope of a JSON value. Unknown fields are ignored, as DSSE asks; they are not signed.

    Raises FindingError (ATTESTATION-INVALID).
    """
    if not isinstance(value, dict):
        raise invalid(subject, "an envelope is a JSON object")
    if value.get("payloadType") != PAYLOAD_TYPE:
        shown = clean_text(value.get("payloadType"), 100)
        raise invalid(subject, f"the payload's type is {shown!r}, not {PAYLOAD_TYPE}")
    listed = value.get("signatures")
    if not isinstance(listed, list) or len(listed) > SIGNATURES_MAX:
        raise invalid(subject, f"signatures is no list of at most {SIGNATURES_MAX}")
    payload = _base64(value.get("payload"), "the payload", subject)
    signatures = []
    for number, entry in enumerate(listed, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("keyid", ""), str):
            raise invalid(subject, f"signature {number} is no object with a keyid")
        signatures.append(Signature(entry.get("keyid", ""), _base64(entry.get("sig"), f"signature {number}", subject)))
    return Envelope(payload, tuple(signatures))


def _base64(text: Any, what: str, subject: str) -> bytes:
    """Decode standard or URL-safe base64, in its one canonical form: two texts never mean the same bytes."""
    if not isinstance(text, str):
        raise invalid(subject, f"{what} is no text")
    alphabet = b"-_" if "-" in text or "_" in text else b"+/"
    try:
        data = base64.b64decode(text, altchars=alphabet, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(subject, f"{what} is no base64") from None
    if base64.b64encode(data, altchars=alphabet).decode() != text:
        raise invalid(subject, f"{what} is no canonical base64")
    return data


def read_bytes(path: str | Path, limit: int = ENVELOPE_MAX_BYTES) -> bytes:
    """Return a file's bytes, one more than `limit` at most. Raises FindingError (ATTESTATION-READ)."""
    try:
        with open(path, "rb") as stream:
            return stream.read(limit + 1)
    except OSError as error:
        raise refuse(
            "ATTESTATION-READ", str(path), error.strerror or error, "Name a file that is there and can be read."
        ) from None


def read_envelope(path: str | Path) -> Envelope:
    """Return the envelope in a file. Raises FindingError: ATTESTATION-READ, ATTESTATION-INVALID."""
    return parse_envelope(read_bytes(path), str(path))


def envelope_dict(envelope: Envelope) -> dict[str, Any]:
    """Return the JSON object of an envelope, its signatures in the order of their keyids, each once."""
    ordered = sorted(set(envelope.signatures), key=lambda item: (item.keyid, item.value))
    return {
        "payload": base64.b64encode(envelope.payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": item.keyid, "sig": base64.b64encode(item.value).decode()} for item in ordered],
    }


def dump_envelope(envelope: Envelope) -> bytes:
    """Return the bytes of an envelope's file: the same for the same payload and signatures."""
    return (json.dumps(envelope_dict(envelope), indent=2, sort_keys=True) + "\n").encode()


def dump_statement(predicate_type: str, subjects: dict[str, str], predicate: dict[str, Any]) -> bytes:
    """Return the payload of an in-toto Statement v1; `subjects` maps names to sha256 in hexadecimal.

    It is indented, because a person with no tool but a pager has to be able to read what they sign.
    """
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": subjects[name]}} for name in sorted(subjects)],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def parse_statement(payload: bytes, predicate_type: str, subject: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Return (subjects, predicate) of a Statement v1 of our type. Raises FindingError (ATTESTATION-INVALID)."""
    document = strict_json(payload, subject)
    if not isinstance(document, dict) or document.get("_type") != STATEMENT_TYPE:
        raise invalid(subject, f"the payload is no {STATEMENT_TYPE}")
    if document.get("predicateType") != predicate_type:
        shown = clean_text(document.get("predicateType"), 100)
        raise invalid(subject, f"the predicate's type is {shown!r}, not {predicate_type}")
    listed, predicate = document.get("subject"), document.get("predicate")
    if not isinstance(listed, list) or not 0 < len(listed) <= SUBJECTS_MAX or not isinstance(predicate, dict):
        raise invalid(subject, f"a statement has 1 to {SUBJECTS_MAX} subjects and a predicate")
    subjects: dict[str, str] = {}
    for entry in listed:
        name = entry.get("name") if isinstance(entry, dict) else None
        digest = entry.get("digest") if isinstance(entry, dict) else None
        value = digest.get("sha256") if isinstance(digest, dict) else None
        if not isinstance(name, str) or not is_sha256(value):
            raise invalid(subject, "a subject has no name or no sha256")
        if name in subjects:
            raise invalid(subject, f"the subject {clean_text(name, 100)} is there twice")
        subjects[name] = str(value)
    return subjects, predicate


def is_sha256(value: Any) -> bool:
    """Whether `value` is a sha256 as 64 lower-case hexadecimal digits."""
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def keyid_of(public_key: Ed25519PublicKey) -> str:
    """Return the keyid: sha256 of the key's DER form, as `openssl pkey -pubin -outform DER | sha256sum` says."""
    return hashlib.sha256(public_der(public_key)).hexdigest()


def sign(envelope: Envelope, private_key: Ed25519PrivateKey) -> Envelope:
    """Return the envelope with this key's signature added; Ed25519 signs the same bytes the same way each time."""
    library = _library("signer")
    public_key = private_key.public_key()
    signer = library.CryptoSigner(private_key, library.SSlibKey.from_crypto(public_key, keyid=keyid_of(public_key)))
    made = _library_envelope(envelope).sign(signer)
    return _with(envelope, Signature(made.keyid, bytes.fromhex(made.signature)))


def attach(envelope: Envelope, public_key: Ed25519PublicKey, value: bytes) -> Envelope:
    """Return the envelope with a signature that was made elsewhere over its PAE.

    Raises FindingError (ATTESTATION-SIGNATURE-INVALID) when it is not this key's signature of these bytes.
    """
    made = Signature(keyid_of(public_key), value)
    if not holds(envelope, made, public_key):
        raise signature_invalid(made.keyid)
    return _with(envelope, made)


def _with(envelope: Envelope, signature: Signature) -> Envelope:
    if signature in envelope.signatures:
        return envelope
    if len(envelope.signatures) >= SIGNATURES_MAX:
        raise invalid("envelope", f"it has {SIGNATURES_MAX} signatures already")
    return replace(envelope, signatures=(*envelope.signatures, signature))


def holds(envelope: Envelope, signature: Signature, public_key: Ed25519PublicKey) -> bool:
    """Whether `signature` is this key's over the envelope's payload and type."""
    library, errors = _library("signer"), _library("exceptions")
    key = library.SSlibKey.from_crypto(public_key, keyid=signature.keyid)
    try:
        key.verify_signature(library.Signature(signature.keyid, signature.value.hex()), envelope.pae)
    except (errors.UnverifiedSignatureError, errors.VerificationError):
        return False
    return True


def signature_invalid(keyid: str) -> FindingError:
    """Return the refusal of a signature that is not the key's over these bytes."""
    return refuse(
        "ATTESTATION-SIGNATURE-INVALID",
        f"key {keyid[:16]}",
        "its signature is not over this payload: one of the two was changed",
        _REMEDY,
        Severity.CRITICAL,
    )


def _library_envelope(envelope: Envelope) -> Any:
    return _library("dsse").Envelope(envelope.payload, PAYLOAD_TYPE, {})


def _library(part: str) -> Any:
    # Imported where it is used: plugins are listed and documented on machines that do not have the library.
    try:
        return importlib.import_module(f"securesystemslib.{part}")
    except ImportError:
        raise refuse(
            "ATTESTATION-LIBRARY",
            "securesystemslib",
            "the Python library is not installed on the controller",
            "Install securesystemslib[crypto] into the environment that Ansible runs in.",
        ) from None


def write_file(path: str | Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file whole or not at all (temporary file, fsync, rename). Raises FindingError (ATTESTATION-WRITE)."""
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(mode)
        temporary.replace(target)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise refuse(
            "ATTESTATION-WRITE",
            str(target),
            error.strerror or error,
            "Free space, or name a place that can be written.",
        ) from None
