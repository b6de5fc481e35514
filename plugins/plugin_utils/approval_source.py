# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an approval's digests come from: the registry's manifest, or a store that was verified (rows S1, S6).

Nothing is invented and nothing is taken from a name: digest, sizes and blobs are those of a manifest's very bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    FindingError,
    Severity,
    clean_text,
    refuse,
)
from ansible_collections.rampart.ollama.plugins.module_utils.manifest import (
    MANIFEST_MAX_BYTES,
    Manifest,
    parse_manifest,
    sha256_of,
)
from ansible_collections.rampart.ollama.plugins.module_utils.names import (
    ModelName,
    parse_digest,
    parse_name,
    require_source,
)

from .registry_tag import fetch_manifest

_REMEDY = "Take the manifest from the registry or from a verified store, then run again."
# What a verification says of a model that nobody has approved yet, or not these bytes of it.
_EXPECTED = ("STORE-UNAPPROVED-MODEL", "STORE-MANIFEST-MISMATCH")
_GOOD = ("info", "low")


@dataclass(frozen=True)
class Source:
    """A model's manifest: its name, raw bytes and what they say."""

    name: ModelName
    raw: bytes
    manifest: Manifest

    def facts(self) -> dict[str, Any]:
        """Return what an approval pins: reference, digest, size in bytes, blobs, and the host it came from."""
        return {
            "reference": self.name.full,
            "digest": self.manifest.digest,
            "size": self.manifest.size,
            "blobs": [blob.as_dict() for blob in self.manifest.blobs.values()],
            "source": self.name.host,
        }

    @property
    def encoded(self) -> str:
        """The raw manifest in base64, to hand on what was shown."""
        return base64.b64encode(self.raw).decode("ascii")


def from_registry(
    reference: str, sources: list[str], ca_bundle: str | None = None, timeout: float = 30, proxy: str | None = None
) -> Source:
    """Fetch the manifest over verified TLS; no redirect is followed. Raises FindingError: NAME-*, SOURCE-REFUSED,
    FETCH-*, APPROVAL-SOURCE.
    """
    name = parse_name(reference)
    answer = fetch_manifest(name, sources, ca_bundle=ca_bundle, proxy=proxy, timeout=timeout)
    return _with_weights(Source(name, answer.raw, answer.manifest))


def from_manifest(reference: str, sources: list[str], given: Any, digest: str | None = None) -> Source:
    """Return the source in a manifest that was handed in: base64 of its bytes, its JSON text, or a mapping.

    A mapping has lost the bytes that its digest is of: it counts only if written out again it has `digest`. Raises
    FindingError: NAME-*, DIGEST-INVALID, SOURCE-REFUSED, APPROVAL-SOURCE.
    """
    name = parse_name(reference)
    require_source(name, sources)
    wanted = parse_digest(digest) if digest else ""
    raw = _raw(name.full, given, wanted)
    if wanted and sha256_of(raw) != wanted:
        raise _refusal(name.full, "the manifest hashes to {0}, expected is {1}".format(sha256_of(raw), wanted))
    try:
        manifest = parse_manifest(raw, name.full)
    except FindingError as error:
        raise _refusal(name.full, error.finding.evidence) from error
    return _with_weights(Source(name, raw, manifest))


def _raw(subject: str, given: Any, wanted: str) -> bytes:
    if isinstance(given, Mapping):
        for separators in ((",", ":"), (", ", ": ")):
            raw = json.dumps(given, separators=separators).encode("utf-8")
            if wanted and sha256_of(raw) == wanted:
                return raw
        raise _refusal(subject, "a parsed manifest does not give its digest back; give its bytes in base64")
    text = given if isinstance(given, str) else ""
    if len(text) > 2 * MANIFEST_MAX_BYTES:
        raise _refusal(subject, "the manifest is longer than {0} bytes".format(MANIFEST_MAX_BYTES))
    if text.lstrip().startswith("{"):
        return text.encode("utf-8", "surrogatepass")
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refusal(subject, "the manifest is neither JSON nor base64") from error
    if not raw:
        raise _refusal(subject, "the manifest is empty")
    return raw


def require_verified(source: Source, report: Mapping[str, Any]) -> None:
    """Raise FindingError (APPROVAL-SOURCE) unless a result of ollama_model_verify vouches for the model's bytes.

    It has to name the model under this digest, and to have found nothing wrong with it or its blobs; that nobody has
    approved it yet is what an approval is for.
    """
    subject = source.name.full
    models = [item for item in report.get("models") or () if isinstance(item, Mapping)]
    named = [item for item in models if str(item.get("name", "")).lower() == subject.lower()]
    if not named or named[0].get("digest") != source.manifest.digest:
        there = named[0].get("digest") if named else "no such model"
        raise _refusal(subject, "the verified store has {0}".format(clean_text(there, 80)))
    about = [subject.lower(), "/".join(source.name.parts).lower(), *source.manifest.blobs]
    for item in report.get("findings") or ():
        said = str(item.get("subject", "")).lower()
        bad = item.get("severity") not in _GOOD and item.get("code") not in _EXPECTED
        if bad and any(text in said for text in about):
            raise _refusal(subject, "{0}: {1}".format(item.get("code"), clean_text(item.get("evidence"), 150)))


def _with_weights(source: Source) -> Source:
    if not source.manifest.has_weights:
        raise _refusal(source.name.full, "no layer holds weights: such a model answers nothing, or elsewhere")
    return source


def _refusal(subject: str, why: str) -> FindingError:
    return refuse("APPROVAL-SOURCE", subject, why, _REMEDY, Severity.HIGH)
