# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The evidence of an environment as one statement: made from the phases' files, read back from a payload (row S9).

Signed later by people who did not run the phases, so it says what they need: which bytes, on which hosts, which
phases with which verdict, what is open. The evidence files themselves stay where they are; their digests are in it.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    FindingError,
    clean_text,
    refuse,
)
from ansible_collections.rampart.ollama.plugins.plugin_utils import (
    attestation,
    collection_digest,
    controls,
    evidence,
    subjects,
    trust,
)

PREDICATE_TYPE = "https://rampart.example/attestation/evidence/v1"
PREVIOUS = {"staging": "dev", "prod": "staging"}
"""Where what an environment gets was proven: nothing enters dev, and nothing comes back from prod."""
NEXT = {source: target for target, source in PREVIOUS.items()}
PHASES_NEEDED = {"dev": (1, 2, 3, 4), "staging": (1, 2, 3, 4, 5), "prod": (1, 2, 3, 4, 5), "demo": (1, 2, 3, 4)}
BOUND_TO = (3, 4)
"""The phases that say anew which models and images they saw: what was hardened and what was tested."""
EVIDENCE_MAX_BYTES = 16 * 1024 * 1024
HOSTS_MAX = 1000


@dataclass(frozen=True)
class Phase:
    """What one phase left on one host: its verdict, when it was recorded, the sha256 of its evidence file."""

    verdict: str
    collected_at: datetime.datetime
    sha256: str


@dataclass(frozen=True)
class Host:
    """One host: its phases by number, the status of each control by id."""

    name: str
    phases: Mapping[int, Phase]
    controls: Mapping[str, str]


@dataclass(frozen=True)
class Statement:
    """A statement's content; `promotion` is the envelope by which the environment got these bytes itself."""

    environment: str
    promotes_to: str
    created_at: datetime.datetime
    subjects: Mapping[str, str]
    hosts: tuple[Host, ...]
    promotion: attestation.Envelope | None

    @property
    def moments(self) -> list[datetime.datetime]:
        """When the phases were recorded, over all hosts."""
        return [phase.collected_at for host in self.hosts for phase in host.phases.values()]


def build(
    environment: str,
    hosts: Sequence[str],
    directory: str | Path,
    catalogue: Sequence[controls.Control],
    now: datetime.datetime,
    find_promotion: Callable[[Mapping[str, str]], attestation.Envelope | None],
) -> bytes:
    """Return the payload that says what the evidence of these hosts says.

    `find_promotion` returns the envelope by which the environment got these subjects, None where none is needed.

    Raises FindingError: EVIDENCE-NAME, -READ, -MISSING, -ORDER, -FOREIGN, -UNBOUND, -UNVERIFIED, -MIXED,
    -COLLECTION, COLLECTION-UNREADABLE.
    """
    if not hosts or len(hosts) > HOSTS_MAX:
        raise refuse(
            "EVIDENCE-MISSING",
            environment,
            f"{len(hosts)} hosts",
            f"Give an inventory with 1 to {HOSTS_MAX} hosts in ollama_hosts.",
        )
    digest = collection_digest.collection_digest()
    entries, parts = [], []
    for host in sorted(set(hosts)):
        records = _records(directory, environment, host, digest)
        bound = next(record for record, _sha256 in records if record["phase"] == 2)
        installed = subjects.recorded(bound, f"{host}, phase 2")
        for record, _sha256 in records:
            if record["phase"] in BOUND_TO:
                subjects.require_same(record, f"{host}, phase {record['phase']}", installed)
        parts.append((host, installed))
        entries.append(_host_entry(host, environment, records, catalogue))
    about = {**subjects.merge(parts), subjects.COLLECTION: digest}
    promotion = find_promotion(about)
    predicate = {
        "environment": environment,
        "promotes_to": NEXT.get(environment, ""),
        "created_at": trust.format_time(now),
        "collection": {"name": collection_digest.NAME, "version": collection_digest.collection_version()},
        "hosts": entries,
        "promotion": attestation.envelope_dict(promotion) if promotion else None,
    }
    return attestation.dump_statement(PREDICATE_TYPE, about, predicate)


def _host_entry(
    host: str,
    environment: str,
    records: Sequence[tuple[dict[str, Any], str]],
    catalogue: Sequence[controls.Control],
) -> dict[str, Any]:
    checks = [check for record, _sha256 in records for check in record["checks"]]
    try:
        results = controls.evaluate(catalogue, checks, environment)
    except controls.CatalogueError as error:
        raise _unreadable(host, str(error)) from None
    return {
        "name": host,
        "phases": [
            {
                "phase": record["phase"],
                "verdict": record["verdict"],
                "collected_at": record["collected_at"],
                "override_reason": str(record.get("override_reason", "")),
                "evidence_sha256": sha256,
            }
            for record, sha256 in records
        ],
        "controls": {result["id"]: result["status"] for result in results},
        "mandatory_open": [result["id"] for result in results if result["mandatory"] and result["status"] != "passed"],
        "not_covered": [result["id"] for result in results if result["status"] == "not_covered"],
    }


def _records(directory: str | Path, environment: str, host: str, digest: str) -> list[tuple[dict[str, Any], str]]:
    """Return (record, sha256 of its file) of a host's phases, in their order, each of this run of this code."""
    found: list[tuple[dict[str, Any], str]] = []
    before: datetime.datetime | None = None
    for phase in controls.PHASES:
        subject = f"{host}, phase {phase}"
        try:
            path = evidence.evidence_path(directory, environment, host, phase)
        except evidence.EvidenceError as error:
            code, _colon, why = str(error).partition(": ")
            raise refuse(code, host, why, "Rename the host in the inventory.") from None
        if not path.exists():
            if phase in PHASES_NEEDED[environment]:
                raise refuse(
                    "EVIDENCE-MISSING", subject, "there is no evidence of it", f"Run phase {phase}, then sign."
                )
            continue
        record, sha256, moment = _record(path, subject)
        if (record.get("environment"), record.get("host"), record.get("phase")) != (environment, host, phase):
            raise refuse(
                "EVIDENCE-FOREIGN",
                subject,
                f"{path.name} is of another host, phase or environment",
                "Find out who put it there; run the phase again.",
            )
        if record.get("collection_digest") is None:
            raise subjects.unbound(subject, "it does not say which files of the collection made the checks")
        if record["collection_digest"] != digest:
            raise refuse(
                "EVIDENCE-COLLECTION",
                subject,
                "it was made by other files of the collection than these",
                "Run the phases again with these files, or sign with the files that made the checks.",
            )
        if before is not None and moment < before:
            raise refuse(
                "EVIDENCE-ORDER",
                subject,
                "the phase before it was applied again since, so it speaks of another state",
                f"Run phase {phase} and those after it again, then sign.",
            )
        before = moment
        found.append((record, sha256))
    return found


def _record(path: Path, subject: str) -> tuple[dict[str, Any], str, datetime.datetime]:
    try:
        data = attestation.read_bytes(path, EVIDENCE_MAX_BYTES)
        record = attestation.strict_json(data, subject, EVIDENCE_MAX_BYTES)
    except FindingError as error:
        raise _unreadable(subject, error.finding.evidence) from None
    if not isinstance(record, dict) or record.get("schema") != evidence.SCHEMA:
        raise _unreadable(subject, f"it is not of schema {evidence.SCHEMA}")
    moment = trust.parse_time(record.get("collected_at"))
    checks = record.get("checks")
    if moment is None or not isinstance(checks, list) or not all(isinstance(item, dict) for item in checks):
        raise _unreadable(subject, "it has no time or no checks")
    if not isinstance(record.get("verdict"), str):
        raise _unreadable(subject, "it has no verdict")
    return record, hashlib.sha256(data).hexdigest(), moment


def _unreadable(subject: str, why: str) -> FindingError:
    return refuse("EVIDENCE-READ", subject, why, "Run the phase again.")


def parse(envelope: attestation.Envelope) -> Statement:
    """Return the statement of an envelope. Verify the signatures first: what is not signed is not worth reading.

    Raises FindingError (ATTESTATION-INVALID).
    """
    about, predicate = attestation.parse_statement(envelope.payload, PREDICATE_TYPE, envelope.id)

    def wrong(what: str) -> FindingError:
        return attestation.invalid(envelope.id, what)

    environment, target = predicate.get("environment"), predicate.get("promotes_to")
    created_at = trust.parse_time(predicate.get("created_at"))
    hosts = predicate.get("hosts")
    if not isinstance(environment, str) or environment not in PHASES_NEEDED:
        raise wrong("its environment is none")
    if not isinstance(target, str) or created_at is None:
        raise wrong("it has no target or no time")
    if not isinstance(hosts, list) or not 0 < len(hosts) <= HOSTS_MAX:
        raise wrong(f"it has no list of 1 to {HOSTS_MAX} hosts")
    read = tuple(_read_host(entry, wrong) for entry in hosts)
    if len({host.name for host in read}) != len(read):
        raise wrong("a host is there twice")
    carried = predicate.get("promotion")
    promotion = None if carried is None else attestation.envelope_from(carried, f"{envelope.id}, its promotion")
    return Statement(environment, target, created_at, about, read, promotion)


def _read_host(entry: Any, wrong: Any) -> Host:
    name = entry.get("name") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(name, str):
        raise wrong("a host has no name")
    listed, statuses = entry.get("phases"), entry.get("controls")
    if not isinstance(listed, list) or not isinstance(statuses, dict):
        raise wrong(f"host {clean_text(name, 60)} has no phases or no controls")
    phases: dict[int, Phase] = {}
    for phase in listed:
        number = phase.get("phase") if isinstance(phase, dict) else None
        moment = trust.parse_time(phase.get("collected_at")) if isinstance(phase, dict) else None
        whole = isinstance(number, int) and not isinstance(number, bool)
        if not whole or number not in controls.PHASES or number in phases or moment is None:
            raise wrong(f"host {clean_text(name, 60)} has a phase without number or time, or twice")
        verdict, sha256 = phase.get("verdict"), phase.get("evidence_sha256")
        if not isinstance(verdict, str) or not attestation.is_sha256(sha256):
            raise wrong(f"host {clean_text(name, 60)} has a phase without verdict or digest")
        phases[number] = Phase(verdict, moment, str(sha256))
    if any(status not in controls.CONTROL_STATUSES for status in statuses.values()):
        raise wrong(f"host {clean_text(name, 60)} has a control of unknown status")
    return Host(name, phases, {str(control): str(status) for control, status in statuses.items()})


def same_but_for_time(one: bytes, other: bytes) -> bool:
    """Whether two payloads say the same of the same evidence, made at whatever moment."""
    about, predicate = attestation.parse_statement(one, PREDICATE_TYPE, "evidence")
    about_other, predicate_other = attestation.parse_statement(other, PREDICATE_TYPE, "evidence")
    return (about, {**predicate, "created_at": ""}) == (about_other, {**predicate_other, "created_at": ""})


def describe(statement: Statement, signed_by: Sequence[trust.TrustedKey], envelope_id: str) -> list[str]:
    """Return what a person has to know before they sign, in lines for a terminal."""
    made = trust.format_time(statement.created_at)
    lines = [
        f"Evidence {envelope_id} of {statement.environment}, {made}, for {statement.promotes_to or 'no promotion'}",
        *(f"  signed by {key.holder} as {key.role} (key {key.keyid[:16]})" for key in signed_by),
    ]
    for host in statement.hosts:
        verdicts = ", ".join(f"{number} {phase.verdict}" for number, phase in sorted(host.phases.items()))
        lines.append(f"  {clean_text(host.name, 80)}: phases {clean_text(verdicts, 200)}")
        for status in ("failed", "unknown", "not_covered"):
            names = sorted(name for name, found in host.controls.items() if found == status)
            if names:
                lines.append(f"    {status}: {clean_text(', '.join(names), 400)}")
    lines.extend(f"  {clean_text(name, 200)} sha256:{digest}" for name, digest in sorted(statement.subjects.items()))
    return lines
