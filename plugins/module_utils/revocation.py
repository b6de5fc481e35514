# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Revocations: digests that must never be served again, and the models in a store that have one (rows S6, T2).

A revocation names a manifest's digest, a blob's, or both; a model is revoked when its manifest or any of its blobs
is. Revocations only add up: see `revocation_memory` for what a host keeps of them.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from .findings import Check, Finding, FindingError, Severity, check, clean_text, refuse
from .names import ModelName, parse_digest
from .store import ModelStore

REVOCATIONS_MAX = 10_000
TEXT_MAX_CHARS = 1000
_KEYS = ("digest", "blob", "reference", "reason", "revoked_date", "revoked_by")
_DATE = re.compile(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_IDENTITY = re.compile(r"\A[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,254}\Z")
_REMEDY = "Correct the list revocations (docs/models_registry.md says how), then run again."


@dataclass(frozen=True)
class Revocation:
    """One revocation. `digest` (of a manifest) and `blob` are `sha256:<hex>` or empty, at least one is there."""

    digest: str
    blob: str
    reference: str
    reason: str
    revoked_date: str
    revoked_by: str

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests it revokes."""
        return tuple(digest for digest in (self.digest, self.blob) if digest)

    @property
    def key(self) -> tuple[str, str]:
        """What two revocations share when they are the same one."""
        return (self.digest, self.blob)

    def as_dict(self) -> dict[str, str]:
        """Return it as it stands in models_registry.yaml: what is empty is left out."""
        return {key: getattr(self, key) for key in _KEYS if getattr(self, key)}

    def __str__(self) -> str:
        """Return who revoked it, when and why, for one line of evidence."""
        return "revoked {0} by {1}: {2}".format(self.revoked_date, self.revoked_by, self.reason)


def parse_revocation(raw: Any, subject: str = "revocation") -> Revocation:
    """Return the revocation in a mapping. Raises FindingError (REVOCATION-INVALID)."""
    if not isinstance(raw, Mapping):
        raise _invalid(subject, "it is no mapping")
    values: dict[str, str] = {}
    for key, value in raw.items():
        if key not in _KEYS:
            raise _invalid(subject, "the key {0!r} is unknown".format(clean_text(key, 60)))
        if value is not None and (not isinstance(value, str) or len(value) > TEXT_MAX_CHARS):
            raise _invalid(subject, "{0} is no text of at most {1} characters".format(key, TEXT_MAX_CHARS))
        values[str(key)] = str(value or "")
    for key in ("digest", "blob"):
        if values.get(key):
            try:
                values[key] = parse_digest(values[key])
            except FindingError as error:
                raise _invalid(subject, "{0}: {1}".format(key, error.finding.evidence)) from error
    if not values.get("digest") and not values.get("blob"):
        raise _invalid(subject, "it names neither digest nor blob")
    lacking = [key for key in ("reason", "revoked_date", "revoked_by") if not values.get(key, "").strip()]
    if lacking:
        raise _invalid(subject, "it lacks {0}".format(", ".join(lacking)))
    if not _IDENTITY.match(values["revoked_by"]):
        raise _invalid(subject, "revoked_by {0!r} is no identity".format(clean_text(values["revoked_by"], 60)))
    if not _is_date(values["revoked_date"]):
        raise _invalid(subject, "revoked_date is no date (YYYY-MM-DD)")
    return Revocation(**{key: values.get(key, "") for key in _KEYS})


def _is_date(text: str) -> bool:
    try:
        return bool(_DATE.match(text)) and bool(datetime.date.fromisoformat(text))
    except ValueError:
        return False


def parse_revocations(raw: Any, subject: str = "revocations") -> tuple[Revocation, ...]:
    """Return the revocations in a list, in its order. Raises FindingError (REVOCATION-INVALID)."""
    if not isinstance(raw, (list, tuple)) or len(raw) > REVOCATIONS_MAX:
        raise _invalid(subject, "this is no list of at most {0}".format(REVOCATIONS_MAX))
    return tuple(parse_revocation(item, "{0}[{1}]".format(subject, number)) for number, item in enumerate(raw))


def _invalid(subject: str, why: str) -> FindingError:
    return refuse("REVOCATION-INVALID", subject, why, _REMEDY)


class Revoked:
    """Many revocations, asked by digest: built once, each answer in constant time."""

    def __init__(self, revocations: Iterable[Revocation] = ()) -> None:
        self.revocations = tuple(revocations)
        self._by_digest: dict[str, Revocation] = {}
        for revocation in self.revocations:
            for digest in revocation.digests:
                self._by_digest.setdefault(digest, revocation)

    def __contains__(self, digest: str) -> bool:
        return digest in self._by_digest

    def __len__(self) -> int:
        return len(self._by_digest)

    def find(self, digests: Iterable[str]) -> Optional[tuple[str, Revocation]]:
        """Return (digest, revocation) of the first digest that is revoked, or None."""
        for digest in digests:
            revocation = self._by_digest.get(digest)
            if revocation is not None:
                return digest, revocation
        return None


@dataclass(frozen=True)
class RevokedModel:
    """A model in a store that must not be served: `because` is the digest that is revoked, and its revocation."""

    name: ModelName
    path: str
    digest: str
    because: str
    revocation: Revocation

    def as_dict(self) -> dict[str, str]:
        """Return name, digest, the digest that is revoked and the reason, as texts."""
        return {
            "name": self.name.full,
            "digest": self.digest,
            "because": self.because,
            "reason": str(self.revocation),
        }

    def as_finding(self) -> Finding:
        """Return what the watch, the report and a run say of it."""
        return Finding(
            "STORE-REVOKED-MODEL",
            Severity.CRITICAL,
            self.name.full,
            "{0} is {1}".format(self.because, self.revocation),
            "Take it out of the store (role model_store does so at its next run), and ask who served it.",
        )


def revoked_models(store: ModelStore, revocations: Union[Revoked, Iterable[Revocation]]) -> list[RevokedModel]:
    """Return the models of `store` whose manifest or any blob is revoked; hashes nothing but manifests.

    A model whose manifest cannot be parsed is held against its digest alone: `verify` has a finding for the rest.
    Never raises, never writes; a store that is missing has no models.
    """
    return look_for_revoked(store, revocations).models


@dataclass
class RevokedContent:
    """What of a store is revoked: `models`, and `blobs` that lie there though no model in it names them.

    `looked` says whether there was a store to look at, `known` how many revocations it was held against, `unread` how
    many manifests could not be read.
    """

    known: int
    looked: bool
    models: list[RevokedModel] = field(default_factory=list)
    blobs: list[str] = field(default_factory=list)
    unread: int = 0

    def findings(self) -> list[Finding]:
        """Return one finding for each of them."""
        stray = [
            Finding(
                "STORE-REVOKED-BLOB",
                Severity.HIGH,
                digest,
                "a revoked blob that no model in the store names",
                "Delete the file: nothing may use it.",
            )
            for digest in self.blobs
        ]
        return [model.as_finding() for model in self.models] + stray

    def check(self) -> Check:
        """Return the check store-no-revoked-model; without a store nothing was seen, which is never a pass."""
        if not self.looked:
            return check("store-no-revoked-model", None, "there is no store")
        evidence = "none of {0} revocations concerns a model in the store".format(self.known)
        if self.models or self.blobs:
            named = [model.name.full for model in self.models] + self.blobs
            return check("store-no-revoked-model", False, "revoked: {0}".format(", ".join(named)))
        if self.unread:
            evidence = "{0} manifests cannot be read: what they name is not known".format(self.unread)
            return check("store-no-revoked-model", None, evidence)
        return check("store-no-revoked-model", True, evidence)


def look_for_revoked(
    store: Optional[ModelStore], revocations: Union[Revoked, Iterable[Revocation]]
) -> RevokedContent:
    """Return everything revoked that lies in `store` (None: there is none). Never raises, never writes."""
    revoked = revocations if isinstance(revocations, Revoked) else Revoked(revocations)
    seen = RevokedContent(len(revoked.revocations), store is not None and store.exists())
    if store is None or not seen.looked or not len(revoked):
        return seen
    content = store.look()
    named: set[str] = set()
    for model in content.models:
        blobs = tuple(model.manifest.blobs) if model.manifest else ()
        named.update(blobs)
        hit = revoked.find((model.digest, *blobs))
        if hit is not None:
            seen.models.append(RevokedModel(model.name, model.path, model.digest, *hit))
    seen.unread = sum(model.manifest is None for model in content.models)
    seen.blobs = sorted(digest for digest in content.blobs if digest in revoked and digest not in named)
    return seen
