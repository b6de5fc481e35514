# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A company in a directory: people with keys, evidence of three environments, images, approvals, promotions.

The evidence is made up, but written by the code that writes the real one, for the real catalogue.
"""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ansible_collections.rampart.ollama.plugins.plugin_utils import (
    attestation,
    collection_digest,
    controls,
    evidence,
    promotion_lookup,
    subjects,
    trust,
)
from ansible_collections.rampart.ollama.plugins.plugin_utils import statement as statements

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = controls.load_catalogue(ROOT / "roles/control_report/files/controls.yml")
MODEL = "registry.ollama.ai/library/mistral:7b-instruct-v0.3-q4_K_M"
DAY = datetime.timedelta(days=1)
PEOPLE = {
    # key: (role, holder, environments)
    "dev": ("evidence", "alice@example.org", ["dev"]),
    "staging": ("evidence", "alan@example.org", ["staging"]),
    "prod": ("evidence", "adam@example.org", ["prod"]),
    "reviewer": ("reviewer", "bob@example.org", ["staging"]),
    "officer": ("security_officer", "carol@example.org", ["prod"]),
    "release": ("release", "rita@example.org", []),
}


def hexes(letter: str) -> str:
    return letter * 64


def lock(**images: str) -> dict[str, Any]:
    """An images.json as the role images writes it."""
    ids = {"relay": "1", "egress": "2", "fetcher": "3", "gateway": "4", "ollama": "5", **images}
    return {
        "version": 1,
        "archive": "images.tar",
        "archive_sha256": hexes("a"),
        "images": {name: {"id": "sha256:" + hexes(letter)} for name, letter in ids.items()},
    }


def approval(digest: str, environments: Iterable[str] = ("dev", "staging", "prod")) -> dict[str, Any]:
    return {
        "name": "mistral",
        "version": "7b-instruct-v0.3-q4_K_M",
        "reference": MODEL,
        "digest": f"sha256:{digest}",
        "size": 7,
        "blobs": [{"digest": "sha256:" + hexes("b"), "size": 7}],
        "source": "registry.ollama.ai",
        "licence": "Apache-2.0",
        "verified_date": "2026-01-31",
        "verified_by": "dora@example.org",
        "risk_level": "LOW",
        "approved_uses": ["internal_chatbot"],
        "environments": list(environments),
    }


@dataclass
class Company:
    """Everything a promotion needs, below one directory; `now` is the clock of every controller."""

    root: Path
    now: datetime.datetime
    model: str = field(default_factory=lambda: hexes("c"))
    keys: dict[str, Ed25519PrivateKey] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (role, holder, environments) in PEOPLE.items():
            self.hire(name, role, holder, environments)
        self.images.parent.mkdir(parents=True)
        self.images.write_text(json.dumps(lock()), encoding="utf-8")
        self.approve()

    # --- places
    @property
    def trusted_keys(self) -> Path:
        return self.root / "trusted_keys.yaml"

    @property
    def images(self) -> Path:
        return self.root / "artifacts/images.json"

    @property
    def approvals(self) -> Path:
        return self.root / "models_registry.yaml"

    @property
    def promotions(self) -> Path:
        return self.root / "promotions"

    @property
    def trusted(self) -> dict[str, trust.TrustedKey]:
        return trust.load_trust(self.trusted_keys)

    def reports_of(self, environment: str) -> Path:
        del environment
        return self.root / "reports"

    # --- people
    def hire(self, name: str, role: str, holder: str, environments: list[str], days: int = 365) -> Ed25519PrivateKey:
        key = self.keys[name] = Ed25519PrivateKey.generate()
        text = self.trusted_keys.read_text(encoding="utf-8") if self.trusted_keys.exists() else ""
        since = self.now - 30 * DAY
        after = trust.add_key(text, key.public_key(), role, holder, environments, since, since + days * DAY)
        self.trusted_keys.write_text(after, encoding="utf-8")
        return key

    def keyid(self, name: str) -> str:
        return attestation.keyid_of(self.keys[name].public_key())

    def edit_key(self, name: str, **changes: Any) -> None:
        document = yaml.safe_load(self.trusted_keys.read_text(encoding="utf-8"))
        for entry in document["keys"]:
            if entry["keyid"] == self.keyid(name):
                entry.update(changes)
        self.trusted_keys.write_text(yaml.safe_dump(document), encoding="utf-8")

    def revoke(self, name: str) -> None:
        self.edit_key(name, revoked_at=trust.format_time(self.now), revoked_reason="laptop stolen")

    # --- what is about to be used
    def approve(self, digest: str = "", environments: Iterable[str] = ("dev", "staging", "prod")) -> None:
        document = {"models": [approval(digest or self.model, environments)]}
        self.approvals.write_text(yaml.safe_dump(document), encoding="utf-8")

    def wanted(self, environment: str) -> dict[str, str]:
        text = self.approvals.read_text(encoding="utf-8")
        return subjects.expected([MODEL], text, environment, subjects.read_lock(self.images), "images.json")

    # --- evidence
    def record(self, environment: str, host: str, phase: int, **changes: Any) -> dict[str, Any]:
        """The record of one phase in which every check of the catalogue passed, as control_evidence makes it."""
        names = [name for control in CATALOGUE if control.phase == phase for name in control.checks]
        failed = set(changes.pop("failed", ()))
        checks = [
            {"id": name, "status": "failed" if name in failed else "passed", "evidence": "seen"} for name in names
        ]
        results = controls.evaluate(CATALOGUE, checks, environment, phase)
        moment = changes.pop("at", self.now - DAY) + datetime.timedelta(minutes=phase)
        record = {
            "phase": phase,
            "environment": environment,
            "host": host,
            "collected_at": trust.format_time(moment),
            "collection_version": "0.1.0",
            "collection_digest": collection_digest.collection_digest(),
            "verdict": controls.verdict(results),
            "override_reason": "",
            "checks": list(controls.merge_checks(checks).values()),
            "findings": [],
            "measures": [],
            "facts": {},
        }
        models = [{"name": MODEL, "digest": f"sha256:{self.model}", "size": 7, "blobs": 1, "verified": True}]
        if phase == 2:
            record["subjects"] = {"models": models, "images": lock()}
        elif phase in statements.BOUND_TO:
            running = {name: lock()["images"][name]["id"] for name in subjects.SERVING}
            record["subjects"] = {"models": models, "running": running}
        return {**record, **changes.pop("instead", {}), **changes}

    def write(self, environment: str, host: str, phase: int, **changes: Any) -> Path:
        path = evidence.evidence_path(self.reports_of(environment), environment, host, phase)
        evidence.write_evidence(path, self.record(environment, host, phase, **changes))
        return path

    def run(self, environment: str, hosts: Iterable[str] = ("h1",), **changes: Any) -> None:
        for host in hosts:
            for phase in controls.PHASES:
                self.write(environment, host, phase, **dict(changes))

    # --- statements and envelopes
    def payload(self, environment: str, hosts: Iterable[str] = ("h1",)) -> bytes:
        def find(wanted: Mapping[str, str]) -> attestation.Envelope | None:
            if environment != "staging":
                return None
            looked = promotion_lookup.lookup(
                self.promotions, environment, wanted, self.trusted, CATALOGUE, self.now, 90
            )
            return looked.found.envelope if looked.found else None

        return statements.build(environment, list(hosts), self.reports_of(environment), CATALOGUE, self.now, find)

    def signed(self, payload: bytes, *names: str) -> attestation.Envelope:
        envelope = attestation.Envelope(payload)
        for name in names:
            envelope = attestation.sign(envelope, self.keys[name])
        return envelope

    def promote(self, envelope: attestation.Envelope, target: str) -> Path:
        path = promotion_lookup.record_path(self.promotions, target, envelope)
        attestation.write_file(path, attestation.dump_envelope(envelope))
        return path

    def dev_to_staging(self, **changes: Any) -> attestation.Envelope:
        self.run("dev", **changes)
        envelope = self.signed(self.payload("dev"), "dev", "reviewer")
        self.promote(envelope, "staging")
        return envelope

    def staging_to_prod(self, *names: str, **changes: Any) -> attestation.Envelope:
        self.dev_to_staging()
        self.run("staging", **changes)
        return self.signed(self.payload("staging"), *(names or ("staging", "officer")))


def altered(payload: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The payload with its JSON changed: what a person with a key could sign, not what the code would make."""
    document = json.loads(payload)
    change(document)
    return json.dumps(document, indent=2, sort_keys=True).encode()


def envelope_json(envelope: attestation.Envelope) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(attestation.dump_envelope(envelope))
    return document


def own_pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's encoding once more, from its specification and nothing of ours."""
    parts = [b"DSSEv1", str(len(payload_type)).encode(), payload_type.encode(), str(len(payload)).encode(), payload]
    return b" ".join(parts)


def own_base64(text: str) -> bytes:
    return base64.b64decode(text.replace("-", "+").replace("_", "/"))
