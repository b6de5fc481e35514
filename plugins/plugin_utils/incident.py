# Copyright: (c) 2026, Rampart contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of an incident on the controller: entries are only added, each holds the hash of the one before (C7).

`<directory>/<environment>/<host>/<time>/incident.json`. The chain shows that an entry was changed, moved or taken out;
that the last ones were cut off shows where the head was signed (`incident_sign`). A host has one open incident at most.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.rampart.ollama.plugins.module_utils.findings import (
    FindingError,
    Severity,
    clean_text,
    refuse,
)
from ansible_collections.rampart.ollama.plugins.plugin_utils import attestation

SCHEMA = 1
FILE = "incident.json"
ENTRIES_MAX = 10000
TEXT_MAX_CHARS = 1000
OPENED, CLOSED = "opened", "closed"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
_TIME = re.compile(r"[0-9]{8}T[0-9]{6}Z")


@dataclass(frozen=True)
class Incident:
    """One record, its chain verified when it was read."""

    path: Path
    head: Mapping[str, Any]
    entries: tuple[Mapping[str, Any], ...]

    @property
    def id(self) -> str:
        """What a person names to confirm: environment, host and the time of opening."""
        return str(self.head["id"])

    @property
    def open(self) -> bool:
        """Whether it was not closed yet."""
        return not self.entries or self.entries[-1]["action"] != CLOSED

    @property
    def cause(self) -> str:
        """The cause that was recorded last, empty for none."""
        return next((str(item["cause"]) for item in reversed(self.entries) if item.get("cause")), "")

    @property
    def archives(self) -> list[dict[str, Any]]:
        """What was preserved, oldest first."""
        return [dict(item["details"]) for item in self.entries if item["action"] == "preserved"]

    @property
    def last_hash(self) -> str:
        """The hash of the newest entry: it stands for the whole record."""
        return str(self.entries[-1]["hash"]) if self.entries else _hash(self.head)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a task's result."""
        return {
            "id": self.id,
            "open": self.open,
            "path": str(self.path),
            "directory": str(self.path.parent),
            "opened_by": str(self.entries[0]["by"]) if self.entries else "",
            "opened_at": str(self.entries[0]["at"]) if self.entries else "",
            "reason": str(self.entries[0].get("reason", "")) if self.entries else "",
            "cause": self.cause,
            "archives": self.archives,
            "signed": sorted(
                str(item["details"].get("sha256", "")) for item in self.entries if item["action"] == "signed"
            ),
            "head": self.last_hash,
            "actions": [{"at": item["at"], "by": item["by"], "action": item["action"]} for item in self.entries],
        }


def _hash(value: Mapping[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def host_directory(directory: str | Path, environment: str, host: str) -> Path:
    """Return where a host's incidents lie. Raises FindingError (INCIDENT-NAME)."""
    for name in (environment, host):
        if not _NAME.fullmatch(name) or ".." in name:
            raise refuse(
                "INCIDENT-NAME", name, "this cannot be a directory's name", "Rename the host in the inventory."
            )
    return Path(directory) / environment / host


def _broken(path: Path, why: str) -> FindingError:
    return refuse(
        "INCIDENT-RECORD-BROKEN",
        str(path),
        why,
        "Somebody or something changed it: restore it from a backup of the controller, and find out who did.",
        Severity.CRITICAL,
    )


def read(path: Path) -> Incident:
    """Return the record in a file. Raises FindingError: INCIDENT-RECORD-BROKEN, ATTESTATION-READ."""
    try:
        document = attestation.strict_json(attestation.read_bytes(path), str(path))
    except FindingError as error:
        if error.finding.code == "ATTESTATION-READ":
            raise
        raise _broken(path, error.finding.evidence) from None
    head = document.get("incident") if isinstance(document, dict) else None
    entries = document.get("entries") if isinstance(document, dict) else None
    if not isinstance(head, dict) or not isinstance(entries, list) or not 0 < len(entries) <= ENTRIES_MAX:
        raise _broken(path, "it is no record of an incident")
    if head.get("schema") != SCHEMA or not isinstance(head.get("id"), str):
        raise _broken(path, f"it is not of schema {SCHEMA}, or has no id")
    previous = _hash(head)
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or not isinstance(entry.get("details"), dict):
            raise _broken(path, f"entry {number} is none")
        if any(not isinstance(entry.get(key), str) for key in ("at", "by", "action", "previous", "hash")):
            raise _broken(path, f"entry {number} lacks a field")
        content = {key: value for key, value in entry.items() if key != "hash"}
        if entry["previous"] != previous or entry["hash"] != _hash(content):
            raise _broken(path, f"the chain of hashes ends before entry {number}")
        if entry["action"] == CLOSED and number != len(entries):
            raise _broken(path, f"entry {number} closes it, and others follow")
        previous = entry["hash"]
    return Incident(path, head, tuple(entries))


def newest(directory: Path) -> Incident | None:
    """Return a host's newest record, None where there is none. Raises as `read` does."""
    try:
        names = sorted(item.name for item in directory.iterdir() if _TIME.fullmatch(item.name))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refuse(
            "INCIDENT-RECORD-READ", str(directory), error.strerror or error, "Let this account read it."
        ) from None
    for name in reversed(names):
        if (directory / name / FILE).exists():
            return read(directory / name / FILE)
    return None


def current(directory: Path) -> Incident | None:
    """Return a host's open record, None where there is none. Raises as `read` does."""
    found = newest(directory)
    return found if found is not None and found.open else None


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other runs on this controller out. Raises FindingError (INCIDENT-RECORD-WRITE)."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(directory / ".lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritten(directory, error) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _unwritten(path: Path, error: OSError) -> FindingError:
    return refuse(
        "INCIDENT-RECORD-WRITE",
        str(path),
        error.strerror or error,
        "Free space, or set incident_dir to a directory that this account can write.",
        Severity.CRITICAL,
    )


def opened(directory: Path, environment: str, host: str, moment: datetime.datetime) -> Incident:
    """Return a new record without entries; nothing is written before it has one."""
    stamp = moment.strftime("%Y%m%dT%H%M%SZ")
    while (directory / stamp / FILE).exists():
        moment += datetime.timedelta(seconds=1)
        stamp = moment.strftime("%Y%m%dT%H%M%SZ")
    head = {"schema": SCHEMA, "id": f"{environment}-{host}-{stamp}", "environment": environment, "host": host}
    return Incident(directory / stamp / FILE, head, ())


def added(
    incident: Incident,
    action: str,
    by: str,
    moment: datetime.datetime,
    details: Mapping[str, Any],
    texts: Mapping[str, str],
) -> Incident:
    """Return the record with one entry more; `texts` are reason, cause and the like. Raises FindingError.

    INCIDENT-CLOSED: nothing is added to a closed record. INCIDENT-RECORD-FULL: it has ENTRIES_MAX entries.
    """
    if not incident.open:
        raise refuse("INCIDENT-CLOSED", incident.id, "it was closed", "Open a new incident: isolate the host again.")
    if len(incident.entries) >= ENTRIES_MAX:
        raise refuse("INCIDENT-RECORD-FULL", incident.id, f"{ENTRIES_MAX} entries", "Close it and open a new one.")
    content: dict[str, Any] = {
        "at": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "by": clean_text(by, 120),
        "action": action,
        **{name: clean_text(text, TEXT_MAX_CHARS) for name, text in texts.items() if text.strip()},
        "details": dict(details),
        "previous": incident.last_hash,
    }
    # What was parsed from JSON hashes the same as what was built here only if it is the same: write what is read.
    content = json.loads(json.dumps(content))
    return Incident(incident.path, incident.head, (*incident.entries, {**content, "hash": _hash(content)}))


def write(incident: Incident) -> None:
    """Write the record whole or not at all, mode 0640. Raises FindingError (INCIDENT-RECORD-WRITE)."""
    document = {"incident": dict(incident.head), "entries": [dict(item) for item in incident.entries]}
    data = (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=True) + "\n").encode("ascii")
    if len(data) > attestation.ENVELOPE_MAX_BYTES:
        raise refuse("INCIDENT-RECORD-FULL", incident.id, f"{len(data)} bytes", "Close it and open a new one.")
    try:
        attestation.write_file(incident.path, data, 0o640)
    except FindingError as error:
        raise refuse(
            "INCIDENT-RECORD-WRITE", str(incident.path), error.finding.evidence, error.finding.remedy, Severity.CRITICAL
        ) from None
